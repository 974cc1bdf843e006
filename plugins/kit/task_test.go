package kit_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit"
	"fn-threatq/plugins/kit/kittest"
)

const taskIncident = resilienttest.DefaultIncident

// taskWorld has one event, 55, and a rule that brings all tasks of the incident
// into ThreatQ; the outcome of its last turn is in tasks.
type taskWorld struct {
	*kittest.World
	tasks []kit.EnsuredTask
}

func newTaskWorld(t *testing.T, soar resilienttest.Options, tq threatqtest.Options) *taskWorld {
	t.Helper()
	w := &taskWorld{}
	rule := func(a *guest.Action) guest.Reply {
		k := kit.New(a)
		var list []kit.Task
		for row := range a.Must(guest.Call{Service: abi.Resilient, Method: "GET", Path: "/incidents/2095/tasks",
			Query: guest.Query{"handle_format": "names", "text_content_output_format": "objects_convert"}, Idempotent: true}).Body.Items() {
			list = append(list, kit.TaskOf(row))
		}
		w.tasks = k.EnsureTasks(55, list)
		return guest.Done("done")
	}
	w.World = kittest.New(t, map[string]guest.Rule{"r": rule}, "../sync-comment/manifest.json", soar, tq)
	w.ThreatQ.AddEvent("Incident", "Resilient #2095: x")
	return w
}

// ensure runs the rule and returns its outcomes.
func (w *taskWorld) ensure(t *testing.T) []kit.EnsuredTask {
	t.Helper()
	out := w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "r", IncidentID: taskIncident})
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return w.tasks
}

// count is the number of calls of a method whose path begins with a prefix.
func (w *taskWorld) count(method, prefix string) int {
	n := 0
	for _, call := range w.Last.Calls {
		if call.Method == method && strings.HasPrefix(call.Path, prefix) {
			n++
		}
	}
	return n
}

func (w *taskWorld) addTasks(n int) {
	for i := range n {
		w.SOAR.AddTask(taskIncident, map[string]any{"name": "Task " + strconv.Itoa(i), "owner_id": nil})
	}
}

func TestManyTasksAreSyncedSideBySide(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.addTasks(49) // and task 17
	list := w.ensure(t)
	require.Len(t, list, 50)
	for _, task := range list {
		assert.True(t, task.Created)
		assert.Empty(t, task.Problem)
		assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", int(task.ID), "events"))
	}
	assert.Len(t, w.ThreatQ.Tasks(), 50)
	assert.Equal(t, 2, w.count("GET", "/api/tasks"), "one look before, one after")
	assert.Len(t, w.Last.Turns, 7, "tasks, look, users, create, look, link, reply")

	before := w.ThreatQ.Snapshot()
	again := w.ensure(t)
	assert.Empty(t, w.Writes())
	assert.Equal(t, before, w.ThreatQ.Snapshot())
	assert.Len(t, w.Last.Turns, 4)
	assert.Equal(t, 1, w.count("GET", "/api/tasks"))
	assert.Equal(t, list[3].ID, again[3].ID)
	assert.False(t, again[3].Created || again[3].Changed)

	w.SOAR.CloseTask(17)
	changed := w.ensure(t)
	assert.Equal(t, []string{"PUT /api/tasks/" + strconv.FormatInt(list[0].ID, 10)}, w.Writes())
	assert.True(t, changed[0].Changed)
	assert.EqualValues(t, kit.TaskDone, changed[0].Status)
}

func TestMoreTasksThanATurnHasRoomFor(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.addTasks(219)
	assert.Len(t, w.ensure(t), 220)
	assert.Len(t, w.ThreatQ.Tasks(), 220)
	for _, turn := range w.Last.Turns {
		assert.LessOrEqual(t, len(turn.Output.Calls), 250, "the default limit of a turn")
	}
	w.ensure(t)
	assert.Empty(t, w.Writes())
}

func TestKeysOfTasksAreHeldFromTheFirstLook(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	second := w.SOAR.AddTask(taskIncident, map[string]any{"name": "Second"})
	w.ensure(t)
	assert.Equal(t, []string{"task:17", "task:" + strconv.FormatInt(second, 10)}, w.Last.Turns[1].Output.Hold)
	assert.Equal(t, "/api/tasks", w.Last.Turns[1].Output.Calls[0].Path)
}

func TestTasksOfOtherIncidentsAndNumbersAreNotOurs(t *testing.T) {
	for n, key := range map[int]string{1: "Resilient #2095 / task 17: %", 2: "Resilient #2095 / task %"} {
		w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
		w.addTasks(n - 1)
		for _, name := range []string{
			"Resilient #2095 / task 171: Other", "Resilient #2095 / task 17", "Resilient #2095 / task 17:glued", "Resilient #2095 / task 017: Zero",
			"Resilient #20 / task 17: Other", "Resilient #2095 / task x: Odd", "resilient #2095 / TASK 17: Case",
		} {
			w.ThreatQ.AddObject("tasks", name)
		}
		for _, task := range w.ensure(t) {
			assert.True(t, task.Created)
		}
		assert.Equal(t, n, w.count("POST", "/api/tasks/"), "links")
		assert.Equal(t, key, w.Last.Turns[1].Output.Calls[0].Query["name"])
	}
}

func TestTaskThatIsMarkedAsDeletedIsMadeAnew(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.Answer = func(call abi.Call) *abi.Result {
		if call.Method != "GET" || call.Path != "/api/tasks" {
			return nil
		}
		w.Answer = nil
		return &abi.Result{Status: 200, Body: abi.JSON(`{"data":[{"id":7,"name":"Resilient #2095 / task 17: n","deleted_at":"2020-01-31 10:00:00"}]}`)}
	}
	assert.True(t, w.ensure(t)[0].Created)
}

func TestOldestOfSeveralTasksIsTaken(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", ID: 99, Name: "Resilient #2095 / task 17: Collect mail headers"})
	w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", ID: 98, Name: "Resilient #2095 / task 17: Old name"})
	assert.EqualValues(t, 98, w.ensure(t)[0].ID)
	assert.Len(t, w.ThreatQ.Tasks(), 2, "joining them is a human's work")
}

func TestLostAnswersLeaveOneTaskEach(t *testing.T) {
	for name, fault := range map[string]threatqtest.Fault{
		"stored": {LoseAnswer: true}, "not stored": {CutBefore: true}, "crashed": {Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
			w.addTasks(2)
			fault.Match, fault.Times = isCreate, 2
			w.ThreatQ.Inject(fault)
			for _, task := range w.ensure(t) {
				assert.True(t, task.Created)
				assert.Empty(t, task.Problem)
			}
			assert.Len(t, w.ThreatQ.Tasks(), 3)
			w.ensure(t)
			assert.Empty(t, w.Writes())
		})
	}
}

func TestEmojiThatTheServerCannotStoreIsReplaced(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.SOAR.UpdateTask(17, map[string]any{"name": "Look \U0001F600", "instr_text": "<b>\U0001F600</b>"})
	w.ThreatQ.Inject(threatqtest.Fault{Match: isCreate, Status: http.StatusInternalServerError})
	w.ensure(t)
	assert.Equal(t, "Resilient #2095 / task 17: Look \uFFFD", w.ThreatQ.Tasks()[0].Name)
	w.ensure(t)
	assert.Empty(t, w.Writes())
}

func TestDescriptionThatTheServerCleanedIsTheSame(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", Name: "Resilient #2095 / task 17: Collect mail headers",
		Description: "<div>Ask the user to forward the mail as an attachment.</div>\n" +
			`<p><a rel="nofollow" href="https://soar.example.com/#incidents/2095?orgId=201&amp;taskId=17&amp;tabName=details">Resilient #2095 / task 17</a></p>`})
	w.ThreatQ.Link("tasks", 41, "events", 55)
	w.ensure(t)
	assert.Empty(t, w.Writes())
}

func isCreate(r *http.Request) bool { return r.Method == "POST" && r.URL.Path == "/api/tasks" }

func TestTasksThatCannotBeMadeAreReportedOneByOne(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.addTasks(2)
	w.ThreatQ.Inject(threatqtest.Fault{Match: isCreate, Status: http.StatusBadRequest, Body: `{"message":"No."}`})
	list := w.ensure(t)
	assert.Equal(t, kit.EnsuredTask{Problem: "ThreatQ refused it: No."}, list[0])
	assert.True(t, list[1].Created && list[2].Created)

	w.ThreatQ.Inject(threatqtest.Fault{Match: isCreate, CutBefore: true, Times: -1})
	assert.Contains(t, w.ensure(t)[0].Problem, "ThreatQ gave no answer to POST /api/tasks")
	assert.Equal(t, 2, w.count("POST", "/api/tasks"), "two tries")

	w.ThreatQ.ClearFaults()
	w.Answer = func(call abi.Call) *abi.Result {
		if call.Method == "POST" && call.Path == "/api/tasks" {
			return &abi.Result{Status: 201, Body: abi.JSON(`{"data":[]}`)}
		}
		return nil
	}
	assert.Equal(t, "ThreatQ accepted the task but does not show it", w.ensure(t)[0].Problem)
}

func TestMissingRightEndsTheAction(t *testing.T) {
	for _, fault := range []threatqtest.Fault{
		{Match: isCreate, Status: http.StatusForbidden},
		{Method: "GET", PathPrefix: "/api/tasks", Status: http.StatusForbidden},
	} {
		w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
		w.ThreatQ.Inject(fault)
		out := w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "r", IncidentID: taskIncident})
		require.NotNil(t, out.Fail)
		assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
		assert.Contains(t, out.Fail.Message, "ThreatQ account the right to do this")
	}
}

// secondHost makes another host process create the task just before we do.
func secondHost(w *taskWorld) {
	w.Before = func(call abi.Call) {
		if call.Method == "POST" && call.Path == "/api/tasks" {
			w.Before = nil
			w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", Name: "Resilient #2095 / task 17: Collect mail headers", Sources: []string{"Resilient"}})
		}
	}
}

func TestOfTwoHostsTheLaterTaskIsDeleted(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	secondHost(w)
	task := w.ensure(t)[0]
	assert.EqualValues(t, 41, task.ID)
	assert.False(t, task.Created)
	assert.Len(t, w.ThreatQ.Tasks(), 1)
	assert.Equal(t, []string{"POST /api/tasks", "DELETE /api/tasks/42"}, w.Writes()[:2])
	assert.Equal(t, []int{55}, w.ThreatQ.Links("tasks", 41, "events"))
}

func TestLaterTaskStaysWhenSomethingIsLinkedToIt(t *testing.T) {
	for name, disturb := range map[string]func(w *taskWorld){
		"a comment": func(w *taskWorld) { w.ThreatQ.AddComment("tasks", 42, "Mine") },
		"a link":    func(w *taskWorld) { w.ThreatQ.Link("tasks", 42, "events", 55) },
		"it cannot be known": func(w *taskWorld) {
			w.ThreatQ.Inject(threatqtest.Fault{PathPrefix: "/api/tasks/42/indicators", Status: 500, Times: -1})
		},
		"it is refused": func(w *taskWorld) { w.ThreatQ.Inject(threatqtest.Fault{Method: "DELETE", Status: 400}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
			secondHost(w)
			next := w.Before
			w.Before = func(call abi.Call) {
				if call.Path == "/api/tasks/42/attachments" {
					disturb(w)
				}
				if next != nil && call.Method == "POST" {
					next(call)
					w.Before, next = func(call abi.Call) {
						if call.Path == "/api/tasks/42/attachments" {
							disturb(w)
						}
					}, nil
				}
			}
			assert.EqualValues(t, 41, w.ensure(t)[0].ID)
			assert.Len(t, w.ThreatQ.Tasks(), 2)
		})
	}
}

func TestEarlierTaskOfTwoHostsIsOurs(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.Before = func(call abi.Call) {
		if call.Method == "GET" && call.Path == "/api/tasks" && len(w.ThreatQ.Tasks()) == 1 {
			w.ThreatQ.AddObject("tasks", "Resilient #2095 / task 17: Collect mail headers")
		}
	}
	task := w.ensure(t)[0]
	assert.EqualValues(t, 41, task.ID)
	assert.True(t, task.Created)
	assert.NotContains(t, w.Writes(), "DELETE", "the other host deletes its own")
}

func TestLinksThatCannotBeReadAreMadeAgain(t *testing.T) {
	for n, path := range map[int]string{1: "/api/tasks/41/events", 3: "/api/events/55/tasks"} {
		w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
		w.addTasks(n - 1)
		w.ensure(t)
		w.ThreatQ.Inject(threatqtest.Fault{Method: "GET", PathPrefix: path, Status: http.StatusMethodNotAllowed, Times: -1})
		for _, task := range w.ensure(t) {
			assert.Empty(t, task.Problem)
		}
		assert.Len(t, w.Writes(), n, path)
		assert.Equal(t, "POST /api/tasks/41/events", w.Writes()[0])
	}
}

func TestNoTasksAskForNothing(t *testing.T) {
	turns, last := play(t, func(a *guest.Action) guest.Reply {
		return guest.Done(strconv.Itoa(len(kit.New(a).EnsureTasks(55, nil))))
	})
	assert.Empty(t, turns)
	assert.Equal(t, "0", last.Reply.Message)
}

// playWith gives a rule one answer of SOAR.
func playWith(t *testing.T, body string, rule func(*kit.Kit, guest.Result)) (calls []abi.Call, last abi.Output) {
	t.Helper()
	d := guesttest.Play(t, map[string]guest.Rule{"r": func(a *guest.Action) guest.Reply {
		rule(kit.New(a), a.Must(guest.Call{Service: abi.Resilient, Method: "GET", Path: "/x", Idempotent: true}))
		return guest.Done("done")
	}}, abi.Action{ID: "m", Name: "r", Kind: abi.KindRule, IncidentID: 7}, guesttest.Options{}, func(abi.Call) abi.Result { return guesttest.OK(body) })
	return d.Calls, d.Last()
}

func TestTasksAreReadInEveryForm(t *testing.T) {
	var tasks []kit.Task
	_, last := playWith(t, `[
		{"id":1,"name":"  Two\nlines ","status":"C","instr_text":{"format":"text","content":"a < b"},"due_date":1581094800000,"owner_id":"ada@example.com","owner_fname":"Ada","owner_lname":"Analyst","active":true},
		{"id":"2","name":null,"status":"O","instr_text":"<b>x</b>","due_date":null,"owner_id":4,"active":false},
		{"id":3,"name":"n","owner_id":{"id":4,"name":"ada"}},
		{"id":4,"name":"n","owner_id":null,"owner_fname":"Nobody"}]`, func(k *kit.Kit, body guest.Result) {
		tasks = nil
		for row := range body.Body.Items() {
			tasks = append(tasks, kit.TaskOf(row))
		}
	})
	require.NotNil(t, last.Reply)
	assert.Equal(t, []kit.Task{
		{ID: 1, Name: "Two lines", Closed: true, Active: true, Instructions: "a &lt; b", Due: 1581094800000, Owner: kit.Owner{Email: "ada@example.com", Name: "Ada Analyst"}},
		{ID: 2, Name: "(no name)", Instructions: "<b>x</b>", Owner: kit.Owner{ID: 4}},
		{ID: 3, Name: "n", Active: true, Owner: kit.Owner{ID: 4, Name: "ada"}},
		{ID: 4, Name: "n", Active: true},
	}, tasks)
}

func TestAssigneeOfATask(t *testing.T) {
	for name, c := range map[string]struct {
		users [][2]string // e-mail, display name in ThreatQ
		soar  func(w *taskWorld)
		want  string
	}{
		"by e-mail whatever its case": {[][2]string{{"x@example.com", "Ada Analyst"}, {"ANALYST@example.com", "Other"}}, nil, "ANALYST@example.com"},
		"by name in another spelling": {[][2]string{{"x@example.com", "ada_analyst"}}, nil, "x@example.com"},
		"by nobody":                   {[][2]string{{"x@example.com", "Ada"}}, nil, "svc-soar@example.com"},
		"by none of two of a name":    {[][2]string{{"x@example.com", "Ada Analyst"}, {"y@example.com", "Ada Analyst"}}, nil, "svc-soar@example.com"},
		"by the id alone": {[][2]string{{"analyst@example.com", "Other"}}, func(w *taskWorld) {
			w.Answer = numberedOwner
		}, "analyst@example.com"},
		"by the name when the id cannot be read": {[][2]string{{"x@example.com", "Ada Analyst"}}, func(w *taskWorld) {
			w.Answer = numberedOwner
			w.SOAR.Inject(resilienttest.Fault{PathSuffix: "/users/4", Status: http.StatusForbidden})
		}, "x@example.com"},
		"by nobody when the list is closed": {[][2]string{{"analyst@example.com", "Ada Analyst"}}, func(w *taskWorld) {
			w.ThreatQ.Inject(threatqtest.Fault{PathPrefix: "/api/users", Status: http.StatusForbidden, Times: -1})
		}, "svc-soar@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
			for _, u := range c.users {
				w.ThreatQ.AddUser(u[0], u[1])
			}
			if c.soar != nil {
				c.soar(w)
			}
			w.ensure(t)
			assert.Equal(t, c.want, w.ThreatQ.Tasks()[0].Assignee)
			assert.LessOrEqual(t, w.count("GET", "/users/"), 1, "an owner is read once")
			w.ensure(t)
			assert.Empty(t, w.Writes())
		})
	}
}

// numberedOwner is a server that leaves the id of the owner.
func numberedOwner(call abi.Call) *abi.Result {
	if call.Path != "/incidents/2095/tasks" {
		return nil
	}
	return &abi.Result{Status: 200, Body: abi.JSON(`[{"id":17,"name":"n","owner_id":4,"owner_fname":"Ada","owner_lname":"Analyst"},
		{"id":18,"name":"n","owner_id":4,"owner_fname":"Ada","owner_lname":"Analyst"}]`)}
}

func TestUsersAreReadOnceForManyTasks(t *testing.T) {
	w := newTaskWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.ThreatQ.AddUser("analyst@example.com", "Ada")
	w.ThreatQ.AddUser("bob@example.com", "Bob")
	bob := w.SOAR.AddUser("Bob", "Builder", "bob@example.com")
	for range 5 {
		w.SOAR.AddTask(taskIncident, map[string]any{"name": "n", "owner_id": bob})
	}
	w.ensure(t)
	assert.Equal(t, 1, w.count("GET", "/api/users"))
	var assignees []string
	for _, task := range w.ThreatQ.Tasks() {
		assignees = append(assignees, task.Assignee)
	}
	assert.Equal(t, append([]string{"analyst@example.com"}, slices.Repeat([]string{"bob@example.com"}, 5)...), assignees)
}
