package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/ledger"
)

// These tests hold what merging, waiting for a service and the exchange of the setup
// have to do with each other.

// heldTogether is one run that serves three messages and waits for ThreatQ, which is
// down for that long. Before it, and out of the way, went a message that kept the lane
// busy.
func heldTogether(t *testing.T, down time.Duration) (*bench, *fakeModule, []*fakeDelivery) {
	t.Helper()
	g := newGate()
	m := mergeable(t, func(ctx context.Context, in abi.Input) (string, error) {
		if in.Action.ID == "m0" {
			return g.turn(ctx, in)
		}
		return asking(ctx, in)
	})
	b := newBench(t, modules{m}, func(o *Options) { o.Performer, o.Hold = away(down), 4*time.Hour })
	b.flow.Handle(b.asking("m0", 7, "", "modified"))
	synctest.Wait()
	var ds []*fakeDelivery
	for i := range 3 {
		ds = append(ds, b.asking(fmt.Sprint("m", i+1), 7, "", "modified"))
		b.flow.Handle(ds[i])
	}
	close(g.open)
	time.Sleep(time.Minute)
	synctest.Wait()
	require.Equal(t, []string{"m0", "m3"}, m.actions(), "one run for the three")
	return b, m, ds
}

func TestInterimReplyReachesAllThatARunServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, ds := heldTogether(t, 30*time.Minute)
		for _, d := range ds {
			require.Len(t, d.bodies(), 1, d.name)
			assert.Contains(t, d.bodies()[0].Message, "The action waits and goes on by itself")
		}
		// After a reconnect two of them are delivered again: the words and the end of
		// these go by the new deliveries.
		again := []*fakeDelivery{b.asking("m1", 7, "", "modified"), b.asking("m3", 7, "", "modified")}
		for _, d := range again {
			b.flow.Handle(d)
		}
		b.flow.working.Wait()
		for _, d := range append(again, ds[1]) {
			assert.Equal(t, "Synced.", d.last(t).Message)
			assert.True(t, d.last(t).Complete)
			assert.Equal(t, 1, d.acked(), d.name)
			finals := 0
			for _, r := range d.bodies() {
				if r.Complete {
					finals++
				}
			}
			assert.Equal(t, 1, finals, d.name)
		}
		for _, d := range []*fakeDelivery{ds[0], ds[2]} {
			assert.Len(t, d.bodies(), 1, "nothing more by the old delivery")
			assert.Zero(t, d.acked())
		}
		assert.Empty(t, b.flow.running)
	})
}

func TestDrainAbandonsAllThatAHeldRunServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, ds := heldTogether(t, 10*time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, b.flow.Drain(ctx), "it does not use up the time")
		for _, d := range ds {
			assert.False(t, d.last(t).Complete, "the interim reply is the last")
			assert.Zero(t, d.acked())
			_, recorded := b.ledger.Outcome(d.m.ID)
			assert.False(t, recorded)
		}
		assert.Empty(t, b.flow.running)
		assert.Empty(t, b.ledger.Letters())
	})
}

func TestReloadWhileARunIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, ds := heldTogether(t, 30*time.Minute)
		var calls events
		unused := b.flow.Swap(settled(b, &calls, "new"))
		other := b.asking("m9", 8, "", "modified")
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, 1, other.acked(), "the new setup knows nothing of the outage")
		assert.False(t, isClosed(unused), "what is held needs the old one")
		b.flow.working.Wait()
		synctest.Wait()
		assert.True(t, isClosed(unused))
		assert.Equal(t, []string{"new"}, calls.all())
		for _, d := range ds {
			assert.Equal(t, "Synced.", d.last(t).Message)
			assert.Equal(t, 1, d.acked())
		}
	})
}

// A run counts once for the module, however many messages it serves, and what a
// module put aside refuses is one letter that names them all.
func TestVerdictAndRefusalOfARunThatServesSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, refused := range []bool{false, true} {
			g := newGate()
			m := mergeable(t, func(ctx context.Context, in abi.Input) (string, error) {
				if in.Action.ID == "m0" {
					return g.turn(ctx, in)
				}
				return "no JSON", nil
			})
			b := newBench(t, modules{m})
			first := b.asking("m0", 7, "", "modified")
			b.flow.Handle(first)
			synctest.Wait()
			ds := []*fakeDelivery{b.asking("m1", 7, "", "modified"), b.asking("m2", 7, "", "modified"), b.asking("m3", 7, "", "modified")}
			for _, d := range ds {
				b.flow.Handle(d)
			}
			if refused {
				m.refuses = errors.New("module test 1.1.0 is put aside")
			}
			close(g.open)
			b.flow.working.Wait()
			want := []Verdict{Well, AtFault}
			if refused {
				want = want[:1]
			}
			assert.Equal(t, want, m.verdicts)
			letters := b.ledger.Letters()
			require.Len(t, letters, 1)
			assert.Equal(t, "m3", letters[0].MessageID)
			assert.Equal(t, []string{"m1", "m2"}, letters[0].Served)
			for _, d := range ds {
				assert.Equal(t, 1, d.last(t).Type)
				assert.Equal(t, 1, d.acked())
			}
		}
	})
}

// While a letter is tried again its message comes twice more, the connection being
// lost in between: the latest delivery is answered, also when the record of the
// message is gone by then.
func TestRetryAndTwoRedeliveries(t *testing.T) {
	for name, recorded := range map[string]bool{"recorded": true, "no longer recorded": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				m := module(t, "R", g.turn)
				b := newBench(t, modules{m})
				source := b.rule("m1", 1, 7)
				if recorded {
					require.NoError(t, b.ledger.Memory.Record(ledger.Outcome{ID: "m1", Reply: []byte(`{"message":"as it was","complete":true}`)}))
				}
				lost, last := b.rule("m1", 1, 7), b.rule("m1", 1, 7)
				cut := make(chan struct{})
				lost.replying = func(context.Context) error { <-cut; return errors.New("connection lost") }
				go func() {
					_, err := b.flow.Again(t.Context(), ledger.Letter{MessageID: "m1", Payload: source.m.Payload, Body: source.m.Body})
					assert.NoError(t, err)
				}()
				synctest.Wait()
				b.flow.Handle(lost)
				close(g.open)
				synctest.Wait()
				b.flow.Handle(last)
				close(cut)
				b.flow.working.Wait()
				assert.Len(t, m.texts(), 1, "one run")
				assert.Equal(t, 1, last.acked())
				assert.Equal(t, map[bool]string{true: "as it was", false: "Synced."}[recorded], last.last(t).Message)
				assert.Empty(t, b.flow.running)
			})
		})
	}
}

func TestLetterHidesTheValueOfAPassword(t *testing.T) {
	const value = "p<w\u00e9\"d"
	m := module(t, "R", says(`{"fail":{"code":"http","message":"it is p<wé\"d"}}`))
	m.m.Rules[0].Object = "artifact"
	for kind, hidden := range map[string]bool{"32": true, "9": false} {
		b := newBench(t, modules{m})
		b.handle(b.delivery("m1", "ActionDataDTO", fmt.Sprintf(
			`{"action_id":1,"object_type":4,"incident":{"id":7,"org_id":201},"artifact":{"id":3,"type":%s,"value":"p\u003cw\u00e9\"d"},"type_info":{"artifact":{"fields":{"type":{"values":{"32":{"label":"Password"},"9":{"label":"String"}}}}}}}`, kind)))
		letters := b.ledger.Letters()
		require.Len(t, letters, 1)
		body := string(letters[0].Body)
		assert.Equal(t, hidden, !strings.Contains(body, "003cw"), body)
		assert.Equal(t, hidden, !strings.Contains(letters[0].Reason, value), letters[0].Reason)
		assert.Contains(t, body, `"id":3`)
	}
}
