package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// stuckAfter is how long nothing may be answered while everything is up. It is
// longer than any pause that the host makes on its own, and than ActiveMQ takes to
// give up a host that was killed behind a half-open connection: some 90 seconds, in
// which the messages are with the dead one.
const stuckAfter = 4 * time.Minute

// villain does to the host, the broker and the network what its list says. The
// list is drawn from the seed; its places are counted in answered messages, so that
// it does not depend on the machine.
type villain struct {
	w     *world
	rand  *rand.Rand
	tally *tally
	deeds []blow
	// oracle is where the next write is met.
	oracle *oracle
	wrong  []string // what the host did that it may not
}

// blow is one thing that is done when so many messages are answered.
type blow struct {
	at   int
	name string
	do   func(context.Context) error
}

// newVillain draws a list for a plan of n messages with so many kills.
func newVillain(w *world, seed uint64, n, kills int, t *tally, o *oracle) *villain {
	v := &villain{w: w, rand: rand.New(rand.NewPCG(seed, 2)), tally: t, oracle: o}
	some := func(share int) int {
		if kills == 0 {
			return 0
		}
		return max(1, kills/share)
	}
	add := func(count int, name string, do func(context.Context) error) {
		for range count {
			// Neither before there is something to lose nor after all is done.
			v.deeds = append(v.deeds, blow{at: n*2/100 + v.rand.IntN(max(1, n*88/100)), name: name, do: do})
		}
	}
	add(kills-2*(kills/3), "host killed at any time", v.killHost)
	add(kills/3, "host killed at a write", v.killAtWrite)
	add(kills/3, "host killed at a reply", v.killAtReply)
	add(some(5), "host stopped in order", v.stopHost)
	add(some(5), "broker killed", v.killBroker)
	add(some(10), "broker stopped in order", v.stopBroker)
	for _, p := range []*proxy{w.toBroker, w.toSOAR, w.toThreatQ} {
		add(some(3), "connections cut: "+p.name, func(context.Context) error { p.cut(v.rand.IntN(2) == 0); return nil })
		add(some(10), "stalled for a second: "+p.name, func(ctx context.Context) error {
			p.stall()
			defer p.resume()
			return pause(ctx, time.Second)
		})
		add(some(10), "delayed: "+p.name, func(ctx context.Context) error {
			p.slow(20 * time.Millisecond)
			defer p.slow(0)
			return pause(ctx, 2*time.Second)
		})
	}
	for _, p := range []*proxy{w.toSOAR, w.toThreatQ} {
		add(some(10), "unreachable for three seconds: "+p.name, func(ctx context.Context) error {
			p.stop()
			defer p.start()
			return pause(ctx, 3*time.Second)
		})
	}
	add(some(10), "ThreatQ: all tokens revoked", func(context.Context) error { w.threatq.RevokeTokens(); return nil })
	add(some(10), "SOAR: all sessions expired", func(context.Context) error { w.soar.sim.ExpireSessions(); return nil })
	if kills >= 10 { // it takes the host half a minute to find out
		add(1, "half-open: broker", func(context.Context) error { w.toBroker.half(); return nil })
	}
	slices.SortStableFunc(v.deeds, func(a, b blow) int { return cmp.Compare(a.at, b.at) })
	return v
}

// run does the list.
func (v *villain) run(ctx context.Context) error {
	for _, b := range v.deeds {
		if err := v.w.bridge.await(ctx, stuckAfter, func(s standing) bool { return s.answered >= b.at }); err != nil {
			return fmt.Errorf("waiting to do %q: %w", b.name, err)
		}
		for _, h := range v.w.hosts() {
			if err := h.alive(); err != nil {
				return err
			}
		}
		if v.w.partner != nil && v.rand.IntN(2) == 0 {
			v.w.host, v.w.partner = v.w.partner, v.w.host
		}
		// Not always at the moment of an answer.
		if err := pause(ctx, rand.N(200*time.Millisecond)); err != nil {
			return err
		}
		begin := time.Now()
		if err := b.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		v.tally.add(b.name)
		if err := v.note(b.name, begin); err != nil {
			return err
		}
	}
	return nil
}

// note writes what was done and when beside the logs of the host, in their form.
func (v *villain) note(name string, begin time.Time) error {
	log, err := os.OpenFile(filepath.Join(v.w.dir, "host", "logs", "blows.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	_, answered := v.w.bridge.progress()
	_, err = fmt.Fprintf(log, `{"time":%q,"msg":%q,"answered":%d,"until":%q}`+"\n",
		begin.UTC().Format(time.RFC3339Nano), name, answered, time.Now().UTC().Format(time.RFC3339Nano))
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again starts the host after a pause; every eighth start ends in another kill.
func (v *villain) again(ctx context.Context) error {
	if err := pause(ctx, time.Duration(v.rand.IntN(400))*time.Millisecond); err != nil {
		return err
	}
	i, err := v.w.host.start()
	if err != nil {
		return err
	}
	if v.rand.IntN(8) == 0 {
		if err := pause(ctx, time.Duration(v.rand.IntN(300))*time.Millisecond); err != nil {
			return err
		}
		v.w.host.kill()
		v.tally.add("host killed while it starts")
		if i, err = v.w.host.start(); err != nil {
			return err
		}
	}
	return v.w.host.untilReady(i)
}

func (v *villain) killHost(ctx context.Context) error {
	v.w.host.kill()
	return v.again(ctx)
}

// killAtWrite kills the host when a service has acted and before it has answered.
func (v *villain) killAtWrite(ctx context.Context) error {
	return v.killWhen(ctx, v.oracle.atNextWrite, func() { v.oracle.atNextWrite(nil) })
}

// killAtReply kills the host when its reply has come, which is before or just after
// it acknowledges the message.
func (v *villain) killAtReply(ctx context.Context) error {
	return v.killWhen(ctx, v.w.bridge.atNextFinal, func() { v.w.bridge.atNextFinal(nil) })
}

func (v *villain) killWhen(ctx context.Context, arm func(do func()), disarm func()) error {
	killed := make(chan struct{})
	arm(func() {
		v.w.host.kill()
		close(killed)
	})
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case <-killed:
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C: // there may be nothing left to do
		disarm()
		v.w.host.kill()
	}
	return v.again(ctx)
}

func (v *villain) stopHost(ctx context.Context) error {
	if err := v.w.host.stop(); err != nil {
		v.wrong = append(v.wrong, err.Error())
	}
	return v.again(ctx)
}

func (v *villain) killBroker(ctx context.Context) error { return v.withoutBroker(ctx, v.w.broker.Kill) }
func (v *villain) stopBroker(ctx context.Context) error { return v.withoutBroker(ctx, v.w.broker.Stop) }

// withoutBroker ends the broker by end and starts it again.
func (v *villain) withoutBroker(ctx context.Context, end func(context.Context) error) error {
	v.w.bridge.up.Lock()
	defer v.w.bridge.up.Unlock()
	if err := end(ctx); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(v.rand.IntN(500))*time.Millisecond); err != nil {
		return err
	}
	return v.w.broker.Restart(ctx)
}
