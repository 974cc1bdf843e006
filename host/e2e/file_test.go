package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

func (w *world) parse(attachment int64) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Import Attachment", resilienttest.ActionOptions{
		AttachmentID: attachment, MenuItem: true, Fields: map[string]any{"Parse Indicators": "Yes"},
	})
}

// contract: test list, 14.
func TestFileWithFindingsIsParsedAndTheCommitNeverRepeated(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"import-attachment"}, tq: o})
		p := w.start()
		report := w.soar.AddAttachment(incident, 0, "report.txt", "text/plain", []byte("Seen 203.0.113.9 and evil.example.org."))
		first, _ := w.twice(w.parse(report))
		assert.Contains(t, first.Message, "2 indicators imported as Review")
		require.Len(t, w.tq.Files(), 1)
		file := w.tq.Files()[0].ID
		var found []int
		for _, i := range w.tq.Indicators() {
			found = append(found, i.ID)
		}
		assert.Len(t, found, 2)
		assert.Equal(t, found, w.tq.Links("events", w.event().ID, "indicators"))
		assert.Equal(t, found, w.tq.Links("attachments", file, "indicators"))
		assert.Equal(t, []int{w.event().ID}, w.tq.Links("attachments", file, "events"))
		require.Len(t, w.tq.Imports(), 2, "parsing is asked for twice")
		for _, session := range w.tq.Imports() {
			assert.Equal(t, threatqtest.ImportCommitted, session.State)
			assert.Equal(t, 1, session.Commits)
			assert.Equal(t, "Resilient", session.Source)
		}
		p.settled()
	})
}

func TestFileWithoutFindingsAbandonsItsImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"import-attachment"}})
	p := w.start()
	w.twice(w.parse(w.soar.AddAttachment(incident, 0, "empty.txt", "text/plain", []byte("Nothing to see."))))
	assert.Empty(t, w.tq.Indicators())
	for _, session := range w.tq.Imports() {
		assert.Equal(t, threatqtest.ImportAbandoned, session.State)
		assert.Zero(t, session.Commits)
	}
	p.settled()
}

func TestParserThatFailsLeavesNoImportOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"import-attachment"}})
	p := w.start()
	report := w.soar.AddAttachment(incident, 0, "report.txt", "text/plain", []byte("Seen 203.0.113.9."))
	w.tq.Inject(threatqtest.Fault{Method: http.MethodGet, PathPrefix: "/api/imports/", Match: func(r *http.Request) bool {
		return r.URL.Path[len(r.URL.Path)-len("/indicators"):] == "/indicators"
	}, Status: http.StatusUnprocessableEntity})
	r := w.do(w.parse(report))
	assert.Contains(t, r.Message, "no indicators could be parsed")
	require.Len(t, w.tq.Imports(), 1)
	assert.Equal(t, threatqtest.ImportAbandoned, w.tq.Imports()[0].State)
	assert.Len(t, w.tq.Files(), 1, "the file is there all the same")
	p.settled()
}

func TestLostAnswerOfTheCommitIsNotRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"import-attachment"}})
	p := w.start()
	report := w.soar.AddAttachment(incident, 0, "report.txt", "text/plain", []byte("Seen 203.0.113.9 and evil.example.org."))
	w.tq.Inject(threatqtest.Fault{Method: http.MethodGet, PathPrefix: "/api/imports/", LoseAnswer: true, Match: func(r *http.Request) bool {
		return r.URL.Path[len(r.URL.Path)-len("/commit"):] == "/commit"
	}})
	r := w.do(w.parse(report))
	assert.Contains(t, r.Message, "2 indicators", "the commit had its effect, which is looked for")
	require.Len(t, w.tq.Imports(), 1)
	assert.Equal(t, 1, w.tq.Imports()[0].Commits)
	assert.Len(t, w.tq.Links("events", w.event().ID, "indicators"), 2)
	p.settled()
}
