package flow

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// began notes when runs begin.
type began struct {
	at    time.Time
	after []time.Duration
}

func (n *began) turn(context.Context, abi.Input) (string, error) {
	n.after = append(n.after, time.Since(n.at))
	return done, nil
}

func (b *bench) agedAsking(id string, incident int64, age time.Duration) *fakeDelivery {
	d := b.asking(id, incident, "", "modified")
	d.m.Timestamp = time.Now().Add(-age)
	return d
}

func TestRunsBeginWhenAFloodHasCome(t *testing.T) {
	for name, age := range map[string]time.Duration{"a backlog": time.Hour, "fresh": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := func(context.Context, abi.Input) (string, error) { time.Sleep(50 * time.Millisecond); return done, nil }
				b := newBench(t, modules{mergeable(t, slow)})
				const messages, incidents = 400, 10
				var ds []*fakeDelivery
				for i := range messages {
					ds = append(ds, b.agedAsking(fmt.Sprint("m", i), int64(i%incidents), age))
					b.flow.Handle(ds[i])
					time.Sleep(2 * time.Millisecond)
				}
				b.flow.working.Wait()
				for _, d := range ds {
					assert.Equal(t, 1, d.acked(), d.name)
				}
				runs := len(b.ledger.runs)
				if age > 0 {
					assert.Equal(t, incidents, runs, "one run each")
				} else {
					// One each before it was seen to be a flood, one while, and one after.
					assert.LessOrEqual(t, runs, 3*incidents)
				}
			})
		})
	}
}

func TestMessagesThatHaveNothingInCommonDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{mergeable(t, says(done))})
		begin := time.Now()
		for i := range 500 {
			b.flow.Handle(b.agedAsking(fmt.Sprint("m", i), int64(i), time.Second))
		}
		b.flow.working.Wait()
		assert.Zero(t, time.Since(begin))
		assert.Len(t, b.ledger.runs, 500)
	})
}

func TestOnlyMergingGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", says(done))})
		begin := time.Now()
		for i := range 100 {
			b.flow.Handle(b.agedAsking(fmt.Sprint("m", i), int64(i%3), time.Hour))
		}
		b.flow.working.Wait()
		assert.Zero(t, time.Since(begin))
	})
}

func TestPersonDoesNotWaitForWhatGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		menu := module(t, "M", says(done))
		b := newBench(t, modules{mergeable(t, says(done)), menu}, func(o *Options) { o.Parallel = 1 })
		old := b.agedAsking("old", 7, time.Hour)
		b.flow.Handle(old)
		synctest.Wait()
		require.Zero(t, old.acked(), "it gathers")
		begin := time.Now()
		// By its rule, and by the fields that its user filled in.
		for _, d := range []*fakeDelivery{b.rule("menu", 2, 7), b.asking("fields", 7, "Yes", "modified")} {
			b.flow.Handle(d)
			synctest.Wait()
			assert.Equal(t, 1, d.acked(), d.name)
		}
		assert.Zero(t, time.Since(begin))
		assert.Zero(t, old.acked(), "it gathers on")
		b.flow.working.Wait()
		assert.Equal(t, 1, old.acked())
		assert.Equal(t, pourPause, time.Since(begin))
	})
}

// What gathers has no slot, and gives others their turns.
func TestWhatGathersHoldsUpNoOtherIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := module(t, "Other", says(done))
		b := newBench(t, modules{mergeable(t, says(done)), plain}, func(o *Options) { o.Parallel = 2 })
		for i := range 10 {
			b.flow.Handle(b.agedAsking(fmt.Sprint("old", i), int64(i), time.Hour))
		}
		begin := time.Now()
		other := b.rule("other", 2, 99)
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, 1, other.acked())
		assert.Zero(t, time.Since(begin))
		b.flow.working.Wait()
	})
}

func TestGatheringEndsWhileAFloodGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &began{at: time.Now()}
		b := newBench(t, modules{mergeable(t, n.turn)})
		for i := 0; time.Since(n.at) < 3*longestGather; i++ {
			b.flow.Handle(b.agedAsking(fmt.Sprint("m", i), 7, time.Hour))
			time.Sleep(100 * time.Millisecond)
		}
		b.flow.working.Wait()
		require.NotEmpty(t, n.after)
		assert.Equal(t, longestGather, n.after[0])
		assert.Less(t, len(n.after), 10)
	})
}

func TestDrainLeavesWhatGathersToTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{mergeable(t, says(done))})
		d := b.agedAsking("m1", 7, time.Hour)
		b.flow.Handle(d)
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, b.flow.Drain(t.Context()))
		assert.Zero(t, time.Since(begin))
		assert.Zero(t, d.acked())
		assert.Empty(t, b.flow.running)
		time.Sleep(2 * longestGather)
		assert.Empty(t, b.ledger.runs)
	})
}

// A message that is worked on anew came long ago, and does not end a pour.
func TestMessageThatBeginsAnewDoesNotEndAPour(t *testing.T) {
	var p pour
	now := time.Now()
	p.sent(now.Add(-time.Hour), now)
	p.sent(now.Add(-time.Hour), now.Add(-time.Minute))
	assert.Equal(t, pourPause, p.gather(now, now))
}
