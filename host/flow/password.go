package flow

import (
	"encoding/json"
	"strings"
)

// passwordType is the artifact type Password (contract: artifact types).
const passwordType = "32"

// withoutPassword leaves the value of an artifact of type Password, or of an
// indicator of that type, out of a message that is kept. A rule reads it anew.
func withoutPassword(body []byte) []byte {
	var message map[string]json.RawMessage
	if json.Unmarshal(body, &message) != nil {
		return body
	}
	changed := mask(message, "artifact", "type", "value") || mask(message, "inputs", "indicator_type", "indicator_value")
	if !changed {
		return body
	}
	text, err := json.Marshal(message)
	if err != nil {
		return body // it was read a moment ago
	}
	return text
}

// mask hides the value of an object of the message whose type is Password.
func mask(message map[string]json.RawMessage, object, kind, value string) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(message[object], &fields) != nil || fields[value] == nil || !isPassword(fields[kind]) {
		return false
	}
	fields[value] = json.RawMessage(`"***"`)
	text, err := json.Marshal(fields)
	if err != nil {
		return false
	}
	message[object] = text
	return true
}

// isPassword reads a type as SOAR sends it: an id, a name, or an object of both.
func isPassword(kind json.RawMessage) bool {
	var named struct {
		ID   json.RawMessage `json:"id"`
		Name string          `json:"name"`
	}
	if json.Unmarshal(kind, &named) == nil {
		return string(named.ID) == passwordType || strings.EqualFold(named.Name, "password")
	}
	return string(kind) == passwordType || strings.EqualFold(string(kind), `"password"`)
}
