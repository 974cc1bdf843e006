package flow

import (
	"log/slog"
	"sync"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// replyBody is AcknowledgementDTO (contract: replies).
type replyBody struct {
	// Type is 0 information, 1 error.
	Type     int             `json:"message_type"`
	Message  string          `json:"message"`
	Complete bool            `json:"complete"`
	Results  *functionResult `json:"results,omitempty"`
}

// functionResult is the value a workflow script sees (contract: result of a
// function).
type functionResult struct {
	Version float64             `json:"version"`
	Success bool                `json:"success"`
	Reason  *string             `json:"reason"`
	Content abi.JSON            `json:"content"`
	Raw     *string             `json:"raw"`
	Inputs  map[string]abi.JSON `json:"inputs"`
	Metrics metrics             `json:"metrics"`
}

type metrics struct {
	Version        string `json:"version"`
	Package        string `json:"package"`
	PackageVersion string `json:"package_version"`
	Host           string `json:"host"`
	TimeMS         int64  `json:"execution_time_ms"`
	// Timestamp is local time without a zone.
	Timestamp string `json:"timestamp"`
}

// encode writes the final reply of an action.
func (f *Flow) encode(o outcome, e *envelope, s *story) []byte {
	body := replyBody{Complete: true}
	isFunction := s.action != nil && s.action.Kind == abi.KindFunction || s.action == nil && e.Function != nil
	switch {
	case isFunction && o.reply != nil:
		body.Message = f.text(o.reply.Message, "Completed")
		body.Results = f.results(o.reply.Success, o.reply.Message, o.reply.Results, s)
	case isFunction && s.action != nil && s.setup.TrapException:
		body.Message = "Completed"
		body.Results = f.results(false, o.fail.Message, nil, s)
	case isFunction:
		body.Type, body.Message = 1, f.text(o.fail.Message, "Processing failed")
	case o.reply != nil && o.reply.Success:
		body.Message = f.text(o.reply.Message, "Completed")
	case o.reply != nil:
		body.Type, body.Message = 1, "ERROR:\n\n"+f.text(o.reply.Message, "Processing failed")
	default:
		body.Type, body.Message = 1, "ERROR:\n\n"+f.text(o.fail.Message, "Processing failed")
	}
	return encode(body)
}

func (f *Flow) text(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return f.o.Redact(text)
}

func (f *Flow) results(success bool, message string, content abi.JSON, s *story) *functionResult {
	r := &functionResult{Version: 2.0, Success: success, Content: f.redactJSON(content), Inputs: map[string]abi.JSON{}, Metrics: metrics{
		Version: "1.0", Package: "fn-threatq", PackageVersion: s.module.Version, Host: f.o.Host,
		TimeMS: s.took.Milliseconds(), Timestamp: time.Now().Format("2006-01-02 15:04:05"),
	}}
	if !success {
		reason := f.text(message, "Processing failed")
		r.Reason = &reason
	}
	for name, value := range s.action.Inputs {
		r.Inputs[name] = f.redactJSON(value)
	}
	return r
}

// story is what the log and the reply say of an action, its sub-actions included.
type story struct {
	setup  *Setup
	action *abi.Action
	module *manifest.Manifest
	took   time.Duration

	mu           sync.Mutex
	turns, calls int
	waiting      time.Duration
	// held is the part of waiting in which a service was down.
	held time.Duration
}

func (s *story) turn() { s.mu.Lock(); defer s.mu.Unlock(); s.turns++ }

func (s *story) add(calls int, waiting, held time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls += calls
	s.waiting += waiting
	s.held += held
}

// report writes the one line of an action.
func (f *Flow) report(m Message, e *envelope, s *story, o outcome) {
	level, result, attrs := slog.LevelInfo, "done", []any{"action", m.ID}
	if s.action != nil {
		attrs = append(attrs, s.action.Kind, s.action.Title, "module", s.module.Name+" "+s.module.Version)
	}
	if e.Incident != nil {
		attrs = append(attrs, "incident", e.Incident.ID)
	}
	text := ""
	switch {
	case o.abandoned:
		level, result, text = slog.LevelWarn, "abandoned", o.why
	case o.fail != nil:
		level, result, text = slog.LevelError, "failed", o.fail.Message
		attrs = append(attrs, "code", string(o.fail.Code), "retry", o.fail.Retry)
	case !o.reply.Success:
		level, result, text = slog.LevelWarn, "failed", o.reply.Message
	default:
		text = o.reply.Message
	}
	s.mu.Lock()
	attrs = append(attrs, "outcome", result, "turns", s.turns, "calls", s.calls,
		"duration", s.took.Round(time.Microsecond), "waited", s.waiting.Round(time.Microsecond), "message", f.o.Redact(text))
	if s.held > 0 {
		attrs = append(attrs, "held", s.held.Round(time.Second))
	}
	s.mu.Unlock()
	f.o.Logger.Log(f.run, level, "action", attrs...)
}
