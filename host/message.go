package host

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"fn-threatq/host/flow"
)

// Message is a message of SOAR that somebody has as a file.
type Message struct {
	flow flow.Message
	// Rule is the display name of its rule, where the file says it; SOAR's own
	// messages do not.
	Rule string
}

// organization is the one that the message is of; 0 when it does not say it.
func (m *Message) organization() int64 {
	var body struct {
		Incident struct {
			OrgID int64 `json:"org_id"`
		} `json:"incident"`
	}
	// What cannot be read is told when it is decoded.
	_ = json.Unmarshal(m.flow.Body, &body)
	return body.Incident.OrgID
}

// messageFile are the keys of all forms in which a message is kept.
type messageFile struct {
	// {"headers": …, "body": …}, as in the samples; _meta says what is in it.
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	Meta    struct {
		Rule     string `json:"rule"`
		Function string `json:"function"`
	} `json:"_meta"`

	// A record of `queue drain`, or what `actions show -o json` prints.
	MessageID     string    `json:"message_id"`
	CorrelationID string    `json:"correlation_id"`
	Payload       string    `json:"payload"`
	Name          string    `json:"name"`
	Title         string    `json:"title"`
	Kind          string    `json:"kind"`
	Sent          time.Time `json:"sent"`
	Raw           []byte    `json:"body_base64"`
	Truncated     bool      `json:"truncated"`

	// The body of a message alone.
	ActionID json.RawMessage `json:"action_id"`
	Function json.RawMessage `json:"function"`
	Incident json.RawMessage `json:"incident"`
}

// ReadMessage reads a message in any of the forms in which one gets it: with its
// headers ({"headers": …, "body": …}), as a record of `queue drain` (the first
// line counts), as `actions show -o json` prints it, or its body alone.
func ReadMessage(text []byte) (*Message, error) {
	var f messageFile
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("it is not the JSON of a message: %w", err)
	}
	m := &Message{Rule: f.Meta.Rule}
	alone := f.ActionID != nil || f.Function != nil || f.Incident != nil
	switch {
	case alone && f.Body == nil:
		m.flow = flow.Message{ID: "ID:file", Body: text[:decoder.InputOffset()]}
		return m, nil
	case f.Truncated:
		return nil, errors.New("the message was too large to be kept whole, so that it cannot be read")
	case f.Body == nil && f.Raw == nil:
		return nil, errors.New("it holds no message: want an object with headers and body, a record of `queue drain` or `actions show -o json`, or the body alone (with action_id, incident or function)")
	}
	body := []byte(f.Body)
	var quoted string
	switch {
	case f.Raw != nil:
		body = f.Raw
	case json.Unmarshal(f.Body, &quoted) == nil:
		body = []byte(quoted)
	}
	h := f.Headers
	m.flow = flow.Message{
		ID: cmp.Or(f.MessageID, h["message-id"], "ID:file"), Destination: h["destination"], CorrelationID: cmp.Or(f.CorrelationID, h["correlation-id"]),
		Payload: cmp.Or(f.Payload, h["Co3MessagePayload"]), Timestamp: f.Sent, Headers: h, Body: body,
	}
	if sent, err := strconv.ParseInt(h["timestamp"], 10, 64); err == nil {
		m.flow.Timestamp = time.UnixMilli(sent)
	}
	if name := cmp.Or(f.Title, f.Name); m.Rule == "" && m.flow.Payload != "FunctionDataDTO" && f.Kind != "function" {
		m.Rule = name
	}
	return m, nil
}
