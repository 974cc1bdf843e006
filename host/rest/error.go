package rest

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fn-threatq/abi"
)

// Error is a failed exchange. It never holds a body, a header, a query or a
// secret: its text may be logged and shown.
type Error struct {
	Service, Method, Path string
	// Code is http, unreachable, unknown, login, too_large or internal.
	Code abi.ErrorCode
	// Status is the HTTP status of code http.
	Status int
	// Text are the server's own words.
	Text string
	// RetryAfter is how long the server asks us to wait.
	RetryAfter time.Duration
	Err        error
}

// Error names the service, the call, and what happened to it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Service)
	call := e.Method + " " + e.Path
	switch e.Code {
	case abi.CodeHTTP:
		b.WriteString(" answered " + strconv.Itoa(e.Status) + " to " + call)
	case abi.CodeUnreachable:
		b.WriteString(" could not be reached for " + call)
	case abi.CodeUnknown:
		b.WriteString(" gave no answer to " + call)
	case abi.CodeLogin:
		b.WriteString(": not logged in for " + call)
	default:
		b.WriteString(": " + call + " failed")
	}
	if text := e.Reason(); text != "" {
		b.WriteString(": " + text)
	}
	return b.String()
}

// longestCause bounds the text of a cause, in bytes: that of an answer which is no
// HTTP holds its first line, however long.
const longestCause = 1000

// Reason is the cause alone, without the call.
func (e *Error) Reason() string {
	if e.Text != "" || e.Err == nil {
		return e.Text
	}
	text := e.Err.Error()
	if len(text) > longestCause {
		text = strings.ToValidUTF8(text[:longestCause], "") + "…"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// clean takes the URL out of a client error: its query may hold user text, and
// the caller names method and path itself.
func clean(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
