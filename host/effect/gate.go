package effect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

const (
	// downAfter failures in a row, over all calls, close the gate.
	downAfter = 5
	// A closed gate lets one call try after 2 seconds, then after longer ones.
	firstProbe, lastProbe = 2 * time.Second, 30 * time.Second
	// Where actions are not held, calls wait until the service has been down for as
	// long as the ordinary tries take, or a minute where it named a time itself.
	briefly, askedBriefly = 15 * time.Second, time.Minute
)

// gate is what all calls to one service pass before they are sent. It is a
// circuit breaker that makes wait instead of refusing: shut while the service is
// down, with one call let through now and then to see (the probe), and until the
// time that the service named in Retry-After.
type gate struct {
	service string
	log     *slog.Logger
	// shrink starts the window of requests in flight anew, small.
	shrink func()

	mu sync.Mutex
	// failures in a row; served is when the service last answered.
	failures int
	served   time.Time
	// down since then, and why; probes counts those that failed.
	down    bool
	since   time.Time
	reason  error
	probes  int
	probing bool
	// until then nothing is sent; asked is the time of Retry-After, and by whom.
	until   time.Time
	asked   time.Time
	askedBy error
	// changed is closed and replaced when waiting calls should look again.
	changed chan struct{}
}

func newGate(service string, log *slog.Logger, shrink func()) *gate {
	return &gate{service: service, log: log, shrink: shrink, changed: make(chan struct{})}
}

// pass waits until a call may be sent. The call is then a probe, or one of many.
func (g *gate) pass(ctx context.Context, w *waiter) (probe bool, err error) {
	for {
		g.mu.Lock()
		now := time.Now()
		if !now.Before(g.until) && !(g.down && g.probing) {
			probe, g.probing = g.down, g.down
			g.mu.Unlock()
			return probe, nil
		}
		outage := Outage{Service: g.service, Since: g.since, Reason: g.reason, down: g.down}
		if !g.down {
			outage.Since, outage.Reason = now, g.askedBy
		}
		pause, changed := g.until.Sub(now), g.changed
		g.mu.Unlock()
		if err := w.wait(ctx, outage, pause, changed); err != nil {
			return false, err
		}
	}
}

// open says whether a call that passed may still be sent, after it has waited
// for its place in the window.
func (g *gate) open(probe bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return probe || !g.down && !time.Now().Before(g.until)
}

// giveBack ends a probe that was not made.
func (g *gate) giveBack(probe bool) {
	if probe {
		g.mu.Lock()
		g.probing = false
		g.wake()
		g.mu.Unlock()
	}
}

// report learns from a try; err is nil for a success.
func (g *gate) report(probe bool, err error, down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if probe {
		g.probing = false
	}
	var e *rest.Error
	if errors.As(err, &e) && e.RetryAfter > 0 && failureOf(err) == Busy {
		if asked := now.Add(min(e.RetryAfter, maxRetryAfter)); asked.After(g.until) {
			g.until, g.asked, g.askedBy = asked, asked, err
		}
	}
	switch {
	case down && g.down:
		if g.reason = err; probe {
			g.probes++
			g.shut(now)
		}
	case down:
		if g.failures++; g.failures >= downAfter {
			g.fall(now, err)
		}
	default:
		g.failures, g.served = 0, now
		if g.down {
			g.log.Info("service is back; actions that waited for it go on", "service", g.service, "down_for", now.Sub(g.since).Round(time.Second))
			g.down, g.until = false, g.asked
			g.wake()
		}
	}
}

// exhausted is told of a call whose tries are used up, the first of them at that
// time. It says whether to wait for the service: when it has served nobody since.
func (g *gate) exhausted(first time.Time, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.down && !g.served.After(first) {
		g.fall(time.Now(), err)
	}
	return g.down
}

// fall shuts the gate; mu is held.
func (g *gate) fall(now time.Time, err error) {
	g.down, g.since, g.reason, g.probes = true, now, err, 0
	g.shrink()
	g.shut(now)
	g.log.Warn("service is down; actions that need it wait", "service", g.service, "error", err)
}

// shut sets the time of the next probe; mu is held.
func (g *gate) shut(now time.Time) {
	pause := firstProbe
	for range g.probes {
		pause = min(2*pause, lastProbe)
	}
	if until := now.Add(jitter(pause)); until.After(g.until) {
		g.until = until
	}
	g.wake()
}

// wake makes waiting calls look again; mu is held.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// Outage is a time in which a service cannot be used.
type Outage struct {
	// Service is abi.ThreatQ or abi.Resilient.
	Service string
	Since   time.Time
	// Reason is the failure seen last.
	Reason error
	// Until is when the action gives up waiting.
	Until time.Time

	// down is false while the service only asks to be left alone.
	down bool
}

// Down lists the outages of now, of which Until is not known.
func (p *Performer) Down() (down []Outage) {
	for _, service := range slices.Sorted(maps.Keys(p.gates)) {
		g := p.gates[service]
		g.mu.Lock()
		if g.down {
			down = append(down, Outage{Service: service, Since: g.since, Reason: g.reason, down: true})
		}
		g.mu.Unlock()
	}
	return down
}

// Name is the name of the service as people know it.
func (o Outage) Name() string {
	if o.Service == abi.Resilient {
		return "SOAR"
	}
	return "ThreatQ"
}

// Cause is the reason without the call that met it.
func (o Outage) Cause() string {
	var e *rest.Error
	if !errors.As(o.Reason, &e) {
		return "no reason known"
	}
	text := e.Reason()
	if e.Status != 0 {
		text = strings.TrimSuffix(fmt.Sprintf("status %d: %s", e.Status, text), ": ")
	}
	return text
}

// Down says whether a failure is one that actions wait out.
func Down(err error) bool {
	var e *rest.Error
	return errors.As(err, &e) && ruleFor(err, true).Waits
}

// Waiting says how an action waits for a service that is down. With its zero value
// it waits no longer than the ordinary tries take.
type Waiting struct {
	// Hold is how long the action waits, all its outages together; 0: not.
	Hold time.Duration
	// Came is when the message came. What it has waited behind another one that was
	// held by the same outage counts too.
	Came time.Time
	// Stop, when closed, ends all waiting with context.Canceled.
	Stop <-chan struct{}
	// Began is told that calls of the action have begun to wait; they go on, or
	// have given up, when Perform or Ask returns. It may be called from any
	// goroutine, once for each Perform or Ask, and must return soon.
	Began func(Outage)
}

// waiter is the waiting of all calls of one turn.
type waiter struct {
	o Waiting
	// left is what is left of Hold when the turn begins.
	left time.Duration

	mu    sync.Mutex
	begin time.Time
	// abandon is why the whole action must be given up.
	abandon error
}

func newWaiter(o Waiting, used time.Duration) *waiter {
	return &waiter{o: o, left: o.Hold - used}
}

// wait waits until something changed, the pause is over, or the action gives up.
func (w *waiter) wait(ctx context.Context, outage Outage, pause time.Duration, changed <-chan struct{}) error {
	until := w.began(&outage)
	if pause <= 0 {
		pause = lastProbe // another call probes; changed tells its end
	}
	left := time.Until(until)
	if left <= 0 {
		return w.givenUp(outage)
	}
	timer := time.NewTimer(min(pause, left))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-w.o.Stop:
		w.give(context.Canceled)
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// began notes the beginning of the first wait, and says when patience ends.
func (w *waiter) began(outage *Outage) time.Time {
	w.mu.Lock()
	first := w.begin.IsZero()
	if first {
		w.begin = time.Now()
		if since := latest(w.o.Came, outage.Since); w.left == w.o.Hold && !w.o.Came.IsZero() && since.Before(w.begin) {
			w.begin = since
		}
	}
	switch {
	case w.o.Hold > 0:
		outage.Until = w.begin.Add(w.left)
	case outage.down:
		outage.Until = outage.Since.Add(briefly)
	default:
		outage.Until = w.begin.Add(askedBriefly)
	}
	w.mu.Unlock()
	if first && w.o.Began != nil {
		w.o.Began(*outage)
	}
	return outage.Until
}

// give makes the whole action be given up.
func (w *waiter) give(reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abandon == nil {
		w.abandon = reason
	}
}

// end is the time spent waiting, and why the action must be given up.
func (w *waiter) end() (used time.Duration, abandon error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begin.IsZero() {
		used = time.Since(w.begin)
	}
	return used, w.abandon
}

// givenUp is the failure of a call that was not sent, since the service was down
// for too long.
func (w *waiter) givenUp(o Outage) error {
	given := rest.Error{Service: o.Name()}
	var e *rest.Error
	if errors.As(o.Reason, &e) {
		given = *e
	}
	waited := ""
	if w.o.Hold > 0 {
		waited = fmt.Sprintf("; the action waited %s for it and gave up", w.o.Hold)
	}
	given.Code, given.Status, given.Text = abi.CodeUnreachable, 0, ""
	given.Err = fmt.Errorf("%s has been down since %s UTC (%s)%s", o.Name(), o.Since.UTC().Format(time.DateTime), o.Cause(), waited)
	return &given
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
