package flow

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// Explanation says what the host would make of a message, and why. Nothing is
// played.
type Explanation struct {
	// Kind is rule or function. RuleID is what the message says of a rule, Title
	// what SOAR calls it, Name the name that modules are found by.
	Kind   string `json:"kind,omitempty"`
	RuleID int64  `json:"rule_id,omitempty"`
	Title  string `json:"title,omitempty"`
	Name   string `json:"name,omitempty"`
	// Action is what the module would be given; nil when it did not come so far.
	Action *abi.Action `json:"action,omitempty"`
	// Fields are the activity fields of the rule, or the inputs of the function.
	Fields []FieldReading `json:"fields,omitempty"`
	// Unread are values of the message that the manifest does not name.
	Unread []string `json:"unread,omitempty"`

	// Lane is where the action would wait: incident:ID, or message:ID for its own.
	// NoLane says that it leaves the lane of its incident, since it only starts
	// others.
	Lane   string `json:"lane,omitempty"`
	NoLane bool   `json:"no_lane,omitempty"`
	// Urgent: somebody waits for it, so that it goes before automatic actions.
	Urgent bool `json:"urgent"`
	// Merges: it may be served by one run with others that ask for the same.
	Merges bool `json:"merges"`
	// Exclusive: not while another action of its rule runs.
	Exclusive bool `json:"exclusive"`
	// SharesReads: it may be given what others of its lane have read.
	SharesReads bool `json:"shares_reads"`

	// Module would take it; empty for none.
	Module   string             `json:"module,omitempty"`
	Manifest *manifest.Manifest `json:"-"`
	Limits   *Limits            `json:"limits,omitempty"`

	// Problem is the error with which the message would be answered, Code its class.
	Problem string        `json:"problem,omitempty"`
	Code    abi.ErrorCode `json:"code,omitempty"`
}

// FieldReading is how one value came about.
type FieldReading struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	// Sent is the value in the message under the API name As; both are empty when
	// there is none.
	As   string   `json:"as,omitempty"`
	Sent abi.JSON `json:"sent,omitempty"`
	// Value is what the module would be given; absent: nothing.
	Value abi.JSON `json:"value,omitempty"`
	// How says in words how it was found.
	How string `json:"how"`
}

// Explain reads a message as Handle does.
func (f *Flow) Explain(ctx context.Context, m Message) Explanation {
	var x Explanation
	e, err := open(m)
	if err != nil {
		x.Problem, x.Code = err.Error(), abi.CodeMessage
		return x
	}
	x.Kind, x.Lane = abi.KindRule, e.lane(m)
	switch {
	case e.isFunction(m):
		x.Kind = abi.KindFunction
		if e.Function != nil {
			x.Name, x.Title = e.Function.Name, e.Function.DisplayName
		}
	case e.ActionID != nil:
		x.RuleID = *e.ActionID
	}
	s := f.current()
	action, module, err := s.route(ctx, m, e, s.Modules)
	if err != nil {
		var coded *codedError
		x.Problem, x.Code = err.Error(), abi.CodeInternal
		if errors.As(err, &coded) {
			x.Code = coded.code
		}
		if x.Kind == abi.KindRule && x.RuleID != 0 {
			if x.Title, err = s.Directory.RuleName(ctx, x.RuleID); err == nil {
				x.Name = manifest.RoutingName(x.Title)
			}
		}
		return x
	}
	about := module.Manifest()
	limits := LimitsOf(about)
	x.Action, x.Manifest, x.Limits, x.Module = action, about, &limits, about.Name
	x.Name, x.Title = action.Name, action.Title
	x.Merges, x.SharesReads, x.NoLane = merges(module, action), sharesReads(module, action), e.noLane(module, action)
	rule := ruleOf(about, action)
	x.Urgent = action.Kind == abi.KindFunction || len(e.Properties) > 0 || rule != nil && !rule.Automatic
	if rule != nil {
		x.Exclusive = rule.Exclusive
		x.Fields, x.Unread = s.readings(ctx, e, rule.Fields, action.Fields)
	} else if function := about.Function(action.Name); function != nil {
		for _, input := range function.Inputs {
			x.Fields = append(x.Fields, inputReading(e, input, action))
		}
		for name := range e.Inputs {
			if !slices.ContainsFunc(function.Inputs, func(i manifest.Field) bool { return i.Name == name }) {
				x.Unread = append(x.Unread, name)
			}
		}
	}
	slices.Sort(x.Unread)
	return x
}

func inputReading(e *envelope, input manifest.Field, action *abi.Action) FieldReading {
	r := FieldReading{Name: input.Name, Label: input.Label, How: "not given"}
	if sent, ok := e.Inputs[input.Name]; ok && !absent(sent) {
		r.As, r.Sent, r.Value, r.How = input.Name, abi.JSON(sent), action.Inputs[input.Name], "by its name"
	}
	return r
}

// readings tells how the fields of a menu item were found.
func (s *Setup) readings(ctx context.Context, e *envelope, fields []manifest.Field, got map[string]abi.JSON) (all []FieldReading, unread []string) {
	var labels map[string]string
	read := map[string]bool{}
	for _, field := range fields {
		r := FieldReading{Name: field.Name, Label: field.Label, Value: got[field.Name]}
		as, how := field.Name, "by its name"
		if _, ok := e.Properties[as]; !ok {
			if labels == nil && len(e.Properties) > 0 {
				// What could not be asked has been told with the action.
				labels, _ = s.labels(ctx, e)
			}
			as, how = labels[fold(field.Label)], "by its label, as SOAR has it"
		}
		sent, ok := e.Properties[as]
		switch {
		case !ok:
			r.How = "not given"
		case absent(sent):
			r.As, r.Sent, r.How = as, abi.JSON(sent), how+"; empty"
		default:
			read[as] = true
			r.As, r.Sent, r.How = as, abi.JSON(sent), how+"; "+e.valueFrom(field, as, sent)
		}
		read[as] = read[as] || ok
		all = append(all, r)
	}
	for name := range e.Properties {
		if !read[name] {
			unread = append(unread, name)
		}
	}
	return all, unread
}

// valueFrom says where the label of a select's value is from: see option.
func (e *envelope) valueFrom(field manifest.Field, as string, sent json.RawMessage) string {
	if !strings.HasSuffix(field.Type, "select") {
		return "the value as it is"
	}
	text := scalar(sent)
	if e.TypeInfo.label("actioninvocation", as, text) != "" {
		return "the label is in the message (type_info)"
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return "the label is SOAR's, where it could be asked"
	}
	return "the value as it is"
}
