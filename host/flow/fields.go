package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// fields gives the activity fields the names of the manifest and turns the
// numbers of selects into labels. A field is found by its API name, else by
// its label, because an administrator who makes a rule anew chooses the names.
func (s *Setup) fields(ctx context.Context, e *envelope, rule *manifest.Rule) (map[string]abi.JSON, error) {
	if rule == nil || len(e.Properties) == 0 {
		return nil, nil
	}
	out := map[string]abi.JSON{}
	var labels map[string]string
	for _, field := range rule.Fields {
		name := field.Name
		if _, ok := e.Properties[name]; !ok {
			if labels == nil {
				var err error
				if labels, err = s.labels(ctx, e); err != nil {
					return nil, err
				}
			}
			name = labels[fold(field.Label)]
		}
		value := e.Properties[name]
		if absent(value) {
			continue
		}
		resolved, err := s.fieldValue(ctx, e, name, field, value)
		if err != nil {
			return nil, err
		}
		if !absent(json.RawMessage(resolved)) {
			out[field.Name] = resolved
		}
	}
	return out, nil
}

// labels maps folded labels of the rule's fields to API names. Without the
// right to read them the defaults of missing fields apply, with a warning.
func (s *Setup) labels(ctx context.Context, e *envelope) (map[string]string, error) {
	folded := map[string]string{}
	if e.ActionID == nil {
		return folded, nil
	}
	labels, err := s.Directory.FieldLabels(ctx, *e.ActionID)
	if err != nil {
		if err := ends(ctx, err); err != nil {
			return nil, err
		}
		s.log.Warn("the activity fields of the rule cannot be read; fields under other API names than ours are taken as not given", "rule_id", *e.ActionID, "error", err)
		return folded, nil
	}
	for label, name := range labels {
		folded[fold(label)] = name
	}
	return folded, nil
}

func fold(label string) string { return strings.ToLower(strings.Join(strings.Fields(label), " ")) }

// fieldValue resolves one value by the type of the manifest's field.
func (s *Setup) fieldValue(ctx context.Context, e *envelope, name string, field manifest.Field, value json.RawMessage) (abi.JSON, error) {
	switch field.Type {
	case "select":
		label, err := s.option(ctx, e, name, value)
		return quote(label), err
	case "multiselect":
		var values []json.RawMessage
		if json.Unmarshal(value, &values) != nil {
			values = []json.RawMessage{value}
		}
		labels := make([]string, 0, len(values))
		for _, v := range values {
			if absent(v) {
				continue
			}
			label, err := s.option(ctx, e, name, v)
			if err != nil {
				return nil, err
			}
			labels = append(labels, label)
		}
		return encode(labels), nil
	default:
		return flat(value), nil
	}
}

// option is the label of a select's value: from the message, else from the
// server, else the value itself (contract: type_info).
func (s *Setup) option(ctx context.Context, e *envelope, name string, value json.RawMessage) (string, error) {
	var object struct{ Name, Label string }
	if json.Unmarshal(value, &object) == nil && cmp.Or(object.Name, object.Label) != "" {
		return cmp.Or(object.Name, object.Label), nil
	}
	text := scalar(value)
	if label := e.TypeInfo.label("actioninvocation", name, text); label != "" {
		return label, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text, nil
	}
	label, err := s.Directory.FieldOption(ctx, name, id)
	if err != nil || label == "" {
		if err := ends(ctx, err); err != nil {
			return "", err
		}
		s.log.Warn("the label of a select value is not known; the number is used", "field", name, "value", id, "error", err)
		return text, nil
	}
	return label, nil
}

// inputs flattens the inputs of a function: selects to their name, rich text
// to its content (contract: FunctionDataDTO).
func inputs(in properties) map[string]abi.JSON {
	out := map[string]abi.JSON{}
	for name, value := range in {
		if v := flat(value); !absent(json.RawMessage(v)) {
			out[name] = v
		}
	}
	return out
}

// flat takes the value out of {id, name} and {format, content} forms.
func flat(value json.RawMessage) abi.JSON {
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil && list != nil {
		items := make([]abi.JSON, len(list))
		for i, item := range list {
			items[i] = flat(item)
		}
		return encode(items)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil && object != nil {
		for _, key := range []string{"content", "name", "label"} {
			if inner, ok := object[key]; ok {
				return flat(inner)
			}
		}
	}
	return abi.JSON(value)
}

func quote(text string) abi.JSON { return encode(text) }

// encode writes a value that cannot fail to be written.
func encode(value any) abi.JSON {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("flow: %T cannot be written as JSON: %s", value, err))
	}
	return text
}
