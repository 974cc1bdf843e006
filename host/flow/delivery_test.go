package flow

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// gate is a module's turn that waits until it is let go, or its context ends.
type gate struct{ open chan struct{} }

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) turn(ctx context.Context, _ abi.Input) (string, error) {
	select {
	case <-g.open:
		return done, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestOutcomeIsRecordedBeforeTheReplyAndTheReplySentBeforeTheAck(t *testing.T) {
	b := newBench(t, modules{module(t, "R", says(done))})
	b.handle(b.rule("m1", 1, 7))
	assert.Equal(t, []string{"record m1", "finish m1"}, b.events.all())
}

func TestRedeliveryWhileRunningIsNotStartedAndTheNewestIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := module(t, "R", g.turn)
		b := newBench(t, modules{m})
		first, second, third := b.rule("m1", 1, 7), b.rule("m1", 1, 7), b.rule("m1", 1, 7)
		b.flow.Handle(first)
		synctest.Wait()
		b.flow.Handle(second)
		b.flow.Handle(third)
		synctest.Wait()
		close(g.open)
		b.flow.working.Wait()
		assert.Len(t, m.texts(), 1, "one run")
		assert.Equal(t, []int{0, 0, 1}, []int{first.acked(), second.acked(), third.acked()})
		assert.Len(t, third.bodies(), 1)
		assert.Empty(t, first.bodies())
	})
}

func TestRedeliveryWhileTheReplyIsOnItsWayIsAnsweredToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := module(t, "R", says(done))
		b := newBench(t, modules{m})
		lost, again := b.rule("m1", 1, 7), b.rule("m1", 1, 7)
		cut := make(chan struct{})
		lost.replying = func(context.Context) error { <-cut; return errors.New("connection lost") }
		b.flow.Handle(lost)
		synctest.Wait()
		b.flow.Handle(again)
		close(cut)
		b.flow.working.Wait()
		assert.Equal(t, 1, again.acked())
		assert.Equal(t, "Synced.", again.last(t).Message)
		assert.Len(t, m.texts(), 1)
		assert.Empty(t, b.flow.running)
	})
}

func TestRedeliveryAfterTheEndIsAnsweredFromTheRecord(t *testing.T) {
	m := module(t, "R", says(done))
	b := newBench(t, modules{m})
	first, second := b.rule("m1", 1, 7), b.rule("m1", 1, 7)
	b.handle(first)
	b.handle(second)
	assert.Len(t, m.texts(), 1, "the module is not run again")
	assert.Equal(t, first.replies, second.replies)
	assert.Equal(t, 1, second.acked())
}

func TestFailedReplyIsNotAcknowledgedAndSentWithTheNextDelivery(t *testing.T) {
	m := module(t, "R", says(done))
	b := newBench(t, modules{m})
	first, second := b.rule("m1", 1, 7), b.rule("m1", 1, 7)
	first.replying = func(context.Context) error { return errors.New("connection lost") }
	b.handle(first)
	assert.Zero(t, first.acked())
	b.handle(second)
	assert.Equal(t, "Synced.", second.last(t).Message)
	assert.Equal(t, 1, second.acked())
	assert.Len(t, m.texts(), 1)
}

func TestFailedAckIsRepeatedWithTheNextDelivery(t *testing.T) {
	m := module(t, "R", says(done))
	b := newBench(t, modules{m})
	first, second := b.rule("m1", 1, 7), b.rule("m1", 1, 7)
	first.acking = func(context.Context) error { return errors.New("connection lost") }
	b.handle(first)
	b.handle(second)
	assert.Equal(t, 1, second.acked())
	assert.Len(t, m.texts(), 1)
}

func TestWithoutARecordThereIsNoReplyAndNothingMoreIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := module(t, "R", says(done))
		b := newBench(t, modules{m})
		b.ledger.setFailure(errors.New("disk full"))
		first, second := b.rule("m1", 1, 7), b.rule("m2", 1, 8)
		b.flow.Handle(first)
		synctest.Wait()
		b.flow.Handle(second)
		time.Sleep(time.Hour)
		assert.Len(t, m.texts(), 1, "the second waits")
		assert.Empty(t, append(first.bodies(), second.bodies()...))
		assert.Zero(t, first.acked()+second.acked())
		assert.Len(t, b.lines("the ledger cannot be written; no more actions are started until it can, and messages stay with the broker"), 1, "it is said once")

		b.ledger.setFailure(nil)
		b.flow.working.Wait()
		assert.Len(t, m.texts(), 2, "nothing is done twice")
		assert.Equal(t, []int{1, 1}, []int{first.acked(), second.acked()})
		assert.Len(t, b.lines("the ledger can be written again; actions go on"), 1)
	})
}

func TestDrainWithoutARecordLeavesAllToTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", says(done))})
		b.ledger.setFailure(errors.New("disk full"))
		first, second := b.rule("m1", 1, 7), b.rule("m2", 1, 8)
		b.flow.Handle(first)
		synctest.Wait()
		b.flow.Handle(second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, b.flow.Drain(ctx), context.DeadlineExceeded)
		for _, d := range []*fakeDelivery{first, second} {
			assert.Empty(t, d.bodies())
			assert.Zero(t, d.acked())
		}
		assert.Empty(t, b.flow.running)
	})
}

func TestReplyThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", says(done))})
		d := b.rule("m1", 1, 7)
		d.replying = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		begin := time.Now()
		b.handle(d)
		assert.Equal(t, deliverTime, time.Since(begin))
		assert.Zero(t, d.acked())
	})
}

func TestMessageThatNobodyWaitsForIsDoneAndAcknowledged(t *testing.T) {
	for name, change := range map[string]func(*Message){
		"no reply-to":       func(m *Message) { m.ReplyTo = "" },
		"no correlation-id": func(m *Message) { m.CorrelationID = "" },
	} {
		m := module(t, "R", says(done))
		b := newBench(t, modules{m})
		d := b.rule("m1", 1, 7)
		change(&d.m)
		b.handle(d)
		assert.Len(t, m.texts(), 1, name)
		assert.Empty(t, d.bodies(), name)
		assert.Equal(t, 1, d.acked(), name)
	}
}

func TestMessagesWithoutAnIDAreEachDone(t *testing.T) {
	m := module(t, "R", says(done))
	b := newBench(t, modules{m})
	one, two := b.rule("", 1, 7), b.rule("", 1, 7)
	b.handle(one, two)
	assert.Len(t, m.texts(), 2)
	assert.Equal(t, []int{1, 1}, []int{one.acked(), two.acked()})
}

func TestDrainFinishesWhatRunsAndLeavesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := module(t, "R", g.turn)
		b := newBench(t, modules{m}, func(o *Options) { o.Parallel = 2 })
		running, sameLane, noSlot := b.rule("m1", 1, 7), b.rule("m2", 1, 7), b.rule("m4", 1, 9)
		b.flow.Handle(running)
		b.flow.Handle(b.rule("m3", 1, 8))
		synctest.Wait()
		b.flow.Handle(sameLane)
		b.flow.Handle(noSlot)
		drained := make(chan error)
		go func() { drained <- b.flow.Drain(t.Context()) }()
		synctest.Wait()
		late := b.rule("m5", 1, 10)
		b.flow.Handle(late)
		close(g.open)
		require.NoError(t, <-drained)
		assert.Len(t, m.texts(), 2)
		assert.Equal(t, 1, running.acked())
		for _, d := range []*fakeDelivery{sameLane, noSlot, late} {
			assert.Zero(t, d.acked(), d.name)
			assert.Empty(t, d.bodies(), d.name)
		}
		assert.Empty(t, b.flow.running)
	})
}

func TestAfterADrainNotEvenTheRecordAnswers(t *testing.T) {
	b := newBench(t, modules{module(t, "R", says(done))})
	b.handle(b.rule("m1", 1, 7))
	require.NoError(t, b.flow.Drain(t.Context()))
	again, fresh := b.rule("m1", 1, 7), b.rule("m2", 1, 7)
	b.handle(again, fresh)
	for _, d := range []*fakeDelivery{again, fresh} {
		assert.Empty(t, d.bodies())
		assert.Zero(t, d.acked())
	}
	assert.Equal(t, []string{"record m1", "finish m1"}, b.events.all())
}

func TestDrainPastItsDeadlineAbandonsWithoutReplyAndAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := newBench(t, modules{module(t, "R", g.turn)})
		d := b.rule("m1", 1, 7)
		b.flow.Handle(d)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		assert.ErrorIs(t, b.flow.Drain(ctx), context.DeadlineExceeded)
		assert.Equal(t, 10*time.Second, time.Since(begin))
		assert.Empty(t, d.bodies())
		assert.Zero(t, d.acked())
		_, recorded := b.ledger.Outcome("m1")
		assert.False(t, recorded, "the next host does it anew")
		assert.Equal(t, "abandoned", b.lines("action")[0]["outcome"])
	})
}

func TestActionsOfAnIncidentRunInOrderOthersSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, abi.Input) (string, error) { time.Sleep(time.Second); return done, nil }
		m := module(t, "R", slow)
		f := functionModule(t, "f", slow)
		b := newBench(t, modules{m, f})
		begin := time.Now()
		b.handle(b.rule("a1", 1, 7), b.rule("a2", 1, 7), b.call("a3", "f", `{"incident_id":7}`), b.rule("b1", 1, 8),
			b.call("c1", "f", `{}`), b.call("c2", "f", `{"incident_id":null}`))
		assert.Equal(t, 3*time.Second, time.Since(begin))
		var lane7 []string
		for _, e := range b.events.all() {
			if e == "finish a1" || e == "finish a2" || e == "finish a3" {
				lane7 = append(lane7, e)
			}
		}
		assert.Equal(t, []string{"finish a1", "finish a2", "finish a3"}, lane7)
	})
}

func TestNoMoreActionsRunAtOnceThanParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := module(t, "R", func(context.Context, abi.Input) (string, error) { time.Sleep(time.Second); return done, nil })
		b := newBench(t, modules{m}, func(o *Options) { o.Parallel = 3 })
		begin := time.Now()
		var ds []*fakeDelivery
		for i := range 9 {
			ds = append(ds, b.rule(fmt.Sprint(i), 1, int64(i)))
		}
		b.handle(ds...)
		assert.Equal(t, 3*time.Second, time.Since(begin))
	})
}

func TestReplyOnItsWayDoesNotHoldUpTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", says(done))}, func(o *Options) { o.Parallel = 1 })
		slow, next := b.rule("m1", 1, 7), b.rule("m2", 1, 7)
		slow.replying = func(context.Context) error { time.Sleep(time.Minute); return nil }
		b.handle(slow, next)
		assert.Equal(t, []string{"record m1", "record m2", "finish m2", "finish m1"}, b.events.all())
	})
}

func TestHandleReturnsAtOnceWhileEverythingIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := newBench(t, modules{module(t, "R", g.turn)}, func(o *Options) { o.Parallel = 1 })
		begin := time.Now()
		for i := range 1000 {
			b.flow.Handle(b.rule(fmt.Sprint(i), 1, int64(i%10)))
		}
		assert.Zero(t, time.Since(begin))
		synctest.Wait()
		close(g.open)
		b.flow.working.Wait()
		assert.Len(t, b.lines("action"), 1000)
	})
}
