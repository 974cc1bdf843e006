// Package guesttest plays the host for native tests of rules: turn by turn,
// through the JSON of the contract both ways, with each answer checked.
//
//   - A responder performs the calls of a rule: it answers one abi.Call with one
//     abi.Result.
//   - A dialogue is all turns of one action, with the bytes that went each way.
package guesttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
)

// Defaults of Options.
const (
	DefaultSeed     = "00000000000000a1"
	DefaultNow      = 1_700_000_000_000
	DefaultMaxTurns = 100
)

// Options of a dialogue; each may be left out.
type Options struct {
	Settings map[string]string
	// Site is DefaultSite when its OrgID is 0.
	Site abi.Site
	// Seed is 16 hexadecimal digits.
	Seed string
	// Now is in milliseconds since 1970 UTC.
	Now int64
	// Manifest, when given, must permit each call and sub-action.
	Manifest *manifest.Manifest
	// Actions answers sub-actions; without it they fail.
	Actions func(abi.SubAction) abi.Result
	// MaxTurns ends a dialogue that goes round in circles.
	MaxTurns int
}

// DefaultSite is the site of tests that do not care.
func DefaultSite() abi.Site { return tck.DefaultSite() }

// Dialogue is all that was said in one action.
type Dialogue struct {
	Turns []Turn
	// Calls and Actions are all that were asked for, in order.
	Calls   []abi.Call
	Actions []abi.SubAction
}

// Turn holds the JSON of one turn as it went over the boundary, and the answer
// read.
type Turn struct {
	Input, Answer []byte
	Output        abi.Output
}

// Last is the output that ended the action: a reply or a failure.
func (d Dialogue) Last() abi.Output { return d.Turns[len(d.Turns)-1].Output }

// Inputs are the inputs of all turns as one JSON list: the form of the section
// abi.SectionWarmUp.
func (d Dialogue) Inputs() []byte {
	list := []byte{'['}
	for i, turn := range d.Turns {
		if i > 0 {
			list = append(list, ",\n"...)
		}
		list = append(list, turn.Input...)
	}
	return append(list, ']')
}

// Run plays an action to its end and returns the last output and all calls.
func Run(t testing.TB, rules map[string]guest.Rule, action abi.Action, opts Options, respond func(abi.Call) abi.Result) (abi.Output, []abi.Call) {
	t.Helper()
	d := Play(t, rules, action, opts, respond)
	return d.Last(), d.Calls
}

// Play plays an action to its end. Each turn is played twice and must answer
// the same bytes; each answer must keep the contract, or the test ends.
func Play(t testing.TB, rules map[string]guest.Rule, action abi.Action, opts Options, respond func(abi.Call) abi.Result) Dialogue {
	t.Helper()
	opts = opts.withDefaults()
	check, err := tck.NewChecker(opts.Manifest)
	if err != nil {
		t.Fatalf("guesttest: %v", err)
	}
	in := abi.Input{
		Version: abi.Version, Now: opts.Now, Seed: opts.Seed, Settings: opts.Settings,
		Site: opts.Site, Action: action, Results: [][]abi.Result{},
	}
	var d Dialogue
	for in.Turn = 1; in.Turn <= opts.MaxTurns; in.Turn++ {
		turn, err := play(rules, in)
		if err == nil {
			err = check.Output(turn.Output)
		}
		d.Turns = append(d.Turns, turn)
		if err != nil {
			t.Fatalf("guesttest: turn %d: %v\nanswer: %s", in.Turn, err, turn.Answer)
		}
		out := turn.Output
		if out.Reply != nil || out.Fail != nil {
			return d
		}
		d.Calls = append(d.Calls, out.Calls...)
		d.Actions = append(d.Actions, out.Actions...)
		if out.State != nil {
			in.State, in.Results = out.State, [][]abi.Result{}
		}
		if results := answers(out, respond, opts.Actions); len(results) > 0 {
			in.Results = append(in.Results, results)
		}
	}
	t.Fatalf("guesttest: no reply after %d turns; the last answer: %s", opts.MaxTurns, d.Turns[len(d.Turns)-1].Answer)
	return d
}

func (o Options) withDefaults() Options {
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	if o.Site.OrgID == 0 {
		o.Site = DefaultSite()
	}
	if o.Seed == "" {
		o.Seed = DefaultSeed
	}
	if o.Now == 0 {
		o.Now = DefaultNow
	}
	if o.MaxTurns == 0 {
		o.MaxTurns = DefaultMaxTurns
	}
	return o
}

func play(rules map[string]guest.Rule, in abi.Input) (Turn, error) {
	input, err := encode(in)
	if err != nil {
		return Turn{}, fmt.Errorf("the input cannot be written: is a body of the responder JSON? %w", err)
	}
	turn := Turn{Input: input, Answer: guest.Handle(rules, bytes.Clone(input))}
	if again := guest.Handle(rules, bytes.Clone(input)); !bytes.Equal(again, turn.Answer) {
		return turn, fmt.Errorf("the rule is not deterministic: the same input was also answered with %s", again)
	}
	decoder := json.NewDecoder(bytes.NewReader(turn.Answer))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&turn.Output); err != nil {
		return turn, fmt.Errorf("the answer is not that of the contract: %w", err)
	}
	return turn, nil
}

// encode leaves HTML characters as they are: bodies go through unchanged.
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(text.Bytes()), nil
}

func answers(out abi.Output, respond func(abi.Call) abi.Result, start func(abi.SubAction) abi.Result) []abi.Result {
	results := []abi.Result{}
	for _, call := range out.Calls {
		result := respond(call)
		result.ID = call.ID
		results = append(results, result)
	}
	for _, action := range out.Actions {
		result := Error(abi.CodeSubAction, 0, "this test starts no sub-actions")
		if start != nil {
			result = start(action)
		}
		result.ID = action.ID
		results = append(results, result)
	}
	return results
}

// OK is a successful result with a JSON body; an empty body is none.
func OK(body string) abi.Result { return Status(200, body) }

// Status is a result with that status. From 400 on it is an error of the code
// abi.CodeHTTP, whose message is the body.
func Status(status int, body string) abi.Result {
	if status >= 400 {
		return Error(abi.CodeHTTP, status, body)
	}
	return abi.Result{Status: status, Body: abi.JSON(body)}
}

// Error is the result of a call that failed; status is 0 when there was no
// answer.
func Error(code abi.ErrorCode, status int, message string) abi.Result {
	return abi.Result{Status: status, Error: &abi.CallError{Code: code, Message: message}}
}

// Value is a successful result whose body is v as encoding/json writes it.
func Value(v any) abi.Result {
	body, err := encode(v)
	if err != nil {
		panic("guesttest.Value: " + err.Error())
	}
	return abi.Result{Status: 200, Body: body}
}
