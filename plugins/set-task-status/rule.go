// Package settaskstatus is the rule ThreatQ: Set Task Status: it gives the
// ThreatQ task of a SOAR task the status that the user chose. For the terms see
// package kit.
package settaskstatus

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// fieldStatus is the activity field in the manifest.
const fieldStatus = "threatq_task_status"

// statuses are the options of the field by the ids that ThreatQ gives them.
var statuses = map[int64]string{
	kit.TaskToDo:       "To Do",
	kit.TaskInProgress: "In Progress",
	kit.TaskInReview:   "Review",
	kit.TaskDone:       "Done",
}

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_set_task_status": setTaskStatus}
}

func setTaskStatus(a *guest.Action) guest.Reply {
	k := kit.New(a)
	status := chosen(k)

	var task kit.Task
	var unreadable *guest.CallError
	var found *kit.FoundTasks
	var event *kit.Event
	k.Together(
		func() { task, unreadable = k.Task() },
		func() { found = k.FindTasks(a.TaskID) },
		func() { event = k.FindEvent() })
	switch {
	case unreadable != nil && unreadable.Status == 404:
		k.Fail(abi.CodeNotFound, kit.TaskGone)
	case unreadable != nil:
		k.GiveUp(unreadable)
	}

	if event == nil {
		event = k.CreateEvent()
	}
	return report(k, task, status, found.SetStatus(event.ID, task, status))
}

// chosen is the id of the status that the user chose.
func chosen(k *kit.Kit) int64 {
	name := strings.TrimSpace(k.Field(fieldStatus).Text())
	for id, label := range statuses {
		if strings.EqualFold(label, name) {
			return id
		}
	}
	if name == "" {
		k.Fail(abi.CodeInput, "No task status was chosen. Run the action again and choose To Do, In Progress, Review or Done.")
	}
	k.Fail(abi.CodeInput, `ThreatQ has no task status "`+name+`"; it has To Do, In Progress, Review and Done.`)
	return 0
}

func report(k *kit.Kit, task kit.Task, status int64, ensured kit.EnsuredTask) guest.Reply {
	name := `Task "` + task.Name + `"`
	if ensured.ID == 0 {
		return guest.Failed(name + " is not in ThreatQ: " + ensured.Problem)
	}
	url := k.TaskURL(ensured.ID)
	state := " has the status " + statuses[status]
	switch {
	case ensured.Status != status:
		return guest.Failed(kit.Linked(name+" did not get the status "+statuses[status]+" in ThreatQ: "+ensured.Problem, url))
	case !ensured.Changed && !ensured.Created:
		state = " had the status " + statuses[status] + " already"
	}
	if ensured.Problem != "" {
		return guest.Failed(kit.Linked(name+state+" in ThreatQ, but "+ensured.Problem, url))
	}
	return guest.Done(kit.Linked(name+state+" in ThreatQ (task "+kit.ID(ensured.ID)+")", url))
}
