package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
)

// Limits of an action: defaults that a manifest may move, and their ceilings.
const (
	defaultTurns, maxTurns         = 100, 10_000
	defaultCalls, maxCalls         = 5_000, 100_000
	defaultTurnCalls, maxTurnCalls = 250, 1_000
	// maxHistory bounds what the turns of an action are given, in bytes: under
	// the 16 MB that the sandbox takes by default, to fail with advice here.
	maxHistory = 15 << 20
)

// limit is the wish of a manifest, the default for none, never over the ceiling.
func limit(wish, normal, ceiling int) int {
	if wish == 0 {
		return normal
	}
	return min(wish, ceiling)
}

// performance is one action being played: the message's own, or a sub-action.
type performance struct {
	action *abi.Action
	module Module
	token  string
	job    *job
	story  *story
	now    time.Time
	// lane is the one that the action is in; noLane: in none.
	lane   string
	noLane bool
	// subIDs are the ids of the sub-actions so far.
	subIDs map[string]bool
}

// outcome is the end of an action: a reply or a failure.
type outcome struct {
	reply *abi.Reply
	fail  *abi.Failure
	// abandoned: the host is stopping; the broker keeps the message.
	abandoned bool
}

func failure(code abi.ErrorCode, text string) outcome {
	return outcome{fail: &abi.Failure{Code: code, Message: text}}
}

// play takes an action through its turns.
func (f *Flow) play(ctx context.Context, p *performance) outcome {
	timeLimit := f.o.ActionTime
	if p.noLane {
		timeLimit = noLaneActionTime
	}
	// A sub-action whose parent ends no later has no limit of its own: two
	// timers of one moment would leave open who is told of the end.
	if end, ok := ctx.Deadline(); !ok || end.After(time.Now().Add(timeLimit)) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeLimit, &codedError{abi.CodeModule, fmt.Sprintf("the action took longer than %s and was ended", timeLimit)})
		defer cancel()
	}

	m := p.module.Manifest()
	if rule := m.Rule(p.action.Name); rule != nil && rule.Exclusive {
		if progress, ok := f.exclusive.enter(p.action.Name); !ok {
			return failure(abi.CodeBusy, fmt.Sprintf("Another %s is still running%s; wait for its end.", rule.Title, progress))
		}
		defer f.exclusive.leave(p.action.Name)
	}
	scope := f.o.Performer.Open(effect.ScopeOptions{
		Action: p.action.ID, Permits: p.module.Permits(), ContextToken: p.token,
		MaxCalls:     limit(m.Limits.Calls, defaultCalls, maxCalls),
		MaxTurnCalls: limit(m.Limits.TurnCalls, defaultTurnCalls, maxTurnCalls),
	})
	who := newHolder()
	defer func() {
		f.holds.release(who)
		p.story.add(scope.Calls(), scope.Waiting())
		if err := scope.Close(); err != nil {
			f.o.Logger.Error("downloaded files could not be removed", "action", p.action.ID, "error", err)
		}
	}()

	out, err := f.turns(ctx, p, scope, who)
	if err == nil {
		return out
	}
	// When the host stops there is no cause but context.Canceled.
	if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
		err = cause
	}
	return failureOf(err)
}

// turns asks the module until it replies or fails.
func (f *Flow) turns(ctx context.Context, p *performance, scope *effect.Scope, who *holder) (outcome, error) {
	m := p.module.Manifest()
	in := f.newInput(p)
	seed := seedOf(p.action.ID)
	for turn := 1; turn <= limit(m.Limits.Turns, defaultTurns, maxTurns); turn++ {
		text := in.text(turn)
		if len(text) > maxHistory {
			return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s: the history of the action has grown over %d bytes; the rule must hand back a state or split its work", m.Name, maxHistory)}
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
			return outcome{}, &codedError{abi.CodeModule, err.Error()}
		}
		out, err := parseOutput(answer)
		if err != nil {
			return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s broke the contract: %s", m.Name, err)}
		}
		if out.Progress != "" && p.action.Parent == "" {
			f.exclusive.progress(p.action.Name, out.Progress)
			f.interim(p.job, out.Progress)
		}
		switch {
		case out.Reply != nil:
			return outcome{reply: out.Reply}, nil
		case out.Fail != nil:
			return outcome{fail: out.Fail}, nil
		}
		if err := f.holds.take(ctx, who, slices.Sorted(slices.Values(out.Hold))); err != nil {
			return outcome{}, err
		}
		var results []abi.Result
		switch {
		case len(out.Calls) > 0:
			if results, err = scope.Perform(ctx, out.Calls); err != nil {
				return outcome{}, refused(m.Name, err)
			}
		case len(out.Actions) > 0 && f.holds.any(who):
			// Its sub-actions could wait for these keys, or for others who do.
			return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s: an action that holds keys cannot start sub-actions", m.Name)}
		case len(out.Actions) > 0:
			if results, err = f.subActions(ctx, p, out.Actions); err != nil {
				return outcome{}, err
			}
		}
		in.add(out.State, results)
	}
	return outcome{}, &codedError{abi.CodeModule, fmt.Sprintf("module %s took more than %d turns", m.Name, limit(m.Limits.Turns, defaultTurns, maxTurns))}
}

func refused(module string, err error) error {
	var r *effect.RefusedError
	if errors.As(err, &r) {
		return &codedError{r.Code, fmt.Sprintf("module %s was refused a call: %s", module, r.Text)}
	}
	return err
}

// failCodes are the codes that a module may fail with.
var failCodes = []abi.ErrorCode{
	abi.CodeHTTP, abi.CodeUnreachable, abi.CodeUnknown, abi.CodeLogin, abi.CodeTooLarge, abi.CodeSubAction, abi.CodeInternal,
	abi.CodeInput, abi.CodeNotFound, abi.CodeForbidden, abi.CodeModule,
}

// parseOutput reads the answer of a turn and holds it to the contract.
func parseOutput(text []byte) (*abi.Output, error) {
	var out abi.Output
	if !utf8.Valid(text) {
		return nil, errors.New("its answer is not UTF-8")
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("its answer is not the JSON that is wanted: %w", err)
	}
	dropNulls(&out)
	kinds := 0
	for _, is := range []bool{len(out.Calls) > 0, len(out.Actions) > 0, out.Reply != nil, out.Fail != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return nil, errors.New("its answer holds more than one of calls, actions, reply and fail")
	case kinds == 0 && len(out.State) == 0:
		return nil, errors.New("its answer holds none of calls, actions, reply, fail and state")
	case len(out.Hold) > abi.MaxHoldKeys:
		return nil, fmt.Errorf("it holds %d keys, the limit is %d", len(out.Hold), abi.MaxHoldKeys)
	case len(out.Progress) > abi.MaxProgress:
		return nil, fmt.Errorf("a progress text of %d bytes, the limit is %d", len(out.Progress), abi.MaxProgress)
	}
	for _, key := range out.Hold {
		if key == "" || len(key) > abi.MaxHoldKey {
			return nil, fmt.Errorf("a hold key of %d bytes, want 1 to %d", len(key), abi.MaxHoldKey)
		}
	}
	if r := out.Reply; r != nil {
		if len(r.Results) > 0 && r.Results[0] != '{' {
			return nil, errors.New("the results of its reply are not an object")
		}
		r.Message = cut(r.Message)
	}
	if out.Fail != nil {
		out.Fail.Message = cut(out.Fail.Message)
		if !slices.Contains(failCodes, out.Fail.Code) {
			return nil, fmt.Errorf("its failure has the code %q, which the contract does not know: %s", cut(string(out.Fail.Code)), out.Fail.Message)
		}
	}
	return &out, nil
}

// dropNulls makes null values absent.
func dropNulls(out *abi.Output) {
	values := []*abi.JSON{&out.State}
	for i := range out.Calls {
		values = append(values, &out.Calls[i].Body)
	}
	if out.Reply != nil {
		values = append(values, &out.Reply.Results)
	}
	for _, v := range values {
		if string(*v) == "null" {
			*v = nil
		}
	}
}

// cut keeps messages to users within the contract.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= abi.MaxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:abi.MaxMessage-len("…")], "") + "…"
}

// seedOf draws the seed of an action from its id.
func seedOf(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}

// interim sends a progress text, if that can be done quickly.
func (f *Flow) interim(j *job, text string) {
	if j.message.ReplyTo == "" || j.message.CorrelationID == "" {
		return
	}
	body := encode(replyBody{Message: f.o.Redact(text)})
	ctx, cancel := context.WithTimeout(f.run, interimTime)
	defer cancel()
	if err := j.current().Reply(ctx, body); err != nil {
		f.o.Logger.Debug("interim reply not sent", "action", j.message.ID, "error", err)
	}
}

// subActions plays the sub-actions of one turn, each in the lane of its
// incident, and collects their replies in order.
func (f *Flow) subActions(ctx context.Context, p *performance, asked []abi.SubAction) ([]abi.Result, error) {
	m := p.module.Manifest()
	if p.action.Parent != "" {
		return nil, &codedError{abi.CodeModule, fmt.Sprintf("module %s: a sub-action cannot start sub-actions", m.Name)}
	}
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
			results[i] = f.playSub(ctx, sub, asked[i].ID)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		return results, nil
	}
	var group sync.WaitGroup
	var givenUp atomic.Bool
	// The slot is given up, so that the sub-actions can run.
	f.lanes.leave()
	for i, sub := range subs {
		group.Add(1)
		f.lanes.submit(sub.lane, func(started bool) {
			defer group.Done()
			if !started || ctx.Err() != nil {
				givenUp.Store(true)
				return
			}
			results[i] = f.playSub(ctx, sub, asked[i].ID)
		})
	}
	group.Wait()
	f.lanes.enter()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if givenUp.Load() {
		// The host drains: the whole action is done again by the next one.
		return nil, context.Canceled
	}
	return results, nil
}

// playSub plays a sub-action. Its failure is logged here, because the one line
// of the message tells only the end of them all.
func (f *Flow) playSub(ctx context.Context, p *performance, id string) abi.Result {
	out := f.play(ctx, p)
	if out.fail != nil {
		f.o.Logger.Warn("sub-action failed", "action", p.action.ID, "rule", p.action.Title, "incident", p.action.IncidentID,
			"code", string(out.fail.Code), "message", f.o.Redact(out.fail.Message))
	}
	return out.result(id)
}

// subAction checks one sub-action and makes its performance.
func (f *Flow) subAction(p *performance, s abi.SubAction) (*performance, error) {
	m := p.module.Manifest()
	fail := func(code abi.ErrorCode, format string, args ...any) error {
		return &codedError{code, fmt.Sprintf("module %s: sub-action %q: %s", m.Name, s.ID, fmt.Sprintf(format, args...))}
	}
	lane := incidentLane(s.IncidentID)
	switch {
	case s.ID == "" || len(s.ID) > abi.MaxCallID:
		return nil, fail(abi.CodeModule, "an id of %d bytes, want 1 to %d", len(s.ID), abi.MaxCallID)
	case p.subIDs[s.ID]:
		return nil, fail(abi.CodeModule, "the action has another one of this id")
	case !slices.Contains(m.Actions, s.Rule):
		return nil, fail(abi.CodePermit, "%s is not among the actions of the module's manifest", s.Rule)
	case !p.noLane && lane != p.lane:
		// Two such actions could wait for each other's lanes.
		return nil, fail(abi.CodeModule, "only a rule without a lane may start actions for other incidents (%d)", s.IncidentID)
	}
	module := f.o.Modules.Find(abi.KindRule, s.Rule)
	if module == nil {
		return nil, fail(abi.CodeRouting, "no installed module handles %s", s.Rule)
	}
	rule := module.Manifest().Rule(s.Rule)
	if p.subIDs == nil {
		p.subIDs = map[string]bool{}
	}
	p.subIDs[s.ID] = true
	return &performance{
		action: &abi.Action{
			ID: p.action.ID + "/" + s.ID, Kind: abi.KindRule, Name: s.Rule, Title: rule.Title, Object: rule.Object,
			IncidentID: s.IncidentID, TaskID: s.TaskID, ArtifactID: s.ArtifactID, Fields: s.Fields,
			User: p.action.User, Parent: p.action.ID,
		},
		module: module, token: p.token, job: p.job, story: p.story, now: p.now,
		lane: lane,
	}, nil
}

// result is the outcome of a sub-action as its parent sees it.
func (o outcome) result(id string) abi.Result {
	switch {
	case o.reply != nil:
		return abi.Result{ID: id, Reply: o.reply}
	case o.fail != nil:
		return abi.Result{ID: id, Error: &abi.CallError{Code: abi.CodeSubAction, Message: o.fail.Message, Cause: o.fail.Code}}
	}
	return abi.Result{ID: id, Error: &abi.CallError{Code: abi.CodeSubAction, Message: "given up because the host stops"}}
}
