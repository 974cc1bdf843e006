package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	said "fn-threatq/host/dialogue"
	"fn-threatq/host/sandbox"
)

// Player replays dialogues to one module, in a sandbox of its own: nothing that it
// does takes time or memory from modules at work.
type Player struct {
	box    *sandbox.Sandbox
	module *wasm
}

// NewPlayer loads a module file. Close must follow.
func NewPlayer(ctx context.Context, cacheDir string, file []byte) (*Player, error) {
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: cacheDir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	module, err := box.Load(ctx, file, sandbox.DefaultCeiling)
	if err != nil {
		return nil, errors.Join(err, box.Close(ctx))
	}
	return &Player{box: box, module: &wasm{module: module, source: module.Manifest().Name}}, nil
}

// Manifest of the module.
func (p *Player) Manifest() *manifest.Manifest { return p.module.Manifest() }

// Close frees the module.
func (p *Player) Close(ctx context.Context) error { return p.box.Close(ctx) }

// Compare plays a recorded dialogue to the module and says what is different.
func (p *Player) Compare(ctx context.Context, d *said.Dialogue) (Replayed, error) {
	return Replay(ctx, p.module, d)
}

// Passes plays a scenario, given as the text of its file.
func (p *Player) Passes(ctx context.Context, text []byte) error {
	s, err := Parse("scenario", text, nil)
	if err != nil {
		return err
	}
	switch r := Run(ctx, p.module, s); {
	case r.Err != nil:
		return r.Err
	case r.Failure != "":
		return errors.New(r.Failure)
	}
	return nil
}

// Replayed is a recorded dialogue as another version led it.
type Replayed struct {
	// Dialogue is the new one. What it performed was answered by what was recorded.
	Dialogue *said.Dialogue
	// Diverged is the turn at which a call came that has no recorded answer; 0:
	// there was none.
	Diverged int
	// Short says that the recording itself stops at this turn, because it was cut or
	// the host ended the action: the end cannot be compared.
	Short int
	// Differences to the recorded one.
	Differences []said.Difference
}

// Replay plays a recorded dialogue to a module. A call is given the answer that the
// recording has for it: of the same call, else of one with the same service,
// method, path and query (of a sub-action: rule and objects), each once, and for a
// GET the last of them again.
func Replay(ctx context.Context, module Module, recorded *said.Dialogue) (Replayed, error) {
	m := module.Manifest()
	recorded = recorded.Canonical()
	if recorded.Action.Kind == abi.KindRule && m.Rule(recorded.Action.Name) == nil ||
		recorded.Action.Kind == abi.KindFunction && m.Function(recorded.Action.Name) == nil {
		return Replayed{}, fmt.Errorf("module %s %s does not handle the %s %s", m.Name, m.Version, recorded.Action.Kind, recorded.Action.Name)
	}
	known, err := newAnswers(recorded)
	if err != nil {
		return Replayed{}, err
	}
	action := recorded.Action
	st := &stage{action: &action, site: recorded.Site, now: time.UnixMilli(recorded.Now), settings: maps.Clone(recorded.Settings), once: true}
	out := Replayed{Dialogue: &said.Dialogue{
		ID: recorded.ID, Began: recorded.Began, Module: m.Name, Version: m.Version, Observed: recorded.Observed,
		Action: action, Now: recorded.Now, Settings: recorded.Settings, Site: recorded.Site,
	}}
	turns, err := play(ctx, module, st, func(n int, p *played) error {
		missing := false
		for _, x := range p.exchanges {
			if x.answer.given = known.find(x); x.answer.given == nil {
				missing = true
			}
		}
		switch {
		case !missing:
			return nil
		case n > len(recorded.Turns) && recorded.Fail != nil, recorded.Cut && known.cutAt > 0 && n >= known.cutAt:
			out.Short = n
		default:
			out.Diverged = n
		}
		return errStop
	})
	for _, t := range turns {
		out.Dialogue.Reply, out.Dialogue.Fail = t.out.Reply, t.out.Fail
		if t.out.Reply == nil && t.out.Fail == nil {
			out.Dialogue.Turns = append(out.Dialogue.Turns, said.Turn{
				Hold: t.out.Hold, Progress: t.out.Progress, State: len(t.out.State) > 0, Calls: t.out.Calls, Actions: t.out.Actions, Log: t.log,
			})
		}
	}
	var broken *brokenError
	switch {
	case err == nil, errors.Is(err, errStop):
	case errors.As(err, &broken):
		out.Dialogue.Fail = &abi.Failure{Code: abi.CodeModule, Message: broken.text}
		if broken.refused {
			out.Dialogue.Fail.Code = abi.CodePermit
		}
	default:
		return out, err
	}
	upTo := max(out.Diverged, out.Short)
	if out.Short > 0 {
		// The last turn asks for what the recording does not reach.
		out.Dialogue.Turns = out.Dialogue.Turns[:min(len(out.Dialogue.Turns), out.Short-1)]
		upTo = out.Short - 1
	}
	if out.Short != 1 {
		out.Differences = said.Compare(recorded, out.Dialogue, upTo)
	}
	return out, nil
}

// answers are those of a recording.
type answers struct {
	all []*recordedAnswer
	// cutAt is the first turn without results; 0: there is none.
	cutAt int
}

type recordedAnswer struct {
	request request
	result  abi.Result
	used    bool
}

func newAnswers(d *said.Dialogue) (*answers, error) {
	known := &answers{}
	for n, t := range d.Turns {
		if len(t.Results) < len(t.Calls)+len(t.Actions) && known.cutAt == 0 {
			known.cutAt = n + 1
		}
		exchanges, err := exchangesOf(said.Turn{Calls: t.Calls, Actions: t.Actions})
		if err != nil {
			return nil, err
		}
		for i, x := range exchanges {
			if i < len(t.Results) {
				known.all = append(known.all, &recordedAnswer{request: x.request, result: t.Results[i]})
			}
		}
	}
	return known, nil
}

// find is the result for a call of the module; nil when none was recorded.
func (k *answers) find(x *exchange) *abi.Result {
	var again *recordedAnswer
	for _, alike := range []func(*recordedAnswer) bool{
		func(r *recordedAnswer) bool {
			return r.request.equals(&x.request) && string(r.request.body.bytes()) == string(x.request.body.bytes())
		},
		func(r *recordedAnswer) bool { return r.request.equals(&x.request) },
	} {
		for _, r := range k.all {
			switch {
			case !alike(r):
			case r.used:
				again = r
			default:
				r.used = true
				return &r.result
			}
		}
	}
	if again != nil && x.request.method == "GET" {
		return &again.result
	}
	return nil
}

// equals says that two requests are of one service, method, path and query, or
// two sub-actions of one rule and object, and are answered in one form.
func (q *request) equals(other *request) bool {
	if q.rule != other.rule || q.service != other.service || q.method != other.method || q.path != other.path || q.download != other.download {
		return false
	}
	if q.rule == "" {
		return string(q.query.json()) == string(other.query.json())
	}
	for _, key := range []string{"incident_id", "task_id", "artifact_id"} {
		if string(q.body.get(key).bytes()) != string(other.body.get(key).bytes()) {
			return false
		}
	}
	return true
}

// bytes is json of a value that may be absent.
func (v *value) bytes() []byte {
	if v == nil {
		return nil
	}
	return v.json()
}
