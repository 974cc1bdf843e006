package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// story is one run: a plan, what is done to it, and the verdict.
type story struct {
	w       *world
	plan    *plan
	tally   *tally
	oracle  *oracle
	villain *villain
	out     *printer
	verdict verdict
	took    time.Duration
	// asked are the commands whose output was searched for secrets, and searched says
	// where else.
	asked    []string
	searched string
}

// inWorld starts all but the host, calls do, and ends all.
func inWorld(ctx context.Context, o options, do func(*world) error) error {
	dir, cleanUp, err := folder(o)
	if err != nil {
		return err
	}
	defer cleanUp()
	w, err := newWorld(ctx, dir, o.host, o.account(), nil, o.hosts)
	if err != nil {
		return err
	}
	defer func() {
		w.close()
		_ = w.broker.Stop(context.Background())
	}()
	return do(w)
}

// account is how the host of this seed logs in.
func (o options) account() account { return account{key: o.seed%2 == 1} }

// chaos plays a plan under fire and judges the end of it.
func chaos(ctx context.Context, o options, out *printer) error {
	out.heading("fn-threatq under fire: seed %d, %d actions, %d kills of the host, %.3g %% of all calls suffer", o.seed, o.actions, o.kills, o.faults)
	return inWorld(ctx, o, func(w *world) error {
		s := &story{w: w, plan: newPlan(o.seed, o.actions), tally: newTally(), out: out}
		s.oracle = newOracle(o.seed, o.faults, !o.gentle, s.tally, w.canary)
		s.villain = newVillain(w, o.seed, o.actions, o.kills, s.tally, s.oracle)
		if err := s.play(ctx); err != nil {
			s.tell()
			return errors.Join(err, fmt.Errorf("seed %d; logs of the host in %s (-keep keeps them)", o.seed, w.host.logs))
		}
		if o.baseline {
			if err := s.compareWithPeace(ctx, o, filepath.Join(w.dir, "peace")); err != nil {
				s.tell() // what was found under fire is worth knowing all the same
				return err
			}
		}
		s.tell()
		if !s.verdict.good() {
			return errReported
		}
		return nil
	})
}

// folder is where a run lives; what removes it afterwards comes with it.
func folder(o options) (dir string, cleanUp func(), err error) {
	if o.dir != "" {
		return o.dir, func() {}, os.MkdirAll(o.dir, 0o700)
	}
	dir, err = os.MkdirTemp("", "fn-threatq-chaos-")
	return dir, func() {
		if !o.keep {
			os.RemoveAll(dir)
		}
	}, err
}

// play performs the plan while the villain is at work, and judges the end.
func (s *story) play(ctx context.Context) error {
	begin := time.Now()
	defer func() { s.took = time.Since(begin) }()
	w := s.w
	w.seed(s.plan)
	w.decide(s.oracle.decide)
	if err := w.startHosts(); err != nil {
		return err
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() error { return s.perform(inGroup, s.plan.stream) })
	group.Go(func() error { return s.villain.run(inGroup) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.allAnswered(ctx); err != nil {
		return err
	}
	if err := s.mend(ctx); err != nil { // the last deeds depend on what is there
		return err
	}
	w.decide(s.oracle.decide)
	if err := s.perform(ctx, s.plan.last); err != nil {
		return err
	}
	if err := s.allAnswered(ctx); err != nil {
		return err
	}
	if err := s.mend(ctx); err != nil {
		return err
	}
	return s.judge(ctx)
}

// backlog is how many messages may wait for their replies.
const backlog = 250

// perform does deeds as fast as the backlog allows.
func (s *story) perform(ctx context.Context, deeds []deed) error {
	for _, d := range deeds {
		if err := s.w.bridge.await(ctx, stuckAfter, func(s standing) bool { return s.published-s.answered < backlog }); err != nil {
			return err
		}
		s.w.soar.perform(d)
	}
	return nil
}

func (s *story) allAnswered(ctx context.Context) error {
	return s.w.bridge.await(ctx, stuckAfter, func(s standing) bool { return s.unsent == 0 && s.answered == s.published })
}

// mend asks again, in peace, for what was answered with an error, as people do.
func (s *story) mend(ctx context.Context) error {
	s.w.sees()
	for _, r := range s.w.bridge.all() {
		if r.mended || r.again || len(r.finals) == 0 || !r.finals[0].failed() {
			continue
		}
		r.mended = true
		text := about(r) + ": " + inOneLine(r.finals[0].Message)
		if r.removedBefore() {
			s.verdict.belated = append(s.verdict.belated, text)
			continue
		}
		s.verdict.failed = append(s.verdict.failed, text)
		m := r.message
		m.Headers = maps.Clone(m.Headers)
		m.Headers["correlation-id"] += "-again"
		s.w.bridge.put(&record{message: m, again: true})
	}
	return s.allAnswered(ctx)
}

// removedBefore says that a host removed an artifact as it was asked, and was killed
// before it could say so: the next one finds nothing to mark. That ThreatQ has the
// mark all the same is for the model to see.
func (r *record) removedBefore() bool {
	return strings.Contains(string(r.message.Body), `"threatq_remove_artifact":`) && strings.Contains(r.finals[0].Message, "no longer exists in SOAR")
}

// judge ends the host and looks at everything.
func (s *story) judge(ctx context.Context) error {
	w, v := s.w, &s.verdict
	s.ask(ctx, liveCommands)
	if err := w.stopHosts(); err != nil {
		v.other = append(v.other, err.Error())
	}
	v.other = append(v.other, s.villain.wrong...)
	published, _ := w.bridge.progress()
	v.actions = published - len(v.failed)
	if want := s.plan.actions(); v.actions != want {
		v.other = append(v.other, fmt.Sprintf("SOAR published %d messages, %d were planned: the host wrote in SOAR what it should not, or not what it should", v.actions, want))
	}
	w.judgeReplies(v)
	for _, r := range w.bridge.all() {
		if r.again && len(r.finals) > 0 && r.finals[0].failed() {
			v.other = append(v.other, "failed in peace too: "+about(r)+": "+inOneLine(r.finals[0].Message))
		}
	}
	w.judgeState(v, s.plan)
	w.judgeQueues(ctx, v)
	return s.judgeSecrets(ctx)
}
