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
	held          time.Duration
	dialogue      []exchange
	dialogueCalls int
}

func (s *story) turn() { s.mu.Lock(); defer s.mu.Unlock(); s.turns++ }

func (s *story) add(calls int, waiting, held time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls += calls
	s.waiting += waiting
	s.held += held
}

// report writes the one line of each action that the run served. The work is
// told with the first; the others name it.
func (f *Flow) report(r *run, o outcome) {
	for i, j := range r.jobs {
		level, attrs := f.line(r, o, j)
		s := r.story
		s.mu.Lock()
		turns, calls, took, waited, held := s.turns, s.calls, s.took, s.waiting, s.held
		s.mu.Unlock()
		if i > 0 {
			turns, calls, took, waited, held = 0, 0, 0, 0, 0
		}
		attrs = append(attrs, "turns", turns, "calls", calls, "duration", took.Round(time.Microsecond), "waited", waited.Round(time.Microsecond))
		if held > 0 {
			attrs = append(attrs, "held", held.Round(time.Second))
		}
		if i > 0 {
			attrs = append(attrs, "served_by", r.jobs[0].message.ID)
		}
		f.o.Logger.Log(f.run, level, "action", append(attrs, "message", f.o.Redact(o.text()))...)
	}
}

// line is what the log says of the end of an action, whatever it took.
func (f *Flow) line(r *run, o outcome, j *job) (slog.Level, []any) {
	level, result, attrs := slog.LevelInfo, "done", []any{"action", j.message.ID}
	if s := r.story; s.action != nil {
		attrs = append(attrs, s.action.Kind, s.action.Title, "module", s.module.Name+" "+s.module.Version)
	}
	if r.envelope.Incident != nil {
		attrs = append(attrs, "incident", r.envelope.Incident.ID)
	}
	switch {
	case o.abandoned:
		level, result = slog.LevelWarn, "abandoned"
	case o.fail != nil:
		level, result = slog.LevelError, "failed"
		attrs = append(attrs, "code", string(o.fail.Code), "retry", o.fail.Retry)
	case o.observed:
		result = "observed"
	case !o.reply.Success:
		level, result = slog.LevelWarn, "failed"
	}
	return level, append(attrs, "outcome", result)
}

// text is what the outcome says to a person.
func (o outcome) text() string {
	switch {
	case o.abandoned:
		return o.why
	case o.fail != nil:
		return o.fail.Message
	}
	return o.reply.Message
}
