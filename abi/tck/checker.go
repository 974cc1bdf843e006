package tck

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// Checker holds the outputs of one action against the contract, as the host does.
type Checker struct {
	manifest *manifest.Manifest
	permits  *manifest.Permits
	ids      map[string]bool
}

// NewChecker makes a Checker; without a manifest it allows any permit.
func NewChecker(m *manifest.Manifest) (*Checker, error) {
	c := &Checker{manifest: m, ids: map[string]bool{}}
	if m == nil {
		return c, nil
	}
	var err error
	c.permits, err = manifest.NewPermits(m.Calls)
	return c, err
}

// Output says what is wrong with the output of the next turn.
func (c *Checker) Output(out abi.Output) error {
	kinds := 0
	for _, given := range []bool{out.Calls != nil, out.Actions != nil, out.Reply != nil, out.Fail != nil} {
		if given {
			kinds++
		}
	}
	if kinds > 1 || kinds == 0 && out.State == nil {
		return errors.New("an answer is exactly one of calls, actions, reply, fail, or a state")
	}
	if len(out.Progress) > abi.MaxProgress {
		return fmt.Errorf("progress of %d bytes, the limit is %d", len(out.Progress), abi.MaxProgress)
	}
	if len(out.Hold) > abi.MaxHoldKeys {
		return fmt.Errorf("hold of %d keys, the limit is %d", len(out.Hold), abi.MaxHoldKeys)
	}
	for _, key := range out.Hold {
		if key == "" || len(key) > abi.MaxHoldKey {
			return fmt.Errorf("hold key of %d bytes, want 1 to %d", len(key), abi.MaxHoldKey)
		}
	}
	for _, call := range out.Calls {
		if err := errors.Join(c.id(call.ID), c.call(call)); err != nil {
			return fmt.Errorf("call %s %s %s: %w", call.Service, call.Method, call.Path, err)
		}
	}
	for _, action := range out.Actions {
		if err := errors.Join(c.id(action.ID), c.action(action)); err != nil {
			return fmt.Errorf("sub-action %s: %w", action.Rule, err)
		}
	}
	return c.end(out)
}

func (c *Checker) end(out abi.Output) error {
	switch {
	case out.Reply != nil:
		var object map[string]json.RawMessage
		if len(out.Reply.Results) > 0 && json.Unmarshal(out.Reply.Results, &object) != nil {
			return errors.New("the results are an object, or absent")
		}
		return message(out.Reply.Message)
	case out.Fail != nil:
		if out.Fail.Code == "" {
			return errors.New("a failure needs a code")
		}
		return message(out.Fail.Message)
	}
	return nil
}

func message(text string) error {
	if text == "" {
		return errors.New("the user is told nothing: the message is empty")
	}
	if len(text) > abi.MaxMessage {
		return fmt.Errorf("message of %d bytes, the limit is %d", len(text), abi.MaxMessage)
	}
	return nil
}

func (c *Checker) id(id string) error {
	if id == "" || len(id) > abi.MaxCallID {
		return fmt.Errorf("id of %d bytes, want 1 to %d", len(id), abi.MaxCallID)
	}
	if c.ids[id] {
		return fmt.Errorf("id %s stands twice", id)
	}
	c.ids[id] = true
	return nil
}

func (c *Checker) call(call abi.Call) error {
	if call.Service != abi.ThreatQ && call.Service != abi.Resilient {
		return fmt.Errorf("service %q is neither %s nor %s", call.Service, abi.ThreatQ, abi.Resilient)
	}
	if !slices.Contains(manifest.Methods, call.Method) {
		return fmt.Errorf("method %q is none of %v", call.Method, manifest.Methods)
	}
	if err := manifest.CheckPath(call.Path); err != nil {
		return err
	}
	query := 0
	for key, value := range call.Query {
		query += len(key) + len(value)
	}
	if query > abi.MaxQueryBytes {
		return fmt.Errorf("query of %d bytes, the limit is %d", query, abi.MaxQueryBytes)
	}
	switch {
	case call.Body != nil && call.Upload != nil:
		return errors.New("a body and an upload at once")
	case call.Method == http.MethodGet && (call.Body != nil || call.Upload != nil):
		return errors.New("a GET cannot have a body")
	case call.Service == abi.ThreatQ && (!strings.HasPrefix(call.Path, "/api/") || strings.HasPrefix(call.Path+"/", "/api/token/")):
		return errors.New("this path is not open to modules: they begin with /api/ and logging in is the host's")
	}
	if c.permits != nil && !c.permits.Allow(call.Service, call.Method, call.Path) {
		return errors.New("no permit of the manifest allows it")
	}
	return nil
}

func (c *Checker) action(action abi.SubAction) error {
	if action.Rule == "" || action.IncidentID == 0 {
		return errors.New("a rule and an incident are needed")
	}
	if c.manifest != nil && !slices.Contains(c.manifest.Actions, action.Rule) {
		return errors.New("the manifest does not list it under actions")
	}
	for name, value := range action.Fields {
		if !json.Valid(value) {
			return fmt.Errorf("field %s is not JSON", name)
		}
	}
	return nil
}
