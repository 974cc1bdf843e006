// Package tck is the conformance kit of the ABI: it holds a module, in whatever
// language it was written, against the contract (README.md of package abi).
//
//   - A module under test is anything that plays a turn: a WASM instance, or a
//     native twin of its code.
//   - A subject is an action that the module handles; the kit plays it as a host
//     would, in good and in bad weather.
//
// The kit looks at the form of the exchange, not at what a rule is for: tests of
// the rule itself belong to the module.
package tck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/abi/manifest"
)

// Module plays turns. The answer of a turn must not change when the next one is
// played. An error is a trap, an exit or an overrun.
type Module interface {
	Turn(input []byte) ([]byte, error)
}

// Func is a Module made of a function.
type Func func(input []byte) ([]byte, error)

// Turn calls the function.
func (f Func) Turn(input []byte) ([]byte, error) { return f(input) }

// Subject is an action to play.
type Subject struct {
	Name string
	// Input is that of the first turn: Action and Settings are wanted, what is
	// absent of Version, Turn, Now, Seed and Site is filled in.
	Input abi.Input
	// Respond performs calls; without it each is answered with `{}`.
	Respond func(abi.Call) abi.Result
	// Start performs sub-actions; without it each replies with success.
	Start func(abi.SubAction) abi.Result
}

// maxTurns ends a module that goes round in circles.
const maxTurns = 200

// Run plays all checks. Each failing one tells what the contract wants.
func Run(t *testing.T, module Module, m *manifest.Manifest, subjects ...Subject) {
	t.Helper()
	if len(subjects) == 0 {
		t.Fatal("tck: no subject: name at least one action that the module handles")
	}
	t.Run("unknown rule", func(t *testing.T) { report(t, unknownRule(module)) })
	t.Run("other version", func(t *testing.T) { report(t, otherVersion(module, subjects[0])) })
	for _, s := range subjects {
		t.Run(s.Name+"/good weather", func(t *testing.T) { report(t, dialogue(module, m, s, s.Respond)) })
		t.Run(s.Name+"/unknown keys", func(t *testing.T) { report(t, unknownKeys(module, s)) })
		for name, weather := range weathers {
			t.Run(s.Name+"/"+name, func(t *testing.T) { report(t, dialogue(module, m, s, weather)) })
		}
	}
}

func report(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// weathers answer every call in a way that a module must live with: by a reply
// or a failure, never by a trap or an endless dialogue.
var weathers = map[string]func(abi.Call) abi.Result{
	"not found":    func(abi.Call) abi.Result { return guesttest.Status(404, "Not found.") },
	"forbidden":    func(abi.Call) abi.Result { return guesttest.Status(403, "Access denied.") },
	"server error": func(abi.Call) abi.Result { return guesttest.Status(500, "Internal error.") },
	"unreachable":  func(abi.Call) abi.Result { return guesttest.Error(abi.CodeUnreachable, 0, "connection refused") },
	"lost answers": lostUnlessIdempotent,
	"no bodies":    func(abi.Call) abi.Result { return abi.Result{Status: 204} },
	"odd bodies":   func(abi.Call) abi.Result { return guesttest.OK(`[null,{"id":"x","data":7},[],"\ud83d"]`) },
}

func lostUnlessIdempotent(c abi.Call) abi.Result {
	if c.Idempotent {
		return guesttest.OK(`{}`)
	}
	return guesttest.Error(abi.CodeUnknown, 0, "no answer within 30 s")
}

func fill(in abi.Input) abi.Input {
	in.Version, in.Turn, in.Results = abi.Version, 1, [][]abi.Result{}
	if in.Now == 0 {
		in.Now = guesttest.DefaultNow
	}
	if in.Seed == "" {
		in.Seed = guesttest.DefaultSeed
	}
	if in.Site.OrgID == 0 {
		in.Site = guesttest.DefaultSite()
	}
	if in.Settings == nil {
		in.Settings = map[string]string{}
	}
	return in
}

// turn plays an input twice and reads the answer.
func turn(module Module, input []byte) (abi.Output, []byte, error) {
	var out abi.Output
	answer, err := module.Turn(bytes.Clone(input))
	if err != nil {
		return out, nil, fmt.Errorf("the module must answer each turn, it ended with: %w", err)
	}
	answer = bytes.Clone(answer)
	again, err := module.Turn(bytes.Clone(input))
	if err != nil {
		return out, nil, fmt.Errorf("the same input was answered once and then ended with: %w", err)
	}
	if !bytes.Equal(answer, again) {
		return out, nil, fmt.Errorf("the same input must be answered with the same bytes:\n%s\n%s", answer, again)
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, nil, fmt.Errorf("the answer must be one JSON object of the contract: %w: %s", err, answer)
	}
	return out, answer, nil
}

// dialogue plays a subject to its end.
func dialogue(module Module, m *manifest.Manifest, s Subject, respond func(abi.Call) abi.Result) error {
	check, err := guesttest.NewChecker(m)
	if err != nil {
		return err
	}
	if respond == nil {
		respond = func(abi.Call) abi.Result { return guesttest.OK(`{}`) }
	}
	in := fill(s.Input)
	for ; in.Turn <= maxTurns; in.Turn++ {
		input, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("subject: %w", err)
		}
		out, answer, err := turn(module, input)
		if err == nil {
			err = check.Output(out)
		}
		if err != nil {
			return fmt.Errorf("turn %d: %w\nanswer: %s", in.Turn, err, answer)
		}
		if out.Reply != nil || out.Fail != nil {
			return nil
		}
		if out.State != nil {
			in.State, in.Results = out.State, [][]abi.Result{}
		}
		if results := s.results(out, respond); len(results) > 0 {
			in.Results = append(in.Results, results)
		}
	}
	return fmt.Errorf("no reply and no failure after %d turns", maxTurns)
}

func (s Subject) results(out abi.Output, respond func(abi.Call) abi.Result) (results []abi.Result) {
	for _, call := range out.Calls {
		result := respond(call)
		result.ID = call.ID
		results = append(results, result)
	}
	for _, action := range out.Actions {
		result := abi.Result{Reply: &abi.Reply{Success: true, Message: "Done."}}
		if s.Start != nil {
			result = s.Start(action)
		}
		result.ID = action.ID
		results = append(results, result)
	}
	return results
}

func unknownRule(module Module) error {
	input, err := json.Marshal(fill(abi.Input{Action: abi.Action{ID: "tck", Kind: abi.KindRule, Name: "no_such_rule_of_the_kit", Object: "incident", IncidentID: 1}}))
	if err != nil {
		return err
	}
	out, answer, err := turn(module, input)
	if err == nil && out.Fail == nil {
		err = fmt.Errorf("a rule that the module does not have must be answered with a failure: %s", answer)
	}
	return err
}

func otherVersion(module Module, s Subject) error {
	in := fill(s.Input)
	in.Version = abi.Version + 1
	input, err := json.Marshal(in)
	if err != nil {
		return err
	}
	out, answer, err := turn(module, input)
	if err == nil && out.Fail == nil {
		err = fmt.Errorf("an input of another version must be answered with a failure: %s", answer)
	}
	return err
}

// unknownKeys adds keys of a later host everywhere in the first input.
func unknownKeys(module Module, s Subject) error {
	input, err := json.Marshal(fill(s.Input))
	if err != nil {
		return err
	}
	_, plain, err := turn(module, input)
	if err != nil {
		return err
	}
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(input))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	future := map[string]any{"a": []any{1, nil, "x"}}
	tree["future"] = future
	for _, key := range []string{"action", "site"} {
		object, ok := tree[key].(map[string]any)
		if !ok {
			return errors.New("subject: the input has no " + key)
		}
		object["future"] = future
	}
	if input, err = json.Marshal(tree); err != nil {
		return err
	}
	_, extended, err := turn(module, input)
	if err == nil && !bytes.Equal(plain, extended) {
		err = fmt.Errorf("keys that the module does not know, and the order of keys, must not change its answer:\n%s\n%s", plain, extended)
	}
	return err
}
