package resilient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A server that repeats what it was sent, wherever in a long text.
func TestSecretAtTheEndOfALongTextIsMasked(t *testing.T) {
	const secret = "correct horse battery"
	a := &account{password: func() string { return secret }}
	for at := maxErrorText - len(secret) - 1; at <= maxErrorText+1; at++ {
		text, _ := a.describe(500, "application/json", []byte(`{"message":"`+strings.Repeat("x", at)+secret+strings.Repeat("y", 50)+`"}`))
		assert.NotContains(t, text, secret[:4], "%d", at)
	}
}
