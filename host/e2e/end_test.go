package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

// What runs is finished and answered, what waits stays with the broker for the
// next host.
func TestOrderlyEndFinishesWhatRunsAndLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"max_parallel": "1"}})
	first := w.start()
	w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Delay: time.Second})
	var sent []string
	for i := range 5 {
		id := w.soar.AddIncident(map[string]any{"name": fmt.Sprint("Case ", i)})
		sent = append(sent, w.send(w.incidentMessage(id, "created")))
	}
	eventually(t, func() bool { return w.tq.CountRequests("POST", "/api/events") == 1 }, "the first action did not begin")
	first.stop()
	w.catchUp()
	require.Equal(t, 1, w.answered())
	require.Len(t, w.tq.Events(), 1)
	for _, line := range w.logs.lines("action") {
		assert.Equal(t, "done", line["outcome"])
	}

	second := w.start()
	for _, correlation := range sent {
		w.final(correlation)
	}
	second.settled()
	for _, correlation := range sent {
		r := w.once(correlation)
		assert.Zero(t, r.Type, r.Message)
	}
	assert.Len(t, w.tq.Events(), 5)
}

// An action that outlives the time to drain is given up: no reply, no
// acknowledgement, and the next host does it.
func TestActionThatDoesNotEndInTimeIsLeftToTheNextHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.drain = 300 * time.Millisecond
	first := w.start()
	w.tq.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Delay: time.Hour})
	correlation := w.send(w.incidentMessage(incident, "created"))
	eventually(t, func() bool { return w.tq.CountRequests("GET", "/api/events") == 1 }, "the action did not begin")
	first.stop()
	w.catchUp()
	require.Empty(t, w.finals(correlation))

	second := w.start()
	w.final(correlation)
	second.settled()
	assert.Zero(t, w.once(correlation).Type)
	w.event()
}

func TestHostThatIsIdleEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.drain = time.Hour // which is for actions
	w.start().settled()
}
