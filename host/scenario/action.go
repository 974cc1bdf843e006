package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/flow"
)

// Module is what a scenario is played to.
type Module interface {
	Manifest() *manifest.Manifest
	// Turn is one call of the module with the text of an abi.Input.
	Turn(ctx context.Context, input []byte, now time.Time, seed uint64) (output []byte, log []string, err error)
}

// What an action has when the file does not say it.
const (
	defaultID  = "ID:scenario"
	defaultNow = 1_580_479_200_000
)

func defaultSite() abi.Site {
	return abi.Site{
		OrgID: 201, OrgName: "Example Org",
		ResilientURL: "https://soar.example.com", ThreatQURL: "https://threatq.example.com",
		Account: abi.Account{Type: "apikey", ID: 17, Name: "threatq integration"},
	}
}

// stage is what a module is given, besides the history.
type stage struct {
	action   *abi.Action
	site     abi.Site
	now      time.Time
	settings map[string]string
	// once: each turn is played one time only.
	once bool
}

// moment is a time in milliseconds since 1970, or as RFC 3339 has it.
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(text []byte) error {
	if ms, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		m.Time = time.UnixMilli(ms)
		return nil
	}
	if err := m.Time.UnmarshalJSON(text); err != nil {
		return errors.New(`now: want milliseconds since 1970, or a time such as "2020-01-31T14:00:00Z"`)
	}
	return nil
}

// setup are the keys that both kinds of action sections have.
type setup struct {
	Now  *moment   `json:"now"`
	Site *abi.Site `json:"site"`
}

// stage makes the module's surroundings. What the manifest does not know is a
// mistake in the file.
func (s *Scenario) stage(ctx context.Context, module Module) (*stage, error) {
	m := module.Manifest()
	st := &stage{site: defaultSite(), now: time.UnixMilli(defaultNow), settings: map[string]string{}}
	for key, given := range s.settings {
		known := make(map[string]bool, len(m.Settings))
		for _, declared := range m.Settings {
			known[declared.Name] = true
		}
		if !known[key] {
			return nil, &FileError{s.Path, given.line, fmt.Sprintf("the manifest of %s declares no setting %s; it has %s", m.Name, key, list(known))}
		}
		st.settings[key] = given.value
	}
	v, line, err := s.common.named.resolve(s.action.text)
	if err == nil && v == nil {
		err = errors.New("the section is empty")
	}
	if err == nil {
		line = 0
		if s.action.name == sectionMessage {
			err = s.fromMessage(ctx, module, v.json(), st)
		} else {
			err = fromAction(m, v.json(), st)
		}
	}
	if err != nil {
		return nil, &FileError{s.Path, s.action.line + line, s.action.name + ": " + err.Error()}
	}
	return st, nil
}

// strict reads JSON and refuses unknown keys.
func strict(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// fromAction reads an action in the terms of the ABI.
func fromAction(m *manifest.Manifest, text []byte, st *stage) error {
	file := struct {
		*abi.Action
		setup
		Rule     string `json:"rule"`
		Function string `json:"function"`
	}{Action: &abi.Action{ID: defaultID}, setup: setup{Site: &st.site, Now: &moment{st.now}}}
	if err := strict(text, &file); err != nil {
		return err
	}
	a := file.Action
	st.action, st.now = a, file.Now.Time
	switch {
	case file.Rule != "" && file.Function != "":
		return errors.New("rule and function exclude each other")
	case file.Rule != "":
		a.Kind, a.Name = abi.KindRule, manifest.RoutingName(file.Rule)
	case file.Function != "":
		a.Kind, a.Name = abi.KindFunction, file.Function
	case a.Name == "" && len(m.Rules) == 1 && len(m.Functions) == 0:
		a.Kind, a.Name = abi.KindRule, manifest.RoutingName(m.Rules[0].Title)
	case a.Name == "" && len(m.Rules) == 0 && len(m.Functions) == 1:
		a.Kind, a.Name = abi.KindFunction, m.Functions[0].Name
	case a.Name == "":
		return fmt.Errorf("`rule` or `function` must say which is meant: %s", handled(m))
	}
	if a.Operation != "" && !slices.Contains([]string{"created", "modified", "deleted"}, a.Operation) {
		return fmt.Errorf("operation %q is none of created, modified, deleted", a.Operation)
	}
	return complete(m, a)
}

// handled lists what a module handles.
func handled(m *manifest.Manifest) string {
	var names []string
	for _, r := range m.Rules {
		names = append(names, fmt.Sprintf("%q", r.Title))
	}
	for _, f := range m.Functions {
		names = append(names, fmt.Sprintf("%q", f.Name))
	}
	return fmt.Sprintf("module %s handles %s", m.Name, strings.Join(names, ", "))
}

// complete fills in what the manifest knows and checks the names of values.
func complete(m *manifest.Manifest, a *abi.Action) error {
	rule, function := m.Rule(a.Name), m.Function(a.Name)
	if a.Kind == "" {
		a.Kind = abi.KindRule
		if function != nil {
			a.Kind = abi.KindFunction
		}
	}
	switch {
	case a.Kind == abi.KindRule && rule != nil:
		if a.Title == "" {
			a.Title = rule.Title
		}
		if a.Object == "" {
			a.Object = rule.Object
		}
		if a.Parent != "" {
			// Fields may be agreed on between a rule and its sub-actions alone.
			return nil
		}
		return known("field", a.Fields, rule.Fields)
	case a.Kind == abi.KindFunction && function != nil:
		if a.Title == "" {
			a.Title = function.Title
		}
		return known("input", a.Inputs, function.Inputs)
	}
	return fmt.Errorf("there is no %s %q: %s", a.Kind, a.Name, handled(m))
}

func known(what string, given map[string]abi.JSON, declared []manifest.Field) error {
	names := make(map[string]bool, len(declared))
	for _, f := range declared {
		names[f.Name] = true
	}
	for name := range given {
		if !names[name] {
			return fmt.Errorf("the manifest declares no %s %s; it has %s", what, name, list(names))
		}
	}
	return nil
}

// fromMessage reads a message of SOAR as the host does.
func (s *Scenario) fromMessage(ctx context.Context, module Module, text []byte, st *stage) error {
	file := struct {
		setup
		directory
		Meta    any               `json:"_meta"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	}{setup: setup{Site: &st.site}, directory: directory{manifest: module.Manifest()}}
	if err := strict(text, &file); err != nil {
		return err
	}
	message := flow.Message{
		ID: file.Headers["message-id"], Destination: file.Headers["destination"], ReplyTo: file.Headers["reply-to"],
		CorrelationID: file.Headers["correlation-id"], Payload: file.Headers["Co3MessagePayload"],
		ContextToken: file.Headers["Co3ContextToken"], Headers: file.Headers, Body: file.Body,
	}
	if sent, err := strconv.ParseInt(file.Headers["timestamp"], 10, 64); err == nil {
		st.now = time.UnixMilli(sent)
	}
	if file.Now != nil {
		st.now = file.Now.Time
	}
	decoder := flow.New(flow.Options{Modules: only{module}, Directory: file.directory, Site: st.site})
	action, _, err := decoder.Decode(ctx, message)
	if err != nil {
		return err
	}
	if action.ID == "" {
		action.ID = defaultID
	}
	st.action = action
	return nil
}

// only is a catalog of one module.
type only struct{ module Module }

// asFlow is a module as package flow wants it; nothing plays it.
type asFlow struct{ Module }

func (asFlow) Permits() *manifest.Permits { return nil }

func (asFlow) Admit() (func(flow.Verdict, string), error) {
	return func(flow.Verdict, string) {}, nil
}

func (o only) Find(kind, name string) flow.Module {
	m := o.module.Manifest()
	if kind == abi.KindRule && m.Rule(name) != nil || kind == abi.KindFunction && m.Function(name) != nil {
		return asFlow{o.module}
	}
	return nil
}

func (o only) Names(string) []string { return []string{handled(o.module.Manifest())} }

// directory knows what the section of the message says of SOAR.
type directory struct {
	manifest *manifest.Manifest
	// Rules are display names by rule id; Labels the API names of a rule's
	// activity fields by label; Options the labels of a field's values.
	Rules   map[string]string            `json:"rules"`
	Labels  map[string]map[string]string `json:"labels"`
	Options map[string]map[string]string `json:"options"`
}

func (d directory) RuleName(_ context.Context, id int64) (string, error) {
	if title, ok := d.Rules[strconv.FormatInt(id, 10)]; ok {
		return title, nil
	}
	if len(d.manifest.Rules) == 1 && d.Rules == nil {
		return d.manifest.Rules[0].Title, nil
	}
	return "", fmt.Errorf(`the section does not say it: add "rules": {"%d": TITLE}`, id)
}

func (d directory) FieldLabels(_ context.Context, id int64) (map[string]string, error) {
	return d.Labels[strconv.FormatInt(id, 10)], nil
}

func (d directory) FieldOption(_ context.Context, field string, value int64) (string, error) {
	return d.Options[field][strconv.FormatInt(value, 10)], nil
}
