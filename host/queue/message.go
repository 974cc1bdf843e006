package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"fn-threatq/host/broker"
)

// The kinds of messages besides those of objects.
const (
	KindFunction   = "function"
	KindUnreadable = "unreadable"
	KindOther      = "other" // a rule about an object that is none of ours
)

// objects are the kinds by object type (contract: object types).
var objects = map[int]string{0: "incident", 1: "task", 2: "note", 3: "milestone", 4: "artifact", 5: "attachment"}

// Message is what is told of one message that waits.
type Message struct {
	ID   string `json:"message_id"`
	Kind string `json:"kind"`
	// RuleID is the rule's id; 0 for a function, and when the message names none.
	RuleID int64 `json:"rule_id,omitempty"`
	// Name is the API name of a function, or the display name of a rule where
	// SOAR told it.
	Name string `json:"name,omitempty"`
	// Incident is 0 when the message names none.
	Incident int64 `json:"incident,omitempty"`
	// Sent is the time by SOAR's clock; zero when it does not say.
	Sent        time.Time `json:"sent,omitzero"`
	Redelivered bool      `json:"redelivered"`
	Bytes       int       `json:"bytes"`
}

// read makes a Message of a delivery; it never fails, since an unreadable
// message is what clogs a queue.
func read(d *broker.Delivery) Message {
	m := Message{ID: d.MessageID, Kind: KindUnreadable, Sent: d.Timestamp.UTC(), Redelivered: d.Redelivered, Bytes: len(d.Body)}
	if d.Timestamp.IsZero() {
		m.Sent = time.Time{}
	}
	var body struct {
		ActionID   int64 `json:"action_id"`
		ObjectType *int  `json:"object_type"`
		Incident   *struct {
			ID int64 `json:"id"`
		} `json:"incident"`
		Function *struct {
			Name string `json:"name"`
		} `json:"function"`
		Inputs map[string]json.RawMessage `json:"inputs"`
	}
	if text := bytes.TrimSpace(d.Body); len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &body) != nil {
		return m
	}
	switch {
	case body.Function != nil && d.Payload != "ActionDataDTO":
		m.Kind, m.Name = KindFunction, body.Function.Name
		// A function message has no incident but what is an input (contract: FunctionDataDTO).
		_ = json.Unmarshal(body.Inputs["incident_id"], &m.Incident)
		return m
	case body.ActionID == 0 && body.Incident == nil:
		return m
	}
	m.RuleID, m.Kind = body.ActionID, KindOther
	if body.ObjectType != nil && objects[*body.ObjectType] != "" {
		m.Kind = objects[*body.ObjectType]
	}
	if body.Incident != nil {
		m.Incident = body.Incident.ID
	}
	return m
}

// Title is how the message's rule or function is shown.
func (m Message) Title() string {
	switch {
	case m.Name != "":
		return m.Name
	case m.RuleID != 0:
		return fmt.Sprintf("rule %d", m.RuleID)
	case m.Kind == KindUnreadable:
		return "(unreadable)"
	}
	return "(no rule)"
}
