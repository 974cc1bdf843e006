package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

func (w *world) noteMessage(note, task int64, operation string) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Sync Comment", resilienttest.ActionOptions{NoteID: note, TaskID: task, Operation: operation})
}

// footer ends the comment of a note that Ada wrote at noon.
func footer(note int64) string {
	return fmt.Sprintf("\n\n[Resilient note #%d by Ada Analyst, 2020-02-01 12:00:00 UTC]", note)
}

func (w *world) comments(collection string, id int) (texts []string) {
	for _, c := range w.tq.Comments(collection, id) {
		texts = append(texts, c.Value)
	}
	return texts
}

func newNotes(t *testing.T, o threatqtest.Options) *world {
	t.Helper()
	return newWorld(t, setup{modules: []string{"sync-comment"}, soar: resilienttest.Options{Now: atNoon}, tq: o})
}

// notesInHTML are notes as editors write them, with the comments they become.
var notesInHTML = map[string]string{
	"plain, with a lone < and & in it":                           "plain, with a lone < and & in it",
	"<div>one<br>two</div><div>three</div>":                      "one\ntwo\nthree",
	"<p>first</p><p>second</p>":                                  "first\n\nsecond",
	"<ul><li>a</li><li>b</li></ul><ol><li>c</li><li>d</li></ol>": "- a\n- b\n1. c\n2. d",
	`see <a href="https://example.com/x">the report</a>, <a href="https://example.com/">https://example.com/</a>`: "see the report (https://example.com/x), https://example.com/",
	`<img src="x.png" alt="the mail">`:                             "[image: the mail]",
	"<script>alert(1)</script><style>p{}</style>shown<!-- not -->": "shown",
	"<p>a&nbsp;b &lt;c&gt; &amp; &eacute;   d</p>":                 "a b <c> & é d",
	"<b>Emoji</b> \U0001F480 日本語":                                  "Emoji \U0001F480 日本語",
}

// Notes in HTML arrive as plain text (contract: test list, 13).
func TestNotesInHTMLBecomePlainComments(t *testing.T) {
	notes := maps.Clone(notesInHTML)
	fixtures, err := filepath.Glob(filepath.Join("..", "..", "plugins", "kit", "text", "testdata", "*.html"))
	require.NoError(t, err)
	require.NotEmpty(t, fixtures)
	for _, name := range fixtures {
		html, err := os.ReadFile(name)
		require.NoError(t, err)
		plain, err := os.ReadFile(strings.TrimSuffix(name, ".html") + ".plain.golden")
		require.NoError(t, err)
		notes[string(html)] = strings.TrimSpace(string(plain))
	}
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newNotes(t, o)
		p := w.start()
		var want []string
		for html, text := range notes {
			note := w.soar.AddNote(incident, 0, html)
			first, second := w.twice(w.noteMessage(note, 0, "created"))
			assert.Contains(t, first.Message, "posted", html)
			assert.Contains(t, second.Message, "already", html)
			want = append(want, text+footer(note))
		}
		for _, html := range []string{"<div>&nbsp;<br/> </div>", "<script>alert(1)</script>"} {
			r, _ := w.twice(w.noteMessage(w.soar.AddNote(incident, 0, html), 0, "created"))
			assert.Equal(t, "Empty note, nothing done.", r.Message, html)
		}
		p.settled()
		assert.Equal(t, want, w.comments("events", w.event().ID))
	})
}

// An edited note changes its one comment, on events and tasks (contract: test list, 13).
func TestEditedNoteChangesItsComment(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newNotes(t, o)
		p := w.start()
		onIncident, onTask := w.soar.AddNote(incident, 0, "Before"), w.soar.AddNote(incident, task, "Before")
		w.twice(w.noteMessage(onIncident, 0, "created"))
		w.twice(w.noteMessage(onTask, task, "created"))
		require.Len(t, w.tq.Tasks(), 1)
		for _, c := range []struct {
			note, task int64
			collection string
			id         int
		}{{onIncident, 0, "events", w.event().ID}, {onTask, task, "tasks", w.tq.Tasks()[0].ID}} {
			before := w.tq.Comments(c.collection, c.id)
			require.Len(t, before, 1)
			w.soar.EditNote(c.note, "<p>After</p>")
			w.twice(w.noteMessage(c.note, c.task, "modified"))
			assert.Equal(t, []string{"After" + footer(c.note)}, w.comments(c.collection, c.id))
			assert.Equal(t, before[0].ID, w.tq.Comments(c.collection, c.id)[0].ID)
		}
		w.soar.DeleteNote(onIncident)
		w.unchanged(func() { w.do(w.noteMessage(onIncident, 0, "deleted")) })
		p.settled()
	})
}

// A message that comes again, because the host ended between the comment and the
// reply, does not make a second comment (contract: test list, 13).
func TestNoteDeliveredAgainAfterItsCommentWasMade(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newNotes(t, o)
		w.drain = 50 * time.Millisecond
		first := w.start()
		w.do(w.noteMessage(w.soar.AddNote(incident, 0, "An earlier note"), 0, "created"))
		event := w.event().ID
		path := fmt.Sprintf("/api/events/%d/comments", event)

		// The comment is made, its answer lost, and the look for it takes too long.
		w.tq.Inject(threatqtest.Fault{Method: "POST", PathPrefix: path, LoseAnswer: true})
		w.tq.Inject(threatqtest.Fault{Method: "GET", PathPrefix: path, Skip: 1, Delay: time.Minute})
		note := w.soar.AddNote(incident, 0, "Once")
		correlation := w.send(w.noteMessage(note, 0, "created"))
		eventually(t, func() bool { return w.tq.CountRequests("GET", path) >= 2 }, "the host did not look")
		first.stop()
		w.catchUp()
		require.Empty(t, w.finals(correlation))
		require.Zero(t, w.tq.ClearFaults())
		require.Len(t, w.comments("events", event), 2)

		second := w.start()
		w.unchanged(func() { assert.Zero(t, w.final(correlation).Type) })
		second.settled()
		w.once(correlation)
		assert.Equal(t, 2, w.tq.CountRequests("POST", path), "one for each note")
	})
}

// A note of 70 KB is cut before its footer, by which it is found again
// (contract: test list, 13).
func TestNoteOf70KBIsCutBeforeItsFooter(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newNotes(t, o)
		p := w.start()
		long := strings.Repeat("ä note of some length. ", 70<<10/24)
		require.Greater(t, len(long), 70_000)
		note := w.soar.AddNote(incident, 0, "<p>"+long+"</p>")
		w.twice(w.noteMessage(note, 0, "created"))
		comments := w.comments("events", w.event().ID)
		require.Len(t, comments, 1)
		text, found := strings.CutSuffix(comments[0], "…"+footer(note))
		assert.True(t, found, comments[0][max(0, len(comments[0])-200):])
		assert.True(t, strings.HasPrefix(long, text))
		assert.LessOrEqual(t, len(comments[0]), 60_000)
		assert.Greater(t, len(comments[0]), 59_900)

		w.soar.EditNote(note, "Short now")
		w.twice(w.noteMessage(note, 0, "modified"))
		assert.Equal(t, []string{"Short now" + footer(note)}, w.comments("events", w.event().ID))
		p.settled()
	})
}
