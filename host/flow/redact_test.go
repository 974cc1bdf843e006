package flow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"fn-threatq/abi"
)

func TestSecretsAreTakenOutOfEveryTextOfAJSONValue(t *testing.T) {
	f := New(Options{Redact: func(s string) string { return strings.ReplaceAll(s, `p:w\d"x`, "***") }})
	for in, want := range map[string]string{
		``:                        ``,
		`"nothing to hide"`:       `"nothing to hide"`,
		`{"b":1,"a":"as it was"}`: `{"b":1,"a":"as it was"}`,
		`{"b":[{"a":"p:w\\d\"x"}],"p:w\\d\"x":12345678901234567890}`: `{"***":12345678901234567890,"b":[{"a":"***"}]}`,
		`"an escape, \u00fc, and p:w\\d\"x"`:                         `"an escape, ü, and ***"`,
		`[true,null,1.50,"\\"]`:                                      `[true,null,1.50,"\\"]`,
	} {
		assert.Equal(t, want, string(f.redactJSON(abi.JSON(in))), in)
	}
}
