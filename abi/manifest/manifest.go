// Package manifest reads and checks the manifest of a module: the one document
// from which routing, permission checks, SOAR customizations, reference pages
// and lists are made.
//
// A permit is a line `SERVICE METHOD PATH`, where METHOD PATH is a pattern of
// net/http's ServeMux: `threatq GET /api/events/{id}`.
package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"fn-threatq/abi"
)

// Manifest describes one module.
type Manifest struct {
	ABI  int    `json:"abi"`
	Name string `json:"name"`
	// Version of the module, MAJOR.MINOR.PATCH.
	Version     string     `json:"version"`
	Description string     `json:"description"`
	Author      string     `json:"author,omitempty"`
	Rules       []Rule     `json:"rules,omitempty"`
	Functions   []Function `json:"functions,omitempty"`
	// Calls are the module's permits.
	Calls []string `json:"calls,omitempty"`
	// Actions are the routing names of rules that the module may start as
	// sub-actions.
	Actions  []string  `json:"actions,omitempty"`
	Settings []Setting `json:"settings,omitempty"`
	Limits   Limits    `json:"limits,omitzero"`
}

// Rule is a rule of SOAR that the module handles.
type Rule struct {
	// Title is the display name, by which SOAR's messages are routed.
	Title       string `json:"title"`
	Description string `json:"description"`
	// Object is the kind of object: incident, task, note, artifact, attachment.
	Object string `json:"object"`
	// Automatic rules are installed as such, others as menu items. A rule that
	// an administrator turned into the other kind is handled all the same.
	Automatic  bool        `json:"automatic"`
	Conditions []Condition `json:"conditions,omitempty"`
	// Fields are the activity fields that the menu item may have.
	Fields []Field `json:"fields,omitempty"`
	// Lane is "incident" (default): one action at a time for each incident;
	// or "none" for a rule that only starts sub-actions.
	Lane string `json:"lane,omitempty"`
	// Exclusive rules run once at a time; another action is refused meanwhile.
	Exclusive bool `json:"exclusive,omitempty"`
	// Merge says that one run can serve all actions of this rule that wait for
	// the same object with the same fields: the rule reads the object anew and
	// does not ask who caused the action. Deletions are served apart.
	Merge bool `json:"merge,omitempty"`
}

// Condition is a condition of an automatic rule.
type Condition struct {
	// Method is object_added, object_removed or changed.
	Method string `json:"method"`
	// Field is the qualified field of `changed`, such as incident.description.
	Field string `json:"field,omitempty"`
}

// Function is a function of SOAR that the module implements.
type Function struct {
	// Name is the API name, by which SOAR's messages are routed.
	Name        string  `json:"name"`
	Title       string  `json:"title"`
	Description string  `json:"description"`
	Inputs      []Field `json:"inputs"`
}

// Field is an activity field of a rule or an input of a function.
type Field struct {
	// Name is the API name we install it under, and the key under which the
	// module gets its value whatever an administrator called it.
	Name string `json:"name"`
	// Label is shown to users; fields of rules are also found by it.
	Label       string   `json:"label"`
	Description string   `json:"description,omitempty"`
	Type        string   `json:"type"`
	Options     []string `json:"options,omitempty"`
	Required    bool     `json:"required,omitempty"`
}

// Setting is a non-secret key of [fn_threatq] that the module wants to know.
type Setting struct {
	Name        string `json:"name"`
	Default     string `json:"default,omitempty"`
	Description string `json:"description"`
}

// Limits a module asks for; zero means the host's default. The host's ceiling
// wins over them.
type Limits struct {
	MemoryMB int `json:"memory_mb,omitempty"`
	// TurnFuel is the work of one turn in millions of units, of about one
	// instruction each.
	TurnFuel int `json:"turn_fuel,omitempty"`
	// TurnMS is the wall time of one turn in milliseconds, the backstop behind
	// the fuel.
	TurnMS int `json:"turn_ms,omitempty"`
	Turns  int `json:"turns,omitempty"`
	// Calls of one action, and of one turn.
	Calls     int `json:"calls,omitempty"`
	TurnCalls int `json:"turn_calls,omitempty"`
	OutputKB  int `json:"output_kb,omitempty"`
	LogKB     int `json:"log_kb,omitempty"`
}

// TurnTime is TurnMS as a duration.
func (l Limits) TurnTime() time.Duration { return time.Duration(l.TurnMS) * time.Millisecond }

var (
	objects    = []string{"incident", "task", "note", "milestone", "artifact", "attachment"}
	fieldTypes = []string{"select", "multiselect", "text", "textarea", "number", "boolean", "datepicker", "datetimepicker"}
	methods    = []string{"object_added", "object_removed", "changed"}

	nameForm    = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	apiNameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	nonWord     = regexp.MustCompile(`\W+`)
)

// RoutingName is the name by which a rule's messages are routed: the display
// name trimmed, in lower case, with `_` for each run of non-word characters
// (contract: message bodies, as resilient-circuits does it).
func RoutingName(title string) string {
	return nonWord.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "_")
}

// Parse reads a manifest. Unknown keys are ignored, as the ABI demands; a
// manifest of another ABI version is refused with both numbers.
func Parse(text []byte) (*Manifest, error) {
	if len(text) > abi.MaxManifestBytes {
		return nil, fmt.Errorf("manifest: %d bytes, the limit is %d", len(text), abi.MaxManifestBytes)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("manifest: not the JSON object that is wanted: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// check reports every mistake at once.
func (m *Manifest) check() error {
	if m.ABI != abi.Version {
		return &VersionError{Module: m.Name, Wants: m.ABI, Speaks: abi.Version}
	}
	var p problems
	p.want(nameForm.MatchString(m.Name), "name %q: want lower-case words joined by hyphens", m.Name)
	p.want(versionForm.MatchString(m.Version), "version %q: want MAJOR.MINOR.PATCH", m.Version)
	p.want(len(m.Rules)+len(m.Functions) > 0, "no rules and no functions: nothing could be routed here")
	routes := map[string]bool{}
	for _, r := range m.Rules {
		name := RoutingName(r.Title)
		p.want(strings.Trim(name, "_") != "", "a rule has no title")
		p.want(!routes[name], "rule %q: another rule of this module has the same routing name", r.Title)
		routes[name] = true
		p.want(slices.Contains(objects, r.Object), "rule %q: object %q is none of %s", r.Title, r.Object, strings.Join(objects, ", "))
		p.want(r.Lane == "" || r.Lane == "incident" || r.Lane == "none", "rule %q: lane %q is neither incident nor none", r.Title, r.Lane)
		p.want(!r.Merge || r.Lane != "none", "rule %q: merge needs a lane, in which actions wait for each other", r.Title)
		for _, c := range r.Conditions {
			p.want(slices.Contains(methods, c.Method), "rule %q: condition %q is none of %s", r.Title, c.Method, strings.Join(methods, ", "))
			p.want((c.Method == "changed") == (c.Field != ""), "rule %q: condition %s: a field belongs to `changed` and only to it", r.Title, c.Method)
		}
		p.fields("rule "+r.Title, r.Fields)
	}
	// A message says which kind it is for, so a function may have a rule's name.
	routes = map[string]bool{}
	for _, f := range m.Functions {
		p.want(apiNameForm.MatchString(f.Name), "function %q: want an API name of a-z, 0-9 and _", f.Name)
		p.want(!routes[f.Name], "function %q: another function of this module has the same name", f.Name)
		routes[f.Name] = true
		p.fields("function "+f.Name, f.Inputs)
	}
	for _, s := range m.Settings {
		p.want(apiNameForm.MatchString(s.Name), "setting %q: want a key of a-z, 0-9 and _", s.Name)
	}
	for _, a := range m.Actions {
		p.want(apiNameForm.MatchString(a), "sub-action %q: want a routing name such as threatq_sync_incident", a)
	}
	if _, err := NewPermits(m.Calls); err != nil {
		p = append(p, err.Error())
	}
	l := m.Limits
	for _, n := range []int{l.MemoryMB, l.TurnFuel, l.TurnMS, l.Turns, l.Calls, l.TurnCalls, l.OutputKB, l.LogKB} {
		p.want(n >= 0, "limits: %d is negative", n)
	}
	if len(p) == 0 {
		return nil
	}
	return fmt.Errorf("manifest of %q: %s", m.Name, strings.Join(p, "; "))
}

// VersionError is the refusal of a module that was written for another ABI.
type VersionError struct {
	Module        string
	Wants, Speaks int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("module %q is written for ABI %d, this host speaks ABI %d: use a version of the module or of the host that fits", e.Module, e.Wants, e.Speaks)
}

type problems []string

func (p *problems) want(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p *problems) fields(owner string, fields []Field) {
	seen := map[string]bool{}
	for _, f := range fields {
		p.want(apiNameForm.MatchString(f.Name), "%s: field %q: want an API name of a-z, 0-9 and _", owner, f.Name)
		p.want(!seen[f.Name], "%s: field %q stands twice", owner, f.Name)
		seen[f.Name] = true
		p.want(f.Label != "", "%s: field %q has no label", owner, f.Name)
		p.want(slices.Contains(fieldTypes, f.Type), "%s: field %q: type %q is none of %s", owner, f.Name, f.Type, strings.Join(fieldTypes, ", "))
		p.want(strings.HasSuffix(f.Type, "select") == (len(f.Options) > 0), "%s: field %q: options belong to selects, and selects need them", owner, f.Name)
	}
}

// Rule returns the rule of that routing name, or nil.
func (m *Manifest) Rule(name string) *Rule {
	for i := range m.Rules {
		if RoutingName(m.Rules[i].Title) == name {
			return &m.Rules[i]
		}
	}
	return nil
}

// Function returns the function of that API name, or nil.
func (m *Manifest) Function(name string) *Function {
	for i := range m.Functions {
		if m.Functions[i].Name == name {
			return &m.Functions[i]
		}
	}
	return nil
}
