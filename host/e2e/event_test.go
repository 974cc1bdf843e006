package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// eventsOf are the ids of the events of an incident.
func (w *world) eventsOf(incident int64) (ids []int) {
	for _, e := range w.tq.Events() {
		if strings.HasPrefix(e.Name, fmt.Sprintf("Resilient #%d: ", incident)) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// Names hold what a look-up by title could trip over; the event is found all the
// same, also after the incident was renamed (contract: test list, 4).
func TestNamesThatLookUpsTripOver(t *testing.T) {
	names := []string{
		"Mail, link, and attachment", "100% of % the _ hosts", `The "blue" O'Brien \ case`, strings.Repeat("é", 400),
		"Ransom \U0001F480 note \U0001F9D1\u200D\U0001F4BB", "Resilient #1: of another, 日本語",
	}
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{tq: o})
		p := w.start()
		for i, name := range names {
			id := w.soar.AddIncident(map[string]any{"name": name})
			w.twice(w.incidentMessage(id, "created"))
			before := w.eventsOf(id)
			require.Len(t, before, 1, name)
			w.requireTitle(before[0], id, name)

			renamed := names[(i+1)%len(names)]
			w.soar.UpdateIncident(id, map[string]any{"name": renamed})
			w.twice(w.incidentMessage(id, "modified"))
			assert.Equal(t, before, w.eventsOf(id), renamed)
			w.requireTitle(before[0], id, renamed)
		}
		p.settled()
		assert.Len(t, w.tq.Events(), len(names))
		assert.Equal(t, len(names), w.tq.CountRequests("POST", "/api/events"))
	})
}

// requireTitle holds the title of an event against the name of its incident, of
// which ThreatQ takes 255 characters with the key.
func (w *world) requireTitle(event int, incident int64, name string) {
	w.t.Helper()
	key := fmt.Sprintf("Resilient #%d: ", incident)
	got, _ := w.tq.Object("events", event)
	if utf8.RuneCountInString(key+name) <= 255 {
		assert.Equal(w.t, key+strings.TrimSpace(name), strings.TrimSpace(got.Name))
		return
	}
	assert.Equal(w.t, 255, utf8.RuneCountInString(got.Name))
	assert.True(w.t, strings.HasPrefix(key+name, strings.TrimSuffix(got.Name, "…")), got.Name)
}

// A database that refuses emoji gets the name without (contract: test list, 4).
func TestNameWithEmojiThatTheServerRefuses(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{tq: o})
		p := w.start()
		id := w.soar.AddIncident(map[string]any{"name": "Ransom \U0001F480 note"})
		w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: http.StatusInternalServerError})
		w.twice(w.incidentMessage(id, "created"))
		p.settled()
		assert.Equal(t, fmt.Sprintf("Resilient #%d: Ransom \uFFFD note", id), w.event().Name)
	})
}

// lostAnswers are the faults of a server that keeps an event, whose answer does
// not come.
var lostAnswers = map[string]threatqtest.Fault{
	"the connection is lost": {LoseAnswer: true},
	"a gateway times out":    {LoseAnswer: true, Status: http.StatusGatewayTimeout},
}

// ofNewIncident are messages of the rules that make the event of an incident
// which ThreatQ does not have, each about an object of its own.
func (w *world) ofNewIncident(incident int64) map[string]resilienttest.ActionOptions {
	type options = resilienttest.ActionOptions
	return map[string]options{
		"Sync Incident":  {},
		"Sync Indicator": {ArtifactID: w.soar.AddArtifact(incident, "DNS Name", fmt.Sprintf("new-%d.example.com", incident))},
		// Only an indicator that ThreatQ does not know needs the event.
		"Mark as True Positive":  {ArtifactID: w.soar.AddArtifact(incident, "DNS Name", fmt.Sprintf("tp-%d.example.com", incident))},
		"Mark as False Positive": {ArtifactID: w.soar.AddArtifact(incident, "DNS Name", fmt.Sprintf("fp-%d.example.com", incident))},
		"Sync Comment":           {NoteID: w.soar.AddNote(incident, 0, "A note")},
		"Import Attachment":      {AttachmentID: w.soar.AddAttachment(incident, 0, "a.txt", "text/plain", fmt.Append(nil, "content ", incident))},
		"Sync Task":              {TaskID: w.soar.AddTask(incident, map[string]any{"name": "Ask around"})},
		"Set Task Status":        {TaskID: w.soar.AddTask(incident, map[string]any{"name": "Ask again"}), Fields: map[string]any{"Task Status": "Review"}},
	}
}

// answersLost holds that whichever rule makes the event: when the server kept it
// and its answer did not come, there is one at the end (contract: test list, 5).
func (w everything) answersLost(t *testing.T) {
	for how, fault := range lostAnswers {
		incidents, messages := map[string]int64{}, map[string]resilienttest.Message{}
		for rule := range w.ofNewIncident(incident) {
			id := w.soar.AddIncident(map[string]any{"name": rule})
			o := w.ofNewIncident(id)[rule]
			o.IncidentID = id
			incidents[rule], messages[rule] = id, w.soar.ActionMessage("ThreatQ: "+rule, o)
		}
		fault.Match = func(r *http.Request) bool { return r.Method == "POST" && r.URL.Path == "/api/events" }
		fault.Times = len(messages) // the first of each
		w.tq.Inject(fault)
		w.allDone(messages)
		assert.Zero(t, w.tq.ClearFaults(), "when %s: not every rule made an event", how)
		w.unchanged(func() { w.allDone(messages) })
		for rule, id := range incidents {
			assert.Len(t, w.eventsOf(id), 1, "%s when %s", rule, how)
		}
	}
}

// allDone sends messages at once and waits for their success. A message that was
// sent before is sent as that of another run.
func (w everything) allDone(messages map[string]resilienttest.Message) {
	w.t.Helper()
	sent := map[string]string{}
	for name, m := range messages {
		messages[name] = again(m)
		sent[name] = w.send(messages[name])
	}
	for name, correlation := range sent {
		r := w.final(correlation)
		require.Zero(w.t, r.Type, "%s: %s", name, r.Message)
	}
}

// The artifacts of an incident that ThreatQ has not seen come all at once
// (contract: test list, 6).
func TestTenArtifactsAtOnceMakeOneEvent(t *testing.T) {
	const artifacts = 10
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		o.Latency = 5 * time.Millisecond
		w := newWorld(t, setup{modules: []string{"sync-indicator"}, tq: o, threatq: keys{"max_parallel": "10"}})
		p := w.start()
		id := w.soar.AddIncident(map[string]any{"name": "Beaconing"})
		var messages []resilienttest.Message
		for i := range artifacts {
			messages = append(messages, w.artifactMessage(w.soar.AddArtifact(id, "DNS Name", fmt.Sprintf("host-%d.example.com", i))))
		}
		all := func(change func(resilienttest.Message) resilienttest.Message) {
			var sent []string
			for _, m := range messages {
				sent = append(sent, w.send(change(m)))
			}
			for _, correlation := range sent {
				r := w.final(correlation)
				assert.Zero(t, r.Type, r.Message)
			}
		}
		all(func(m resilienttest.Message) resilienttest.Message { return m })
		event := w.event()
		assert.Equal(t, fmt.Sprintf("Resilient #%d: Beaconing", id), event.Name)
		assert.Equal(t, 1, w.tq.CountRequests("POST", "/api/events"))
		assert.Len(t, w.tq.Links("events", event.ID, "indicators"), artifacts)
		assert.Len(t, w.tq.Indicators(), artifacts)
		w.unchanged(func() { all(again) })
		p.settled()
	})
}
