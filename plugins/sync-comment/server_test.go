package synccomment_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
)

func TestNoteOfATaskBecomesACommentOfTheTask(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 17, "<div>Mail received</div>")
	message := done(t, w, note, 17)
	require.Len(t, w.ThreatQ.Tasks(), 1)
	task := w.ThreatQ.Tasks()[0]
	assert.Equal(t, "Resilient #2095 / task 17: Collect mail headers", task.Name)
	assert.Equal(t, []string{"Mail received\n\n[Resilient note #" + itoa(note) + footer}, texts(w, "tasks", task.ID))
	assert.Empty(t, comments(t, w), "nothing on the event")
	assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", task.ID, "events"))
	assert.Equal(t, "Note #"+itoa(note)+" posted to ThreatQ task 41; https://threatq.example.com/tasks/41/details", message)
	assert.Equal(t, []string{"note:" + itoa(note), "task:17"}, w.Last.Turns[0].Output.Hold)

	second := w.SOAR.AddNote(incident, 17, "Forwarded")
	done(t, w, second, 17)
	assert.Equal(t, []string{"POST /api/tasks/41/comments"}, w.Writes())
	assert.Len(t, w.Last.Turns, 4, "a task that is known costs no turn")
	done(t, w, second, 17)
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 3)

	w.SOAR.EditNote(second, "Forwarded twice")
	done(t, w, second, 17)
	assert.Equal(t, []string{"PUT /api/tasks/comments/" + strconv.Itoa(w.ThreatQ.Comments("tasks", 41)[1].ID)}, w.Writes())
}

func TestNoteDoesNotRefreshTheTask(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, w.SOAR.AddNote(incident, 17, "One"), 17)
	w.SOAR.UpdateTask(17, map[string]any{"name": "Renamed", "status": "C"})
	done(t, w, w.SOAR.AddNote(incident, 17, "Two"), 17)
	assert.Equal(t, []string{"POST /api/tasks/41/comments"}, w.Writes())
	assert.Equal(t, "To Do", w.ThreatQ.Tasks()[0].Status)
}

func TestMessageWithoutTheTaskStillFindsIt(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	other := w.SOAR.AddTask(incident, map[string]any{"name": "Other"})
	note := w.SOAR.AddNote(incident, other, "Mail received")
	assert.Contains(t, done(t, w, note, 0), "posted to ThreatQ task 41")
	assert.Equal(t, "Resilient #2095 / task "+itoa(other)+": Other", w.ThreatQ.Tasks()[0].Name)
	assert.Len(t, texts(w, "tasks", 41), 1)

	// A note does not always name its task.
	w.Answer = withoutTaskID(note, "/tasks/"+itoa(other)+"/comments/"+itoa(note))
	for _, task := range []int64{0, other} {
		assert.Contains(t, done(t, w, note, task), "is on ThreatQ task 41 already")
		assert.Empty(t, w.Writes())
	}

	// A server may answer for the note under its incident as well.
	w.Answer = func(call abi.Call) *abi.Result {
		if call.Path == "/incidents/2095/comments/"+itoa(note) {
			return &abi.Result{Status: 200, Body: abi.JSON(`{"id":` + itoa(note) + `,"task_id":` + itoa(other) + `,"text":"Mail received","user_fname":"Ada","user_lname":"Analyst","create_date":1580479200000}`)}
		}
		return nil
	}
	assert.Contains(t, done(t, w, note, 0), "is on ThreatQ task 41 already")
	assert.Empty(t, w.Writes())
}

func withoutTaskID(note int64, path string) func(abi.Call) *abi.Result {
	return func(call abi.Call) *abi.Result {
		if call.Path != path {
			return nil
		}
		return &abi.Result{Status: 200, Body: abi.JSON(`{"id":` + itoa(note) + `,"text":"Mail received","user_name":"Ada Analyst","create_date":1580479200000}`)}
	}
}

func TestNoteOfATaskGoesOntoTheEventWhereTasksTakeNoComments(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		w := newWorld(t, threatqtest.Options{TaskCommentsStatus: status})
		note := w.SOAR.AddNote(incident, 17, "Mail received")
		message := done(t, w, note, 17)
		assert.Contains(t, message, "posted to ThreatQ event 55, because this ThreatQ keeps no comments on tasks")
		assert.Equal(t, []string{"Task \"Collect mail headers\":\nMail received\n\n[Resilient note #" + itoa(note) + footer}, comments(t, w))
		require.Len(t, w.ThreatQ.Tasks(), 1)
		assert.Contains(t, done(t, w, note, 17), "already")
		assert.Empty(t, w.Writes())
	}
}

func TestUnreadableTaskOfANote(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 17, "Mail received")
	w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: "/tasks/17", Status: http.StatusForbidden})
	out := w.Run(action(note, 17))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	assert.Empty(t, w.Writes())
}

func TestTaskThatIsRefusedIsReported(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 17, "Mail received")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/tasks", Status: http.StatusBadRequest, Body: `{"errors":["No."]}`})
	assert.Contains(t, failed(t, w, note, 17), `because its task "Collect mail headers" is not: ThreatQ refused it: ["No."]`)

	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/tasks/41/events", Status: http.StatusBadRequest, Body: `{"errors":["No."]}`})
	message := failed(t, w, note, 17)
	assert.Contains(t, message, "posted to ThreatQ task 41. Problem with its task: it could not be linked to event 55")
	done(t, w, note, 17)
	assert.Equal(t, []string{"POST /api/tasks/41/events"}, w.Writes(), "the missing link is made up for")
}

// An event is written with its comments where the server does not list them.
func TestCommentsAreWrittenWithTheEventWhereTheyAreNotListed(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		w := newWorld(t, threatqtest.Options{CommentListStatus: status})
		withEvent(t, w)
		note := w.SOAR.AddNote(incident, 0, "Second")
		assert.Contains(t, done(t, w, note, 0), "posted to ThreatQ event 55")
		assert.Equal(t, []string{"POST /api/events/consume"}, w.Writes())
		require.Len(t, comments(t, w), 2)
		assert.Equal(t, "Second\n\n[Resilient note #"+itoa(note)+footer, comments(t, w)[1])
		assert.Contains(t, done(t, w, note, 0), "already")
		assert.Empty(t, w.Writes())

		w.SOAR.EditNote(note, "Edited")
		done(t, w, note, 0)
		assert.Equal(t, "Edited\n\n[Resilient note #"+itoa(note)+footer, comments(t, w)[1])
	}
}

func TestEditsAreWrittenWithTheEventToo(t *testing.T) {
	w := newWorld(t, threatqtest.Options{CommentListStatus: 405, CommentPutStatus: 405, CommentDeleteStatus: 405})
	note := w.SOAR.AddNote(incident, 0, "Before")
	done(t, w, note, 0)
	w.SOAR.EditNote(note, "After")
	assert.Contains(t, done(t, w, note, 0), "changed")
	assert.Equal(t, "After\n\n[Resilient note #"+itoa(note)+footer+" (edited)", comments(t, w)[1])
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}

func TestLostAnswerOfAnEventWithItsCommentLeavesOneComment(t *testing.T) {
	for name, fault := range map[string]threatqtest.Fault{
		"stored": {LoseAnswer: true}, "not stored": {CutBefore: true}, "crashed": {Status: http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{CommentListStatus: 405})
			withEvent(t, w)
			fault.PathPrefix = "/api/events/consume"
			w.ThreatQ.Inject(fault)
			assert.Contains(t, done(t, w, w.SOAR.AddNote(incident, 0, "Second"), 0), "posted")
			assert.Len(t, comments(t, w), 2)
		})
	}
	w := newWorld(t, threatqtest.Options{CommentListStatus: 405})
	withEvent(t, w)
	w.ThreatQ.Inject(threatqtest.Fault{PathPrefix: "/api/events/consume", CutBefore: true, Times: -1})
	assert.Contains(t, failed(t, w, w.SOAR.AddNote(incident, 0, "Never"), 0), "gave no answer to POST /api/events/consume")
	assert.Equal(t, 2, strings.Count(strings.Join(w.Writes(), " "), "consume"), "two tries")
	w.ThreatQ.ClearFaults()
	w.ThreatQ.Inject(threatqtest.Fault{PathPrefix: "/api/events/consume", Status: http.StatusBadRequest, Body: `{"errors":["No."]}`})
	assert.Contains(t, failed(t, w, w.SOAR.AddNote(incident, 0, "Refused"), 0), "ThreatQ refused it")
}

func TestServerThatShowsNoCommentsIsTrustedByItsAnswer(t *testing.T) {
	blind := func(answer string) *kittest.World {
		w := newWorld(t, threatqtest.Options{CommentListStatus: 405})
		withEvent(t, w)
		w.Answer = func(call abi.Call) *abi.Result {
			switch {
			case call.Query["with"] == "comments,type":
				return &abi.Result{Status: 200, Body: abi.JSON(`{"data":{"id":55,"title":"x","happened_at":"2020-01-31 12:00:00"}}`)}
			case call.Path == "/api/events/consume":
				assert.JSONEq(t, `{"name":"Incident"}`, typeOf(t, call.Body), "the type is known without being told")
				return &abi.Result{Status: 201, Body: abi.JSON(answer)}
			}
			return nil
		}
		return w
	}
	w := blind(`{"data":[{"id":55,"title":"x"}]}`)
	assert.Contains(t, done(t, w, w.SOAR.AddNote(incident, 0, "y"), 0), "posted")
	w = blind(`{"data":[{"id":56,"title":"x"}]}`)
	assert.Contains(t, failed(t, w, w.SOAR.AddNote(incident, 0, "y"), 0), "does not show it on event 55")
}

func typeOf(t *testing.T, body abi.JSON) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(body), `"type":`)
	require.True(t, ok, string(body))
	return rest[:strings.Index(rest, "}")+1]
}

func TestCommentThatTwoHostsPostedStaysAsItIs(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	note := w.SOAR.AddNote(incident, 0, "Twice")
	done(t, w, note, 0)
	w.ThreatQ.AddComment("events", 55, comments(t, w)[0])
	done(t, w, note, 0)
	assert.Empty(t, w.Writes())
}
