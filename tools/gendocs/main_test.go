package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/config"
)

func document(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "README.md")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func gendocs(args ...string) (code int, stderr string) {
	var out bytes.Buffer
	code = run(args, &out)
	return code, out.String()
}

func TestWritesTheReferenceBetweenTheMarkers(t *testing.T) {
	path := document(t, "# Title\n\n<!-- config:begin -->\nold\n<!-- config:end -->\n\nrest\n")

	code, stderr := gendocs("-check", "-readme", path)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "make generate")
	assert.Contains(t, stderr, "@@ line 4 @@\n-old\n+\n+### `[resilient]`")
	assert.NotContains(t, stderr, "rest\n", "lines that are the same are not shown")
	assert.Contains(t, content(t, path), "old", "-check changes nothing")

	code, stderr = gendocs("-readme", path)
	require.Zero(t, code, stderr)
	want := "# Title\n\n<!-- config:begin -->\n\n" + config.Reference() + "\n<!-- config:end -->\n\nrest\n"
	assert.Equal(t, want, content(t, path))

	code, stderr = gendocs("-check", "-readme", path)
	assert.Zero(t, code, stderr)
	code, stderr = gendocs("-readme", path)
	require.Zero(t, code, stderr)
	assert.Equal(t, want, content(t, path), "writing twice changes nothing")
}

func TestShowsOneChangedLine(t *testing.T) {
	assert.Equal(t, "@@ line 2 @@\n-b\n+B", difference("a\nb\nc", "a\nB\nc"))
	assert.Equal(t, "@@ line 2 @@\n-a", difference("a\na\nb", "a\nb"), "a line that was repeated")
}

func TestMarkersMustBeThere(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no begin":          {"x\n<!-- config:end -->\n", "there is no line <!-- config:begin -->"},
		"no end":            {"<!-- config:begin -->\nx\n", "there is no line <!-- config:end -->"},
		"wrong order":       {"<!-- config:end -->\n<!-- config:begin -->\n", "line 1: <!-- config:end --> stands before"},
		"twice":             {"<!-- config:begin -->\n<!-- config:begin -->\n<!-- config:end -->\n", "stands twice, in lines 1 and 2"},
		"within a line":     {"see <!-- config:begin --> here\n<!-- config:end -->\n", "there is no line <!-- config:begin -->"},
		"an empty document": {"", "there is no line"},
	} {
		t.Run(name, func(t *testing.T) {
			path := document(t, test.text)
			for _, args := range [][]string{{"-readme", path}, {"-check", "-readme", path}} {
				code, stderr := gendocs(args...)
				assert.Equal(t, 1, code)
				assert.Contains(t, stderr, path)
				assert.Contains(t, stderr, test.want)
			}
			assert.Equal(t, test.text, content(t, path))
		})
	}
}

func TestArguments(t *testing.T) {
	code, stderr := gendocs("-readme", filepath.Join(t.TempDir(), "nothing.md"))
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "nothing.md")
	code, stderr = gendocs("something")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, `unexpected argument "something"`)
	code, _ = gendocs("-wrong")
	assert.Equal(t, 2, code)
}
