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

// document is README.md in a project of its own, whose other document is sound.
func document(t *testing.T, text string) (root, path string) {
	t.Helper()
	root = t.TempDir()
	path = filepath.Join(root, "README.md")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	write(t, filepath.Join(root, "plugins", "README.md"), "<!-- rules:begin -->\n\n\n\n<!-- rules:end -->\n")
	return root, path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
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
	root, path := document(t, "# Title\n\n<!-- config:begin -->\nold\n<!-- config:end -->\n\nrest\n")

	code, stderr := gendocs("-check", "-root", root)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "make generate")
	assert.Contains(t, stderr, "@@ line 4 @@\n-old\n+\n+### `[resilient]`")
	assert.NotContains(t, stderr, "rest\n", "lines that are the same are not shown")
	assert.Contains(t, content(t, path), "old", "-check changes nothing")

	code, stderr = gendocs("-root", root)
	require.Zero(t, code, stderr)
	want := "# Title\n\n<!-- config:begin -->\n\n" + config.Reference() + "\n<!-- config:end -->\n\nrest\n"
	assert.Equal(t, want, content(t, path))

	code, stderr = gendocs("-check", "-root", root)
	assert.Zero(t, code, stderr)
	code, stderr = gendocs("-root", root)
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
			root, path := document(t, test.text)
			for _, args := range [][]string{{"-root", root}, {"-check", "-root", root}} {
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
	code, stderr := gendocs("-root", filepath.Join(t.TempDir(), "nowhere"))
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "nowhere/README.md")
	assert.Contains(t, stderr, "nowhere/plugins/README.md", "each document is looked at")
	code, stderr = gendocs("something")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, `unexpected argument "something"`)
	code, _ = gendocs("-wrong")
	assert.Equal(t, 2, code)
}

func TestRulesAreDescribedFromManifestsAndScenarios(t *testing.T) {
	root, _ := document(t, "<!-- config:begin -->\n<!-- config:end -->\n")
	write(t, filepath.Join(root, "plugins", "mark", "manifest.json"), `{"abi":1,"name":"mark","version":"1.0.0","description":"Marks.",
		"rules":[{"title":"T: Mark","description":"Marks an artifact.","object":"artifact","exclusive":true,
			"fields":[{"name":"t_remove","label":"Remove","description":"a|b","type":"select","options":["Yes","No"],"required":true}]},
			{"title":"T: Watch","description":"Watches.","object":"note","automatic":true,
			"conditions":[{"method":"object_added"},{"method":"changed","field":"note.text"}]}],
		"functions":[{"name":"t_mark","title":"T: Mark It","description":"Marks a value.","inputs":[{"name":"value","label":"Value","type":"text"}]}],
		"calls":["threatq GET /api/events","threatq POST /api/events","threatq POST /api/indicators/query","threatq GET /api/imports/{id}/commit",
			"resilient POST /incidents/query_paged","resilient DELETE /incidents/{id}"],
		"actions":["t_other"],"settings":[{"name":"custom_source","description":""}]}`)
	write(t, filepath.Join(root, "plugins", "mark", "scenarios", "common.txtar"), "")
	write(t, filepath.Join(root, "plugins", "mark", "scenarios", "found.txtar"),
		"A known value is marked\n\n-- action.json --\n{\"rule\": \"T: Mark\", \"incident_id\": 1, \"artifact_id\": 2}\n-- reply --\nsuccess\nMarked.\n")
	code, stderr := gendocs("-root", root)
	require.Zero(t, code, stderr)
	text := content(t, filepath.Join(root, "plugins", "README.md"))
	for _, want := range []string{
		"### mark\n\nMarks.\n",
		"**Rule T: Mark** (menu item, one at a time, on each artifact). Marks an artifact.",
		`| Remove | ` + "`t_remove`" + ` | select: Yes, No; required | a\|b |`,
		"**Rule T: Watch** (automatic, on each note that is created, or with a change of `note.text`). Watches.",
		"**Function T: Mark It** (`t_mark`). Marks a value.\n\n| input | API name",
		"Writes to ThreatQ: `POST /api/events`, `GET /api/imports/{id}/commit`\n",
		"Reads from ThreatQ: `GET /api/events`, `POST /api/indicators/query`\n",
		"Writes to SOAR: `DELETE /incidents/{id}`\n",
		"Reads from SOAR: `POST /incidents/query_paged`\n",
		"Starts: `t_other`\n", "Settings: `custom_source`\n",
		"What its 1 scenarios show:\n\n- `found`: A known value is marked\n",
	} {
		assert.Contains(t, text, want)
	}
	code, stderr = gendocs("-check", "-root", root)
	assert.Zero(t, code, stderr)

	write(t, filepath.Join(root, "plugins", "mark", "scenarios", "lost.txtar"), "no sections")
	code, stderr = gendocs("-check", "-root", root)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "lost.txtar")
}
