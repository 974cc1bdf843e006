package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

const incident = resilienttest.DefaultIncident

// A message that cannot be worked on is answered, settled, and in nobody's way.
func TestMessagesThatCannotBeWorkedOn(t *testing.T) {
	t.Parallel()
	good := func(w *world) resilienttest.Message { return w.incidentMessage(incident, "created") }
	cases := map[string]struct {
		make func(t *testing.T, w *world) resilienttest.Message
		// words are in the reply. An error unless ok.
		words []string
		ok    bool
		// silent messages name nobody to answer.
		silent bool
		// kept messages are dead letters.
		kept bool
		// worked messages have their effect in ThreatQ.
		worked bool
	}{
		"malformed JSON": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := good(w)
			m.Body = []byte(`{"action_id": 41, "incident": {`)
			return m
		}, words: []string{"the message is not"}, kept: true},
		"empty body": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := good(w)
			m.Body = nil
			return m
		}, words: []string{"the message is not a JSON object (0 bytes)"}, kept: true},
		"JSON array": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := good(w)
			m.Body = []byte(`[1, 2]`)
			return m
		}, words: []string{"the message is not a JSON object"}, kept: true},
		"JSON null": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := good(w)
			m.Body = []byte(`null`)
			return m
		}, words: []string{"the message is not a JSON object"}, kept: true},
		"an object of another kind": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := good(w)
			m.Body = []byte(`{"hello": "world"}`)
			return m
		}, words: []string{"neither a rule's nor a function's"}, kept: true},
		"a key of another type": {make: func(t *testing.T, w *world) resilienttest.Message {
			return edit(t, good(w), func(body map[string]any) { body["action_id"] = "forty-one" })
		}, words: []string{"action_id"}, kept: true},
		"no correlation-id": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return without(good(w), "correlation-id")
		}, silent: true, worked: true},
		"no reply-to": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return without(good(w), "reply-to")
		}, silent: true, worked: true},
		"neither payload header nor token": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return without(good(w), "Co3MessagePayload", "Co3ContextToken", "Co3ContentType")
		}, words: []string{"(created)"}, ok: true, worked: true},
		"malformed and nobody to answer": {make: func(_ *testing.T, w *world) resilienttest.Message {
			m := without(good(w), "reply-to", "correlation-id")
			m.Body = []byte(`{`)
			return m
		}, silent: true, kept: true},
		"unknown rule name": {make: func(_ *testing.T, w *world) resilienttest.Message {
			w.soar.AddRule(resilienttest.Rule{Name: "Somebody else's rule", ObjectType: "incident"})
			return w.soar.ActionMessage("Somebody else's rule", resilienttest.ActionOptions{})
		}, words: []string{`no installed module handles the rule "Somebody else's rule"`, "ThreatQ: Sync Incident"}},
		"unknown function": {make: func(t *testing.T, w *world) resilienttest.Message {
			m := w.soar.FunctionMessage("threatq_add_indicator", nil)
			return edit(t, m, func(body map[string]any) {
				body["function"].(map[string]any)["name"], body["function"].(map[string]any)["display_name"] = "fn_other", "Other"
			})
		}, words: []string{`no installed module handles the function "Other"`, "threatq_add_indicator"}},
		"a workflow sends the object": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{Unnamed: true})
		}, words: []string{"the message names no rule", "workflow"}},
		"another organization": {make: func(t *testing.T, w *world) resilienttest.Message {
			return edit(t, good(w), func(body map[string]any) { body["incident"].(map[string]any)["org_id"] = 7 })
		}, words: []string{"organization 7", "message destination"}},
		"incident deleted meanwhile": {make: func(_ *testing.T, w *world) resilienttest.Message {
			id := w.soar.AddIncident(map[string]any{"name": "short-lived"})
			m := w.incidentMessage(id, "modified")
			w.soar.DeleteIncident(id)
			return m
		}, words: []string{"no longer exists in SOAR"}, ok: true},
		"incident deleted, asked for by a person": {make: func(_ *testing.T, w *world) resilienttest.Message {
			id := w.soar.AddIncident(map[string]any{"name": "short-lived"})
			m := w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{IncidentID: id, MenuItem: true,
				Fields: map[string]any{"Import Artifacts into ThreatQ": "Yes"}})
			w.soar.DeleteIncident(id)
			return m
		}, words: []string{"no longer exists in SOAR"}},
		"no permission": {make: func(_ *testing.T, w *world) resilienttest.Message {
			id := w.soar.AddIncident(map[string]any{"name": "closed workspace"})
			w.soar.Forbid(id)
			return w.incidentMessage(id, "created")
		}, words: []string{"403"}},
		"artifact deleted meanwhile": {make: func(_ *testing.T, w *world) resilienttest.Message {
			id := w.soar.AddArtifact(incident, "DNS Name", "gone.example.com")
			m := w.artifactMessage(id)
			w.soar.DeleteArtifact(incident, id)
			return m
		}, words: []string{"The artifact was deleted in SOAR"}, ok: true},
		"empty artifact value": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return w.artifactMessage(w.soar.AddArtifact(incident, "String", " "))
		}, words: []string{"empty"}, ok: true},
		"artifact value too long": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return w.artifactMessage(w.soar.AddArtifact(incident, "URL", "http://bad.example.com/"+strings.Repeat("ä", 2000)))
		}, words: []string{"longer than 2000 characters"}, ok: true},
		"artifact type without counterpart": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return w.artifactMessage(w.soar.AddArtifact(incident, "Port", "443"))
		}, words: []string{`"Port"`}, ok: true},
		"function without its required input": {make: func(_ *testing.T, w *world) resilienttest.Message {
			return w.soar.FunctionMessage("threatq_add_indicator", nil)
		}, words: []string{"indicator_value"}, ok: true},
	}
	w := newWorld(t, setup{modules: []string{}}) // all of them
	p := w.start()
	// The messages of one world, one after another, so that any that blocks the
	// way is seen by the next.
	for name, c := range cases {
		before, letters, lines := w.tq.Snapshot(), w.unreadable(), len(w.logs.lines("action"))
		m := c.make(t, w)
		correlation := w.send(m)
		if c.silent {
			eventually(t, func() bool { return len(w.logs.lines("action")) > lines }, "%s: not worked on", name)
		} else {
			r := w.final(correlation)
			for _, word := range c.words {
				assert.Contains(t, r.Message, word, name)
			}
			wantType := 1
			if c.ok {
				wantType = 0
			}
			assert.Equal(t, wantType, r.Type, "%s: %s", name, r.Message)
			assert.NotContains(t, r.Message, "goroutine", name)
		}
		if c.kept {
			// Its line is written before it is recorded.
			eventually(t, func() bool { return w.unreadable() == letters+1 }, "%s: not kept", name)
		} else {
			assert.Equal(t, letters, w.unreadable(), "%s: kept as unreadable", name)
		}
		if c.worked {
			for _, e := range w.tq.Events() {
				w.tq.Delete("events", e.ID) // so that the next one has an effect again
			}
		} else {
			assert.Equal(t, before, w.tq.Snapshot(), "%s changed something in ThreatQ", name)
		}
		r := w.do(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "good.example.com"}))
		require.True(t, results(t, r).Success, "the good message after: "+name)
	}
	p.settled()
}

func TestRuleNamesAreReadAgainOnceForUnknownIds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	reads := func() (n int) {
		for _, r := range w.soar.Requests() {
			if r.Method == "GET" && strings.HasSuffix(r.Path, "/actions") {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, reads())
	for _, id := range []int64{9001, 9002, 9001} {
		m := edit(t, w.incidentMessage(incident, "modified"), func(body map[string]any) { body["action_id"] = id })
		r := w.final(w.send(m))
		assert.Equal(t, 1, r.Type)
		assert.Contains(t, r.Message, "SOAR has no rule with id 900")
	}
	assert.Equal(t, 2, reads(), "once more, not for each")
	w.do(w.incidentMessage(incident, "modified"))
	p.settled()
}

// An administrator who deletes a rule and makes it anew gives it a new id.
func TestRuleMadeAnewIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	w.soar.RemoveRule(41)
	w.soar.RemoveRule(51)
	w.soar.AddRule(resilienttest.Rule{Name: "ThreatQ: Sync Incident", ObjectType: "incident"})
	w.do(w.incidentMessage(incident, "modified"))
	p.settled()
}
