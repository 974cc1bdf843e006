package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// taskWorld has one task more than the usual world: one without a date.
type taskWorld struct {
	*world
	task int64
}

func newTasks(t *testing.T, o threatqtest.Options) taskWorld {
	t.Helper()
	w := newWorld(t, setup{modules: []string{"sync-task", "set-task-status"}, tq: o})
	return taskWorld{w, w.soar.AddTask(incident, map[string]any{"name": "Ask around", "due_date": nil})}
}

func (w taskWorld) sync() {
	w.t.Helper()
	w.twice(w.soar.ActionMessage("ThreatQ: Sync Task", resilienttest.ActionOptions{TaskID: w.task, Operation: "modified"}))
}

func (w taskWorld) setStatus(status string) {
	w.t.Helper()
	w.twice(w.soar.ActionMessage("ThreatQ: Set Task Status", resilienttest.ActionOptions{TaskID: w.task, Fields: map[string]any{"Task Status": status}}))
	require.Equal(w.t, status, w.only().Status)
}

func (w taskWorld) only() threatqtest.Task {
	w.t.Helper()
	tasks := w.tq.Tasks()
	require.Len(w.t, tasks, 1)
	return tasks[0]
}

// lastWrite is the body of the last call that changed the task itself.
func (w taskWorld) lastWrite(method string) (body map[string]any) {
	w.t.Helper()
	for _, r := range w.writes("/api/tasks") {
		if r.Method == method && (method == "PUT" || r.Path == "/api/tasks") {
			body = nil
			require.NoError(w.t, json.Unmarshal([]byte(r.Body), &body))
		}
	}
	return body
}

// A task without due date has none in ThreatQ; one that is removed is removed
// there (contract: test list, 15).
func TestTaskWithoutDueDate(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newTasks(t, o)
		p := w.start()
		w.sync()
		assert.NotContains(t, w.lastWrite("POST"), "due_at")
		assert.Empty(t, w.only().DueAt)
		assert.Equal(t, "To Do", w.only().Status)

		due := time.Date(2020, 2, 7, 17, 0, 0, 0, time.UTC)
		w.soar.UpdateTask(w.task, map[string]any{"due_date": due.UnixMilli()})
		w.sync()
		assert.Equal(t, "2020-02-07 17:00:00", w.only().DueAt)

		w.soar.UpdateTask(w.task, map[string]any{"due_date": nil})
		w.sync()
		assert.Equal(t, map[string]any{"due_at": nil}, w.lastWrite("PUT"))
		assert.Empty(t, w.only().DueAt)
		p.settled()
		assert.Equal(t, 1, w.tq.CountRequests("POST", "/api/tasks"))
	})
}

// Closing a task makes it Done, also when a user had given it another status;
// reopening it changes nothing (contract: test list, 15).
func TestClosedTaskIsDoneAndStaysSoWhenReopened(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newTasks(t, o)
		p := w.start()
		w.sync()
		w.soar.CloseTask(w.task)
		w.sync()
		assert.Equal(t, "Done", w.only().Status)
		assert.Equal(t, map[string]any{"status_id": 4.0}, w.lastWrite("PUT"))

		w.soar.ReopenTask(w.task)
		w.unchanged(w.sync)
		assert.Equal(t, "Done", w.only().Status)

		w.setStatus("Review")
		w.unchanged(w.sync)
		w.soar.CloseTask(w.task)
		w.sync()
		assert.Equal(t, "Done", w.only().Status)
		p.settled()
		assert.Equal(t, "C", w.soar.Task(w.task)["status"], "nothing is written back")
	})
}

// The status that a user set survives what else is carried over later
// (contract: test list, 15).
func TestStatusSetByAUserSurvivesTheNextSync(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newTasks(t, o)
		p := w.start()
		for _, status := range []string{"In Progress", "Review", "Done", "To Do"} {
			w.setStatus(status)
			w.soar.UpdateTask(w.task, map[string]any{"name": "Ask around, " + status, "instr_text": "<p>Now " + status + "</p>"})
			w.sync()
			assert.Contains(t, w.only().Name, "Ask around, "+status)
			assert.Contains(t, w.only().Description, "Now "+status)
			assert.Equal(t, status, w.only().Status)
		}
		p.settled()
		assert.Equal(t, 1, w.tq.CountRequests("POST", "/api/tasks"))
	})
}
