package provision

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/resilient"
)

// State is what a plan says of a customization.
type State string

// The states of a plan. New, Changed and Overwritten are written by Apply.
const (
	New         State = "new"
	Changed     State = "changed"     // something is added or brought up to date, nothing is lost
	Overwritten State = "overwritten" // something that is there is replaced
	Same        State = "same"
	Kept        State = "kept"       // an administrator's word counts
	Deprecated  State = "deprecated" // left by a former version; see FindFormer
	Conflict    State = "conflict"   // SOAR would refuse it
)

// Kind is the kind of a customization.
type Kind string

// The kinds of customizations, and the account, which has to be admitted.
const (
	KindDestination Kind = "message destination"
	KindField       Kind = "activity field"
	KindInput       Kind = "function input"
	KindRule        Kind = "rule"
	KindFunction    Kind = "function"
	KindAccount     Kind = "account"
)

// Item is one line of a plan.
type Item struct {
	State  State  `json:"state"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"` // display name; of fields the API name
	Module string `json:"module,omitempty"`
	// Notes say what changes, or why nothing does.
	Notes []string `json:"notes,omitempty"`
}

// Plan is what an import would do.
type Plan struct {
	Items []Item
	// document holds what is to be written, and what that refers to.
	document *Document
	needed   map[string]bool // export keys of the fields that are to be written
}

// Options of a plan.
type Options struct {
	// ResetRules writes the rules that would be kept.
	ResetRules bool
}

// NewPlan compares the document with what the server has.
func NewPlan(d *Document, s *Server, o Options) *Plan {
	p := &Plan{document: frame(), needed: map[string]bool{}}
	p.destination(s)
	for _, typeID := range []int{typeActivity, typeFunction} {
		for _, f := range d.Fields {
			if f.TypeID == typeID {
				p.field(f, s)
			}
		}
	}
	for _, r := range d.Rules {
		p.rule(d, r, s, o)
	}
	for _, f := range d.Functions {
		p.function(d, f, s)
	}
	for _, former := range FindFormer(d, s) {
		p.Items = append(p.Items, Item{Deprecated, former.Kind, former.Name, "", []string{former.about() + "; customize --clean removes it"}})
	}
	account := Item{New, KindAccount, s.Account.Name, "", []string{"may then subscribe to " + Destination}}
	if there := s.destination(); there != nil && there.Admits(s.Account) {
		account.State, account.Notes = Same, nil
	}
	p.Items = append(p.Items, account)
	p.complete()
	return p
}

// add notes an item and tells whether it is to be written.
func (p *Plan) add(i Item) bool {
	p.Items = append(p.Items, i)
	return i.State.written()
}

func (s State) written() bool { return s == New || s == Changed || s == Overwritten }

// Writes reports whether anything would be changed.
func (p *Plan) Writes() bool {
	return slices.ContainsFunc(p.Items, func(i Item) bool { return i.State.written() })
}

// imports reports whether something else than the account would be changed.
func (p *Plan) imports() bool {
	return slices.ContainsFunc(p.Items, func(i Item) bool { return i.State.written() && i.Kind != KindAccount })
}

// Count counts the items of a state.
func (p *Plan) Count(state State) (n int) {
	for _, i := range p.Items {
		if i.State == state {
			n++
		}
	}
	return n
}

// Conflicts says what must be settled before anything can be written; nil for nothing.
func (p *Plan) Conflicts() error {
	var texts []string
	for _, i := range p.Items {
		if i.State == Conflict {
			texts = append(texts, fmt.Sprintf("%s %s: %s", i.Kind, i.Name, strings.Join(i.Notes, ", ")))
		}
	}
	if texts == nil {
		return nil
	}
	return &RefusedError{strings.Join(texts, "; ")}
}

func (p *Plan) destination(s *Server) {
	i := Item{State: New, Kind: KindDestination, Name: Destination}
	switch there := s.destination(); {
	case there != nil && there.Topic:
		i.State, i.Notes = Kept, []string{"it is a topic, which keeps no actions while no host runs and gives each to every host: make one of type Queue in its place"}
	case there != nil:
		i.State = Same
	}
	p.Items = append(p.Items, i)
}

// field plans a field. One that is there gets the options that it lacks and nothing
// else: other apps may use it, and administrators may have given it another label.
func (p *Plan) field(f field, s *Server) {
	i := Item{State: New, Kind: f.kind(), Name: f.Name, Module: f.module}
	if there := s.field(f.objectType(), f.Name); there != nil {
		i.State = Same
		if there.InputType != f.InputType {
			i.State = Conflict
			i.Notes = []string{fmt.Sprintf("it exists as %s and has to be %s: delete or rename the one in SOAR", there.InputType, f.InputType)}
		} else if missing := f.adopt(there); len(missing) > 0 {
			i.State, i.Notes = Changed, []string{"gets the options " + strings.Join(missing, ", ")}
		}
	}
	if p.add(i) {
		p.needed[f.ExportKey] = true
	}
	p.document.Fields = append(p.document.Fields, f)
}

// complete drops the fields from the document that nothing in it needs.
func (p *Plan) complete() {
	var shown []viewItem
	for _, r := range p.document.Rules {
		shown = append(shown, r.ViewItems...)
	}
	for _, f := range p.document.Functions {
		shown = append(shown, f.ViewItems...)
	}
	p.document.Fields = slices.DeleteFunc(p.document.Fields, func(f field) bool {
		return f.TypeID != typeIncident && !p.needed[f.ExportKey] &&
			!slices.ContainsFunc(shown, func(v viewItem) bool { return v.Content == f.UUID })
	})
}

func (f *field) kind() Kind {
	if f.TypeID == typeFunction {
		return KindInput
	}
	return KindField
}

func (f *field) objectType() string {
	if f.TypeID == typeFunction {
		return resilient.FunctionInputs
	}
	return resilient.ActivityFields
}

// adopt takes over what the server's field has, and returns the options that it lacks.
func (f *field) adopt(there *resilient.Field) (missing []string) {
	f.Text, f.Tooltip, f.Required = there.Label, there.Tooltip, there.Required
	var values list[value]
	for n, v := range there.Values {
		values = append(values, value{Value: n + 1, Label: v.Label, Enabled: true, UUID: v.UUID})
	}
	for _, v := range f.Values {
		if !slices.Contains(labels(values), v.Label) {
			missing = append(missing, v.Label)
			v.Value = len(values) + 1
			values = append(values, v)
		}
	}
	f.Values = values
	return missing
}

// rule plans a rule. There may be several of a name, when an administrator has added
// one of the other kind; the one that is best for us counts.
func (p *Plan) rule(d *Document, r rule, s *Server, o Options) {
	i := Item{State: New, Kind: KindRule, Name: r.Name, Module: r.module}
	renamed := false // an import would add a second rule for the same actions
	for _, there := range s.Rules {
		if manifest.RoutingName(there.Name) != manifest.RoutingName(r.Name) {
			continue
		}
		renamed = renamed || there.Name != r.Name
		state, notes := compareRule(d, r, there, s)
		if i.State == New || state == Same || state == Kept && i.State != Same {
			i.State, i.Notes = state, notes
		}
	}
	if i.State == Kept && o.ResetRules && !renamed {
		i.State = Overwritten
	}
	if p.add(i) {
		p.document.Rules = append(p.document.Rules, r)
	}
}

func compareRule(d *Document, r rule, there resilient.Rule, s *Server) (State, []string) {
	var kept, lost, gained []string
	note := func(to *[]string, format string, args ...any) { *to = append(*to, fmt.Sprintf(format, args...)) }
	if there.Name != r.Name {
		note(&kept, "it is called %q", there.Name)
	}
	if !there.Enabled {
		note(&kept, "it is switched off")
	}
	automatic := r.Type == 0
	switch {
	case automatic && !there.Automatic:
		note(&kept, "it is a menu item")
	case !automatic && there.Automatic:
		note(&kept, "it is automatic")
	}
	if len(there.Workflows) > 0 {
		note(&kept, "it also starts %s", strings.Join(there.Workflows, ", "))
	}
	others := strings.Join(without(there.Destinations, []string{Destination}), ", ")
	switch sends := slices.Contains(there.Destinations, Destination); {
	case others != "" && sends:
		note(&kept, "it also sends to %s", others)
	case others != "":
		note(&kept, "it sends to %s, not to %s", others, Destination)
	case !sends:
		note(&lost, "it does not send to %s", Destination)
	}
	if there.Object != r.Object {
		note(&lost, "it is for %s, not for %s", there.Object, r.Object)
	}
	if automatic && there.Automatic {
		compareConditions(r, there, &kept, &lost)
	}
	if !automatic && !there.Automatic {
		wanted, has := d.fieldNames(r.ViewItems), s.fieldNames(resilient.ActivityFields, there.Fields)
		if more := without(has, wanted); len(more) > 0 {
			note(&kept, "it also asks for %s", strings.Join(more, ", "))
		}
		if missing := without(wanted, has); len(missing) > 0 {
			note(&gained, "asks for %s", strings.Join(missing, ", "))
		}
	}
	switch {
	case len(kept) > 0:
		return Kept, slices.Concat(kept, lost)
	case len(lost) > 0:
		return Overwritten, slices.Concat(lost, gained)
	case len(gained) > 0:
		return Changed, gained
	}
	return Same, nil
}

// compareConditions tells whether an automatic rule fires when ours does. The versions
// 1.0.x had no conditions; any others are an administrator's own (guide: Clearing a
// Resilient Message Destination).
func compareConditions(r rule, there resilient.Rule, kept, lost *[]string) {
	var ours, theirs []string
	for _, c := range r.Conditions {
		name := ""
		if c.Field != nil {
			name = *c.Field
		}
		ours = append(ours, conditionText(c.Method, name, nil))
	}
	for _, c := range there.Conditions {
		theirs = append(theirs, conditionText(c.Method, c.Field, c.Value))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	sameLogic := there.Logic == r.Logic || len(theirs) < 2
	switch {
	case slices.Equal(ours, theirs) && sameLogic:
	case len(theirs) == 0:
		*lost = append(*lost, "it fires at every save; then only when "+strings.Join(ours, ", "))
	default:
		*kept = append(*kept, "it has conditions of its own: "+strings.Join(theirs, ", "))
	}
}

// conditionText is a condition in words.
func conditionText(method, field string, value []byte) string {
	switch method {
	case "object_added":
		return "created"
	case "object_removed":
		return "deleted"
	}
	text := strings.TrimSpace(field + " " + method)
	if v := string(value); v != "" && v != "null" {
		text += " " + v
	}
	return text
}

func (p *Plan) function(d *Document, f function, s *Server) {
	i := Item{State: New, Kind: KindFunction, Name: f.Title, Module: f.module}
	n := slices.IndexFunc(s.Functions, func(there resilient.Function) bool { return there.Name == f.Name })
	if n >= 0 {
		i.State, i.Notes = compareFunction(d, f, s.Functions[n], s)
	}
	if p.add(i) {
		p.document.Functions = append(p.document.Functions, f)
	}
}

func compareFunction(d *Document, f function, there resilient.Function, s *Server) (State, []string) {
	state, notes := Same, []string(nil)
	if there.Title != f.Title || there.Description != f.Description.Content {
		state, notes = Changed, append(notes, "name or description")
	}
	if there.Destination != Destination {
		state, notes = Overwritten, append(notes, fmt.Sprintf("sends to %s, not to %s", Destination, there.Destination))
	}
	wanted, has := d.fieldNames(f.ViewItems), s.fieldNames(resilient.FunctionInputs, there.Inputs)
	if !slices.Equal(wanted, has) {
		if state == Same {
			state = Changed
		}
		if less := without(has, wanted); len(less) > 0 {
			state, notes = Overwritten, append(notes, "no longer takes "+strings.Join(less, ", "))
		}
		if more := without(wanted, has); len(more) > 0 {
			notes = append(notes, "takes "+strings.Join(more, ", "))
		} else if len(wanted) == len(has) {
			notes = append(notes, "order of the inputs")
		}
	}
	if state != Same && len(there.Workflows) > 0 {
		notes = append(notes, "is called by "+strings.Join(there.Workflows, ", "))
	}
	return state, notes
}

// without are the elements of a that are not in b.
func without(a, b []string) (out []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
