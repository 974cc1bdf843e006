package findrelatedindicators_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
)

type results struct {
	Success bool `json:"success"`
	Found   int  `json:"found"`
	Related []struct {
		ID     int    `json:"id"`
		Value  string `json:"value"`
		Type   string `json:"type"`
		Status string `json:"status"`
		URL    string `json:"url"`
	} `json:"related"`
	Added   int     `json:"added"`
	Skipped int     `json:"skipped"`
	Failed  int     `json:"failed"`
	Reason  *string `json:"reason"`
}

func function(pairs ...any) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindFunction, Name: "threatq_find_related_indicators", Title: "ThreatQ: Find Related Indicators", Inputs: map[string]abi.JSON{}}
	for i := 0; i < len(pairs); i += 2 {
		text, _ := json.Marshal(pairs[i+1])
		a.Inputs[pairs[i].(string)] = text
	}
	return a
}

func call(t *testing.T, w *kittest.World, pairs ...any) (*abi.Reply, results) {
	t.Helper()
	out := w.Run(function(pairs...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	var r results
	require.NoError(t, json.Unmarshal(out.Reply.Results, &r))
	assert.Equal(t, out.Reply.Success, r.Success)
	assert.Equal(t, r.Success, r.Reason == nil)
	assert.NotNil(t, r.Related, "an empty list, not null")
	assert.Equal(t, r.Found, r.Added+r.Skipped+r.Failed)
	return out.Reply, r
}

func TestFunctionAddsWhatIsRelatedToEveryTypeOfTheValue(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	ip := relate(w, bad, "IP Address", "198.51.100.7", "Active")
	relate(w, w.ThreatQ.AddIndicator("Mutex", "bad.example.com", "Active"), "FQDN", "other.example.com", "Expired")
	reply, r := call(t, w, "incident_id", incident, "indicator_value", "bad.example.com")
	require.True(t, r.Success, reply.Message)
	assert.Equal(t, 2, r.Found)
	assert.Equal(t, 2, r.Added)
	require.Len(t, r.Related, 2)
	assert.Equal(t, ip, r.Related[0].ID)
	assert.Equal(t, "198.51.100.7", r.Related[0].Value)
	assert.Equal(t, "IP Address", r.Related[0].Type)
	assert.Equal(t, "Active", r.Related[0].Status)
	assert.Equal(t, fmt.Sprintf("https://threatq.example.com/indicators/%d/details", ip), r.Related[0].URL)
	assert.Equal(t, []string{"other.example.com"}, artifacts(w)["DNS Name"])
	assert.Len(t, w.Last.Turns, 5, "look-up, relations with artifacts and types, patterns, artifacts, reply")

	_, r = call(t, w, "incident_id", incident, "indicator_value", "bad[.]example[.]com")
	assert.Equal(t, 2, r.Skipped)
	assert.Len(t, r.Related, 2, "what is present is related all the same")
	assert.Empty(t, w.Writes())
}

// TestFunctionListsAllAfterManyBatches: the list outlives the cut history.
func TestFunctionListsAllAfterManyBatches(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.Settings["max_related"] = "70"
	relateMany(w, bad, 120)
	_, r := call(t, w, "incident_id", incident, "indicator_value", "bad.example.com")
	assert.True(t, r.Success)
	assert.Len(t, r.Related, 120)
	assert.Equal(t, 70, r.Added)
	assert.Equal(t, 50, r.Skipped)
	assert.Len(t, artifacts(w)["DNS Name"], 70)
}

func TestFunctionOfAnUnknownValue(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	reply, r := call(t, w, "incident_id", incident, "indicator_value", "unknown.example.com")
	assert.True(t, r.Success)
	assert.Equal(t, "Not known in ThreatQ.", reply.Message)
	assert.Zero(t, r.Found)
}

func TestFunctionFailuresThatAWorkflowCanHandle(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "FQDN", "other.example.com", "Active")
	for name, c := range map[string]struct {
		inputs []any
		want   string
	}{
		"no value":    {[]any{"incident_id", incident}, "The input indicator_value is empty."},
		"no incident": {[]any{"indicator_value", "bad.example.com"}, "The input incident_id is empty."},
		"gone": {[]any{"incident_id", 99999, "indicator_value", "bad.example.com"},
			"The incident no longer exists in SOAR, or its workspace is closed to the integration's account; nothing done in ThreatQ."},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := call(t, w, c.inputs...)
			require.NotNil(t, r.Reason)
			assert.Equal(t, c.want, *r.Reason)
			assert.Empty(t, w.Writes())
		})
	}
	w.SOAR.Inject(resilienttest.Fault{Method: "POST", PathSuffix: "/artifacts", Times: 1, Status: http.StatusConflict})
	_, r := call(t, w, "incident_id", incident, "indicator_value", "bad.example.com")
	assert.Equal(t, 1, r.Failed)
	require.NotNil(t, r.Reason)
	assert.Contains(t, *r.Reason, "DNS Name other.example.com: ")
}

func TestFunctionErrorsOfTheAction(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.SOAR.Forbid(incident)
	out := w.Run(function("incident_id", incident, "indicator_value", "bad.example.com"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	w.Answer = func(abi.Call) *abi.Result {
		result := guesttest.Error(abi.CodeLogin, 0, "refused")
		return &result
	}
	out = w.Run(function("incident_id", incident, "indicator_value", "bad.example.com"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeLogin, out.Fail.Code)
}
