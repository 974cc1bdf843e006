package flow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

// away is a service that is down for a while after its start.
func away(length time.Duration) *effect.Performer {
	begin := time.Now()
	return performer(func(context.Context, rest.Request) (*rest.Response, error) {
		if time.Since(begin) < length {
			return nil, &rest.Error{Service: "ThreatQ", Method: "GET", Path: "/api/events", Code: abi.CodeUnreachable, Err: errors.New("connection refused")}
		}
		return &rest.Response{Status: 200, Body: []byte(`{}`)}, nil
	})
}

// asking is a turn that makes one call and fails as the call does.
func asking(_ context.Context, in abi.Input) (string, error) {
	switch {
	case in.Turn == 1:
		return `{` + calls("a") + `}`, nil
	case in.Results[0][0].Error != nil:
		return fmt.Sprintf(`{"fail":{"code":"unreachable","message":%q}}`, in.Results[0][0].Error.Message), nil
	}
	return done, nil
}

// ThreatQ is down for 65 minutes: the action waits, says so now and then, lets others
// run, and is done when ThreatQ is back.
func TestActionWaitsForAServiceThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		idle := module(t, "Idle", says(done))
		b := newBench(t, modules{module(t, "R", asking), idle}, func(o *Options) {
			o.Performer, o.Hold, o.Parallel = away(65*time.Minute), 4*time.Hour, 1
		})
		waits, same, other := b.rule("m1", 1, 7), b.rule("m2", 1, 7), b.rule("m3", 2, 8)
		b.flow.Handle(waits)
		b.flow.Handle(same)
		time.Sleep(time.Minute)
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, 1, other.acked(), "it has no slot while it waits")
		b.flow.working.Wait()
		assert.InDelta(t, 65*time.Minute, time.Since(begin), float64(40*time.Second), "not ended by the time limit of an action")

		behind := same.bodies()
		require.Len(t, behind, 8, "who waits behind it is told as often")
		assert.Regexp(t, `^ThreatQ cannot be used since .* \(connection refused\)\. The action waits behind another one of its incident, and begins after it\.$`, behind[0].Message)
		assert.False(t, behind[0].Complete)
		assert.Len(t, other.bodies(), 1)
		replies := waits.bodies()
		require.Len(t, replies, 8, "an interim reply every ten minutes, and the final one")
		for _, interim := range replies[:7] {
			assert.False(t, interim.Complete)
			assert.Zero(t, interim.Type)
			assert.Regexp(t, `^ThreatQ cannot be used since .* UTC \(connection refused\)\. The action waits and goes on by itself when it is back; it gives up at .* UTC\.$`, interim.Message)
		}
		assert.Equal(t, "Synced.", replies[7].Message)
		assert.Equal(t, 1, waits.acked())
		assert.Equal(t, []string{"Synced."}, []string{same.last(t).Message}, "the lane kept its order")
		assert.InDelta(t, 65*time.Minute, b.lines("action")[1]["held"], float64(time.Minute))
	})
}

func TestActionGivesUpAfterItsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", asking)}, func(o *Options) { o.Performer, o.Hold = away(10*time.Hour), 30*time.Minute })
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.True(t, d.last(t).Complete)
		assert.Regexp(t, `ThreatQ has been down since .* UTC \(connection refused\); the action waited 30m0s for it and gave up`, d.last(t).Message)
		assert.Equal(t, 1, d.acked())
	})
}

// The configured time is that of the message, not of its turn: the last of a lane does
// not wait for its number times that.
func TestWhoWaitsBehindAHeldActionGivesUpWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBench(t, modules{module(t, "R", asking)}, func(o *Options) { o.Performer, o.Hold = away(100*time.Hour), time.Hour })
		var ds []*fakeDelivery
		come := func(name string, giveUp time.Duration) {
			d := b.rule(name, 1, 7)
			d.acking = func(context.Context) error {
				assert.InDelta(t, giveUp, time.Since(begin), float64(time.Minute), name)
				return nil
			}
			ds = append(ds, d)
			b.flow.Handle(d)
		}
		for i := range 5 {
			come(fmt.Sprint("m", i), time.Hour)
		}
		time.Sleep(30 * time.Minute)
		come("late", 90*time.Minute)
		b.flow.working.Wait()
		for _, d := range ds {
			assert.Equal(t, 1, d.acked(), d.name)
			assert.Contains(t, d.last(t).Message, "waited 1h0m0s for it and gave up")
		}
	})
}

func TestOutageOfAMomentIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", asking)}, func(o *Options) { o.Performer, o.Hold = away(16*time.Second), time.Hour })
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Len(t, d.bodies(), 1)
	})
}

// Only work counts: an action that hangs after an outage is ended as ever.
func TestClockStandsDuringAnOutageOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back time.Time
		b := newBench(t, modules{module(t, "R", func(ctx context.Context, in abi.Input) (string, error) {
			if in.Turn == 1 {
				return `{` + calls("a") + `}`, nil
			}
			back = time.Now()
			<-ctx.Done()
			return "", ctx.Err()
		})}, func(o *Options) { o.Performer, o.Hold = away(time.Hour), 4*time.Hour })
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Contains(t, d.last(t).Message, "took longer than 5m0s")
		assert.InDelta(t, 5*time.Minute, time.Since(back), float64(30*time.Second))
	})
}

func TestDrainGivesUpWhatWaitsForAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", asking)}, func(o *Options) { o.Performer, o.Hold = away(10*time.Hour), 9*time.Hour })
		var all []*fakeDelivery
		for i := range 10 {
			all = append(all, b.rule(fmt.Sprint("m", i), 1, int64(i)))
			b.flow.Handle(all[i])
		}
		time.Sleep(time.Hour)
		begin := time.Now()
		require.NoError(t, b.flow.Drain(t.Context()))
		assert.Less(t, time.Since(begin), time.Second, "it is not waited for")
		for _, d := range all {
			assert.Zero(t, d.acked())
			assert.False(t, d.last(t).Complete)
		}
		for _, line := range b.lines("action") {
			assert.Equal(t, "abandoned", line["outcome"])
			assert.Equal(t, "the host stops; the message stays with the broker", line["message"])
		}
	})
}

// The host's own questions to SOAR wait as well.
func TestMessageWaitsForSOARToTellTheRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBench(t, modules{module(t, "R", says(done))}, func(o *Options) {
			o.Hold, o.Directory = 4*time.Hour, forgetful{o.Directory, begin.Add(time.Hour)}
		})
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Equal(t, "Synced.", d.last(t).Message)
		assert.Contains(t, d.bodies()[0].Message, "SOAR cannot be used since")
	})
}

// forgetful is a directory on a SOAR that is down until then.
type forgetful struct {
	Directory
	until time.Time
}

func (f forgetful) RuleName(ctx context.Context, id int64) (string, error) {
	if time.Now().Before(f.until) {
		return "", fmt.Errorf("rules: %w", &rest.Error{Service: "Resilient", Code: abi.CodeHTTP, Status: http.StatusServiceUnavailable})
	}
	return f.Directory.RuleName(ctx, id)
}

// asked is a directory that counts questions, of which all after the first few meet a
// SOAR that is down.
type asked struct {
	Directory
	until time.Time
	good  int64
	count *atomic.Int64
}

func (a asked) FieldLabels(ctx context.Context, rule int64) (map[string]string, error) {
	if a.count.Add(1) > a.good && time.Now().Before(a.until) {
		return nil, fmt.Errorf("rules: %w", &rest.Error{Service: "Resilient", Code: abi.CodeHTTP, Status: http.StatusServiceUnavailable})
	}
	return map[string]string{"Import": "import"}, nil
}

// A run that could serve others does not wait for SOAR to tell what they ask for.
func TestJoinDoesNotWaitForSOAR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		begin, count := time.Now(), new(atomic.Int64)
		b := newBench(t, modules{mergeable(t, g.turn)}, func(o *Options) {
			o.Hold, o.Directory = 4*time.Hour, asked{o.Directory, begin.Add(time.Hour), 1, count}
		})
		first := b.asking("m1", 7, "", "modified")
		b.flow.Handle(first)
		synctest.Wait()
		var ds []*fakeDelivery
		for i := range 6 {
			ds = append(ds, b.delivery(fmt.Sprint("n", i), "ActionDataDTO", `{"action_id":1,"object_type":0,"operation_type":"modified","properties":{"Import":"Yes"},"incident":{"id":7,"org_id":201}}`))
			b.flow.Handle(ds[i])
		}
		close(g.open)
		synctest.Wait()
		time.Sleep(time.Second)
		assert.Equal(t, 1, ds[0].acked(), "served at once")
		assert.LessOrEqual(t, count.Load(), int64(5), "of the first run, of its join, and of the next run: not one for each that waits")
		b.flow.working.Wait()
		for _, d := range ds {
			assert.Equal(t, 1, d.acked(), d.name)
		}
	})
}

// Sub-actions wait each by itself; the user of the action is told once for all.
func TestSubActionsWaitToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{
			parent(t, "none", start("x", 10)+","+start("y", 11)+","+start("z", 12)),
			module(t, "Sub", asking),
		}, func(o *Options) { o.Performer, o.Hold, o.Parallel = away(25*time.Minute), time.Hour, 2 })
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Len(t, d.bodies(), 4, "three interim replies and the final one")
		assert.NotContains(t, d.last(t).Message, "error")
		assert.Equal(t, 1, d.acked())
	})
}

// The disk is full for ten minutes: what cannot be noted is not sent, nothing more is
// started, and all is done when there is room, though the broker delivers nothing again.
func TestActionWhoseCallCannotBeNotedBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &disk{full: true}
		var sent atomic.Int32
		m := module(t, "R", script(`{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events"}]}`, done))
		m.m.Rules[0].Merge = true
		b := newBench(t, modules{m}, func(o *Options) {
			answer := client(func(context.Context, rest.Request) (*rest.Response, error) {
				sent.Add(1)
				return &rest.Response{Status: 200, Body: []byte(`{}`)}, nil
			})
			o.Performer = effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: answer, abi.Resilient: answer}, Journal: disk})
		})
		b.ledger.setFailure(errNoSpace)
		first, second, other := b.rule("m1", 1, 7), b.rule("m2", 1, 7), b.rule("m3", 1, 8)
		b.flow.Handle(first)
		synctest.Wait()
		b.flow.Handle(second)
		b.flow.Handle(other)
		time.Sleep(10 * time.Minute)
		assert.Zero(t, sent.Load())
		assert.Len(t, m.texts(), 1, "the others wait for room")
		assert.Contains(t, b.lines("action")[0]["message"], "no space left on device; the action begins anew")
		assert.Len(t, b.lines("the ledger cannot be written; no more actions are started until it can, and messages stay with the broker"), 1)

		disk.set(false)
		b.ledger.setFailure(nil)
		b.flow.working.Wait()
		for _, d := range []*fakeDelivery{first, second, other} {
			assert.Equal(t, 1, d.acked(), d.name)
			assert.Len(t, d.bodies(), 1, d.name)
		}
		assert.EqualValues(t, 2, sent.Load(), "the first and the second are served by one run")
		assert.Empty(t, b.flow.running)
		require.NoError(t, b.flow.Drain(t.Context()))
	})
}

// The host stops while the disk is full.
func TestDrainLeavesWhatCannotBeNotedToTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", script(`{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events"}]}`, done))}, func(o *Options) {
			answer := client(func(context.Context, rest.Request) (*rest.Response, error) {
				return nil, errors.New("must not be sent")
			})
			o.Performer = effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: answer, abi.Resilient: answer}, Journal: &disk{full: true}})
		})
		b.ledger.setFailure(errNoSpace)
		d := b.rule("m1", 1, 7)
		b.flow.Handle(d)
		time.Sleep(time.Hour)
		begin := time.Now()
		require.NoError(t, b.flow.Drain(t.Context()))
		assert.Zero(t, time.Since(begin), "it is not waited for")
		assert.Zero(t, d.acked())
		assert.Empty(t, d.bodies())
		assert.Empty(t, b.flow.running)
	})
}

var errNoSpace = errors.New("no space left on device")

// disk is a journal on a disk that may be full.
type disk struct {
	mu   sync.Mutex
	full bool
}

func (d *disk) set(full bool) { d.mu.Lock(); defer d.mu.Unlock(); d.full = full }

func (d *disk) Begin(string, string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return false, errNoSpace
	}
	return false, nil
}
func (*disk) End(string, string) error { return nil }

// ThreatQ is reached otherwise now: what waits for the former one does not wait on.
func TestActionsThatWaitBeginAnewWithARenewedSetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBench(t, modules{module(t, "R", asking)}, func(o *Options) { o.Performer, o.Hold = away(10*time.Hour), 9*time.Hour })
		var all []*fakeDelivery
		for i := range packFrom + 10 {
			all = append(all, b.rule(fmt.Sprint("m", i), 1, int64(i+1)))
			b.flow.Handle(all[i])
		}
		time.Sleep(time.Hour)
		same := &Setup{Modules: b.options.Modules, Directory: b.options.Directory, Site: b.options.Site, Performer: b.options.Performer}
		b.flow.Swap(same)
		time.Sleep(time.Hour)
		assert.Empty(t, b.lines("action"), "other settings are no reason")

		unused := b.flow.Swap(&Setup{Modules: b.options.Modules, Directory: b.options.Directory, Site: b.options.Site, Performer: away(0), Renewed: true})
		b.flow.working.Wait()
		synctest.Wait()
		assert.True(t, isClosed(unused))
		assert.InDelta(t, 2*time.Hour, time.Since(begin), float64(10*time.Second))
		for _, d := range all {
			assert.Equal(t, "Synced.", d.last(t).Message)
			assert.Equal(t, 1, d.acked())
		}
		assert.Contains(t, b.lines("action")[0]["message"], "the configuration was reloaded while the action waited")
		require.NoError(t, b.flow.Drain(t.Context()))
	})
}

// What the directory remembers is told while SOAR is down, and is no sign that
// SOAR is back.
func TestRememberedNamesNeedNoSOAR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", says(done))}, func(o *Options) { o.Hold = time.Hour })
		down := func(context.Context) error {
			return &rest.Error{Service: "Resilient", Code: abi.CodeUnreachable, Err: errors.New("connection refused")}
		}
		ask := func() error { return b.options.Performer.Ask(t.Context(), abi.Resilient, effect.Waiting{}, down) }
		require.Error(t, ask())
		begin := time.Now()
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Zero(t, time.Since(begin))
		assert.Equal(t, 1, d.acked())
		assert.ErrorContains(t, ask(), "SOAR has been down since")
	})
}
