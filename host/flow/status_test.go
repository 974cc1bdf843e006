package flow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestStatusCountsMessagesAndRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		fails := module(t, "Fails", says(`{"fail":{"code":"http","message":"ThreatQ is ill."}}`))
		b := newBench(t, modules{mergeable(t, g.turn), fails})
		assert.Equal(t, Status{}, b.flow.Status())
		b.flow.Handle(b.asking("m1", 7, "", "modified"))
		synctest.Wait()
		time.Sleep(time.Minute)
		came := time.Now()
		b.flow.Handle(b.asking("m2", 7, "", "modified"))
		time.Sleep(time.Minute)
		b.flow.Handle(b.asking("m3", 7, "", "modified"))
		synctest.Wait()
		assert.Equal(t, Status{Waiting: 2, Oldest: came, Running: 1}, b.flow.Status())
		close(g.open)
		b.handle(b.rule("f1", 2, 8))
		assert.Equal(t, Status{Done: 3, Failed: 1}, b.flow.Status())
	})
}

// An action that only rehearsed did what it was to do, also where a workflow is told
// that it has no success.
func TestStatusCountsObservedActionsAsDone(t *testing.T) {
	b := newBench(t, modules{functionModule(t, "f", says(done))}, func(o *Options) { o.Observe = true })
	b.handle(b.call("c1", "f", `{"incident_id":7}`))
	assert.Equal(t, Status{Done: 1}, b.flow.Status())
}
