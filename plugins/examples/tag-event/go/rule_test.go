package tagevent_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi/guest"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
	"fn-threatq/abi/tck/tcktest"
	tagevent "fn-threatq/plugins/examples/tag-event/go"
)

func TestTheRuleConforms(t *testing.T) {
	text, err := os.ReadFile("../manifest.json")
	require.NoError(t, err)
	m, err := manifest.Parse(text)
	require.NoError(t, err)
	twin := tck.Func(func(input []byte) ([]byte, error) { return guest.Handle(tagevent.Rules(), input), nil })
	tcktest.Run(t, twin, m)
}
