package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// The connection breaks while an action runs: the message comes again, the
// action does not.
func TestConnectionLostWhileAnActionRuns(t *testing.T) {
	t.Parallel()
	for name, runs := range map[string]time.Duration{
		"and it is delivered again meanwhile":       2500 * time.Millisecond,
		"and the reply has to wait for the session": 300 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := w.start()
			w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Delay: runs})
			correlation := w.send(w.incidentMessage(incident, "created"))
			eventually(t, func() bool { return w.tq.CountRequests("POST", "/api/events") == 1 }, "the action did not begin")
			w.relay.cut()
			r := w.final(correlation)
			assert.Zero(t, r.Type, r.Message)
			// The one who lives on acknowledges the second delivery.
			eventually(t, func() bool {
				return len(w.logs.lines("message delivered again while it is worked on"))+
					len(w.logs.lines("message delivered again after it was done; answering from the record")) > 0
			}, "the message did not come again")
			p.settled()
			w.event()
			assert.Equal(t, 1, w.tq.CountRequests("POST", "/api/events"))
			assert.Len(t, w.logs.lines("action"), 1, "it ran once")
			w.once(correlation)
		})
	}
}

func TestBrokerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	const incidents, artifacts = 10, 3
	w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator"}, ownBroker: true, tq: threatqtest.Options{Latency: 15 * time.Millisecond}, threatq: keys{"max_parallel": "4"}})
	p := w.start()
	w.rules.Store(true)
	for i := range incidents {
		id := w.soar.AddIncident(map[string]any{"name": fmt.Sprint("Case ", i)})
		for a := range artifacts {
			w.soar.AddArtifact(id, "DNS Name", fmt.Sprintf("host-%d-%d.example.com", i, a))
		}
	}
	sent := w.automatic()
	require.Len(t, sent, incidents*(1+artifacts))
	eventually(t, func() bool { return w.answered() >= 8 }, "no answers")
	w.broker.Stop(t)
	w.broker.Restart(t)
	for _, correlation := range sent {
		r := w.final(correlation)
		assert.Zero(t, r.Type, r.Message)
	}
	p.settled()
	require.Less(t, len(w.logs.lines("no message broker session")), 10)
	require.NotEmpty(t, w.logs.lines("no message broker session"), "the restart came too late to show anything")
	assert.Len(t, w.logs.lines("action"), len(sent), "each action ran once")
	for _, correlation := range sent {
		w.once(correlation)
	}

	events := w.tq.Events()
	require.Len(t, events, incidents)
	assert.Len(t, w.tq.Indicators(), incidents*artifacts)
	for _, e := range events {
		assert.Len(t, w.tq.Links("events", e.ID, "indicators"), artifacts, e.Name)
	}
}

func TestThreatQInTrouble(t *testing.T) {
	t.Parallel()
	many := func(n int, f threatqtest.Fault) []threatqtest.Fault {
		f.Times = n
		return []threatqtest.Fault{f}
	}
	for name, c := range map[string]struct {
		faults []threatqtest.Fault
		// words of the error reply; none for an action that succeeds all the same.
		words []string
		// events that there are at the end, and how often one was posted.
		events, posts int
	}{
		"answer to a new event lost":     {faults: many(1, threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", LoseAnswer: true}), events: 1, posts: 1},
		"connection lost before it acts": {faults: many(1, threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", CutBefore: true}), events: 1, posts: 2},
		"burst of 503 on everything":     {faults: many(4, threatqtest.Fault{PathPrefix: "/api/", Status: 503}), events: 1, posts: 1},
		"503 on the new event":           {faults: many(1, threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: 503}), events: 1, posts: 2},
		"429 with Retry-After":           {faults: many(2, threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Status: 429, RetryAfter: "1"}), events: 1, posts: 1},
		"500 once":                       {faults: many(1, threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Status: 500}), events: 1, posts: 1},
		"crashed with a web page": {
			faults: many(-1, threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Status: 500, Body: threatqtest.HTMLError, ContentType: "text/html"}),
			words:  []string{"ThreatQ", "500"},
		},
		"errors in a 200 on a write": {
			faults: many(-1, threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: 200, Body: `{"errors":["The title is not to my taste."]}`}),
			words:  []string{"The title is not to my taste."}, posts: 1,
		},
		"no permission to write": {
			faults: many(-1, threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: 403, Body: `{"errors":["This action is unauthorized."]}`}),
			words:  []string{"403", "This action is unauthorized."}, posts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := w.start()
			w.tq.ResetRequests()
			for _, f := range c.faults {
				w.tq.Inject(f)
			}
			correlation := w.send(w.incidentMessage(incident, "created"))
			r := w.final(correlation)
			w.tq.ClearFaults()
			p.settled()
			w.once(correlation)
			assert.Len(t, w.tq.Events(), c.events)
			assert.Equal(t, c.posts, w.tq.CountRequests("POST", "/api/events"))
			if len(c.words) == 0 {
				assert.Zero(t, r.Type, r.Message)
				return
			}
			assert.Equal(t, 1, r.Type)
			assert.True(t, strings.HasPrefix(r.Message, "ERROR:\n\n"), r.Message)
			for _, word := range c.words {
				assert.Contains(t, r.Message, word)
			}
			for _, not := range []string{"<html", "<body", "goroutine"} {
				assert.NotContains(t, r.Message, not)
			}
		})
	}
}

// What one action met must not stay with the next.
func TestActionAfterAFailedOneSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: 422, Body: `{"errors":["no"]}`, Times: -1})
	assert.Equal(t, 1, w.final(w.send(w.incidentMessage(incident, "created"))).Type)
	w.tq.ClearFaults()
	w.do(w.incidentMessage(incident, "modified"))
	w.event()
	p.settled()
}

// tenAtOnce sends the messages of ten incidents and waits for their success.
func (w *world) tenAtOnce() {
	w.t.Helper()
	var sent []string
	for i := range 10 {
		id := w.soar.AddIncident(map[string]any{"name": fmt.Sprint("Case ", i)})
		sent = append(sent, w.send(w.incidentMessage(id, "created")))
	}
	for _, correlation := range sent {
		r := w.final(correlation)
		assert.Zero(w.t, r.Type, r.Message)
	}
}

func TestExpiredThreatQTokenMeansOneLoginForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tq: threatqtest.Options{Latency: 20 * time.Millisecond}})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	require.Equal(t, 1, w.tq.Counts().Logins)
	w.tq.RevokeTokens()
	w.tenAtOnce()
	assert.Equal(t, 2, w.tq.Counts().Logins)
	assert.Positive(t, w.tq.Counts().Unauthorized)
	p.settled()
	assert.Len(t, w.tq.Events(), 11)
}

func TestExpiredSOARSessionMeansOneLoginForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{soar: resilienttest.Options{Latency: 20 * time.Millisecond}})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	require.Equal(t, 1, w.soar.Logins())
	w.soar.ExpireSessions()
	w.tenAtOnce()
	assert.Equal(t, 2, w.soar.Logins())
	p.settled()
	assert.Zero(t, w.soar.OpenSessions(), "the host logs out at its end")
}

func TestAPIKeyNeedsNoSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{apiKey: true})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	w.soar.ExpireSessions()
	w.tenAtOnce()
	// A server that loses its mind for one call.
	w.soar.Inject(resilienttest.Fault{PathSuffix: fmt.Sprint("/incidents/", incident), Status: http.StatusUnauthorized, Times: 1})
	w.do(w.incidentMessage(incident, "modified"))
	p.settled()
	assert.Zero(t, w.soar.Logins())
	assert.Zero(t, w.soar.RefusedLogins())
	for _, r := range w.soar.Requests() {
		assert.Empty(t, r.Header.Get("Cookie"), r.Path)
		assert.Empty(t, r.ContextToken, "API keys need none")
	}
}

func TestWritesToSOARCarryTheContextToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	indicator := w.tq.AddIndicator("FQDN", "related.example.com", "Active", "Feed")
	w.tq.Link("events", w.event().ID, "indicators", indicator)
	m := w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{MenuItem: true,
		Fields: map[string]any{"Import Indicators from ThreatQ": "Yes"}})
	w.do(m)
	p.settled()
	var artifacts []string
	for _, a := range w.soar.Artifacts(incident) {
		artifacts = append(artifacts, fmt.Sprint(a["value"]))
	}
	assert.Contains(t, artifacts, "related.example.com")
	posts := 0
	for _, r := range w.soar.Requests() {
		if r.Method == "POST" && strings.HasSuffix(r.Path, "/artifacts") {
			posts++
			assert.Equal(t, m.Headers["Co3ContextToken"], r.ContextToken)
		}
	}
	assert.Equal(t, 1, posts)
}

func TestRefusedThreatQLoginIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	w.tq.SetPassword("changed meanwhile")
	w.tq.RevokeTokens()
	for range 3 {
		correlation := w.send(w.incidentMessage(incident, "modified"))
		r := w.final(correlation)
		assert.Equal(t, 1, r.Type)
		assert.Contains(t, r.Message, "ThreatQ refused the login")
		assert.Contains(t, r.Message, "check username, password and cid in [fn_threatq]")
	}
	assert.Equal(t, 1, w.tq.Counts().LoginsRefused)
	p.settled()
}

// A refused login at the start is the same login: the actions do not add to it.
func TestThreatQLoginRefusedFromTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"password": "wrong-passw0rd"}})
	p := w.start()
	eventually(t, func() bool { return w.logs.said("WARN", "ThreatQ", "check username, password and cid") }, "no warning at the start")
	var sent []string
	for range 3 {
		sent = append(sent, w.send(w.incidentMessage(incident, "created")))
	}
	for _, correlation := range sent {
		r := w.final(correlation)
		assert.Equal(t, 1, r.Type)
		assert.Contains(t, r.Message, "check username, password and cid in [fn_threatq]")
	}
	assert.Equal(t, 1, w.tq.Counts().LoginsRefused)
	p.settled()
}
