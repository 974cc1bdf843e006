package flow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
)

const (
	// tellAfter keeps an outage of a moment from users.
	tellAfter = 10 * time.Second
	// tellEvery passes between two interim replies about one outage.
	tellEvery = 10 * time.Minute
)

// outage is how an action waits for a service that is down: without a slot, so
// that others can run, with its clock standing still, and with a word to the user
// now and then. It stays in its lane, which keeps the order of the incident.
type outage struct {
	flow  *Flow
	run   *run
	setup *Setup
	clock *clock
	// lane is the one that the action is in, empty for none.
	lane string

	mu    sync.Mutex
	begun bool
	timer *time.Timer
}

// waiting is the action's side of package effect.
func (o *outage) waiting() effect.Waiting {
	return effect.Waiting{Hold: o.flow.o.Hold, Came: o.run.jobs[0].came, Stop: o.setup.retired, Began: o.began}
}

func (o *outage) began(e effect.Outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = true
	o.flow.counts.held.Add(1)
	o.flow.lanes.leave()
	o.clock.halt()
	o.flow.o.Logger.Debug("action waits for a service that is down", "action", o.run.message.ID, "service", e.Service, "until", e.Until)
	o.timer = time.AfterFunc(o.run.tellIn(tellAfter), func() { o.tell(e) })
}

// tell sends an interim reply. The lock is held, so that none comes after over.
func (o *outage) tell(e effect.Outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun {
		return
	}
	// Actions that were started by this one have their own outages, and its user.
	if pause := o.run.tellIn(0); pause > 0 {
		o.timer.Reset(pause)
		return
	}
	const layout = "2006-01-02 15:04 UTC"
	o.run.told()
	down := fmt.Sprintf("%s cannot be used since %s (%s). ", e.Name(), e.Since.UTC().Format(layout), e.Cause())
	o.flow.interim(o.run.jobs, down+fmt.Sprintf("The action waits and goes on by itself when it is back; it gives up at %s.", e.Until.UTC().Format(layout)))
	if o.lane != "" {
		// None of them can begin before this returns: the lane is ours until over.
		o.flow.interim(o.flow.lanes.waitingIn(o.lane), down+"The action waits behind another one of its incident, and begins after it.")
	}
	o.timer.Reset(tellEvery)
}

// over ends the wait, if there was one: the action gets a slot again.
func (o *outage) over() {
	o.mu.Lock()
	begun := o.begun
	if o.begun = false; begun {
		o.timer.Stop()
	}
	o.mu.Unlock()
	if begun {
		o.flow.counts.held.Add(-1)
		o.flow.lanes.enter()
		o.clock.goOn()
	}
}

// tellIn is when the user may be told again of an outage, at least after pause.
func (r *run) tellIn(pause time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.toldAt.IsZero() {
		return pause
	}
	return max(pause, tellEvery-time.Since(r.toldAt))
}

func (r *run) told() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.toldAt = time.Now()
}

// clock ends an action that works for too long. It stands still during outages.
type clock struct {
	// outer is the clock of an action that waits for this one.
	outer *clock

	mu      sync.Mutex
	left    time.Duration
	running time.Time
	halts   int
	timer   *time.Timer
}

func startClock(outer *clock, limit time.Duration, end func()) *clock {
	return &clock{outer: outer, left: limit, running: time.Now(), timer: time.AfterFunc(limit, end)}
}

func (c *clock) stop() { c.timer.Stop() }

func (c *clock) halt() {
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.halts++; c.halts == 1 {
		c.timer.Stop()
		c.left -= time.Since(c.running)
	}
	c.mu.Unlock()
	c.outer.halt()
}

func (c *clock) goOn() {
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.halts--; c.halts == 0 {
		c.running = time.Now()
		c.timer.Reset(max(c.left, 0))
	}
	c.mu.Unlock()
	c.outer.goOn()
}

// patientDirectory waits for a SOAR that is down as the calls of modules do. The
// outage of the action that asks comes with the context; who asks without one is told
// at once, because something else waits for the answer.
type patientDirectory struct {
	Directory
	performer *effect.Performer
}

type outageKey struct{}

func (d patientDirectory) ask(ctx context.Context, ask func(context.Context) error) error {
	// Nearly all answers are remembered ones. They need no SOAR, and tell nothing of
	// it: only what could not be answered is the gate's business.
	err := ask(ctx)
	o, patient := ctx.Value(outageKey{}).(*outage)
	if err == nil || ctx.Err() != nil || !effect.Down(err) || !patient {
		return err
	}
	defer o.over()
	return d.performer.Ask(ctx, abi.Resilient, o.waiting(), ask)
}

func (d patientDirectory) RuleName(ctx context.Context, ruleID int64) (name string, err error) {
	err = d.ask(ctx, func(ctx context.Context) error { name, err = d.Directory.RuleName(ctx, ruleID); return err })
	return name, err
}

func (d patientDirectory) FieldLabels(ctx context.Context, ruleID int64) (labels map[string]string, err error) {
	err = d.ask(ctx, func(ctx context.Context) error { labels, err = d.Directory.FieldLabels(ctx, ruleID); return err })
	return labels, err
}

func (d patientDirectory) FieldOption(ctx context.Context, field string, value int64) (label string, err error) {
	err = d.ask(ctx, func(ctx context.Context) error {
		label, err = d.Directory.FieldOption(ctx, field, value)
		return err
	})
	return label, err
}
