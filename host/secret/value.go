// Package secret keeps passwords, keys and tokens out of everything that people and modules read.
//
// Terms: a Value is a secret that prints as ***; a reference is text of the configuration that stands for a
// secret kept elsewhere; a scheme is one way to mark references ($ or ^), Sources are the places where they
// are looked up (environment, file, systemd credential, keyring), and a Resolver replaces them; a Redactor
// masks known secrets in text that was composed elsewhere, such as log lines and error messages.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Mask is what is shown in place of a secret.
const Mask = "***"

// Value is an opaque secret. Every way of printing or encoding it gives Mask, or an empty text when it is
// not set; only Reveal gives the secret itself. The zero Value is not set.
type Value struct {
	// A pointer, because fmt reads unexported fields of an enclosing struct by reflection, past all methods:
	// it then prints an address instead of the secret.
	text *string
}

// New makes a Value of a secret's text. An empty text gives a Value that is not set.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{text: &text}
}

// Reveal returns the secret. Call it only where the secret is sent to the system that it belongs to.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsSet tells whether there is a secret at all.
func (v Value) IsSet() bool { return v.text != nil }

// String returns Mask.
func (v Value) String() string {
	if !v.IsSet() {
		return ""
	}
	return Mask
}

// GoString returns Mask, for %#v.
func (v Value) GoString() string { return v.String() }

// Format writes Mask for every verb and flag.
func (v Value) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, v.String()) }

// LogValue gives Mask to slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalText gives Mask to encoders.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalJSON gives Mask as a JSON string.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + v.String() + `"`), nil }
