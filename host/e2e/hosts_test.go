package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

// another runs one more host on the same queue, on a machine of its own: with its
// own way to the broker, its own folder and its own log.
func (w *world) another() *process {
	w.t.Helper()
	w.relay, w.logs = startRelay(w.t, w.broker.Addr()), &logBook{}
	w.state = filepath.Join(w.dir, fmt.Sprintf("state-%d", w.relay.port()))
	return w.start()
}

// manyIncidents sends the messages of new incidents.
func (w *world) manyIncidents(n int) (sent []string) {
	for i := range n {
		id := w.soar.AddIncident(map[string]any{"name": fmt.Sprint("Case ", i)})
		sent = append(sent, w.send(w.incidentMessage(id, "created")))
	}
	return sent
}

// doneOnce holds that each message has one final reply, a success, and each
// incident one event.
func (w *world) doneOnce(sent []string) {
	w.t.Helper()
	for _, correlation := range sent {
		r := w.once(correlation)
		assert.Zero(w.t, r.Type, r.Message)
	}
	var titles []string
	for _, e := range w.tq.Events() {
		titles = append(titles, e.Name)
	}
	slices.Sort(titles)
	assert.Len(w.t, titles, len(sent))
	assert.Len(w.t, slices.Compact(titles), len(sent), "an incident has two events")
}

func TestTwoHostsShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"max_parallel": "2"}, tq: threatqtest.Options{Latency: 5 * time.Millisecond}})
	one := w.start()
	first := w.logs
	two := w.another()
	sent := w.manyIncidents(30)
	for _, correlation := range sent {
		w.final(correlation)
	}
	one.stop()
	two.settled()
	w.doneOnce(sent)
	assert.NotEmpty(t, first.lines("action"))
	assert.NotEmpty(t, w.logs.lines("action"))
	assert.Len(t, slices.Concat(first.lines("action"), w.logs.lines("action")), len(sent), "each action ran once")
}

// Two hosts work on one incident and both make its event: the one with the lower
// id stays, and all is on it.
func TestTwoHostsMakeOneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator"}, threatq: keys{"max_parallel": "1"}, resilient: keys{"stomp_prefetch_limit": "1"}})
	one, two := w.start(), w.another()
	artifact := w.soar.AddArtifact(incident, "DNS Name", "bad.example.com")
	both := make(chan struct{})
	w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Times: 2, Until: both,
		Match: isCreation})
	sent := []string{w.send(w.incidentMessage(incident, "created")), w.send(w.artifactMessage(artifact))}
	eventually(t, func() bool { return w.tq.CountRequests("POST", "/api/events") == 2 }, "the hosts do not make the event both")
	close(both)
	for _, correlation := range sent {
		r := w.final(correlation)
		assert.Zero(t, r.Type, r.Message)
	}
	one.stop()
	two.settled()
	event := w.event()
	assert.Equal(t, 1, w.tq.CountRequests("DELETE", fmt.Sprint("/api/events/", event.ID+1)), "the higher id was deleted by whoever made it")
	assert.Len(t, w.tq.Links("events", event.ID, "indicators"), 1)
	assert.Equal(t, "bad.example.com", w.tq.Indicators()[0].Name)
}

// One of two hosts loses its network in the middle of its work. The other one,
// which had nothing to do so far, takes over within seconds; nothing is lost and
// nothing is there twice.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"max_parallel": "4", "standby": "true"}, tq: threatqtest.Options{Latency: 20 * time.Millisecond}})
	active := w.start()
	network, first := w.relay, w.logs
	standby := w.another()
	require.True(t, w.logs.said("ready", `"standby":true`))
	sent := w.manyIncidents(40)
	eventually(t, func() bool { return w.answered() >= 10 }, "no answers")
	require.Empty(t, w.logs.lines("action"), "the standby has nothing to do")
	network.close()
	cut := time.Now()
	eventually(t, func() bool { return len(w.logs.lines("action")) > 0 }, "the standby did not take over")
	t.Log("taken over after", time.Since(cut))
	for _, correlation := range sent {
		w.final(correlation)
	}
	active.drainless()
	standby.settled()
	require.NotEmpty(t, first.lines("action"))
	w.doneOnce(sent)
}

// drainless ends a host that cannot reach the broker any more.
func (p *process) drainless() {
	p.cancel()
	require.NoError(p.w.t, p.wait())
}
