package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

func TestDifferencesCountLinesThatStandTwice(t *testing.T) {
	assert.Empty(t, differences([]string{"a", "b", "a"}, []string{"b", "a", "a"}))
	assert.Equal(t, []string{"missing:  a", "too much: c"}, differences([]string{"a", "a"}, []string{"a", "c"}))
	assert.Equal(t, []string{"too much: a"}, differences([]string{"a"}, []string{"a", "a"}))
}

func TestAnEmptyWorldIsNotAsExpected(t *testing.T) {
	w, err := newWorld(t.TempDir())
	require.NoError(t, err)
	defer w.close()
	wrong := w.check(2096)
	assert.Len(t, wrong, len(w.expected(2096)), "each fact is missing")
	for _, line := range wrong {
		assert.True(t, strings.HasPrefix(line, "missing:"), line)
	}
}

func TestTheConductIsCheckedBesidesTheState(t *testing.T) {
	w, err := newWorld(t.TempDir())
	require.NoError(t, err)
	defer w.close()
	l := &lab{world: w, host: &hostProcess{records: map[string]*record{}, ready: make(chan struct{})}}
	l.host.take(`{"level":"ERROR","msg":"something broke","what":"disk"}`)
	actions, err := w.during(func() { w.soar.AddIncident(map[string]any{"name": "x"}) })
	require.NoError(t, err)
	require.Len(t, actions, 1)

	wrong := strings.Join(l.checkConduct(errors.New("killed")), "\n")
	for _, line := range []string{
		"1 actions, expected 10", "incident 2096, created: answered 0 times, expected once",
		"incident 2096, created: ran 0 times, expected once", "queue actions.201.fn_threatq: 1 messages wait",
		"the host logged: ERROR something broke what=disk", "killed",
	} {
		assert.Contains(t, wrong, line)
	}
}

func TestAMessageSaysWhatItIsAbout(t *testing.T) {
	soar := resilienttest.New(resilienttest.Options{Empty: true})
	defer soar.Close()
	incident := soar.AddIncident(map[string]any{"name": "x"})
	id := soar.AddArtifact(incident, "DNS Name", "a.example")
	assert.Equal(t, "incident 2096, deleted", about(soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{IncidentID: incident, Operation: "deleted"})))
	assert.Equal(t, `artifact 1550 of incident 2096, DNS Name "a.example", threatq_indicator_status=Active`,
		about(soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: id, Fields: map[string]any{"Indicator Status": "Active"}})))
	assert.Equal(t, "indicator_status=Review, indicator_value=1.2.3.4",
		about(soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "1.2.3.4", "indicator_status": "Review"})))
	assert.Contains(t, about(resilienttest.Message{Body: []byte("{")}), "not JSON")
}

func TestTablesAndTextsKeepWithinTheWidth(t *testing.T) {
	var out bytes.Buffer
	p := &printer{w: &out}
	long := strings.Repeat("ü", 150)
	p.table([]string{"a", "b", "c"}, [][]string{{"1", long, long}, {"2", "x\ny", ""}})
	p.wrapped("→ ", "  ", strings.Repeat("word ", 60), p.dim)
	for line := range strings.Lines(out.String()) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), width, line)
	}
	assert.Contains(t, out.String(), "…")
	assert.Contains(t, out.String(), "x y", "a line break in a cell would break the table")
	assert.Equal(t, []string{"a b", "cccccc", "", "d"}, wrap("a b cccccc\n\nd", 4))
}

func TestColoursOnlyWhenAsked(t *testing.T) {
	assert.Equal(t, "\x1b[31mx\x1b[0m", (&printer{color: true}).red("x"))
	assert.Equal(t, "x", (&printer{}).red("x"))
	assert.False(t, newPrinter(&bytes.Buffer{}).color)
}

func TestOnlyOurOwnFilesAreCleanedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "state", "deep"), 0o700))
	for _, name := range []string{"app.config", "control", "mine.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, prepareDir(t.Context(), dir), "the address in control is of no lab")
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "mine.txt", entries[0].Name())

	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	assert.ErrorContains(t, prepareDir(t.Context(), link), "is not a folder")
}
