// Package synccomment is the rule ThreatQ: Sync Comment: it adds a note to
// ThreatQ as a comment on the incident's event, or on the task that the note
// stands on. For the terms see package kit.
package synccomment

import (
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_sync_comment": syncComment}
}

func syncComment(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Operation == "deleted" {
		return deleted()
	}

	var note kit.Note
	var exists bool
	var event *kit.Event
	on := parent{id: a.TaskID}
	k.Together(
		func() { note, exists = k.Note() },
		func() { event = k.FindEvent() },
		func() { on.read(k) })
	switch {
	case !exists:
		return gone(k)
	case note.Text == "":
		return guest.Done("Empty note, nothing done.")
	case note.IsOwn():
		return guest.Done("The integration itself wrote this note; nothing done.")
	}
	if on.id != note.TaskID {
		// The message did not name the task.
		on = parent{id: note.TaskID}
		on.read(k)
	}
	if on.unreadable != nil {
		k.GiveUp(on.unreadable)
	}

	if event == nil {
		event = k.CreateEvent()
	}
	if on.id == 0 {
		posting := k.EnsureComment("events", event.ID, note, event.Created)
		return report(k, note, posting, onEvent(k, event), "")
	}
	task, posting := k.EnsureTaskComment(on.found, event, on.task, note)
	switch {
	case task.ID == 0:
		return guest.Failed("Note #" + kit.ID(note.ID) + ` is not in ThreatQ, because its task "` + on.task.Name + `" is not: ` + task.Problem)
	case posting.NoEndpoint:
		return report(k, note, posting, onEvent(k, event), task.Problem)
	}
	return report(k, note, posting, place{"task " + kit.ID(task.ID), k.TaskURL(task.ID)}, task.Problem)
}

// parent is the task that a note stands on; its id is 0 for the incident.
type parent struct {
	id         int64
	task       kit.Task
	unreadable *guest.CallError
	found      *kit.FoundTasks
}

func (p *parent) read(k *kit.Kit) {
	if p.id == 0 {
		return
	}
	k.Together(
		func() { p.task, p.unreadable = k.ReadTask(p.id) },
		func() { p.found = k.FindTasks(p.id) })
}

// deleted ends the action of a note that is gone: its comment stays.
func deleted() guest.Reply {
	return guest.Done("The note was deleted in SOAR; nothing done in ThreatQ.")
}

func gone(k *kit.Kit) guest.Reply {
	if _, err := k.TryIncident(); err != nil && err.Status == 404 {
		return guest.Done(kit.IncidentGone)
	}
	return deleted()
}

// place is what a comment stands on in ThreatQ.
type place struct{ name, url string }

func onEvent(k *kit.Kit, event *kit.Event) place {
	return place{"event " + kit.ID(event.ID), k.EventURL(event.ID)}
}

func report(k *kit.Kit, note kit.Note, posting kit.Posting, on place, taskProblem string) guest.Reply {
	name := "Note #" + kit.ID(note.ID)
	if posting.Problem != "" {
		return guest.Failed(kit.Linked(name+" is not on ThreatQ "+on.name+" as it should be: "+posting.Problem, on.url))
	}
	message := name + " is on ThreatQ " + on.name + " already"
	switch {
	case posting.Posted:
		message = name + " posted to ThreatQ " + on.name
	case posting.Changed:
		message = name + " changed on ThreatQ " + on.name
	}
	if posting.NoEndpoint {
		message += ", because this ThreatQ keeps no comments on tasks"
	}
	if taskProblem != "" {
		return guest.Failed(kit.Linked(message+". Problem with its task: "+taskProblem, on.url))
	}
	return guest.Done(kit.Linked(message, on.url))
}
