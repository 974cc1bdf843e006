package flow

import (
	"bytes"
	"encoding/json"

	"fn-threatq/abi"
)

// redactJSON takes secrets out of the texts of a JSON value, and out of the
// names of its keys.
func (f *Flow) redactJSON(value abi.JSON) abi.JSON {
	text := string(value)
	// Without an escape, a secret stands in the JSON as it is.
	if !bytes.ContainsRune(value, '\\') && f.o.Redact(text) == text {
		return value
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var decoded any
	if decoder.Decode(&decoded) != nil {
		return nil // it was JSON when it came
	}
	return encode(f.redactValue(decoded))
}

func (f *Flow) redactValue(value any) any {
	switch v := value.(type) {
	case string:
		return f.o.Redact(v)
	case []any:
		for i := range v {
			v[i] = f.redactValue(v[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, inner := range v {
			clean[f.o.Redact(key)] = f.redactValue(inner)
		}
		return clean
	}
	return value
}
