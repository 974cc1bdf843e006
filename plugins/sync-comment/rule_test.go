package synccomment_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	synccomment "fn-threatq/plugins/sync-comment"
)

const (
	incident = resilienttest.DefaultIncident
	footer   = " by Ada Analyst, 2020-01-31 14:00:00 UTC]"
)

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	clock := func() time.Time { return time.UnixMilli(1580479200000) }
	return kittest.New(t, synccomment.Rules(), "manifest.json", resilienttest.Options{Now: clock}, tq)
}

func action(note, task int64) abi.Action {
	return abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_comment", Title: "ThreatQ: Sync Comment",
		Operation: "created", Object: "note", IncidentID: incident, NoteID: note, TaskID: task}
}

// done runs the rule, which has to succeed, and returns its message.
func done(t *testing.T, w *kittest.World, note, task int64) string {
	t.Helper()
	out := w.Run(action(note, task))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	require.True(t, out.Reply.Success, out.Reply.Message)
	return out.Reply.Message
}

// failed runs the rule, which has to report a problem, and returns its message.
func failed(t *testing.T, w *kittest.World, note, task int64) string {
	t.Helper()
	out := w.Run(action(note, task))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	require.False(t, out.Reply.Success, out.Reply.Message)
	return out.Reply.Message
}

// comments are the texts on the incident's event.
func comments(t *testing.T, w *kittest.World) []string {
	t.Helper()
	require.Len(t, w.ThreatQ.Events(), 1)
	return texts(w, "events", w.ThreatQ.Events()[0].ID)
}

func texts(w *kittest.World, collection string, id int) []string {
	var list []string
	for _, c := range w.ThreatQ.Comments(collection, id) {
		list = append(list, c.Value)
	}
	return list
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// withEvent makes the event by syncing a first note, so that a test sees what an
// incident of some age has.
func withEvent(t *testing.T, w *kittest.World) {
	t.Helper()
	done(t, w, w.SOAR.AddNote(incident, 0, "First"), 0)
}

func TestNoteBecomesAPlainCommentOfANewEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, `<div class="rte"><div>Blocked on the <b>proxy</b></div><ul><li>one</li><li><a href="https://example.com/x">two</a></li></ul></div>`)
	message := done(t, w, note, 0)
	assert.Equal(t, []string{"Blocked on the proxy\n- one\n- two (https://example.com/x)\n\n[Resilient note #" + itoa(note) + footer}, comments(t, w))
	assert.Equal(t, "Resilient #2095: Phishing mail to finance", w.ThreatQ.Events()[0].Name)
	assert.Equal(t, "Note #"+itoa(note)+" posted to ThreatQ event 55; https://threatq.example.com/events/55/details", message)
	assert.Equal(t, []string{"POST /api/events", "POST /api/events/55/comments"}, w.Writes())
	assert.Len(t, w.Last.Turns, 6)
	assert.Equal(t, []string{"note:" + itoa(note)}, w.Last.Turns[0].Output.Hold)
}

func TestNoteOfAKnownEventTakesFourTurnsAndAgainThree(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	withEvent(t, w)
	note := w.SOAR.AddNote(incident, 0, "<div>Second</div>")
	done(t, w, note, 0)
	assert.Len(t, w.Last.Turns, 4)
	assert.Equal(t, []string{"POST /api/events/55/comments"}, w.Writes())
	assert.Len(t, comments(t, w), 2)

	assert.Contains(t, done(t, w, note, 0), "Note #"+itoa(note)+" is on ThreatQ event 55 already")
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 3)
}

func TestEverySizeOfAnswerIsUnderstood(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"lists of one": {ListOfOne: true}, "objects": {ObjectOfOne: true}, "ids as text": {NumericStrings: true}, "no totals": {OmitTotal: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			note := w.SOAR.AddNote(incident, 17, "On the task")
			done(t, w, note, 17)
			done(t, w, note, 17)
			assert.Empty(t, w.Writes())
			require.Len(t, w.ThreatQ.Tasks(), 1)
			assert.Len(t, texts(w, "tasks", w.ThreatQ.Tasks()[0].ID), 1)
		})
	}
}

func TestReplyNamesTheNoteItRepliesTo(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	parent := w.SOAR.AddNote(incident, 0, "Question")
	reply := w.SOAR.ReplyTo(parent, "<div>Answer</div>")
	done(t, w, reply, 0)
	assert.Equal(t, []string{"Answer\n\nIn reply to note #" + itoa(parent) + "\n[Resilient note #" + itoa(reply) + footer}, comments(t, w))
	done(t, w, reply, 0)
	assert.Empty(t, w.Writes())
}

func TestEditedNoteChangesItsComment(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "Before")
	done(t, w, note, 0)
	w.SOAR.EditNote(note, "<div>After</div>")
	assert.Contains(t, done(t, w, note, 0), "Note #"+itoa(note)+" changed on ThreatQ event 55")
	comment := w.ThreatQ.Comments("events", 55)[0]
	assert.Equal(t, []string{"PUT /api/events/comments/" + itoa(int64(comment.ID))}, w.Writes())
	assert.Equal(t, []string{"After\n\n[Resilient note #" + itoa(note) + footer}, comments(t, w))
	assert.Len(t, w.Last.Turns, 4)
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}

func TestEditedNoteIsPostedAnewWhereCommentsCannotBeChanged(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		w := newWorld(t, threatqtest.Options{CommentPutStatus: status})
		note := w.SOAR.AddNote(incident, 0, "Before")
		done(t, w, note, 0)
		old := itoa(int64(w.ThreatQ.Comments("events", 55)[0].ID))
		w.SOAR.EditNote(note, "After")
		assert.Contains(t, done(t, w, note, 0), "changed on ThreatQ event 55")
		assert.Equal(t, []string{"PUT /api/events/comments/" + old, "DELETE /api/events/55/comments/" + old, "POST /api/events/55/comments"}, w.Writes())
		assert.Equal(t, []string{"After\n\n[Resilient note #" + itoa(note) + footer}, comments(t, w))
		done(t, w, note, 0)
		assert.Empty(t, w.Writes())
	}
}

func TestEditedNoteIsMarkedWhereItsOldCommentStays(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		w := newWorld(t, threatqtest.Options{CommentPutStatus: status, CommentDeleteStatus: status})
		note := w.SOAR.AddNote(incident, 0, "Before")
		key := "\n\n[Resilient note #" + itoa(note) + footer
		done(t, w, note, 0)
		w.SOAR.EditNote(note, "After")
		done(t, w, note, 0)
		assert.Equal(t, []string{"Before" + key, "After" + key + " (edited)"}, comments(t, w))
		done(t, w, note, 0)
		assert.Empty(t, w.Writes(), "the latest comment says what the note says")

		w.SOAR.EditNote(note, "Before")
		done(t, w, note, 0)
		assert.Equal(t, "Before"+key+" (edited)", comments(t, w)[2], "going back is an edit too")
	}
}

func TestNumberOfANoteIsNotTheBeginningOfAnother(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	withEvent(t, w)
	for _, text := range []string{
		"Longer number\n\n[Resilient note #1710 by Ada Analyst, 2020-01-31 14:00:00 UTC]",
		"Quotes the other\n[Resilient note #171" + footer + "\n\n[Resilient note #18" + footer,
		"An analyst: see [Resilient note #171]",
	} {
		w.ThreatQ.AddComment("events", 55, text)
	}
	before := comments(t, w)
	note := w.SOAR.AddNote(incident, 0, "Mine", map[string]any{"id": 171})
	require.EqualValues(t, 171, note)
	assert.Contains(t, done(t, w, note, 0), "posted")
	assert.Equal(t, append(before, "Mine\n\n[Resilient note #171"+footer), comments(t, w))
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}

// withManyComments has the comment of a note, and n later ones on its event.
func withManyComments(t *testing.T, o threatqtest.Options, n int) (w *kittest.World, note int64) {
	t.Helper()
	clock := time.UnixMilli(1580479200000)
	o.Now = func() time.Time { return clock }
	w = newWorld(t, o)
	note = w.SOAR.AddNote(incident, 0, "The first of many")
	done(t, w, note, 0)
	clock = clock.Add(time.Minute)
	for range n {
		w.ThreatQ.AddComment("events", 55, "Another one")
	}
	return w, note
}

func TestCommentIsFoundBehindManyOthers(t *testing.T) {
	w, note := withManyComments(t, threatqtest.Options{OmitTotal: true}, 1100)
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 5, "three pages")
}

func TestCommentsThatDoNotFitIntoAnAnswerAreReadInSmallPages(t *testing.T) {
	for _, o := range []threatqtest.Options{{}, {OmitTotal: true}} {
		w, note := withManyComments(t, o, 60)
		w.Answer = func(call abi.Call) *abi.Result {
			if strings.HasSuffix(call.Path, "/comments") && call.Query["limit"] == "500" {
				return &abi.Result{Error: &abi.CallError{Code: abi.CodeTooLarge, Message: "the answer is over 8 MB"}}
			}
			return nil
		}
		assert.Contains(t, done(t, w, note, 0), "already")
		assert.Empty(t, w.Writes())
	}
}

func TestStoredTextMayDifferInItsEnds(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	withEvent(t, w)
	note := w.SOAR.AddNote(incident, 0, "Zwei<br>Zeilen f\u00fcr uns", map[string]any{"id": 300})
	w.ThreatQ.AddComment("events", 55, "Zwei\r\nZeilen fu\u0308r uns\r\n\r\n[Resilient note #300"+footer+"\r\n")
	assert.Contains(t, done(t, w, note, 0), "already")
	assert.Empty(t, w.Writes())
}

func TestDeletedNoteKeepsItsComment(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "Question")
	w.SOAR.ReplyTo(note, "Answer")
	done(t, w, note, 0)
	before := w.ThreatQ.Snapshot()

	deleted := action(note, 0)
	deleted.Operation = "deleted"
	out := w.Run(deleted)
	require.True(t, out.Reply.Success)
	assert.Equal(t, "The note was deleted in SOAR; nothing done in ThreatQ.", out.Reply.Message)
	assert.Empty(t, w.Last.Calls)

	w.SOAR.DeleteNote(note) // it has a reply, and so is only marked
	assert.Contains(t, done(t, w, note, 0), "was deleted in SOAR")
	gone := w.SOAR.AddNote(incident, 0, "x")
	w.SOAR.DeleteNote(gone)
	assert.Contains(t, done(t, w, gone, 0), "was deleted in SOAR")
	gone = w.SOAR.AddNote(incident, 17, "x")
	w.SOAR.DeleteNote(gone)
	assert.Contains(t, done(t, w, gone, 17), "was deleted in SOAR")
	assert.Equal(t, before, w.ThreatQ.Snapshot())
}

func TestNoteOfAClosedIncidentIsNotTakenForDeleted(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "x")
	w.SOAR.Forbid(incident)
	out := w.Run(action(note, 0))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)

	w.SOAR.Allow(incident)
	w.SOAR.DeleteIncident(incident)
	assert.Contains(t, done(t, w, note, 0), "incident no longer exists")
	assert.Empty(t, w.ThreatQ.Events())
}

func TestEmptyAndOwnNotesAreLeftOut(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	assert.Equal(t, "Empty note, nothing done.", done(t, w, w.SOAR.AddNote(incident, 0, "<div> <br/>&nbsp;</div>"), 0))
	assert.Contains(t, done(t, w, w.SOAR.AddNote(incident, 0, "<div>[ThreatQ] Historical sync finished</div>"), 0), "itself wrote this note")
	assert.Empty(t, w.ThreatQ.Events(), "no event is made for them")
	assert.Contains(t, done(t, w, w.SOAR.AddNote(incident, 0, `<img src="x.png" alt="a picture">`), 0), "posted")
	assert.Contains(t, comments(t, w)[0], "[image: a picture]")
}

func TestLongNoteIsCutBeforeItsFooter(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, strings.Repeat("ä", 35_000))
	done(t, w, note, 0)
	comment := comments(t, w)[0]
	assert.LessOrEqual(t, len(comment), 60_000)
	assert.Greater(t, len(comment), 59_990)
	assert.True(t, strings.HasSuffix(comment, "ä…\n\n[Resilient note #"+itoa(note)+footer))
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}

func TestEmojiThatTheServerRefusesIsReplaced(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	withEvent(t, w)
	note := w.SOAR.AddNote(incident, 0, "Look \U0001F600")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events/55/comments", Status: http.StatusInternalServerError, Body: `{}`})
	done(t, w, note, 0)
	assert.Contains(t, comments(t, w)[1], "Look \uFFFD")
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}

func TestLostAnswerOfThePostLeavesOneComment(t *testing.T) {
	for name, fault := range map[string]threatqtest.Fault{
		"stored":     {LoseAnswer: true},
		"not stored": {CutBefore: true},
		"crashed":    {Status: http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			note := w.SOAR.AddNote(incident, 0, "Once")
			fault.Method, fault.PathPrefix = "POST", "/api/events/55/comments"
			w.ThreatQ.Inject(fault)
			assert.Contains(t, done(t, w, note, 0), "posted")
			assert.Len(t, comments(t, w), 1)
		})
	}
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "Never")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events/55/comments", CutBefore: true, Times: -1})
	assert.Contains(t, failed(t, w, note, 0), "is not on ThreatQ event 55 as it should be: ThreatQ gave no answer to POST /api/events/55/comments")
	assert.Equal(t, 2, strings.Count(strings.Join(w.Writes(), " "), "POST /api/events/55/comments"), "two tries")
}

func TestRefusalsAreReported(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "x")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events/55/comments", Status: http.StatusBadRequest, Body: `{"errors":["Too rude."]}`})
	assert.Contains(t, failed(t, w, note, 0), "Too rude.")

	w.ThreatQ.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/events/55/comments", Status: http.StatusInternalServerError, Times: -1})
	assert.Contains(t, failed(t, w, note, 0), "its comments cannot be read")
	assert.Empty(t, w.Writes())
	w.ThreatQ.ClearFaults()

	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events/55/comments", Status: http.StatusForbidden})
	out := w.Run(action(note, 0))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)

	done(t, w, note, 0)
	w.SOAR.EditNote(note, "y")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "PUT", PathPrefix: "/api/events/comments", Status: http.StatusBadGateway, Times: -1})
	assert.Contains(t, failed(t, w, note, 0), "ThreatQ answered 502 to PUT /api/events/comments/")
	assert.Len(t, comments(t, w), 1)
}
