package settaskstatus_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	settaskstatus "fn-threatq/plugins/set-task-status"
)

func newWorld(t *testing.T, soar resilienttest.Options, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, settaskstatus.Rules(), "manifest.json", soar, tq)
}

// set runs the rule with a status, or without any.
func set(w *kittest.World, status string) abi.Output {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_set_task_status", Title: "ThreatQ: Set Task Status",
		Object: "task", IncidentID: resilienttest.DefaultIncident, TaskID: 17}
	if status != "" {
		a.Fields = map[string]abi.JSON{"threatq_task_status": abi.JSON(`"` + status + `"`)}
	}
	return w.Run(a)
}

func done(t *testing.T, w *kittest.World, status string) string {
	t.Helper()
	out := set(w, status)
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	require.True(t, out.Reply.Success, out.Reply.Message)
	return out.Reply.Message
}

func status(t *testing.T, w *kittest.World) string {
	t.Helper()
	require.Len(t, w.ThreatQ.Tasks(), 1)
	return w.ThreatQ.Tasks()[0].Status
}

func TestTaskThatThreatQLacksIsMadeAndSet(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	message := done(t, w, "In Progress")
	assert.Equal(t, "In Progress", status(t, w))
	assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", 41, "events"))
	assert.Equal(t, `Task "Collect mail headers" has the status In Progress in ThreatQ (task 41); https://threatq.example.com/tasks/41/details`, message)
	assert.Equal(t, "O", w.SOAR.Task(17)["status"], "the task in SOAR stays")
}

func TestEveryStatusIsSetAndSettingItAgainWritesNothing(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	done(t, w, "To Do")
	assert.NotContains(t, w.Writes(), "PUT /api/tasks/41", "a new task has this status")
	for _, name := range []string{"In Progress", "Review", "Done", "To Do"} {
		done(t, w, name)
		assert.Equal(t, name, status(t, w))
		assert.Equal(t, []string{"PUT /api/tasks/41"}, w.Writes())
		assert.Len(t, w.Last.Turns, 3, "the link is looked up beside the change")
		assert.Contains(t, done(t, w, name), "had the status "+name+" already")
		assert.Empty(t, w.Writes())
		assert.Len(t, w.Last.Turns, 3)
	}
}

func TestNothingElseOfTheTaskIsChanged(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	done(t, w, "To Do")
	w.SOAR.UpdateTask(17, map[string]any{"name": "Renamed", "status": "C"})
	done(t, w, "Review")
	assert.Equal(t, "Review", status(t, w), "also of a task that is closed")
	assert.Equal(t, "Resilient #2095 / task 17: Collect mail headers", w.ThreatQ.Tasks()[0].Name)
	assert.JSONEq(t, `{"status_id":3}`, string(w.Last.Calls[len(w.Last.Calls)-1].Body))
}

func TestTaskThatIsNotActiveIsSetAllTheSame(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.SOAR.UpdateTask(17, map[string]any{"active": false})
	done(t, w, "Done")
	assert.Equal(t, "Done", status(t, w))
}

func TestMissingOrUnknownStatusIsRefusedBeforeAnyCall(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	for name, words := range map[string]string{
		"":        "choose To Do, In Progress, Review or Done",
		"Blocked": `no task status "Blocked"; it has To Do, In Progress, Review and Done`,
	} {
		out := set(w, name)
		require.NotNil(t, out.Fail)
		assert.Equal(t, abi.CodeInput, out.Fail.Code)
		assert.Contains(t, out.Fail.Message, words)
		assert.Empty(t, w.Last.Calls)
	}
	done(t, w, "in progress")
	assert.Equal(t, "In Progress", status(t, w))
}

func TestTaskThatCannotBeReadIsAnError(t *testing.T) {
	for answer, code := range map[int]abi.ErrorCode{http.StatusForbidden: abi.CodeForbidden, http.StatusNotFound: abi.CodeNotFound} {
		w := newWorld(t, resilienttest.Options{PrivateTaskStatus: answer}, threatqtest.Options{})
		w.SOAR.UpdateTask(17, map[string]any{"private": true})
		out := set(w, "Done")
		require.NotNil(t, out.Fail)
		assert.Equal(t, code, out.Fail.Code)
		assert.Empty(t, w.Writes())
	}
}

func TestStatusThatCannotBeSetIsReported(t *testing.T) {
	w := newWorld(t, resilienttest.Options{}, threatqtest.Options{TaskPutStatus: http.StatusMethodNotAllowed})
	out := set(w, "Done")
	require.NotNil(t, out.Reply)
	assert.False(t, out.Reply.Success)
	assert.Contains(t, out.Reply.Message, "did not get the status Done in ThreatQ: this ThreatQ does not let tasks be changed (405)")
	assert.Equal(t, "To Do", status(t, w))

	w = newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/tasks", Status: http.StatusBadRequest, Body: `{"message":"No."}`})
	out = set(w, "Done")
	require.NotNil(t, out.Reply)
	assert.Contains(t, out.Reply.Message, `Task "Collect mail headers" is not in ThreatQ: ThreatQ refused it: No.`)

	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/tasks/41/events", Status: http.StatusBadRequest, Body: `{"message":"No."}`})
	out = set(w, "Done")
	require.NotNil(t, out.Reply)
	assert.False(t, out.Reply.Success)
	assert.Contains(t, out.Reply.Message, "has the status Done in ThreatQ, but it could not be linked to event 55")
}
