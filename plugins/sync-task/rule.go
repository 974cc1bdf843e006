// Package synctask is the rule ThreatQ: Sync Task: it keeps the ThreatQ task of
// a SOAR task in step with it. For the terms see package kit.
package synctask

import (
	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_sync_task": syncTask}
}

func syncTask(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Operation == "deleted" {
		return deleted()
	}

	var task kit.Task
	var unreadable *guest.CallError
	var found *kit.FoundTasks
	var event *kit.Event
	k.Together(
		func() { task, unreadable = k.Task() },
		func() { found = k.FindTasks(a.TaskID) },
		func() { event = k.FindEvent() })
	if unreadable != nil {
		return gone(k, unreadable)
	}
	if !task.Active && found.ID(task.ID) == 0 {
		return guest.Done(`Task "` + task.Name + `" is not active and not in ThreatQ; nothing done.`)
	}

	if event == nil {
		event = k.CreateEvent()
	}
	return report(k, event, task, found.Sync(event.ID, []kit.Task{task})[0])
}

// deleted ends the action of a task that is gone: intelligence outlives it.
func deleted() guest.Reply {
	return guest.Done("The task was deleted in SOAR; nothing done in ThreatQ.")
}

// gone ends the action of a task that cannot be read. A message that says the
// task was made or changed makes a private task more likely than a deletion,
// and somebody should learn that it is not synced.
func gone(k *kit.Kit, err *guest.CallError) guest.Reply {
	if err.Status != 404 {
		k.GiveUp(err)
	}
	switch _, closed := k.TryIncident(); {
	case closed != nil && closed.Status != 404:
		k.GiveUp(closed)
	case closed != nil:
		return guest.Done(kit.IncidentGone)
	case k.Operation == "":
		return deleted()
	}
	k.Fail(abi.CodeNotFound, kit.TaskGone)
	return guest.Reply{}
}

func report(k *kit.Kit, event *kit.Event, task kit.Task, synced kit.EnsuredTask) guest.Reply {
	name := `Task "` + task.Name + `"`
	if synced.ID == 0 {
		return guest.Failed(kit.Linked(name+" is not in ThreatQ: "+synced.Problem, k.EventURL(event.ID)))
	}
	state := "unchanged"
	switch {
	case synced.Created:
		state = "created"
	case synced.Changed:
		state = "updated"
	}
	summary := name + " synced to ThreatQ task " + kit.ID(synced.ID) + " (" + state + ") of event " + kit.ID(event.ID)
	if synced.Problem != "" {
		return guest.Failed(kit.Linked(summary+". Problem: "+synced.Problem, k.TaskURL(synced.ID)))
	}
	return guest.Done(kit.Linked(summary, k.TaskURL(synced.ID)))
}
