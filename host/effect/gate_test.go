package effect_test

import (
	"context"
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

// The service is away for an hour, with sixty actions that need it: none is lost,
// each is told once, the service is looked at now and then by one call at a time,
// and not overrun when it is back.
func TestOutageOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var flying, peak, probes, told atomic.Int32
		var back atomic.Int64 // when the service answered first again
		p, _, _ := opened(t, func(int, rest.Request) (*rest.Response, error) {
			now := flying.Add(1)
			defer flying.Add(-1)
			if away := time.Since(begin); away < time.Hour {
				if away > time.Minute {
					probes.Add(1)
					assert.EqualValues(t, 1, now, "one call looks whether the service is back")
				}
				return nil, failing(abi.CodeUnreachable, 0)
			} else if back.CompareAndSwap(0, int64(away)) || away-time.Duration(back.Load()) < 350*time.Millisecond {
				peak.Store(max(peak.Load(), now))
			}
			time.Sleep(100 * time.Millisecond)
			return fine("")
		}, effect.Waiting{})
		var group sync.WaitGroup
		for i := range 60 {
			s := action(t, p, fmt.Sprint("m", i), effect.Waiting{Hold: 4 * time.Hour, Began: func(o effect.Outage) {
				told.Add(1)
				assert.Equal(t, "ThreatQ", o.Name())
				assert.Equal(t, "said so", o.Cause())
				assert.WithinDuration(t, begin.Add(4*time.Hour), o.Until, time.Minute)
			}})
			group.Go(func() {
				results, err := s.Perform(t.Context(), []abi.Call{callOf(abi.ThreatQ, "a", true), callOf(abi.ThreatQ, "b", false)})
				require.NoError(t, err)
				for _, r := range results {
					assert.Nil(t, r.Error)
				}
				assert.GreaterOrEqual(t, s.Held(), 59*time.Minute)
			})
		}
		group.Wait()
		assert.EqualValues(t, 60, told.Load())
		assert.Less(t, time.Since(begin), time.Hour+40*time.Second)
		assert.InDelta(t, 120, probes.Load(), 40, "a probe each half minute")
		assert.LessOrEqual(t, peak.Load(), int32(16), "the window opens step by step: 1, 4, 8, 16")
	})
}

func TestWaitEndsWithTheActionsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, _ := opened(t, func(int, rest.Request) (*rest.Response, error) { return nil, failing(abi.CodeHTTP, 503) }, effect.Waiting{Hold: time.Hour})
		begin := time.Now()
		r := perform(t, s, callOf(abi.ThreatQ, "a", true))
		require.NotNil(t, r.Error)
		assert.Equal(t, abi.CodeUnreachable, r.Error.Code)
		assert.Contains(t, r.Error.Message, "ThreatQ has been down since")
		assert.Contains(t, r.Error.Message, "status 503: said so")
		assert.Contains(t, r.Error.Message, "the action waited 1h0m0s for it and gave up")
		assert.InDelta(t, time.Hour+15*time.Second, time.Since(begin), float64(35*time.Second))
		begin = time.Now()
		r = perform(t, s, callOf(abi.ThreatQ, "b", true))
		assert.NotNil(t, r.Error)
		assert.Less(t, time.Since(begin), time.Minute, "all outages of an action count together")
	})
}

// Without a hold an action learns at once that the service is down, and one after
// the other looks whether it is back.
func TestWithoutHoldActionsFailAtOnceWhileTheServiceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p, s, server := opened(t, func(int, rest.Request) (*rest.Response, error) {
			if time.Since(begin) < 5*time.Minute {
				return nil, failing(abi.CodeUnreachable, 0)
			}
			return fine("")
		}, effect.Waiting{})
		require.NotNil(t, perform(t, s, callOf(abi.ThreatQ, "a", true)).Error)
		failed, before := 0, server.n.Load()
		for time.Since(begin) < 10*time.Minute {
			at := time.Now()
			if perform(t, action(t, p, "m", effect.Waiting{}), callOf(abi.ThreatQ, "a", true)).Error != nil {
				failed++
			} else {
				assert.Zero(t, time.Since(at))
			}
			time.Sleep(time.Second)
		}
		assert.Greater(t, failed, 100)
		assert.Less(t, server.n.Load()-before, int32(400))
		assert.Nil(t, perform(t, action(t, p, "m", effect.Waiting{}), callOf(abi.ThreatQ, "a", true)).Error)
	})
}

// A call that the server cannot bear, while it serves others, is no outage.
func TestOneBadCallIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s, _ := opened(t, func(_ int, r rest.Request) (*rest.Response, error) {
			if r.Method == "POST" {
				return nil, failing(abi.CodeHTTP, 504)
			}
			return fine("")
		}, effect.Waiting{Hold: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				begin := time.Now()
				assert.Nil(t, perform(t, action(t, p, "other", effect.Waiting{}), get("x")).Error)
				assert.Zero(t, time.Since(begin))
				time.Sleep(100 * time.Millisecond)
			}
		})
		begin := time.Now()
		r := perform(t, s, callOf(abi.ThreatQ, "a", true))
		cancel()
		group.Wait()
		require.NotNil(t, r.Error)
		assert.Equal(t, 504, r.Status)
		assert.Less(t, time.Since(begin), time.Minute)
	})
}

func TestRetryAfterHoldsBackAllCalls(t *testing.T) {
	for name, c := range map[string]struct {
		asks  time.Duration
		waits time.Duration
	}{
		"seconds":         {30 * time.Second, 30 * time.Second},
		"minutes":         {10 * time.Minute, 10 * time.Minute},
		"longer than fit": {10 * time.Hour, 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				p, s, server := opened(t, func(n int, r rest.Request) (*rest.Response, error) {
					if n == 1 {
						return nil, &rest.Error{Code: abi.CodeHTTP, Status: http.StatusServiceUnavailable, RetryAfter: c.asks}
					}
					if r.Path == "/api/events" {
						assert.GreaterOrEqual(t, time.Since(begin), c.waits)
					}
					return fine("")
				}, effect.Waiting{Hold: time.Hour})
				var group sync.WaitGroup
				group.Go(func() { assert.Nil(t, perform(t, s, callOf(abi.ThreatQ, "a", true)).Error) })
				time.Sleep(time.Second)
				for i := range 20 {
					group.Go(func() {
						assert.Nil(t, perform(t, action(t, p, fmt.Sprint(i), effect.Waiting{Hold: time.Hour}), callOf(abi.ThreatQ, "a", i%2 == 0)).Error)
					})
				}
				assert.Nil(t, perform(t, action(t, p, "soar", effect.Waiting{}), callOf(abi.Resilient, "a", true)).Error)
				assert.Equal(t, time.Second, time.Since(begin), "SOAR asked for nothing")
				group.Wait()
				assert.EqualValues(t, 23, server.n.Load(), "nothing was sent too early")
			})
		})
	}
}

func TestStopGivesUpWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		_, s, _ := opened(t, func(int, rest.Request) (*rest.Response, error) { return nil, failing(abi.CodeUnreachable, 0) }, effect.Waiting{Hold: time.Hour, Stop: stop})
		time.AfterFunc(10*time.Minute, func() { close(stop) })
		begin := time.Now()
		_, err := s.Perform(t.Context(), []abi.Call{callOf(abi.ThreatQ, "a", true)})
		assert.ErrorIs(t, err, context.Canceled)
		assert.InDelta(t, 10*time.Minute, time.Since(begin), float64(25*time.Second))
	})
}

// The action whose call is the probe ends: another one looks.
func TestProbeOfAnActionThatEndsIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		hang := make(chan struct{})
		p, s, _ := opened(t, func(n int, r rest.Request) (*rest.Response, error) {
			if down {
				return nil, failing(abi.CodeUnreachable, 0)
			}
			<-hang
			return fine("")
		}, effect.Waiting{})
		perform(t, s, callOf(abi.ThreatQ, "a", true)) // shuts the gate
		down = false
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := action(t, p, "first", effect.Waiting{Hold: time.Hour}).Perform(ctx, []abi.Call{callOf(abi.ThreatQ, "a", true)})
			assert.Error(t, err)
		})
		time.Sleep(time.Minute)
		group.Go(func() {
			assert.Nil(t, perform(t, action(t, p, "second", effect.Waiting{Hold: time.Hour}), callOf(abi.ThreatQ, "a", true)).Error)
		})
		synctest.Wait()
		cancel()
		close(hang)
		group.Wait()
	})
}

func TestAskFollowsThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := opened(t, nil, effect.Waiting{})
		begin := time.Now()
		err := p.Ask(t.Context(), abi.Resilient, effect.Waiting{Hold: time.Hour}, func(context.Context) error {
			if time.Since(begin) < 20*time.Minute {
				return failing(abi.CodeHTTP, 503)
			}
			return nil
		})
		assert.NoError(t, err)
		assert.ErrorIs(t, p.Ask(t.Context(), abi.Resilient, effect.Waiting{}, func(context.Context) error { return context.DeadlineExceeded }), context.DeadlineExceeded)
	})
}

// A late answer to a call that was sent before does not undo what the service
// asked for.
func TestLateAnswerDoesNotOpenWhatRetryAfterShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p, _, _ := opened(t, func(n int, r rest.Request) (*rest.Response, error) {
			switch {
			case n == 1:
				time.Sleep(20 * time.Second)
			case n <= 6:
				return nil, &rest.Error{Code: abi.CodeHTTP, Status: http.StatusServiceUnavailable, RetryAfter: 10 * time.Minute}
			default:
				assert.GreaterOrEqual(t, time.Since(begin), 10*time.Minute)
			}
			return fine("")
		}, effect.Waiting{})
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				assert.Nil(t, perform(t, action(t, p, fmt.Sprint(i), effect.Waiting{Hold: time.Hour}), callOf(abi.ThreatQ, "a", true)).Error)
			})
		}
		group.Wait()
	})
}
