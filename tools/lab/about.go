package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// messageBody is what about reads of a message.
type messageBody struct {
	Operation string `json:"operation_type"`
	Incident  *struct{ ID int64 }
	Task      *struct {
		ID   int64
		Name string
	}
	Artifact *struct {
		ID, Type int64
		Value    string
	}
	Note *struct {
		ID     int64
		Parent int64 `json:"parent_id"`
		Text   string
	}
	Attachment *struct {
		ID, Size int64
		Name     string
	}
	Inputs     map[string]json.RawMessage
	Properties map[string]json.RawMessage
	TypeInfo   map[string]struct {
		Fields map[string]struct {
			Values map[string]struct{ Label string }
		}
	} `json:"type_info"`
}

// about says what a message is about, from the message alone.
func about(m resilienttest.Message) string {
	var body messageBody
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return "a message that is not JSON: " + err.Error()
	}
	var parts []string
	if body.Incident != nil {
		parts = append(parts, body.object())
	}
	if body.Operation != "" && len(body.Properties) == 0 {
		parts = append(parts, body.Operation)
	}
	for _, name := range sortedKeys(body.Properties) {
		if value := string(body.Properties[name]); value != "null" {
			parts = append(parts, name+"="+dayOf(name, body.label("actioninvocation", name, strings.Trim(value, `"`))))
		}
	}
	for _, name := range sortedKeys(body.Inputs) {
		var chosen struct{ Name string }
		value := strings.Trim(string(body.Inputs[name]), `"`)
		if json.Unmarshal(body.Inputs[name], &chosen) == nil && chosen.Name != "" {
			value = chosen.Name
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, ", ")
}

// object names what the rule runs on.
func (b messageBody) object() string {
	where := fmt.Sprintf("incident %d", b.Incident.ID)
	if b.Task != nil {
		where = fmt.Sprintf("task %d of incident %d", b.Task.ID, b.Incident.ID)
	}
	switch {
	case b.Artifact != nil:
		kind := b.label("artifact", "type", fmt.Sprint(b.Artifact.Type))
		return fmt.Sprintf("artifact %d of %s, %s %q", b.Artifact.ID, where, kind, b.Artifact.Value)
	case b.Note != nil:
		note := fmt.Sprintf("note %d on %s", b.Note.ID, where)
		if b.Note.Parent != 0 {
			note += fmt.Sprintf(", a reply to note %d", b.Note.Parent)
		}
		if b.Note.Text != "" { // a deleted one has none
			note += ", " + b.Note.Text
		}
		return note
	case b.Attachment != nil:
		return fmt.Sprintf("attachment %d of %s, %q, %d bytes", b.Attachment.ID, where, b.Attachment.Name, b.Attachment.Size)
	case b.Task != nil:
		return fmt.Sprintf("%s, %q", where, b.Task.Name)
	}
	return where
}

func (b messageBody) label(object, field, value string) string {
	if found := b.TypeInfo[object].Fields[field].Values[value].Label; found != "" {
		return found
	}
	return value
}

// dayOf makes milliseconds readable. Messages do not tell the types of fields;
// the one of a date is known by its name.
func dayOf(field, value string) string {
	if ms, err := strconv.ParseInt(value, 10, 64); err == nil && field == "threatq_created_after" {
		return time.UnixMilli(ms).UTC().Format(time.DateOnly)
	}
	return value
}
