package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTableDoesNotSteerTheTerminal(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printTable(&out, [][]string{{"NAME", "N"}, {"a\tb\n\x1b[2Jc", "1"}}))
	assert.Equal(t, "NAME       N\na b  [2Jc  1\n", out.String())
}
