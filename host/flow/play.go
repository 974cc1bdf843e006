package flow

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/effect"
)

// performance is one action being played: the message's own, or a sub-action.
type performance struct {
	setup *Setup
	// modules are those that were installed when the action began.
	modules Modules
	action  *abi.Action
	module  Module
	token   string
	run     *run
	story   *story
	now     time.Time
	// lane is the one that the action is in; noLane: in none.
	lane   string
	noLane bool
	// clock is that of the action, once it plays; that of the parent for a
	// sub-action in the parent's lane. outer is the parent's in another lane.
	clock, outer *clock
	outage       *outage
	// shares: it may be given what others of its lane have read.
	shares bool
	// subIDs are the ids of the sub-actions so far.
	subIDs map[string]bool
	// dialogue is kept for the listener; nil when it does not want it.
	dialogue *dialogue.Dialogue
}

// outcome is the end of an action: a reply or a failure.
type outcome struct {
	reply *abi.Reply
	fail  *abi.Failure
	// abandoned: no reply and no acknowledgement; the broker keeps the message.
	abandoned bool
	// why it was abandoned; stuck is set when something must be mended first.
	why   string
	stuck error
	// observed: it tells of what would have been done.
	observed bool
}

func failure(code abi.ErrorCode, text string) outcome {
	return outcome{fail: &abi.Failure{Code: code, Message: text}}
}

// play takes an action through its turns, and tells the listener.
func (f *Flow) play(ctx context.Context, p *performance) outcome {
	f.listen(p)
	out := f.perform(ctx, p)
	f.tell(p, out)
	return out
}

func (f *Flow) perform(ctx context.Context, p *performance) outcome {
	timeLimit := f.o.ActionTime
	if p.noLane {
		timeLimit = noLaneActionTime
	}
	if p.clock == nil {
		limited, cancel := context.WithCancelCause(ctx)
		ctx = limited
		p.clock = startClock(p.outer, timeLimit, func() {
			cancel(&codedError{code: abi.CodeModule, text: fmt.Sprintf("the action took longer than %s and was ended", timeLimit)})
		})
		defer cancel(nil)
		defer p.clock.stop()
	}

	m := p.module.Manifest()
	if rule := m.Rule(p.action.Name); p.action.Kind == abi.KindRule && rule != nil && rule.Exclusive {
		if progress, ok := f.exclusive.enter(p.action.Name); !ok {
			return failure(abi.CodeBusy, fmt.Sprintf("Another %s is still running%s; wait for its end.", rule.Title, progress))
		}
		defer f.exclusive.leave(p.action.Name)
	}
	settle, err := p.module.Admit()
	if err != nil {
		out := failure(abi.CodeModule, err.Error())
		out.fail.Retry = true
		return out
	}
	limits := LimitsOf(m)
	who := newHolder()
	p.outage = &outage{flow: f, run: p.run, setup: p.setup, clock: p.clock, lane: p.lane}
	scope := p.setup.Performer.Open(effect.ScopeOptions{
		Action: p.action.ID, Permits: p.module.Permits(), ContextToken: p.token,
		MaxCalls: limits.Calls, MaxTurnCalls: limits.TurnCalls, Waiting: p.outage.waiting(), Reads: f.reader(p, who), Rehearsal: p.run.rehearsal,
	})
	defer func() {
		f.holds.release(who)
		p.story.add(scope.Calls(), scope.Waiting(), scope.Held())
		if err := scope.Close(); err != nil {
			f.o.Logger.Error("downloaded files could not be removed", "action", p.action.ID, "error", err)
		}
	}()

	out, err := f.turns(ctx, p, scope, who)
	settle(verdict(err))
	if err == nil {
		return out
	}
	// When the host stops there is no cause but context.Canceled.
	if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
		err = cause
	}
	return failureOf(err)
}

// verdict on a module whose action ended so.
func verdict(err error) (Verdict, string) {
	var coded *codedError
	switch {
	case err == nil:
		return Well, ""
	case errors.As(err, &coded) && coded.fault:
		return AtFault, coded.text
	}
	return NoVerdict, ""
}

// turns asks the module until it replies or fails.
func (f *Flow) turns(ctx context.Context, p *performance, scope *effect.Scope, who *holder) (outcome, error) {
	m := p.module.Manifest()
	in := newInput(p)
	seed := SeedOf(p.action.ID)
	turns := LimitsOf(m).Turns
	for turn := 1; turn <= turns; turn++ {
		text := in.Text(turn)
		if len(text) > maxHistory {
			return outcome{}, &codedError{code: abi.CodeModule, text: fmt.Sprintf("module %s: the history of the action has grown over %d bytes; the rule must hand back a state or split its work", m.Name, maxHistory)}
		}
		p.story.turn()
		answer, log, err := p.module.Turn(ctx, text, p.now, seed)
		for _, line := range log {
			f.o.Logger.Info("module says", "action", p.action.ID, "module", m.Name, "line", f.o.Redact(line))
		}
		if err != nil {
			if ctx.Err() != nil {
				return outcome{}, ctx.Err()
			}
			var own interface{ Fault() bool }
			return outcome{}, &codedError{abi.CodeModule, err.Error(), errors.As(err, &own) && own.Fault()}
		}
		out, err := ParseOutput(answer)
		if err != nil {
			return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s broke the contract: %s", m.Name, err), true}
		}
		if out.Progress != "" && p.action.Parent == "" {
			f.exclusive.progress(p.action.Name, out.Progress)
			if p.run.rehearsal == nil {
				f.interim(p.run.jobs, out.Progress)
			}
		}
		switch {
		case out.Reply != nil:
			return outcome{reply: out.Reply}, nil
		case out.Fail != nil:
			return outcome{fail: out.Fail}, nil
		}
		if err := f.holds.take(ctx, who, slices.Sorted(slices.Values(out.Hold)), func() func() { return f.aside(p) }); err != nil {
			return outcome{}, err
		}
		var results []abi.Result
		switch {
		case len(out.Calls) > 0:
			results, err = scope.Perform(ctx, out.Calls)
			p.outage.over()
			if err != nil {
				return outcome{}, refused(m.Name, err)
			}
			p.story.note(out.Calls, results)
		case len(out.Actions) > 0:
			if err := checkStart(m, p.action, f.holds.any(who)); err != nil {
				return outcome{}, err
			}
			if results, err = f.subActions(ctx, p, out.Actions); err != nil {
				return outcome{}, err
			}
		}
		p.note(out, results, log)
		in.Add(out.State, results)
	}
	return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s took more than %d turns", m.Name, turns), true}
}

func refused(module string, err error) error {
	var r *effect.RefusedError
	if errors.As(err, &r) {
		return &codedError{r.Code, fmt.Sprintf("module %s was refused a call: %s", module, r.Text), true}
	}
	return err
}

// aside is how an action waits for a key: as for a service that is down, without a slot
// and with its clock standing still, since who has the key may be one of many before it.
func (f *Flow) aside(p *performance) (back func()) {
	f.lanes.leave()
	p.clock.halt()
	return func() {
		f.lanes.enter()
		p.clock.goOn()
	}
}

// SeedOf draws the seed of an action from its id.
func SeedOf(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}

// interim sends a text to those who wait for messages, if that can be done quickly.
func (f *Flow) interim(jobs []*job, text string) {
	body := encode(replyBody{Message: f.o.Redact(text)})
	ctx, cancel := context.WithTimeout(f.run, interimTime)
	defer cancel()
	for _, j := range jobs {
		d := j.current()
		if d == nil || j.message.ReplyTo == "" || j.message.CorrelationID == "" {
			continue
		}
		if err := d.Reply(ctx, body); err != nil {
			f.o.Logger.Debug("interim reply not sent", "action", j.message.ID, "error", err)
		}
	}
}

// subActions plays the sub-actions of one turn, each in the lane of its
// incident, and collects their replies in order.
func (f *Flow) subActions(ctx context.Context, p *performance, asked []abi.SubAction) ([]abi.Result, error) {
	subs := make([]*performance, len(asked))
	for i, s := range asked {
		sub, err := f.subAction(p, s)
		if err != nil {
			return nil, err
		}
		subs[i] = sub
	}
	results := make([]abi.Result, len(asked))
	if !p.noLane {
		// In the parent's lane, and like all of a lane one after another.
		for i, sub := range subs {
			out := f.playSub(ctx, sub)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if out.abandoned {
				return nil, &abandonedError{out}
			}
			results[i] = out.result(asked[i].ID)
		}
		return results, nil
	}
	var group sync.WaitGroup
	var givenUp atomic.Pointer[outcome]
	// The slot is given up, so that the sub-actions can run.
	f.lanes.leave()
	for i, sub := range subs {
		group.Add(1)
		f.lanes.submit(sub.lane, &task{run: func(started bool) {
			defer group.Done()
			if !started || ctx.Err() != nil {
				stops := failureOf(context.Canceled)
				givenUp.Store(&stops)
				return
			}
			out := f.playSub(ctx, sub)
			if out.abandoned {
				givenUp.Store(&out)
			}
			results[i] = out.result(asked[i].ID)
		}})
	}
	group.Wait()
	f.lanes.enter()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if out := givenUp.Load(); out != nil {
		// The whole action is done again by the next host.
		return nil, &abandonedError{*out}
	}
	return results, nil
}

// abandonedError ends an action of which a part was abandoned.
type abandonedError struct{ outcome }

func (e *abandonedError) Error() string { return e.why }

// playSub plays a sub-action. Its failure is logged here, because the one line
// of the message tells only the end of them all.
func (f *Flow) playSub(ctx context.Context, p *performance) outcome {
	out := f.play(ctx, p)
	if out.fail != nil {
		f.o.Logger.Warn("sub-action failed", "action", p.action.ID, "rule", p.action.Title, "incident", p.action.IncidentID,
			"code", string(out.fail.Code), "message", f.o.Redact(out.fail.Message))
	}
	return out
}

// subAction checks one sub-action and makes its performance.
func (f *Flow) subAction(p *performance, s abi.SubAction) (*performance, error) {
	m := p.module.Manifest()
	if p.subIDs == nil {
		p.subIDs = map[string]bool{}
	}
	if err := checkSubAction(m, s, p.subIDs, p.lane, p.noLane); err != nil {
		return nil, err
	}
	module := p.modules.Find(abi.KindRule, s.Rule)
	if module == nil {
		if why := whyAbsent(p.modules, abi.KindRule, s.Rule); why != "" {
			return nil, subActionError(m, s, abi.CodeRouting, "nothing handles %s: %s", s.Rule, why)
		}
		return nil, subActionError(m, s, abi.CodeRouting, "no installed module handles %s", s.Rule)
	}
	rule := module.Manifest().Rule(s.Rule)
	p.subIDs[s.ID] = true
	sub := &performance{
		setup: p.setup, modules: p.modules,
		action: &abi.Action{
			ID: p.action.ID + "/" + s.ID, Kind: abi.KindRule, Name: s.Rule, Title: rule.Title, Object: rule.Object,
			IncidentID: s.IncidentID, TaskID: s.TaskID, ArtifactID: s.ArtifactID, Fields: s.Fields,
			User: p.action.User, Parent: p.action.ID,
		},
		module: module, token: p.token, run: p.run, story: p.story, now: p.now,
		lane: incidentLane(s.IncidentID),
	}
	if p.noLane {
		sub.outer = p.clock
	} else {
		sub.clock = p.clock
	}
	return sub, nil
}

// result is the outcome of a sub-action as its parent sees it.
func (o outcome) result(id string) abi.Result {
	switch {
	case o.reply != nil:
		return abi.Result{ID: id, Reply: o.reply}
	case o.fail != nil:
		return abi.Result{ID: id, Error: &abi.CallError{Code: abi.CodeSubAction, Message: o.fail.Message, Cause: o.fail.Code, Retry: o.fail.Retry}}
	}
	return abi.Result{ID: id, Error: &abi.CallError{Code: abi.CodeSubAction, Message: "given up because the host stops"}}
}
