package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Handler wraps a slog handler so that message and attributes (strings, errors, Stringers, groups, and whatever else
// shows a secret when it is printed or encoded as JSON) reach it redacted. Attributes bound by Logger.With are redacted
// with the secrets known at that moment.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	return &redactingHandler{redactor: r, next: next}
}

type redactingHandler struct {
	redactor *Redactor
	next     slog.Handler
}

func (h *redactingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *redactingHandler) Handle(ctx context.Context, record slog.Record) error {
	message := h.redactor.Redact(record.Message)
	dirty := message != record.Message
	attrs := make([]slog.Attr, 0, record.NumAttrs())
	record.Attrs(func(attr slog.Attr) bool {
		redacted, changed := h.redactor.attr(attr)
		dirty = dirty || changed
		attrs = append(attrs, redacted)
		return true
	})
	if !dirty {
		return h.next.Handle(ctx, record)
	}
	clean := slog.NewRecord(record.Time, record.Level, message, record.PC)
	clean.AddAttrs(attrs...)
	return h.next.Handle(ctx, clean)
}

func (h *redactingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	redacted := make([]slog.Attr, len(attrs))
	for i, attr := range attrs {
		redacted[i], _ = h.redactor.attr(attr)
	}
	return &redactingHandler{redactor: h.redactor, next: h.next.WithAttrs(redacted)}
}

func (h *redactingHandler) WithGroup(name string) slog.Handler {
	return &redactingHandler{redactor: h.redactor, next: h.next.WithGroup(name)}
}

// attr returns an attribute without secrets, and whether that differs from what was given.
func (r *Redactor) attr(attr slog.Attr) (slog.Attr, bool) {
	value, changed := r.value(attr.Value)
	key := r.Redact(attr.Key)
	return slog.Attr{Key: key, Value: value}, changed || key != attr.Key
}

func (r *Redactor) value(value slog.Value) (slog.Value, bool) {
	switch value.Kind() {
	case slog.KindLogValuer:
		redacted, _ := r.value(value.Resolve())
		// Counts as a change, so that the value which was looked at is the one that gets written.
		return redacted, true
	case slog.KindString:
		redacted := r.Redact(value.String())
		return slog.StringValue(redacted), redacted != value.String()
	case slog.KindGroup:
		members := value.Group()
		redacted := make([]slog.Attr, len(members))
		dirty := false
		for i, member := range members {
			var changed bool
			redacted[i], changed = r.attr(member)
			dirty = dirty || changed
		}
		if !dirty {
			return value, false
		}
		return slog.GroupValue(redacted...), true
	case slog.KindAny:
		return r.any(value)
	default:
		return value, false
	}
}

// any redacts a value of any type. A handler may print it or encode it, so both texts are looked at; the value is
// replaced by its redacted text only when one of them shows a secret.
func (r *Redactor) any(value slog.Value) (slog.Value, bool) {
	if value.Any() == nil {
		return value, false
	}
	text := fmt.Sprintf("%+v", value.Any()) // as handlers do; fmt also survives a nil pointer behind a String method
	if raw, ok := value.Any().([]byte); ok {
		text = string(raw)
	}
	if redacted := r.Redact(text); redacted != text {
		return slog.StringValue(redacted), true
	}
	encoded, err := json.Marshal(value.Any())
	if err != nil {
		return value, false
	}
	if redacted := r.Redact(string(encoded)); redacted != string(encoded) {
		return slog.StringValue(redacted), true
	}
	return value, false
}
