package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/threatq/threatqtest"
)

func isCreation(r *http.Request) bool { return r.URL.Path == "/api/events" }

// goAway makes ThreatQ cut all connections.
func (w *world) goAway() {
	w.tq.Inject(threatqtest.Fault{PathPrefix: "/api/", CutBefore: true, Times: -1})
}

// ThreatQ is away for longer than the tries of a call take: no action fails.
func TestActionsWaitForThreatQ(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.goAway()
	sent := w.manyIncidents(20)
	eventually(t, func() bool { return len(w.logs.lines("service is down; actions that need it wait")) == 1 }, "the outage was not noticed")
	eventually(t, func() bool { return len(w.logs.lines("action waits for a service that is down")) == 20 }, "not all actions wait")
	assert.Zero(t, w.answered())
	s, err := host.AskStatus(t.Context(), w.state)
	require.NoError(t, err)
	assert.False(t, s.Works)
	assert.True(t, s.Broker.Connected)
	require.Len(t, s.Down, 1)
	assert.Equal(t, "ThreatQ", s.Down[0].Service)
	assert.NotEmpty(t, s.Down[0].Reason)
	assert.Equal(t, 20, s.Traffic.Held)
	assert.Equal(t, 20, s.Traffic.Running)
	w.tq.ClearFaults()
	for _, correlation := range sent {
		w.final(correlation)
	}
	s, err = host.AskStatus(t.Context(), w.state)
	require.NoError(t, err)
	assert.True(t, s.Works)
	assert.Empty(t, s.Down)
	assert.Zero(t, s.Traffic.Held)
	assert.EqualValues(t, len(sent), s.Traffic.Done)
	assert.Zero(t, s.Traffic.Failed)
	p.settled()
	w.doneOnce(sent)
	assert.Len(t, w.logs.lines("service is back; actions that waited for it go on"), 1)
}

// ThreatQ does not answer the host's session any more, and one with a changed
// configuration: a reload lets what waits go on with that, without a restart.
func TestActionsThatWaitGoOnWithAChangedConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	var mu sync.Mutex
	former, renewed := map[string]bool{}, false
	w.tq.Inject(threatqtest.Fault{PathPrefix: "/api/", CutBefore: true, Times: -1, Match: func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		session := r.Header.Get("Authorization")
		former[session] = former[session] || !renewed && session != ""
		return former[session]
	}})
	sent := w.manyIncidents(5)
	eventually(t, func() bool { return len(w.logs.lines("action waits for a service that is down")) == 5 }, "not all actions wait")
	mu.Lock()
	renewed = true
	mu.Unlock()
	w.setup.threatq = keys{"timeout": "77"}
	require.NoError(t, p.app.Reload(t.Context(), w.configuration))
	for _, correlation := range sent {
		w.final(correlation)
	}
	p.settled()
	for _, correlation := range sent {
		assert.Zero(t, w.once(correlation).Type, correlation)
	}
	assert.Len(t, w.tq.Events(), 5)
}

// With hold_minutes=0 an action fails after the ordinary tries, with the reason.
func TestActionsDoNotWaitWithoutHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"hold_minutes": "0"}})
	p := w.start()
	w.goAway()
	r := w.final(w.send(w.incidentMessage(incident, "created")))
	assert.Equal(t, 1, r.Type)
	assert.Contains(t, r.Message, "ThreatQ")
	p.settled()
}

// The host is stopped while ThreatQ is away: it does not wait, and the next one
// does what waited.
func TestShutdownDuringAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.drain = time.Hour
	first := w.start()
	w.goAway()
	sent := w.manyIncidents(20)
	eventually(t, func() bool { return len(w.logs.lines("action waits for a service that is down")) == 20 }, "not all actions wait")
	first.stop() // an hour would be given to what runs
	w.catchUp()
	require.Zero(t, w.answered())
	for _, line := range w.logs.lines("action") {
		assert.Equal(t, "abandoned", line["outcome"])
	}
	w.tq.ClearFaults()
	second := w.start()
	for _, correlation := range sent {
		w.final(correlation)
	}
	second.settled()
	w.doneOnce(sent)
}

// Under load too: what runs is finished, what waits is done by the next host.
func TestOrderlyEndUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tq: threatqtest.Options{Latency: 20 * time.Millisecond}, threatq: keys{"max_parallel": "8"}})
	w.drain = patience
	sent := w.manyIncidents(60)
	for stops := 1; stops <= 3; stops++ {
		p := w.start()
		eventually(t, func() bool { return w.answered() >= 10*stops }, "no answers")
		p.stop()
		w.catchUp()
	}
	p := w.start()
	for _, correlation := range sent {
		w.final(correlation)
	}
	p.settled()
	w.doneOnce(sent)
	assert.Len(t, w.logs.lines("action"), len(sent), "each ran once")
}
