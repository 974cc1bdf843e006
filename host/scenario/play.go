package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/rest"
)

// played is a turn as it was: what the module asked for, and what it was told.
type played struct {
	out *abi.Output
	// exchanges are in the order in which the module asked. Of a turn that ended
	// the play, they have no answers.
	exchanges []*exchange
	log       []string
}

// brokenError says how a module broke the contract of the ABI.
type brokenError struct {
	turn int
	text string
	// refused: by a permit or limit of calls.
	refused bool
}

func (e *brokenError) Error() string { return fmt.Sprintf("turn %d: %s", e.turn, e.text) }

// errStop is the partner's wish to play no further.
var errStop = errors.New("stop")

// partner answers what a module asks for in a turn, counted from 1. The answers
// go into the exchanges.
type partner func(turn int, p *played) error

// play takes a module through an action, in the host's own way. It returns the
// turns played so far in any case.
func play(ctx context.Context, module Module, st *stage, answer partner) (turns []*played, err error) {
	m := module.Manifest()
	limits := flow.LimitsOf(m)
	in := flow.NewInput(m, st.settings, st.site, st.action, st.now)
	gate, err := openGate(m, st.action, limits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gate.scope.Close()) }()
	for n := 1; n <= limits.Turns; n++ {
		broken := func(format string, args ...any) error {
			return &brokenError{turn: n, text: fmt.Sprintf(format, args...)}
		}
		text := in.Text(n)
		if len(text) > limits.HistoryBytes {
			return turns, broken("the history of the action has grown over %d bytes; the rule must hand back a state or split its work", limits.HistoryBytes)
		}
		p, err := playTurn(ctx, module, st, text)
		if p != nil {
			turns = append(turns, p)
		}
		if err != nil {
			if ctx.Err() != nil {
				return turns, ctx.Err()
			}
			return turns, broken("%s", err)
		}
		if p.out.Reply == nil && p.out.Fail == nil {
			if err := gate.admit(ctx, p.out); err != nil {
				if ctx.Err() != nil {
					return turns, ctx.Err()
				}
				var refused *effect.RefusedError
				return turns, &brokenError{n, err.Error(), errors.As(err, &refused) && refused.Code == abi.CodePermit}
			}
		}
		if err := answer(n, p); err != nil {
			return turns, err
		}
		if p.out.Reply != nil || p.out.Fail != nil {
			return turns, nil
		}
		results, err := gate.results(p)
		if err != nil {
			return turns, err
		}
		in.Add(p.out.State, results)
	}
	return turns, &brokenError{turn: limits.Turns, text: fmt.Sprintf("module %s took more than %d turns", m.Name, limits.Turns)}
}

// playTurn plays one turn, twice: the same input must give the same bytes.
func playTurn(ctx context.Context, module Module, st *stage, input []byte) (*played, error) {
	seed := flow.SeedOf(st.action.ID)
	first, log, err := module.Turn(ctx, input, st.now, seed)
	p := &played{out: &abi.Output{}, log: log}
	if err != nil {
		return p, err
	}
	first = bytes.Clone(first)
	if !st.once {
		second, _, err := module.Turn(ctx, input, st.now, seed)
		if err != nil {
			return p, fmt.Errorf("played once more: %w", err)
		}
		if !bytes.Equal(first, second) {
			return p, fmt.Errorf("the module is not deterministic: the same input was answered with\n%s\nand then with\n%s", first, second)
		}
	}
	out, err := flow.ParseOutput(first)
	if err != nil {
		return p, fmt.Errorf("module %s broke the contract: %w", module.Manifest().Name, err)
	}
	p.out = out
	for _, c := range out.Calls {
		x, err := exchangeOf(c)
		if err != nil {
			return p, err
		}
		p.exchanges = append(p.exchanges, x)
	}
	for _, s := range out.Actions {
		x, err := exchangeOfAction(s)
		if err != nil {
			return p, err
		}
		p.exchanges = append(p.exchanges, x)
	}
	return p, nil
}

// gate holds the calls of an action against permits and limits, as the host
// does: by the host's own performer, with services that answer nothing.
type gate struct {
	manifest *manifest.Manifest
	action   *abi.Action
	scope    *effect.Scope
	// ids of sub-actions so far; held says that the action holds keys.
	ids  map[string]bool
	held bool
	// files are the performer's handles by the ones that the module is given:
	// those come in the order of the calls, the performer's in any.
	files map[string]string
	// downloads are the performer's handles of the turn by call id.
	downloads map[string]string
}

// nobody is a service that takes every call and answers nothing.
type nobody struct{}

func (nobody) Do(context.Context, rest.Request) (*rest.Response, error) {
	return &rest.Response{Status: 200}, nil
}

func openGate(m *manifest.Manifest, a *abi.Action, limits flow.Limits) (*gate, error) {
	permits, err := manifest.NewPermits(m.Calls)
	if err != nil {
		return nil, err
	}
	performer := effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: nobody{}, abi.Resilient: nobody{}}})
	scope := performer.Open(effect.ScopeOptions{Action: a.ID, Permits: permits, MaxCalls: limits.Calls, MaxTurnCalls: limits.TurnCalls})
	return &gate{manifest: m, action: a, scope: scope, ids: map[string]bool{}, files: map[string]string{}}, nil
}

// admit says why the host would not do what a turn asks for.
func (g *gate) admit(ctx context.Context, out *abi.Output) error {
	g.held = g.held || len(out.Hold) > 0
	if len(out.Actions) > 0 {
		return flow.CheckSubActions(g.manifest, g.action, out.Actions, g.ids, g.held)
	}
	calls := make([]abi.Call, len(out.Calls))
	for i, c := range out.Calls {
		if c.Upload != nil {
			file, ok := g.files[c.Upload.Blob]
			if !ok {
				return fmt.Errorf("module %s was refused a call: call %q: this action has no blob %q", g.manifest.Name, c.ID, c.Upload.Blob)
			}
			upload := *c.Upload
			upload.Blob = file
			c.Upload = &upload
		}
		calls[i] = c
	}
	results, err := g.scope.Perform(ctx, calls)
	if err != nil {
		return fmt.Errorf("module %s was refused a call: %w", g.manifest.Name, err)
	}
	g.downloads = map[string]string{}
	for _, r := range results {
		if r.Error != nil {
			return fmt.Errorf("call %q could not be prepared: %s", r.ID, r.Error.Message)
		}
		if r.Blob != nil {
			g.downloads[r.ID] = r.Blob.Handle
		}
	}
	return nil
}

// results are what the module is told, in the order in which it asked.
func (g *gate) results(p *played) (results []abi.Result, err error) {
	ids := make([]string, 0, len(p.exchanges))
	for _, c := range p.out.Calls {
		ids = append(ids, c.ID)
	}
	for _, s := range p.out.Actions {
		ids = append(ids, s.ID)
	}
	for i, x := range p.exchanges {
		var r abi.Result
		if x.answer.given != nil {
			r = *x.answer.given
		} else if r, err = x.answer.result(&x.request); err != nil {
			return nil, &answerError{line: x.answer.line, err: err}
		}
		r.ID = ids[i]
		if r.Blob != nil {
			blob := *r.Blob
			blob.Handle = fmt.Sprintf("blob-%d", len(g.files)+1)
			g.files[blob.Handle] = g.downloads[r.ID]
			r.Blob = &blob
		}
		results = append(results, r)
	}
	return results, nil
}

// answerError is an answer of the file that the host could not give.
type answerError struct {
	line int
	err  error
}

func (e *answerError) Error() string { return e.err.Error() }

// exchangeOf is a call as a file would have it, without an answer.
func exchangeOf(c abi.Call) (*exchange, error) {
	q := request{service: c.Service, method: c.Method, path: c.Path, idempotent: c.Idempotent, slow: c.Slow, download: c.Download, query: queryValue(c.Query)}
	body := []byte(c.Body)
	if c.Upload != nil {
		q.upload, body = true, uploadJSON(c.Upload)
	}
	var err error
	if q.body, err = parseValue(string(body)); err != nil {
		return nil, fmt.Errorf("call %q: its body is not JSON: %w", c.ID, err)
	}
	return &exchange{request: q}, nil
}

// exchangeOfAction is a sub-action as a file would have it.
func exchangeOfAction(s abi.SubAction) (*exchange, error) {
	text, err := subActionJSON(s)
	if err != nil {
		return nil, fmt.Errorf("sub-action %q: a field is not JSON: %w", s.ID, err)
	}
	body, err := parseValue(string(text))
	return &exchange{request: request{rule: s.Rule, body: body}}, err
}
