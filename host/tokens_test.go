package host

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"fn-threatq/host/secret"
)

func TestReplacedTokensStayMaskedForAWhile(t *testing.T) {
	a := &App{redact: secret.NewRedactor()}
	token := func(n int) string { return fmt.Sprintf("token-%08d", n) }
	for n := range 40 {
		var former []string
		if n > 0 {
			former = []string{token(n - 1)}
		}
		a.tokens([]string{token(n)}, former)
	}
	for n := 7; n < 40; n++ {
		assert.NotContains(t, a.redact.Redact("it said "+token(n)), token(n))
	}
	assert.Contains(t, a.redact.Redact("it said "+token(6)), token(6), "the set does not grow for ever")
}
