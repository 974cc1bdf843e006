package kit

import (
	"slices"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Ids of ThreatQ's task statuses, the same everywhere (contract: tasks).
const (
	TaskToDo = 1 + iota
	TaskInProgress
	TaskInReview
	TaskDone
)

// batchTasks is how many tasks are worked on side by side: a turn has room for
// two calls each.
const batchTasks = 100

// TaskGone is said of a task that SOAR answers 404 for.
const TaskGone = "The task no longer exists in SOAR, or it is private and closed to the integration's account; nothing done in ThreatQ. " +
	"If it is private, make the account a member of it."

// Task is a task as SOAR has it now.
type Task struct {
	ID int64
	// Name is on one line.
	Name string
	// Instructions are rich text.
	Instructions string
	// Due is in milliseconds since 1970 UTC, 0 for none.
	Due int64
	// Closed tasks are done; tasks that are not Active wait for their phase.
	Closed, Active bool
	Owner          Owner
}

// Task reads the action's task, with names in place of ids.
func (k *Kit) Task() (Task, *guest.CallError) { return k.ReadTask(k.TaskID) }

// ReadTask is Task for any task.
func (k *Kit) ReadTask(task int64) (Task, *guest.CallError) {
	result := k.do(get(abi.Resilient, "/tasks/"+id(task), namesAndObjects()))
	if result.Err != nil {
		return Task{}, result.Err
	}
	return TaskOf(result.Body), nil
}

// TaskOf reads a row of the tasks of an incident.
func TaskOf(v jsonvalue.Value) Task {
	t := Task{
		ID:           v.Get("id").Int(),
		Name:         oneLine(v.Get("name").Text()),
		Instructions: richText(v.Get("instr_text")),
		Due:          v.Get("due_date").Int(),
		Closed:       v.Get("status").Text() == "C",
		Active:       !v.Get("active").Exists() || v.Get("active").Bool(),
		Owner:        ownerOf(v),
	}
	if t.Name == "" {
		t.Name = "(no name)"
	}
	return t
}

// due is the text of the due date, empty for none.
func (t Task) due() string {
	if t.Due == 0 {
		return ""
	}
	return text.Time(t.Due)
}

// EnsuredTask is a task in ThreatQ, or what kept it from being one.
type EnsuredTask struct {
	// ID is 0 when there is none.
	ID int64
	// Status is the id of its status in ThreatQ.
	Status           int64
	Created, Changed bool
	// Problem says what went wrong; ID may be set all the same.
	Problem string
}

// FoundTasks are the tasks of the incident that ThreatQ has.
type FoundTasks struct {
	kit   *Kit
	tasks []int64
	rows  map[int64]taskRow
}

// taskRow is a task as ThreatQ has it.
type taskRow struct {
	id, status, assignee   int64
	name, description, due string
}

// EnsureTasks brings tasks of the incident into ThreatQ, side by side: found or
// created, linked to the event, and brought up to date. It holds the key
// task:<id> of each.
func (k *Kit) EnsureTasks(event int64, tasks []Task) []EnsuredTask {
	ids := make([]int64, 0, len(tasks))
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return k.FindTasks(ids...).Sync(event, tasks)
}

// taskKeys begins the names of all tasks of an incident.
func taskKeys(incident int64) string { return "Resilient #" + id(incident) + " / task " }

// taskKey begins the name of a task. It is what the task is found by, and has no
// text of users in it.
func taskKey(incident, task int64) string { return taskKeys(incident) + id(task) + ": " }

// TaskURL is the address of a task in ThreatQ's user interface.
func (k *Kit) TaskURL(task int64) string {
	return k.Site.ThreatQURL + "/tasks/" + id(task) + "/details"
}

// FindTasks looks for tasks of the incident by their ids in SOAR, and holds
// their keys. Call it beside the calls that read the tasks and the event.
func (k *Kit) FindTasks(tasks ...int64) *FoundTasks {
	if len(tasks) == 0 {
		return &FoundTasks{kit: k, rows: map[int64]taskRow{}}
	}
	// More keys than a turn may ask for are left to the lane of the incident.
	for _, task := range tasks[:min(len(tasks), abi.MaxHoldKeys)] {
		k.Hold("task:" + id(task))
	}
	return &FoundTasks{kit: k, tasks: tasks, rows: k.lookUpTasks(tasks)}
}

// ID is the id in ThreatQ of a task of SOAR, 0 when ThreatQ does not have it.
func (f *FoundTasks) ID(task int64) int64 { return f.rows[task].id }

// lookUpTasks finds tasks by their keys: one by its own, several by that of the
// incident, which costs no more than its tasks. Of several of one key it takes
// the oldest: to join them is a human's work.
func (k *Kit) lookUpTasks(tasks []int64) map[int64]taskRow {
	key := taskKeys(k.IncidentID)
	if len(tasks) == 1 {
		key = taskKey(k.IncidentID, tasks[0])
	}
	list, err := k.pages("/api/tasks", guest.Query{"name": key + "%", "sort": "id"})
	if err != nil {
		k.GiveUp(err)
	}
	found := map[int64]taskRow{}
	for _, v := range list {
		row := taskRowOf(v)
		task := taskOfName(k.IncidentID, row.name)
		if !slices.Contains(tasks, task) || !v.Get("deleted_at").IsNull() {
			continue
		}
		if other, twice := found[task]; twice {
			k.Log("task " + id(task) + " has more than one task in ThreatQ: " + id(other.id) + ", " + id(row.id))
			if other.id < row.id {
				continue
			}
		}
		found[task] = row
	}
	return found
}

func taskRowOf(v jsonvalue.Value) taskRow {
	return taskRow{
		id: v.Get("id").Int(), status: v.Get("status_id").Int(), assignee: v.Get("assignee_source_id").Int(),
		name: v.Get("name").Text(), description: v.Get("description").Text(), due: v.Get("due_at").Text(),
	}
}

// taskOfName returns the id in SOAR that a name begins with, 0 for another name.
func taskOfName(incident int64, name string) int64 {
	rest, _ := strings.CutPrefix(name, taskKeys(incident))
	digits, _, _ := strings.Cut(rest, ":")
	task, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !strings.HasPrefix(name, taskKey(incident, task)) {
		return 0
	}
	return task
}

// Ensure creates the tasks that ThreatQ lacks and links all to the event. A task
// that exists is not refreshed: that is Sync Task's work.
func (f *FoundTasks) Ensure(event int64, tasks []Task) []EnsuredTask {
	return f.ensure(event, tasks, finish{do: func(Task, int64, *EnsuredTask) {}})
}

// Sync is Ensure, and brings those that exist up to date.
func (f *FoundTasks) Sync(event int64, tasks []Task) []EnsuredTask {
	return f.ensure(event, tasks, finish{owners: true, do: f.update})
}

// SetStatus is Ensure for one task, and gives it a status if it has another one.
func (f *FoundTasks) SetStatus(event int64, task Task, status int64) EnsuredTask {
	return f.ensure(event, []Task{task}, finish{do: func(_ Task, _ int64, e *EnsuredTask) {
		if e.Status != status && e.put(f.kit, jsonvalue.Obj("status_id", status)) {
			e.Status = status
		}
	}})[0]
}

// finish is what is done to each task once it is there. Its assignee is 0 where
// ThreatQ does not know the owner; owners says that do needs it for all tasks.
type finish struct {
	owners bool
	do     func(t Task, assignee int64, e *EnsuredTask)
}

func (f *FoundTasks) ensure(event int64, tasks []Task, last finish) []EnsuredTask {
	var all []EnsuredTask
	for some := range slices.Chunk(tasks, batchTasks) {
		ensured := make([]EnsuredTask, len(some))
		var missing []int
		for i, t := range some {
			if row, ok := f.rows[t.ID]; ok {
				ensured[i] = EnsuredTask{ID: row.id, Status: row.status}
			} else {
				missing = append(missing, i)
			}
		}
		f.kit.Together(
			func() { f.linkFound(event, ensured) },
			func() { f.write(event, some, ensured, missing, last) })
		all = append(all, ensured...)
	}
	return all
}

// linkFound links the tasks that were found to the event, unless they are.
func (f *FoundTasks) linkFound(event int64, ensured []EnsuredTask) {
	var found []*EnsuredTask
	for i := range ensured {
		if ensured[i].ID != 0 {
			found = append(found, &ensured[i])
		}
	}
	linked := f.linked(event)
	var strands []func()
	for _, e := range found {
		if !linked[e.ID] {
			strands = append(strands, func() { e.link(f.kit, event) })
		}
	}
	f.kit.Together(strands...)
}

// write creates and links what is missing, and finishes all.
func (f *FoundTasks) write(event int64, tasks []Task, ensured []EnsuredTask, missing []int, last finish) {
	var owners []Owner
	for i, t := range tasks {
		if last.owners || ensured[i].ID == 0 {
			owners = append(owners, t.Owner)
		}
	}
	assignees := f.kit.assignees(owners)
	f.create(tasks, ensured, missing, assignees)
	var strands []func()
	for _, i := range missing {
		if e := &ensured[i]; e.ID != 0 {
			strands = append(strands, func() { e.link(f.kit, event) })
		}
	}
	for i, t := range tasks {
		if e := &ensured[i]; e.ID != 0 {
			strands = append(strands, func() { last.do(t, assignees[t.Owner], e) })
		}
	}
	f.kit.Together(strands...)
}

func (e *EnsuredTask) report(problem string) {
	if e.Problem != "" {
		problem = clauses([]string{e.Problem, problem})
	}
	e.Problem = problem
}

func (e *EnsuredTask) link(k *Kit, event int64) {
	err := k.do(write("POST", "/api/tasks/"+id(e.ID)+"/events", jsonvalue.Obj("id", event), true)).Err
	if err != nil {
		e.report("it could not be linked to event " + id(event) + ": " + err.Error())
	}
}

// linked are the ids of those tasks found that are linked to the event. Linking
// again does no harm, so what cannot be read counts as not linked.
func (f *FoundTasks) linked(event int64) map[int64]bool {
	linked := map[int64]bool{}
	if len(f.rows) == 0 {
		return linked
	}
	if len(f.tasks) > 1 {
		list, _ := f.kit.rows(eventPath(event)+"/tasks", "")
		for _, row := range list {
			linked[row.Get("id").Int()] = true
		}
		return linked
	}
	// An event may have many tasks, a task hardly has a second event.
	for _, task := range f.rows {
		list, _ := f.kit.rows("/api/tasks/"+id(task.id)+"/events", "")
		for _, row := range list {
			linked[task.id] = linked[task.id] || row.Get("id").Int() == event
		}
	}
	return linked
}
