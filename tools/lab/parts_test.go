package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/tools/facts"
)

func TestDifferencesCountLinesThatStandTwice(t *testing.T) {
	assert.Empty(t, facts.Differences([]string{"a", "b", "a"}, []string{"b", "a", "a"}))
	assert.Equal(t, []string{"missing:  a", "too much: c"}, facts.Differences([]string{"a", "a"}, []string{"a", "c"}))
	assert.Equal(t, []string{"too much: a"}, facts.Differences([]string{"a"}, []string{"a", "a"}))
}

func TestAnEmptyWorldIsNotAsExpected(t *testing.T) {
	w, err := newWorld(t.TempDir(), resilienttest.InstalledCurrent)
	require.NoError(t, err)
	defer w.close()
	missing, seeded := 0, 0
	for _, line := range w.check(told{incident: 2096, older: 2097}) {
		if strings.HasPrefix(line, "missing:") {
			missing++
		} else {
			seeded++
			assert.Contains(t, line, "203.0.113.45", "the address of the feed, which is to have our source too")
		}
	}
	feed := 3 + 3 // what is related to the address, and is expected to stay as it is
	assert.Len(t, w.expected(told{incident: 2096, older: 2097}), missing+feed)
	assert.Equal(t, 1, seeded)
}

func TestTheConductIsCheckedBesidesTheState(t *testing.T) {
	w, err := newWorld(t.TempDir(), resilienttest.InstalledCurrent)
	require.NoError(t, err)
	defer w.close()
	l := &lab{world: w, host: &hostProcess{records: map[string]*record{}, ready: make(chan struct{})}}
	l.host.take(`{"level":"ERROR","msg":"something broke","what":"disk"}`)
	l.host.take(`{"level":"DEBUG","msg":"call","action":"ID:1","service":"threatq","method":"GET","path":"/api/events","status":500,"error":"Whoops"}`)
	require.NoError(t, w.during(func() { w.soar.AddIncident(map[string]any{"name": "x"}) }))
	require.Len(t, w.actions, 1)
	w.actions[0].id = "ID:1"

	wrong := strings.Join(l.checkConduct(errors.New("killed")), "\n")
	for _, line := range []string{
		"1 actions, expected 32", "incident 2096, created: answered 0 times, expected once",
		"incident 2096, created: threatq GET /api/events failed: Whoops",
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
	artifact := soar.AddArtifact(incident, "DNS Name", "a.example")
	task := soar.AddTask(incident, map[string]any{"name": "Look"})
	note := soar.AddNote(incident, task, "<p>a <b>b</b></p>")
	reply := soar.AddNote(incident, 0, "c", map[string]any{"parent_id": note})
	attachment := soar.AddAttachment(incident, 0, "a.txt", "text/plain", []byte("abc"))
	rule := func(name string, o resilienttest.ActionOptions) string {
		return about(soar.ActionMessage("ThreatQ: "+name, o))
	}

	assert.Equal(t, "incident 2096, deleted", rule("Sync Incident", resilienttest.ActionOptions{IncidentID: incident, Operation: "deleted"}))
	assert.Equal(t, `artifact 1550 of incident 2096, DNS Name "a.example", threatq_indicator_status=Active`,
		rule("Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact, Fields: map[string]any{"Indicator Status": "Active"}}))
	assert.Equal(t, fmt.Sprintf(`task %d of incident 2096, "Look", threatq_task_status=In Progress`, task),
		rule("Set Task Status", resilienttest.ActionOptions{TaskID: task, Fields: map[string]any{"Task Status": "In Progress"}}))
	assert.Equal(t, fmt.Sprintf("note %d on task %d of incident 2096, <p>a <b>b</b></p>, created", note, task),
		rule("Sync Comment", resilienttest.ActionOptions{NoteID: note}))
	assert.Equal(t, fmt.Sprintf("note %d on incident 2096, a reply to note %d, c, created", reply, note),
		rule("Sync Comment", resilienttest.ActionOptions{NoteID: reply}))
	assert.Equal(t, fmt.Sprintf(`attachment %d of incident 2096, "a.txt", 3 bytes, threatq_parse_indicators=Yes`, attachment),
		rule("Import Attachment", resilienttest.ActionOptions{AttachmentID: attachment, Fields: map[string]any{"Parse Indicators": "Yes"}}))
	assert.Equal(t, "incident 2096, threatq_created_after=2020-01-01",
		rule("Historical Sync", resilienttest.ActionOptions{IncidentID: incident, Fields: map[string]any{"threatq_created_after": int64(1577836800000)}}))
	assert.Equal(t, "indicator_status=Review, indicator_value=1.2.3.4",
		about(soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "1.2.3.4", "indicator_status": "Review"})))
	assert.Contains(t, about(resilienttest.Message{Body: []byte("{")}), "not JSON")

	soar.DeleteNote(reply)
	assert.Equal(t, fmt.Sprintf("note %d on incident 2096, a reply to note %d, deleted", reply, note),
		rule("Sync Comment", resilienttest.ActionOptions{NoteID: reply, Operation: "deleted"}))
}

// TestEachThingCanBeSent sends all that can be sent, to a queue that nobody reads.
func TestEachThingCanBeSent(t *testing.T) {
	w, err := newWorld(t.TempDir(), resilienttest.InstalledCurrent)
	require.NoError(t, err)
	defer w.close()
	l := &lab{world: w, out: &printer{w: &bytes.Buffer{}}}
	incident := w.addIncident(map[string]any{"name": "x"})
	artifact := fmt.Sprint(w.soar.AddArtifact(incident, "DNS Name", "a.example"))
	task := fmt.Sprint(w.soar.AddTask(incident, map[string]any{"name": "Look"}))
	note := fmt.Sprint(w.soar.AddNote(incident, 0, "a"))
	attachment := fmt.Sprint(w.soar.AddAttachment(incident, 0, "a.txt", "text/plain", []byte("abc")))
	before := len(w.actionsFrom(0))

	sent := map[string]string{
		"sync-incident --import-artifacts --import-indicators":                          "threatq_import_artifacts=Yes, threatq_import_indicators=Yes",
		"sync-indicator --artifact " + artifact + " --status Active":                    "threatq_indicator_status=Active",
		"sync-comment --note " + note:                                                   "note " + note,
		"sync-task --task " + task:                                                      "task " + task,
		"set-task-status --task " + task + " --status Done":                             "threatq_task_status=Done",
		"import-attachment --attachment " + attachment + " --type PDF --parse":          "threatq_attachment_type=PDF, threatq_parse_indicators=Yes",
		"mark-false-positive --artifact " + artifact + " --remove":                      "threatq_remove_artifact=Yes",
		"mark-true-positive --artifact " + artifact:                                     "artifact " + artifact,
		"find-related --artifact " + artifact:                                           "artifact " + artifact,
		"historical-sync --since 2026-01-31 --tasks":                                    "threatq_created_after=2026-01-31, threatq_historical_sync_tasks=Yes",
		"function add-indicator indicator_value=1.2.3.4":                                "indicator_value=1.2.3.4",
		"function threatq_find_related_indicators incident_id=2096":                     "incident_id=2096",
		"function mark_as_false_positive remove_artifact_after_marking=yes":             "remove_artifact_after_marking=true",
		"function mark_as_true_positive indicator_value=a.example":                      "indicator_value=a.example",
		"artifact --type URL --value http://a.example/b --description x":                `URL "http://a.example/b", created`,
		"delete-artifact --artifact " + artifact:                                        "deleted",
		"note --text b --task " + task:                                                  "on task " + task,
		"reply --note " + note + " --text c":                                            "a reply to note " + note,
		"edit-note --note " + note + " --text d":                                        "d, modified",
		"task --name Ask --instructions x --due 2026-03-01 --owner analyst@example.com": `"Ask", created`,
		"update-task --task " + task + " --status C":                                    "modified",
		"update --incident 2096 --description y --severity High --status C":             "incident 2096, modified",
		"incident --name z --campaign c":                                                "incident 2097, created",
	}
	known := map[string]bool{}
	for _, line := range sortedKeys(sent) {
		words := strings.Fields(line)
		known[words[0]] = true
		do, err := l.deed(words[0], words[1:])
		require.NoError(t, err, line)
		require.NoError(t, w.during(do), line)
		actions := w.actionsFrom(before)
		require.Len(t, actions, 1, line)
		assert.Contains(t, actions[0].about, sent[line], line)
		before++
	}
	silent := []string{"attachment --name b.txt --text abc --task " + task, "older-incidents --count 3 --artifacts 1 --tasks 2"}
	for _, line := range silent {
		words := strings.SplitN(line, " ", 2)
		known[words[0]] = true
		do, err := l.deed(words[0], strings.Fields(words[1]))
		require.NoError(t, err, line)
		require.NoError(t, w.during(do), line)
		assert.Len(t, w.actionsFrom(before), 0, "%s fires no rule", line)
	}
	assert.Equal(t, int64(2097), l.newestIncident(), "older incidents are not the newest")
	assert.Len(t, l.made, 5)
	for _, line := range []string{"delete-note --note " + note, "delete-task --task " + task, "delete-incident --incident 2096"} {
		words := strings.Fields(line)
		known[words[0]] = true
		do, err := l.deed(words[0], words[1:])
		require.NoError(t, err, line)
		require.NoError(t, w.during(do), line)
		actions := w.actionsFrom(before)
		require.Len(t, actions, 1, line)
		assert.Contains(t, actions[0].about, "deleted", line)
		before++
	}
	// Any menu item by its title, which may have blanks.
	do, err := l.deed("menu-item", []string{"--artifact", artifact, "ThreatQ: Sync Indicator", "threatq_indicator_status=Active"})
	require.NoError(t, err)
	require.NoError(t, w.during(do))
	require.Len(t, w.actionsFrom(before), 1)
	assert.Contains(t, w.actionsFrom(before)[0].about, "threatq_indicator_status=Active")
	known["menu-item"] = true
	for _, s := range sendables {
		assert.True(t, known[s.name], "%s is not tried here", s.name)
	}
}

func TestWhatIsMissingOrWrongInSendIsNamed(t *testing.T) {
	w, err := newWorld(t.TempDir(), resilienttest.InstalledCurrent)
	require.NoError(t, err)
	defer w.close()
	l := &lab{world: w}
	wrong := func(part string, words ...string) {
		t.Helper()
		_, err := l.deed(words[0], words[1:])
		assert.ErrorContains(t, err, part, "%v", words)
	}
	wrong("there is no incident yet", "note", "--text", "x")
	w.addIncident(map[string]any{"name": "x"})
	wrong("there is no incident 9", "note", "--text", "x", "--incident", "9")
	wrong("note needs --text: note --text HTML", "note")
	wrong("set-task-status needs --status", "set-task-status", "--task", "1")
	wrong("mark-true-positive needs --artifact ID", "mark-true-positive")
	wrong("not a date like 2026-01-31", "historical-sync", "--since", "yesterday")
	wrong("flag provided but not defined: -colour; usage: find-related --artifact ID", "find-related", "--colour", "red")
	wrong(`"x" is too much`, "sync-task", "--task", "1", "x")
	wrong("function needs a name", "function")
}

func TestCallsThatLookAlikeShareALine(t *testing.T) {
	call := func(path string, status, ms float64) entry {
		return entry{"service": "threatq", "method": "GET", "path": path, "status": status, "ms": ms}
	}
	calls := []entry{call("/api/events/1/x", 200, 2), call("/api/tasks", 200, 1), call("/api/events/2/x", 200, 3), call("/api/events/3/x", 404, 1)}
	calls[3]["error"], calls[3]["tries"] = strings.Repeat("long words ", 12), 2.0
	var out bytes.Buffer
	l := &lab{out: &printer{w: &out}}
	l.showCalls(calls)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5, out.String())
	assert.Regexp(t, `GET +/api/events/\*/x +×2 200 +5 ms`, lines[0])
	assert.Regexp(t, `GET +/api/tasks +200 +1 ms`, lines[1])
	assert.Regexp(t, `GET +/api/events/3/x +404 +1 ms`, lines[2])
	assert.Contains(t, lines[4], "(2 tries)")
	for _, line := range lines {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), width)
	}
	assert.Equal(t, "threatq GET ×4", callCounts(calls))
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
