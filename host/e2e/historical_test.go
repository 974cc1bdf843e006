package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

var historicalModules = []string{"historical-sync", "sync-incident"}

func (w *world) historical() resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Historical Sync", resilienttest.ActionOptions{IncidentID: incident, MenuItem: true, Fields: map[string]any{
		"Created After Date": time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), "Historically Sync Tasks": "Yes",
	}})
}

// interim are the texts of the replies that are not final.
func (w *world) interim(correlation string) (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.replies[correlation] {
		if !r.Complete {
			texts = append(texts, r.Message)
		}
	}
	return texts
}

// finalOfMany waits for the final reply to an action that does the work of many.
func (w *world) finalOfMany(correlation string) reply {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return len(w.finals(correlation)) > 0 }, 5*time.Minute, 20*time.Millisecond, "no final reply to %s", correlation)
	return w.final(correlation)
}

// contract: test list, 16.
func TestHistoricalSyncRunsOnceAtATimeAndAgainWithoutHarm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		numbering threatqtest.Numbering
		incidents int
		each      resilienttest.Bulk
	}{
		"250 incidents":         {threatqtest.NumberingA, 250, resilienttest.Bulk{SimulatedEvery: 50, ClosedEvery: 3}},
		"with artifacts, tasks": {threatqtest.NumberingB, 60, resilienttest.Bulk{SimulatedEvery: 12, Artifacts: 2, Tasks: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{modules: historicalModules, tq: threatqtest.Options{Numbering: c.numbering}})
			first := w.soar.AddIncidents(c.incidents, c.each)
			broken := first + 10
			w.soar.SetUnreadable(broken, http.StatusForbidden)
			p := w.start()

			// The first page stands still until the second request was refused.
			open := make(chan struct{})
			w.tq.Inject(threatqtest.Fault{Method: http.MethodPost, PathPrefix: "/api/events", Match: func(*http.Request) bool { <-open; return false }, Times: -1})
			correlation := w.send(w.historical())
			eventually(t, func() bool { return len(w.interim(correlation)) > 0 }, "no first message")
			assert.Contains(t, w.interim(correlation)[0], "not of this incident alone")
			refused := w.final(w.send(again(w.historical())))
			assert.Equal(t, 1, refused.Type)
			assert.Contains(t, refused.Message, "Another ThreatQ: Historical Sync is still running (")
			close(open)

			// Of the incidents 5 are simulations; one was there before.
			synced := c.incidents - 5 + 1
			r := w.finalOfMany(correlation)
			assert.Equal(t, 1, r.Type, "a failed incident is to be seen")
			assert.Contains(t, r.Message, fmt.Sprintf("%d incidents, 1 failed (#%d), ", synced, broken))
			assert.Contains(t, r.Message, "5 simulations left out")
			assert.Contains(t, w.interim(correlation), fmt.Sprintf("50 of %d incidents", c.incidents+1))
			assert.Len(t, w.tq.Events(), synced-1)
			assert.Len(t, w.tq.Tasks(), (synced-2)*c.each.Tasks+1)
			linked := 0
			for _, e := range w.tq.Events() {
				linked += len(w.tq.Links("events", e.ID, "indicators"))
			}
			assert.GreaterOrEqual(t, linked, (synced-2)*c.each.Artifacts)

			w.unchanged(func() {
				r = w.finalOfMany(w.send(again(again(w.historical()))))
				assert.Contains(t, r.Message, fmt.Sprintf("%d incidents, 1 failed (#%d), ", synced, broken))
			})
			p.settled()
		})
	}
}
