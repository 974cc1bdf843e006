package flow

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDecode: whatever SOAR sends is routed or refused, and an action that
// comes of it can be given to a module.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob(messagesDir + "/stomp-[af]*.json")
	require.NoError(f, err)
	rules := map[int64]string{}
	for _, path := range paths {
		m, rule := sample(f, path)
		f.Add(m.Payload, []byte(m.Body))
		var body struct {
			ActionID int64 `json:"action_id"`
		}
		require.NoError(f, json.Unmarshal(m.Body, &body))
		rules[body.ActionID] = rule
	}
	f.Add("", []byte(`{"function":{"name":"threatq_add_indicator"},"inputs":{"a":[[{"content":[{"name":null}]}]]}}`))
	f.Add("", []byte(`{"action_id":41,"properties":{"threatq_import_artifacts":[{"Name":1}]}}`))
	b := newBench(f, everything(f))
	b.flow.current().Directory = directory{rules: rules, labels: map[int64]map[string]string{41: {"import artifacts into threatq": "own"}}}
	f.Fuzz(func(t *testing.T, payload string, body []byte) {
		m := Message{ID: "m1", Payload: payload, Body: body}
		e, err := open(m)
		if e.lane(m) == "" {
			t.Fatal("no lane")
		}
		if err != nil {
			return
		}
		action, module, err := b.flow.current().route(t.Context(), m, e, b.options.Modules)
		if err != nil {
			return
		}
		input := newInput(&performance{action: action, module: module, setup: b.flow.current()}).Text(1)
		if !json.Valid(input) {
			t.Fatalf("the module would be given no JSON: %s", input)
		}
	})
}

// FuzzParseOutput: what is accepted of a module is accepted when written again.
func FuzzParseOutput(f *testing.F) {
	for _, answer := range []string{
		done, `{` + calls("a", "b") + `,"hold":["x"],"progress":"p","state":{"a":[1]}}`, `{"state":null,"reply":{"success":true,"message":"m","results":null}}`,
		`{"fail":{"code":"input","message":"m","retry":true}}`, `{"actions":[{"id":"a","rule":"r","incident_id":1,"fields":{"x":null}}]}`,
		`{"calls":[{"id":"a","body":null}]}`, `{"state":[]}`,
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := ParseOutput(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(out)
		if err != nil {
			t.Fatalf("%q was accepted and cannot be written: %s", text, err)
		}
		second, err := ParseOutput(again)
		if err != nil {
			t.Fatalf("%q was accepted, %q is not: %s", text, again, err)
		}
		third, err := json.Marshal(second)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%q becomes %q becomes %q", text, again, third)
		}
	})
}
