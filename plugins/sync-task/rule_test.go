package synctask_test

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
	synctask "fn-threatq/plugins/sync-task"
)

const (
	incident = resilienttest.DefaultIncident
	due      = 1581094800000 // 2020-02-07 17:00:00 UTC
)

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return newWorlds(t, resilienttest.Options{}, tq)
}

func newWorlds(t *testing.T, soar resilienttest.Options, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, synctask.Rules(), "manifest.json", soar, tq)
}

func action(task int64) abi.Action {
	return abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_task", Title: "ThreatQ: Sync Task",
		Operation: "modified", Object: "task", IncidentID: incident, TaskID: task}
}

// done runs the rule, which has to succeed, and returns its message.
func done(t *testing.T, w *kittest.World, task int64) string {
	t.Helper()
	out := w.Run(action(task))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	require.True(t, out.Reply.Success, out.Reply.Message)
	return out.Reply.Message
}

// failed runs the rule, which has to report a problem, and returns its message.
func failed(t *testing.T, w *kittest.World, task int64) string {
	t.Helper()
	out := w.Run(action(task))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	require.False(t, out.Reply.Success, out.Reply.Message)
	return out.Reply.Message
}

func only(t *testing.T, w *kittest.World) threatqtest.Task {
	t.Helper()
	require.Len(t, w.ThreatQ.Tasks(), 1)
	return w.ThreatQ.Tasks()[0]
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// body is what the last run sent in its call of a method and path.
func body(t *testing.T, w *kittest.World, method, path string) string {
	t.Helper()
	for _, call := range w.Last.Calls {
		if call.Method == method && call.Path == path {
			return string(call.Body)
		}
	}
	require.Fail(t, "no such call", "%s %s in %v", method, path, w.Writes())
	return ""
}

func TestNewTaskIsCreatedAndLinkedToANewEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.AddUser("Analyst@Example.com", "Someone Else")
	w.SOAR.UpdateTask(17, map[string]any{"due_date": int64(due)})
	message := done(t, w, 17)
	task := only(t, w)
	assert.Equal(t, "Resilient #2095 / task 17: Collect mail headers", task.Name)
	assert.Contains(t, task.Description, "Ask the user to forward the mail as an attachment.")
	assert.Contains(t, task.Description, `<p><a href="https://soar.example.com/#incidents/2095?orgId=201&amp;taskId=17&amp;tabName=details">Resilient #2095 / task 17</a></p>`)
	assert.Equal(t, "To Do", task.Status)
	assert.Equal(t, "Medium", task.Priority)
	assert.Equal(t, "2020-02-07 17:00:00", task.DueAt)
	assert.Equal(t, "Analyst@Example.com", task.Assignee)
	assert.Equal(t, []string{"Resilient"}, task.Sources)
	assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", task.ID, "events"))
	assert.Equal(t, `Task "Collect mail headers" synced to ThreatQ task 41 (created) of event 55; https://threatq.example.com/tasks/41/details`, message)
	assert.Equal(t, []string{"POST /api/events", "POST /api/tasks", "POST /api/tasks/41/events"}, w.Writes())
	assert.Equal(t, []string{"task:17"}, w.Last.Turns[0].Output.Hold)
	assert.LessOrEqual(t, len(w.Last.Turns), 9)
}

func TestTurnsOfATask(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, 17)

	bare := w.SOAR.AddTask(incident, map[string]any{"name": "Bare", "owner_id": nil})
	done(t, w, bare)
	assert.Len(t, w.Last.Turns, 5, "look, create, look again, link, reply")
	assert.NotContains(t, paths(w), "/api/users", "nobody is looked up for a task without owner")

	done(t, w, bare)
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 3)

	w.SOAR.UpdateTask(17, map[string]any{"name": "Renamed"})
	done(t, w, 17)
	assert.Equal(t, []string{"PUT /api/tasks/41"}, w.Writes())
	assert.Len(t, w.Last.Turns, 4)
}

func paths(w *kittest.World) []string {
	var list []string
	for _, call := range w.Last.Calls {
		list = append(list, call.Path)
	}
	return list
}

func TestUnchangedTaskWritesNothing(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"well-behaved": {}, "lists of one": {ListOfOne: true}, "objects": {ObjectOfOne: true}, "ids as text": {NumericStrings: true},
		"no totals": {OmitTotal: true}, "weak role": {WeakRole: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.ThreatQ.AddUser("analyst@example.com", "Ada Analyst")
			w.SOAR.UpdateTask(17, map[string]any{"due_date": int64(due), "instr_text": "<div>Call <b>now</b> &amp; write \U0001F600</div>"})
			done(t, w, 17)
			before := w.ThreatQ.Snapshot()
			assert.Contains(t, done(t, w, 17), "(unchanged)")
			assert.Empty(t, w.Writes())
			assert.Equal(t, before, w.ThreatQ.Snapshot())
		})
	}
}

func TestOnlyWhatChangedIsSent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	assignee := w.ThreatQ.AddUser("admin2@example.com", "Admin Two")
	other := w.SOAR.AddUser("Admin", "Two", "admin2@example.com")
	done(t, w, 17)
	for _, step := range []struct {
		change map[string]any
		sent   string
	}{
		{map[string]any{"name": "New name"}, `{"name":"Resilient #2095 / task 17: New name"}`},
		{map[string]any{"due_date": int64(due)}, `{"due_at":"2020-02-07 17:00:00"}`},
		{map[string]any{"due_date": nil}, `{"due_at":null}`},
		{map[string]any{"owner_id": other}, `{"assignee_source_id":` + strconv.Itoa(assignee) + `}`},
		{map[string]any{"instr_text": ""}, `{"description":"<p><a href=\"https://soar.example.com/#incidents/2095?orgId=201&amp;taskId=17&amp;tabName=details\">Resilient #2095 / task 17</a></p>"}`},
		{map[string]any{"status": "C"}, `{"status_id":4}`},
	} {
		w.SOAR.UpdateTask(17, step.change)
		assert.Contains(t, done(t, w, 17), "(updated)")
		assert.Equal(t, []string{"PUT /api/tasks/41"}, w.Writes())
		assert.JSONEq(t, step.sent, body(t, w, "PUT", "/api/tasks/41"))
		done(t, w, 17)
		assert.Empty(t, w.Writes(), "%v", step.change)
	}
	task := only(t, w)
	assert.Equal(t, "", task.DueAt)
	assert.Equal(t, "admin2@example.com", task.Assignee)

	w.SOAR.UpdateTask(17, map[string]any{"owner_id": nil, "phase_id": 1005})
	done(t, w, 17)
	assert.Empty(t, w.Writes(), "an owner who left stays assignee; phases are not synced")
}

func TestClosedTaskIsDoneAndReopeningChangesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, 17)
	w.SOAR.CloseTask(17)
	done(t, w, 17)
	assert.Equal(t, "Done", only(t, w).Status)
	w.SOAR.ReopenTask(17)
	done(t, w, 17)
	assert.Empty(t, w.Writes())
	assert.Equal(t, "Done", only(t, w).Status)
}

func TestStatusThatAUserChoseIsKept(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", Name: "Resilient #2095 / task 17: Old name", Status: "In Progress"})
	assert.Contains(t, done(t, w, 17), "(updated)")
	task := only(t, w)
	assert.Equal(t, "In Progress", task.Status)
	assert.Equal(t, "Low", task.Priority, "the priority is never changed")
	assert.Equal(t, "Resilient #2095 / task 17: Collect mail headers", task.Name)
	assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", task.ID, "events"), "a missing link is made up for")
}

func TestClosedTaskThatIsNewIsCreatedAsDone(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.CloseTask(17)
	done(t, w, 17)
	assert.Equal(t, "Done", only(t, w).Status)
	assert.Equal(t, []string{"POST /api/events", "POST /api/tasks", "POST /api/tasks/41/events"}, w.Writes())
}

func TestCompletionIsLeftAloneWhenTheSettingSaysSo(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["sync_task_completion"] = "false"
	w.SOAR.CloseTask(17)
	done(t, w, 17)
	assert.Equal(t, "To Do", only(t, w).Status)
	done(t, w, 17)
	assert.Empty(t, w.Writes())
}

func TestTaskThatIsNotActiveIsSyncedOnlyIfItExists(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.UpdateTask(17, map[string]any{"active": false})
	assert.Equal(t, `Task "Collect mail headers" is not active and not in ThreatQ; nothing done.`, done(t, w, 17))
	assert.Empty(t, w.ThreatQ.Events(), "no event is made for it")

	w.SOAR.UpdateTask(17, map[string]any{"active": true})
	done(t, w, 17)
	w.SOAR.UpdateTask(17, map[string]any{"active": false, "name": "Renamed"})
	assert.Contains(t, done(t, w, 17), "(updated)")
}

func TestDeletedTaskStaysInThreatQ(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, 17)
	before := w.ThreatQ.Snapshot()
	deleted := action(17)
	deleted.Operation = "deleted"
	out := w.Run(deleted)
	assert.Equal(t, "The task was deleted in SOAR; nothing done in ThreatQ.", out.Reply.Message)
	assert.Empty(t, w.Last.Calls)

	w.SOAR.DeleteTask(17)
	deleted.Operation = "" // not every message says it
	out = w.Run(deleted)
	assert.Equal(t, "The task was deleted in SOAR; nothing done in ThreatQ.", out.Reply.Message)
	assert.Equal(t, before, w.ThreatQ.Snapshot())

	w.SOAR.DeleteIncident(incident)
	assert.Contains(t, done(t, w, 17), "incident no longer exists")
}

func TestPrivateTaskIsAnError(t *testing.T) {
	for status, code := range map[int]abi.ErrorCode{http.StatusForbidden: abi.CodeForbidden, http.StatusNotFound: abi.CodeNotFound} {
		w := newWorlds(t, resilienttest.Options{PrivateTaskStatus: status}, threatqtest.Options{})
		w.SOAR.UpdateTask(17, map[string]any{"private": true})
		out := w.Run(action(17))
		require.NotNil(t, out.Fail, "%+v", out.Reply)
		assert.Equal(t, code, out.Fail.Code)
		assert.Empty(t, w.Writes())
		if status == http.StatusNotFound {
			assert.Contains(t, out.Fail.Message, "private and closed to the integration's account")
		}
	}
}

func TestTaskOfAForbiddenIncidentIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: "/tasks/17", Status: http.StatusNotFound})
	w.SOAR.Inject(resilienttest.Fault{Method: "GET", PathSuffix: "/incidents/2095", Status: http.StatusForbidden})
	out := w.Run(action(17))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
}

func TestServerThatCannotChangeTasksIsReportedOnceAndGetsNoSecondTask(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		w := newWorld(t, threatqtest.Options{TaskPutStatus: status})
		done(t, w, 17)
		w.SOAR.UpdateTask(17, map[string]any{"name": "Renamed"})
		message := failed(t, w, 17)
		assert.Contains(t, message, "(unchanged)")
		assert.Contains(t, message, "does not let tasks be changed ("+strconv.Itoa(status)+"); change task 41 there by hand")
		assert.Equal(t, []string{"PUT /api/tasks/41"}, w.Writes())
		only(t, w)
	}
}

func TestRefusedChangeIsReported(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, 17)
	w.SOAR.UpdateTask(17, map[string]any{"name": "Renamed"})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "PUT", PathPrefix: "/api/tasks/41", Status: http.StatusBadRequest, Body: `{"message":"No."}`})
	assert.Contains(t, failed(t, w, 17), "ThreatQ refused it: No;")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "PUT", PathPrefix: "/api/tasks/41", Status: http.StatusForbidden})
	out := w.Run(action(17))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
}

func TestNamesOfTasksAreCutBehindTheirKey(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	long := w.SOAR.AddTask(incident, map[string]any{"name": "100%, " + strings.Repeat("long ", 100)})
	done(t, w, long)
	name := only(t, w).Name
	assert.True(t, strings.HasPrefix(name, "Resilient #2095 / task "+itoa(long)+": 100%, long"))
	assert.Len(t, []rune(name), 255)
	done(t, w, long)
	assert.Empty(t, w.Writes())
}
