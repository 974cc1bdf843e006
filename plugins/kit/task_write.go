package kit

import (
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// create makes the tasks that were not found. The call is not safe to repeat:
// when its outcome is unknown we look first, and then try once more at most.
func (f *FoundTasks) create(tasks []Task, ensured []EnsuredTask, missing []int, assignees map[Owner]int64) {
	k := f.kit
	for last := false; len(missing) > 0; last = true {
		posted := make([]postedTask, len(missing))
		var strands []func()
		for n, i := range missing {
			strands = append(strands, func() { posted[n] = k.postTask(tasks[i], assignees[tasks[i].Owner], last) })
		}
		k.Together(strands...)
		missing = f.settle(tasks, ensured, missing, posted, last)
	}
}

// postedTask is the outcome of one create call; without id and error it is not
// known.
type postedTask struct {
	row taskRow
	err *guest.CallError
}

func (p postedTask) refused() bool {
	return p.err != nil && !mayHaveActed(p.err)
}

func (k *Kit) postTask(t Task, assignee int64, again bool) postedTask {
	row := taskRow{
		name: k.taskName(t), description: k.taskDescription(t), due: t.due(),
		status: TaskToDo, assignee: assignee,
	}
	if t.Closed && k.syncsCompletion() {
		row.status = TaskDone
	}
	body := jsonvalue.Obj(
		"name", row.name,
		"description", row.description,
		"status_id", row.status,
		"priority", "Medium",
		"assignee_source_id", omitIf(assignee, assignee == 0),
		"due_at", omitIf(row.due, row.due == ""),
		"sources", k.sources())
	if again {
		body = jsonvalue.Raw(text.ReplaceAstral(string(body)))
	}
	result := k.do(write("POST", "/api/tasks", body, false))
	if result.Err != nil && result.Err.Status == 403 {
		k.GiveUp(result.Err)
	}
	row.id = created(result.Body).Get("id").Int()
	return postedTask{row, result.Err}
}

// settle looks once more after creating: for calls of unknown outcome, and
// because another host process may have made the same task at the same time.
// Both keep the one with the lower id. It returns what is to be tried again.
func (f *FoundTasks) settle(tasks []Task, ensured []EnsuredTask, missing []int, posted []postedTask, last bool) (again []int) {
	k := f.kit
	var unsure []int64
	for n, i := range missing {
		if posted[n].refused() {
			ensured[i].Problem = refusal(posted[n].err)
			continue
		}
		unsure = append(unsure, tasks[i].ID)
	}
	if len(unsure) == 0 {
		return nil
	}
	seen := k.lookUpTasks(unsure)
	var strands []func()
	for n, i := range missing {
		mine, t := posted[n].row, tasks[i]
		oldest, there := seen[t.ID]
		switch {
		case posted[n].refused():
			continue
		case mine.id != 0 && there && oldest.id < mine.id:
			strands = append(strands, func() { k.removeTask(mine.id, oldest.id) })
			f.rows[t.ID] = oldest
			ensured[i] = EnsuredTask{ID: oldest.id, Status: oldest.status}
		case mine.id != 0:
			f.rows[t.ID] = mine
			ensured[i] = EnsuredTask{ID: mine.id, Status: mine.status, Created: true}
		case there:
			f.rows[t.ID] = oldest
			ensured[i] = EnsuredTask{ID: oldest.id, Status: oldest.status, Created: true}
		case !last:
			again = append(again, i)
		case posted[n].err != nil:
			ensured[i].Problem = posted[n].err.Error()
		default:
			ensured[i].Problem = "ThreatQ accepted the task but does not show it"
		}
	}
	k.Together(strands...)
	return again
}

// removeTask deletes the task that we made beside an older one, if nothing is
// linked to it. It was made a turn ago; see keepOldest.
func (k *Kit) removeTask(mine, oldest int64) {
	path := "/api/tasks/" + id(mine)
	empty := true
	var strands []func()
	for _, kind := range []string{"attachments", "comments", "events", "indicators"} {
		strands = append(strands, func() {
			list := k.do(get(abi.ThreatQ, path+"/"+kind, guest.Query{"limit": "1", "offset": "0"}))
			// A server without this call cannot have linked anything through it.
			gone := list.Err != nil && (list.Err.Status == 404 || list.Err.Status == 405)
			empty = empty && (gone || list.Err == nil && list.Body.Get("data").Len() == 0)
		})
	}
	k.Together(strands...)
	if empty && k.do(write("DELETE", path, nil, true)).OK() {
		return
	}
	k.Log("tasks " + id(oldest) + " and " + id(mine) + " of ThreatQ stand for the same task of incident " + id(k.IncidentID) + "; join them by hand")
}

// update writes what differs. The status stays what its user made of it; only
// closing the task in SOAR makes it Done.
func (f *FoundTasks) update(t Task, assignee int64, e *EnsuredTask) {
	k, row := f.kit, f.rows[t.ID]
	var name, description, due, owner, status any = jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit
	changed := false
	if n := k.taskName(t); !sameText(n, row.name) {
		name, changed = n, true
	}
	if d := k.taskDescription(t); !text.SameDescription(d, row.description) {
		description, changed = d, true
	}
	if d := t.due(); d != row.due {
		// A date that was removed is removed there too.
		if changed, due = true, nil; d != "" {
			due = d
		}
	}
	if assignee != 0 && assignee != row.assignee {
		owner, changed = assignee, true
	}
	if t.Closed && k.syncsCompletion() && row.status != TaskDone {
		status, changed = TaskDone, true
	}
	if !changed {
		return
	}
	body := jsonvalue.Obj("name", name, "description", description, "due_at", due, "assignee_source_id", owner, "status_id", status)
	if e.put(k, body) && status == TaskDone {
		e.Status = TaskDone
	}
}

// put changes the task. Whether a server can do so is not certain; a task that
// cannot be changed is not made anew.
func (e *EnsuredTask) put(k *Kit, body jsonvalue.Raw) bool {
	err := k.do(write("PUT", "/api/tasks/"+id(e.ID), body, true)).Err
	switch {
	case err == nil:
		e.Changed = true
		return true
	case err.Status == 403:
		k.GiveUp(err)
	case err.Status == 404 || err.Status == 405:
		e.report("this ThreatQ does not let tasks be changed (" + strconv.Itoa(err.Status) + "); change task " + id(e.ID) + " there by hand")
	default:
		e.report(refusal(err))
	}
	return false
}

func (k *Kit) taskName(t Task) string {
	return text.CutRunes(taskKey(k.IncidentID, t.ID)+t.Name, text.TaskNameRunes)
}

// taskDescription holds the instructions and a way back to the task.
func (k *Kit) taskDescription(t Task) string {
	return text.Description(t.Instructions, text.DescriptionOptions{
		LinkURL:  k.IncidentURL() + "&taskId=" + id(t.ID) + "&tabName=details",
		LinkText: "Resilient #" + id(k.IncidentID) + " / task " + id(t.ID),
	})
}

// syncsCompletion is the setting sync_task_completion, which is on by default.
func (k *Kit) syncsCompletion() bool {
	return k.Setting("sync_task_completion") == "" || k.SettingBool("sync_task_completion")
}

func omitIf(v any, omitted bool) any {
	if omitted {
		return jsonvalue.Omit
	}
	return v
}
