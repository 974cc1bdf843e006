package guest

import (
	"hash/fnv"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// Query holds the parameters of a call, not encoded.
type Query map[string]string

// Call is one request; see abi.Call, which says how a path may look.
type Call struct {
	// Service is abi.ThreatQ or abi.Resilient.
	Service, Method, Path string
	Query                 Query
	// Body is sent as JSON; nil sends none.
	Body jsonvalue.Raw
	// Upload sends a form with a file instead of Body.
	Upload *abi.Upload
	// Download keeps the answer as a blob.
	Download bool
	// Idempotent says that doing it twice does no harm.
	Idempotent bool
	// Slow asks for the long time limit.
	Slow bool
}

// SubAction starts a rule for one object, on its own way through the host; see
// abi.SubAction.
type SubAction struct {
	// Rule is the routing name.
	Rule                           string
	IncidentID, TaskID, ArtifactID int64
	// Fields is an object of activity fields, or nil.
	Fields jsonvalue.Raw
}

func (c Call) error(code abi.ErrorCode, status int, message string) *CallError {
	return &CallError{Code: code, Status: status, Message: message, Service: c.Service, Method: c.Method, Path: c.Path}
}

func (s SubAction) error(code abi.ErrorCode, status int, message string) *CallError {
	return &CallError{Code: code, Status: status, Message: message, Path: s.Rule}
}

// asked is a Call or a SubAction.
type asked interface {
	// append writes it as a JSON object without its id.
	append(text []byte) []byte
	error(code abi.ErrorCode, status int, message string) *CallError
	String() string
}

func (c Call) String() string { return c.Service + " " + c.Method + " " + c.Path }

func (s SubAction) String() string {
	return "sub-action " + s.Rule + " for incident " + strconv.FormatInt(s.IncidentID, 10)
}

// callID numbers what was asked for, and tells by a hash of its JSON whether a
// replay asks for the same.
func callID(prefix string, number int, content []byte) string {
	hash := fnv.New32a()
	_, _ = hash.Write(content)
	digits := strconv.FormatUint(uint64(hash.Sum32()), 16)
	return prefix + strconv.Itoa(number) + "." + "00000000"[len(digits):] + digits
}

func (c Call) append(text []byte) []byte {
	w := writer{text: append(text, '{')}
	w.string("service", c.Service)
	w.string("method", c.Method)
	w.string("path", c.Path)
	if len(c.Query) > 0 {
		w.pair("query", map[string]string(c.Query))
	}
	if c.Body != nil {
		w.pair("body", c.Body)
	}
	if u := c.Upload; u != nil {
		w.pair("upload", jsonvalue.Obj(
			"fields", orOmit(u.Fields, len(u.Fields) > 0),
			"part", u.Part,
			"file_name", u.FileName,
			"content_type", orOmit(u.ContentType, u.ContentType != ""),
			"blob", u.Blob))
	}
	if c.Download {
		w.pair("download", true)
	}
	w.pair("idempotent", c.Idempotent)
	if c.Slow {
		w.pair("slow", true)
	}
	return append(w.text, '}')
}

func (s SubAction) append(text []byte) []byte {
	w := writer{text: append(text, '{')}
	w.string("rule", s.Rule)
	w.pair("incident_id", s.IncidentID)
	if s.TaskID != 0 {
		w.pair("task_id", s.TaskID)
	}
	if s.ArtifactID != 0 {
		w.pair("artifact_id", s.ArtifactID)
	}
	if s.Fields != nil {
		w.pair("fields", s.Fields)
	}
	return append(w.text, '}')
}

// orOmit leaves a value out unless it is to be kept.
func orOmit(v any, keep bool) any {
	if keep {
		return v
	}
	return jsonvalue.Omit
}

// writer writes the pairs of an object behind an opening brace.
type writer struct{ text []byte }

func (w *writer) key(key string) {
	if w.text[len(w.text)-1] != '{' {
		w.text = append(w.text, ',')
	}
	w.text = append(jsonvalue.AppendString(w.text, key), ':')
}

func (w *writer) string(key, value string) {
	w.key(key)
	w.text = jsonvalue.AppendString(w.text, value)
}

func (w *writer) pair(key string, value any) {
	w.key(key)
	w.text = jsonvalue.Append(w.text, value)
}
