package markfalsepositive_test

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
)

func function(pairs ...any) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindFunction, Name: "threatq_mark_as_false_positive", Title: "ThreatQ: Mark as False Positive", Inputs: map[string]abi.JSON{}}
	for i := 0; i < len(pairs); i += 2 {
		text, _ := json.Marshal(pairs[i+1])
		a.Inputs[pairs[i].(string)] = text
	}
	return a
}

type results struct {
	Success    bool `json:"success"`
	Indicators []struct {
		ID       int    `json:"id"`
		Value    string `json:"value"`
		Type     string `json:"type"`
		Status   string `json:"status"`
		Existing bool   `json:"existing"`
		URL      string `json:"url"`
	} `json:"indicators"`
	Removed bool    `json:"removed"`
	Reason  *string `json:"reason"`
}

func call(t *testing.T, w *kittest.World, pairs ...any) (*abi.Reply, results) {
	t.Helper()
	out := w.Run(function(pairs...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	var r results
	require.NoError(t, json.Unmarshal(out.Reply.Results, &r))
	assert.Equal(t, out.Reply.Success, r.Success)
	assert.Equal(t, r.Success, r.Reason == nil)
	assert.NotNil(t, r.Indicators, "an empty list, not null")
	return out.Reply, r
}

func TestFunctionMarksAllTypesOfAValueAndRemovesTheArtifact(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	first := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
	second := w.ThreatQ.AddIndicator("String", "bad.example.com", "Review", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	reply, r := call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "bad.example.com", "remove_artifact_after_marking", true)
	require.True(t, r.Success, reply.Message)
	require.Len(t, r.Indicators, 2)
	assert.Equal(t, first, r.Indicators[0].ID)
	assert.Equal(t, "FQDN", r.Indicators[0].Type)
	assert.Equal(t, "Active", r.Indicators[0].Status)
	assert.True(t, r.Indicators[0].Existing)
	assert.Equal(t, fmt.Sprintf("https://threatq.example.com/indicators/%d/details", first), r.Indicators[0].URL)
	assert.True(t, r.Removed)
	assert.Len(t, verdicts(w, first), 1)
	assert.Len(t, verdicts(w, second), 1)
	assert.NotContains(t, artifacts(w), "bad.example.com")
	assert.Len(t, w.Last.Turns, 4, "artifact and look-up, attributes, removal, reply")

	_, r = call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "bad.example.com")
	assert.True(t, r.Success)
	assert.False(t, r.Removed)
	assert.Empty(t, w.Writes())
}

func TestFunctionMakesAnIndicatorOfTheArtifactsType(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "Mutex", "evil.example.com")
	_, r := call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "evil.example.com")
	require.Len(t, r.Indicators, 1)
	assert.Equal(t, "Mutex", r.Indicators[0].Type)
	assert.False(t, r.Indicators[0].Existing)
	assert.Len(t, w.ThreatQ.Links("events", 55, "indicators"), 1)
	assert.Contains(t, artifacts(w), "evil.example.com")
}

func TestFunctionTypesAValueByItsShapeWhenTheArtifactIsGone(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "Mutex", "evil.example.com")
	w.SOAR.DeleteArtifact(incident, id)
	_, r := call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "evil[.]example[.]com", "remove_artifact_after_marking", true)
	require.Len(t, r.Indicators, 1)
	assert.Equal(t, "FQDN", r.Indicators[0].Type)
	assert.Equal(t, "evil.example.com", r.Indicators[0].Value)
	assert.True(t, r.Removed, "what is gone is removed")
	assert.Len(t, w.ThreatQ.Links("events", 55, "indicators"), 1)

	w.SOAR.DeleteIncident(incident)
	_, r = call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "other.example.com")
	assert.True(t, r.Success, "an incident that is gone has no event to link to")
	assert.Len(t, w.ThreatQ.Links("events", 55, "indicators"), 1)
}

func TestFunctionWithoutIDsMarksTheValue(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	_, r := call(t, w, "indicator_value", "evil.example.com")
	assert.True(t, r.Success)
	assert.Empty(t, w.ThreatQ.Events())
}

func TestFunctionFailuresThatAWorkflowCanHandle(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	port := w.SOAR.AddArtifact(incident, "Port", "443")
	for name, c := range map[string]struct {
		inputs []any
		want   string
	}{
		"no value":       {[]any{"incident_id", incident, "artifact_id", port}, "The input indicator_value is empty."},
		"not recognised": {[]any{"indicator_value", "just words"}, "No indicator was recognised in the value; name its type."},
		"no counterpart": {[]any{"incident_id", incident, "artifact_id", port, "indicator_value", "443"}, `Artifact type "Port" has no ThreatQ counterpart; nothing done.`},
		"no ids to remove by": {[]any{"indicator_value", "evil.example.com", "remove_artifact_after_marking", true},
			"To remove the artifact, the inputs incident_id and artifact_id are needed; nothing done."},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := call(t, w, c.inputs...)
			require.NotNil(t, r.Reason)
			assert.Equal(t, c.want, *r.Reason)
			assert.Empty(t, w.Writes())
		})
	}
}

func TestFunctionFailedRemovalIsAHandledFailure(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.Inject(resilienttest.Fault{Method: "DELETE", Status: http.StatusConflict})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	_, r := call(t, w, "incident_id", incident, "artifact_id", id, "indicator_value", "bad.example.com", "remove_artifact_after_marking", true)
	assert.False(t, r.Success)
	assert.False(t, r.Removed)
	assert.Contains(t, *r.Reason, "marked as False Positive")
	assert.Len(t, r.Indicators, 1)
}

func TestFunctionLoginFailureIsAnErrorOfTheAction(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Answer = unanswered(abi.ThreatQ, "GET", abi.CodeLogin)
	out := w.Run(function("indicator_value", "bad.example.com"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeLogin, out.Fail.Code)
}
