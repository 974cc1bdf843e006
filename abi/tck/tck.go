// Package tck is the conformance kit of the ABI: it holds a module, in whatever
// language it was written, against the contract (README.md of package abi).
//
//   - A module under test is anything that plays a turn: a WASM instance, or a
//     native twin of its code.
//   - A subject is an action that the module handles; the kit plays it as a host
//     would, in good and in bad weather.
//   - A check is one demand of the contract, held against one subject.
//   - A checker holds the answers of one action to the contract, as the host does.
//
// The kit looks at the form of the exchange, not at what a rule is for: tests of
// the rule itself belong to the module. `fn-threatq plugin check` plays it to
// module files, package tcktest to native code in tests.
package tck

import (
	"bytes"
	"encoding/json"
	"fmt"

	"fn-threatq/abi"
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

// Check is one demand on a module.
type Check struct {
	// Name is that of the demand, behind the subject's where there is one.
	Name string
	run  func() error
}

// Run plays the check. The error tells what the contract wants.
func (c Check) Run() error { return c.run() }

// Checks are all demands on a module. There must be a subject: one action at
// least that the module handles; see Subjects.
func Checks(module Module, m *manifest.Manifest, subjects ...Subject) []Check {
	checks := []Check{{"unknown rule", func() error { return unknownRule(module) }}}
	if len(subjects) == 0 {
		return append(checks, Check{"subjects", func() error {
			return fmt.Errorf("no subject: name at least one action that the module handles")
		}})
	}
	checks = append(checks, Check{"other version", func() error { return otherVersion(module, subjects[0]) }})
	for _, s := range subjects {
		add := func(name string, run func() error) {
			checks = append(checks, Check{Name: s.Name + "/" + name, run: run})
		}
		add("good weather", func() error { return dialogue(module, m, s, s.Respond) })
		for _, w := range weathers {
			add(w.name, func() error { return dialogue(module, m, s, w.respond) })
		}
		for _, v := range variants {
			add(v.name, func() error { return sameAnswer(module, s, v) })
		}
	}
	return checks
}

// weathers answer every call in a way that a module must live with: by a reply
// or a failure, never by a trap or an endless dialogue.
var weathers = []struct {
	name    string
	respond func(abi.Call) abi.Result
}{
	{"not found", func(abi.Call) abi.Result { return failed(abi.CodeHTTP, 404, "Not found.") }},
	{"forbidden", func(abi.Call) abi.Result { return failed(abi.CodeHTTP, 403, "Access denied.") }},
	{"server error", func(abi.Call) abi.Result { return failed(abi.CodeHTTP, 500, "Internal error.") }},
	{"unreachable", func(abi.Call) abi.Result { return failed(abi.CodeUnreachable, 0, "connection refused") }},
	{"login refused", func(abi.Call) abi.Result { return failed(abi.CodeLogin, 401, "wrong credentials") }},
	{"too large", func(abi.Call) abi.Result { return failed(abi.CodeTooLarge, 200, "an answer of 9000000 bytes") }},
	{"lost answers", lostUnlessIdempotent},
	{"no bodies", func(abi.Call) abi.Result { return abi.Result{Status: 204} }},
	{"odd bodies", func(abi.Call) abi.Result { return ok(`[null,{"id":"x","data":7},[],"\ud83d"]`) }},
	{"deep bodies", func(abi.Call) abi.Result { return ok(deep) }},
}

// deep is nested deeper than any answer of a server, and not so deep that the
// host would refuse it (encoding/json ends at 10,000).
var deep = string(bytes.Repeat([]byte(`{"data":[`), 200)) + "1" + string(bytes.Repeat([]byte(`]}`), 200))

func lostUnlessIdempotent(c abi.Call) abi.Result {
	if c.Idempotent {
		return ok(`{}`)
	}
	return failed(abi.CodeUnknown, 0, "no answer within 30 s")
}

func ok(body string) abi.Result { return abi.Result{Status: 200, Body: abi.JSON(body)} }

func failed(code abi.ErrorCode, status int, message string) abi.Result {
	return abi.Result{Status: status, Error: &abi.CallError{Code: code, Message: message}}
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

// maxTurns ends a module that goes round in circles.
const maxTurns = 200

// dialogue plays a subject to its end.
func dialogue(module Module, m *manifest.Manifest, s Subject, respond func(abi.Call) abi.Result) error {
	check, err := NewChecker(m)
	if err != nil {
		return err
	}
	if respond == nil {
		respond = func(abi.Call) abi.Result { return ok(`{}`) }
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
	return mustFail(module, input, "a rule that the module does not have")
}

func otherVersion(module Module, s Subject) error {
	in := fill(s.Input)
	in.Version = abi.Version + 1
	input, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return mustFail(module, input, "an input of another version")
}

func mustFail(module Module, input []byte, what string) error {
	out, answer, err := turn(module, input)
	if err == nil && out.Fail == nil {
		err = fmt.Errorf("%s must be answered with a failure: %s", what, answer)
	}
	return err
}
