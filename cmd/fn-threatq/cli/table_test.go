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

func TestTextsOfStrangersDoNotSteerTheTerminal(t *testing.T) {
	assert.Equal(t, "threatq GET [8m POST  x", plain("threatq GET\x1b[8m POST \u202ex"))
	assert.Equal(t, "# A\n b\n c\n", plainLines("# A\r\n\tb\x00\n\x1bc\n"))
}
