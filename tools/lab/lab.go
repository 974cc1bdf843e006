package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// lab is the world with the host process in it.
type lab struct {
	*world
	host *hostProcess // nil in a lab that is up without one: then it is the user's own
	out  *printer
	// customized is what `fn-threatq customize` said at the end.
	customized string
	// limit is how long the host may be silent while it is waited for.
	limit time.Duration
}

// openLab starts everything and waits until the host is ready.
func openLab(ctx context.Context, o options, dir string, out *printer, onEntry func(entry)) (*lab, error) {
	w, err := newWorld(dir, resilienttest.InstalledNothing)
	if err != nil {
		return nil, err
	}
	l := &lab{world: w, out: out, limit: o.limit}
	if err := w.install(o.modules); err != nil {
		w.close()
		return nil, err
	}
	if l.customized, err = w.customize(ctx, o.host); err != nil {
		w.close()
		return nil, err
	}
	if l.host, err = startHost(o.host, w, onEntry); err != nil {
		w.close()
		return nil, err
	}
	if err := l.wait(ctx, "the host to be ready", l.host.ready); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// close stops the host, then the world.
func (l *lab) close() error {
	err := l.host.stop()
	l.world.close()
	return err
}

// wait waits for done, as long as the host logs something within the limit: how
// long a story takes depends on the machine, and modules may have to be compiled.
// Its error says what was waited for and what the host logged last.
func (l *lab) wait(ctx context.Context, what string, done <-chan struct{}) error {
	if l.host == nil {
		return l.waitForOthers(ctx, what, done)
	}
	silence := time.NewTimer(l.limit)
	defer silence.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-l.host.heard:
			silence.Reset(l.limit)
		case <-l.host.done:
			select {
			case <-done: // it was the last thing that the host did
				return nil
			default:
			}
			return fmt.Errorf("the host process ended (%s) while the lab waited for %s; %s", l.host.cmd.ProcessState, what, l.host.lastLines())
		case <-silence.C:
			return fmt.Errorf("the host has been silent for %s and the lab still waits for %s; %s", l.limit, what, l.host.lastLines())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitForOthers waits for a host that the lab has not started and cannot hear.
func (l *lab) waitForOthers(ctx context.Context, what string, done <-chan struct{}) error {
	limit := time.NewTimer(l.limit)
	defer limit.Stop()
	select {
	case <-done:
		return nil
	case <-limit.C:
		return fmt.Errorf("%s has not come within %s: does a host of yours run on %s? The message waits in the queue", what, l.limit, l.config)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// perform does what people do and waits for all that follows from it: what the
// host writes in SOAR fires rules in its turn.
func (l *lab) perform(ctx context.Context, do func()) ([]*action, error) {
	before := len(l.actionsFrom(0))
	if err := l.during(do); err != nil {
		return nil, err
	}
	for done := before; ; {
		actions := l.actionsFrom(done)
		if len(actions) == 0 {
			return l.actionsFrom(before), nil
		}
		for _, a := range actions {
			if err := l.wait(ctx, "the reply to "+a.id+" ("+a.about+")", a.answered); err != nil {
				return nil, err
			}
			if l.host == nil {
				continue
			}
			if err := l.wait(ctx, "the log line of "+a.id+" ("+a.about+")", l.host.logged(a.id)); err != nil {
				return nil, err
			}
		}
		done += len(actions)
	}
}

// showServers prints where the simulators and the broker are.
func (w *world) showServers(out *printer) {
	out.line("  %-18s %s  organization %d", "SOAR simulator", w.soar.URL(), w.soar.OrgID())
	out.line("  %-18s %s", "ThreatQ simulator", w.threatq.URL())
	out.line("  %-18s %s  STOMP over TLS, queue %s", "message broker", w.broker.Addr(), w.queue("actions"))
}

// showWhere prints what runs where.
func (l *lab) showWhere() {
	l.showServers(l.out)
	l.out.line("  %-18s %s", "customize", l.customized)
	l.out.line("  %-18s %s, process %d, ready after %s", "host", filepath.Base(l.host.cmd.Path), l.host.cmd.Process.Pid, l.host.took.Round(time.Millisecond))
	l.out.line("  %-18s %s", "app.config", l.config)
}

// shownDifferences is how many differences are shown: a rule that fails may leave
// hundreds.
const shownDifferences = 60

// demo plays the story, shows it, and checks the end of it.
func demo(ctx context.Context, o options, out *printer) (err error) {
	dir, err := os.MkdirTemp("", "fn-threatq-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := openLab(ctx, o, dir, out, nil)
	if err != nil {
		return err
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, l.close())
		}
	}()

	out.heading("fn-threatq: a phishing incident on its way from SOAR to ThreatQ")
	l.showWhere()
	begin := time.Now()
	t, err := l.play(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	memory := l.host.memory()

	out.heading("ThreatQ afterwards")
	l.showThreatQ(t.incident)
	if o.tamper != nil {
		o.tamper(l.world)
	}
	open = false
	stopped := l.host.stop()
	l.settle(ctx)
	calls := 0
	for _, a := range l.actions {
		calls += len(l.host.calls(a.id))
	}
	// What went wrong on the way explains the end.
	wrong := append(l.checkConduct(stopped), l.check(t)...)
	l.world.close()

	out.heading("In total")
	totals := fmt.Sprintf("%d actions, %d calls, %s", len(l.actions), calls, took.Round(time.Millisecond))
	if memory != "" {
		totals += "; host process " + memory
	}
	out.line("  %s", totals)
	if len(wrong) == 0 {
		out.line("  %s", out.green("✔ ThreatQ is as expected, each action was answered once, the queue is empty"))
		return nil
	}
	l.showDifferences(wrong)
	return errReported
}

func (l *lab) showDifferences(wrong []string) {
	out := l.out
	out.line("  %s", out.red(fmt.Sprintf("✘ %s from what was expected:", countOf(len(wrong), "difference"))))
	for _, difference := range wrong[:min(shownDifferences, len(wrong))] {
		out.line("    %s", out.red(difference))
	}
	if more := len(wrong) - shownDifferences; more > 0 {
		out.line("    %s", out.red(fmt.Sprintf("… and %d more", more)))
	}
}

// settle takes the replies that were sent before the host ended, if any are left.
func (l *lab) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	for ctx.Err() == nil {
		if ready, unacked := l.broker.Depth(l.queue("acks")); ready+unacked == 0 {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	// Ending the reader waits for the reply that it has in hand.
	l.stopReading()
}
