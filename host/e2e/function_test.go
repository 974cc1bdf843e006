package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// result is what a workflow script sees (contract: result of a function).
type result struct {
	Version float64 `json:"version"`
	Success bool    `json:"success"`
	Reason  *string `json:"reason"`
	Content struct {
		Success    bool    `json:"success"`
		Reason     *string `json:"reason"`
		Indicators []struct {
			ID       int    `json:"id"`
			Value    string `json:"value"`
			Type     string `json:"type"`
			Status   string `json:"status"`
			Existing bool   `json:"existing"`
			URL      string `json:"url"`
		} `json:"indicators"`
	} `json:"content"`
	Inputs  map[string]any `json:"inputs"`
	Metrics map[string]any `json:"metrics"`
}

func results(t testing.TB, r reply) (out result) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.Results, &out), r.text)
	return out
}

func TestAddIndicatorAnswersWithTheDocumentedResult(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"add-indicator"}, tq: o})
		p := w.start()
		m := w.soar.FunctionMessage("threatq_add_indicator", map[string]any{
			"indicator_value": "hxxp://Bad.example.com/x", "indicator_status": "Active", "indicator_confidence": "High",
		})
		correlation := w.send(m)
		w.final(correlation)
		p.settled()
		r := w.once(correlation)
		require.Zero(t, r.Type, r.Message)

		var shape map[string]any
		require.NoError(t, json.Unmarshal(r.Results, &shape))
		for _, key := range []string{"version", "success", "reason", "content", "raw", "inputs", "metrics"} {
			assert.Contains(t, shape, key)
		}
		assert.Len(t, shape, 7)
		got := results(t, r)
		assert.InDelta(t, 2.0, got.Version, 0)
		assert.True(t, got.Success)
		assert.Nil(t, got.Reason)
		assert.Equal(t, map[string]any{
			"indicator_value": "hxxp://Bad.example.com/x", "indicator_status": "Active", "indicator_confidence": "High",
		}, got.Inputs, "selects are flattened to their names")
		for key, want := range map[string]any{"version": "1.0", "package": "fn-threatq", "package_version": "1.1.0"} {
			assert.Equal(t, want, got.Metrics[key], key)
		}
		assert.NotEmpty(t, got.Metrics["host"])
		assert.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`, got.Metrics["timestamp"])
		assert.IsType(t, 0.0, got.Metrics["execution_time_ms"])

		indicators := w.tq.Indicators()
		require.Len(t, indicators, 1)
		assert.Equal(t, "URL", indicators[0].Type)
		assert.Equal(t, "http://bad.example.com/x", indicators[0].Name)
		assert.Equal(t, "Active", indicators[0].Status)
		assert.Equal(t, "High", attribute(indicators[0], "Confidence"))
		require.Len(t, got.Content.Indicators, 1)
		row := got.Content.Indicators[0]
		assert.Equal(t, indicators[0].ID, row.ID)
		assert.Equal(t, "URL", row.Type)
		assert.False(t, row.Existing)
		assert.Contains(t, row.URL, w.tq.URL()+"/indicators/")
		assert.Empty(t, w.tq.Events(), "a function names no incident")
	})
}

func TestPlaybookCallsAFunctionLikeAWorkflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"add-indicator"}})
	p := w.start()
	r := w.do(w.soar.PlaybookMessage("threatq_add_indicator", map[string]any{"indicator_value": "bad.example.com"}))
	assert.True(t, results(t, r).Success)
	p.settled()
}

func TestValueThatCannotBeTypedIsAFailureTheWorkflowCanHandle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"add-indicator"}})
	p := w.start()
	r := w.do(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "nothing of the kind"}))
	got := results(t, r)
	assert.False(t, got.Success)
	require.NotNil(t, got.Reason)
	assert.NotEmpty(t, *got.Reason)
	assert.False(t, got.Content.Success)
	assert.Equal(t, map[string]any{"indicator_value": "nothing of the kind"}, got.Inputs)
	assert.Empty(t, w.tq.Indicators())
	p.settled()
}

// An error of the login is an error of the action: no workflow could handle it.
func TestFunctionThatCannotLogInIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"add-indicator"}, threatq: keys{"password": "wrong-passw0rd"}})
	p := w.start()
	correlation := w.send(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "bad.example.com"}))
	r := w.final(correlation)
	assert.Equal(t, 1, r.Type)
	assert.Empty(t, r.Results)
	assert.Contains(t, r.Message, "check username, password and cid")
	assert.NotContains(t, r.Message, "ERROR:")
	p.settled()
	w.once(correlation)
}

func TestMenuItemFields(t *testing.T) {
	t.Parallel()
	active := map[string]any{"Indicator Status": "Active", "Indicator Confidence": "High"}
	message := func(w *world, fields map[string]any) resilienttest.Message {
		artifact := w.soar.AddArtifact(resilienttest.DefaultIncident, "DNS Name", "bad.example.com")
		return w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact, MenuItem: true, Fields: fields})
	}
	for name, make := range map[string]func(t *testing.T, w *world) resilienttest.Message{
		"under our API names": func(_ *testing.T, w *world) resilienttest.Message { return message(w, active) },
		"under other API names, found by label": func(_ *testing.T, w *world) resilienttest.Message {
			status, _ := w.soar.Field("actioninvocation", "threatq_indicator_status")
			confidence, _ := w.soar.Field("actioninvocation", "threatq_indicator_confidence")
			status.ID, status.Name, status.UUID = 801, "ti_status", "11111111-2222-3333-4444-555555555501"
			confidence.ID, confidence.Name, confidence.UUID = 802, "ti_confidence", "11111111-2222-3333-4444-555555555502"
			w.soar.SetField("actioninvocation", status)
			w.soar.SetField("actioninvocation", confidence)
			w.soar.RemoveRule(52)
			w.soar.AddRule(resilienttest.Rule{Name: "ThreatQ: Sync Indicator", ObjectType: "artifact", Type: 1, LogicType: "all",
				Fields: []string{"ti_status", "ti_confidence"}})
			return message(w, map[string]any{"ti_status": "Active", "ti_confidence": "High"})
		},
		"ids that only the server can name": func(t *testing.T, w *world) resilienttest.Message {
			return edit(t, message(w, active), func(body map[string]any) {
				delete(body["type_info"].(map[string]any), "actioninvocation")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{modules: []string{"sync-indicator"}})
			p := w.start()
			w.do(make(t, w))
			p.settled()
			indicators := w.tq.Indicators()
			require.Len(t, indicators, 1)
			assert.Equal(t, "Active", indicators[0].Status)
			assert.Equal(t, "High", attribute(indicators[0], "Confidence"))
		})
	}
}
