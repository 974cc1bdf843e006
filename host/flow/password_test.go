package flow

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPasswordsAreNotKept(t *testing.T) {
	for body, want := range map[string]string{
		`{"artifact":{"type":32,"value":"c4nary"}}`:                                                     `{"artifact":{"type":32,"value":"***"}}`,
		`{"artifact":{"type":{"id":32,"name":"x"},"value":"c4nary"},"n":9007199254740993}`:              `{"artifact":{"type":{"id":32,"name":"x"},"value":"***"},"n":9007199254740993}`,
		`{"inputs":{"indicator_type":{"id":1,"name":"Password"},"indicator_value":{"content":"c4na"}}}`: `{"inputs":{"indicator_type":{"id":1,"name":"Password"},"indicator_value":"***"}}`,
		`{"artifact":{"type":"Password","value":"c4nary"}}`:                                             `{"artifact":{"type":"Password","value":"***"}}`,
		`{"artifact":{"type":1,"value":"203.0.113.7"}}`:                                                 `{"artifact":{"type":1,"value":"203.0.113.7"}}`,
		`{"artifact":null}`: `{"artifact":null}`,
		`not JSON`:          `not JSON`,
	} {
		assert.Equal(t, want, string(withoutPassword([]byte(body))))
	}
}
