package flow

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// ownFault is an error of the sandbox.
type ownFault bool

func (f ownFault) Error() string { return "it trapped" }
func (f ownFault) Fault() bool   { return bool(f) }

func TestVerdictsOnAModule(t *testing.T) {
	down := func(context.Context, rest.Request) (*rest.Response, error) {
		return nil, &rest.Error{Service: abi.ThreatQ, Code: abi.CodeHTTP, Status: 500, Text: "down"}
	}
	turnFails := func(err error) func(context.Context, abi.Input) (string, error) {
		return func(context.Context, abi.Input) (string, error) { return "", err }
	}
	foreign := `{"calls":[{"id":"a","service":"threatq","method":"DELETE","path":"/api/events"}]}`
	for name, c := range map[string]struct {
		turn   func(context.Context, abi.Input) (string, error)
		want   Verdict
		reason string
	}{
		"reply":               {says(done), Well, ""},
		"service down":        {script(`{`+calls("a")+`}`, `{"fail":{"code":"http","message":"ThreatQ is down"}}`), Well, ""},
		"bad input":           {says(`{"fail":{"code":"input","message":"no such value"}}`), Well, ""},
		"trap":                {turnFails(ownFault(true)), AtFault, "it trapped"},
		"the machine":         {turnFails(ownFault(false)), NoVerdict, ""},
		"full disk":           {turnFails(errors.New("no space left")), NoVerdict, ""},
		"bad output":          {says(`{"calls":[`), AtFault, "module test broke the contract: its answer is not the JSON that is wanted: unexpected end of JSON input"},
		"refused call":        {says(foreign), AtFault, "module test was refused a call: "},
		"refused sub-action":  {says(`{"actions":[{"id":"a","rule":"other"}]}`), AtFault, "module test: sub-action"},
		"turns without end":   {says(`{"state":1}`), AtFault, "took more than 100 turns"},
		"the host is stopped": {turnFails(context.Canceled), NoVerdict, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := module(t, "R", c.turn)
			b := newBench(t, modules{m}, func(o *Options) { o.Performer = performer(down) })
			b.handle(b.rule("m1", 1, 7))
			require.Equal(t, []Verdict{c.want}, m.verdicts)
			assert.Contains(t, m.reasons[0], c.reason)
		})
	}
}

func TestAModuleThatIsPutAsideFailsItsActionsAtOnce(t *testing.T) {
	m := module(t, "R", says(done))
	m.refuses = errors.New("module test failed 5 times in a row")
	b := newBench(t, modules{m})
	code, message := fails(t, b)
	assert.Equal(t, "module", code)
	assert.Contains(t, message, "module test failed 5 times in a row")
	assert.Empty(t, m.texts(), "no turn was played")
	assert.Empty(t, m.verdicts)
}
