package marktruepositive_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	marktruepositive "fn-threatq/plugins/mark-true-positive"
)

const incident = resilienttest.DefaultIncident

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, marktruepositive.Rules(), "manifest.json", resilienttest.Options{}, tq)
}

func mark(t *testing.T, w *kittest.World, kind, value string) *abi.Reply {
	t.Helper()
	out := w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_mark_as_true_positive", Title: "ThreatQ: Mark as True Positive",
		Operation: "modified", Object: "artifact", IncidentID: incident, ArtifactID: w.SOAR.AddArtifact(incident, kind, value)})
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

func verdicts(w *kittest.World, indicator int) []string {
	list := []string{}
	for _, a := range w.ThreatQ.Attributes("indicators", indicator) {
		list = append(list, fmt.Sprint(a.Name, "=", a.Value, " ", a.Sources))
	}
	return list
}

func TestVerdictTakesTheOppositeOneBack(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Whitelisted", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, "False Positive", "Yes", "Resilient")
	reply := mark(t, w, "DNS Name", "known.example.com")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, []string{"True Positive=Yes [Resilient]"}, verdicts(w, known))
	assert.Contains(t, reply.Message, "FQDN known.example.com: existing (Whitelisted), marked as True Positive; https://threatq.example.com/indicators/")
	assert.Len(t, w.Last.Turns, 5)

	reply = mark(t, w, "DNS Name", "known.example.com")
	assert.Contains(t, reply.Message, "marked as True Positive already")
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 4)
}

func TestUnknownIndicatorIsMadeAndLinked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply := mark(t, w, "DNS Name", "new.example.com")
	require.True(t, reply.Success, reply.Message)
	require.Len(t, w.ThreatQ.Indicators(), 1)
	i := w.ThreatQ.Indicators()[0]
	assert.Equal(t, []string{"True Positive=Yes [Resilient]"}, verdicts(w, i.ID))
	assert.Equal(t, []int{i.ID}, w.ThreatQ.Links("events", 55, "indicators"))
}

func TestArtifactWithoutCounterpartIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply := mark(t, w, "Port", "443")
	assert.False(t, reply.Success)
	assert.Equal(t, `Artifact type "Port" has no ThreatQ counterpart; nothing done.`, reply.Message)
}

func TestReadOnlyRoleIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{ReadOnly: true})
	w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	out := w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_mark_as_true_positive", Object: "artifact", IncidentID: incident,
		ArtifactID: w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")})
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, "Give the integration's ThreatQ account the right to do this.")
}

type results struct {
	Success    bool `json:"success"`
	Indicators []struct {
		Value    string `json:"value"`
		Type     string `json:"type"`
		Existing bool   `json:"existing"`
	} `json:"indicators"`
	Reason *string `json:"reason"`
}

func call(t *testing.T, w *kittest.World, value any) results {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	out := w.Run(abi.Action{ID: "m1", Kind: abi.KindFunction, Name: "threatq_mark_as_true_positive", Title: "ThreatQ: Mark as True Positive",
		Inputs: map[string]abi.JSON{"indicator_value": text}})
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	var r results
	require.NoError(t, json.Unmarshal(out.Reply.Results, &r))
	assert.Equal(t, out.Reply.Success, r.Success)
	assert.Equal(t, r.Success, r.Reason == nil)
	assert.NotNil(t, r.Indicators, "an empty list, not null")
	return r
}

func TestFunctionMarksEveryTypeOfTheValue(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	first := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
	second := w.ThreatQ.AddIndicator("Mutex", "bad.example.com", "Active", "Feed")
	other := w.ThreatQ.AddIndicator("FQDN", "not.bad.example.com", "Active", "Feed")
	r := call(t, w, " bad.example.com ")
	require.True(t, r.Success)
	assert.Len(t, r.Indicators, 2)
	assert.Len(t, verdicts(w, first), 1)
	assert.Len(t, verdicts(w, second), 1)
	assert.Empty(t, verdicts(w, other))
	assert.Len(t, w.Last.Turns, 3, "look-up, attributes, reply")
	call(t, w, "bad.example.com")
	assert.Empty(t, w.Writes())
}

func TestFunctionFindsADefangedValueUnderAnyType(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("Mutex", "bad.example.com", "Active", "Feed")
	r := call(t, w, "bad[.]example[.]com")
	require.True(t, r.Success)
	assert.Len(t, verdicts(w, known), 1)
	assert.Len(t, w.ThreatQ.Indicators(), 1)
}

func TestFunctionParsesAndMakesWhatIsUnknown(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	r := call(t, w, "198.51.100.7")
	require.True(t, r.Success)
	require.Len(t, r.Indicators, 1)
	assert.Equal(t, "IP Address", r.Indicators[0].Type)
	assert.False(t, r.Indicators[0].Existing)
	assert.Empty(t, w.ThreatQ.Events(), "there is no incident to link to")
}

func TestFunctionFailuresThatAWorkflowCanHandle(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	for value, want := range map[string]string{
		"  ":         "The input indicator_value is empty.",
		"just words": "No indicator was recognised in the value; name its type.",
	} {
		r := call(t, w, value)
		require.NotNil(t, r.Reason)
		assert.Equal(t, want, *r.Reason)
		assert.Empty(t, w.Writes())
	}
	w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Times: -1, Status: http.StatusUnprocessableEntity, Body: `{"errors":["not today"]}`})
	r := call(t, w, "known.example.com")
	require.NotNil(t, r.Reason)
	assert.Contains(t, *r.Reason, "not today")
	assert.Len(t, r.Indicators, 1)
}

// TestPasswordsAreNotMarkedUnasked: without the setting they stay out of sight.
func TestPasswordsAreNotMarkedUnasked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("Password", "hunter2", "Active", "Feed")
	assert.False(t, call(t, w, "hunter2").Success)
	assert.Empty(t, verdicts(w, known))
	w.Settings["sync_passwords"] = "true"
	assert.True(t, call(t, w, "hunter2").Success)
	assert.Len(t, verdicts(w, known), 1)
}
