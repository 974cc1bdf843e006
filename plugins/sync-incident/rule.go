// Package syncincident is the rule ThreatQ: Sync Incident: it keeps the event of
// an incident in step with it. For the terms see package kit.
package syncincident

import (
	"slices"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
)

// Names of the activity fields in the manifest.
const (
	fieldArtifacts  = "threatq_import_artifacts"
	fieldIndicators = "threatq_import_indicators"
	// fieldTasks is no field of the menu item: Historical Sync sets it.
	fieldTasks = "sync_tasks"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_sync_incident": syncIncident}
}

func syncIncident(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.State().Exists() {
		return addArtifacts(k, kit.LoadImport(a.State()))
	}
	if a.Operation == "deleted" {
		return markDeleted(k)
	}

	var incident kit.Incident
	var unreadable *guest.CallError
	var event *kit.Event
	k.Together(
		func() { incident, unreadable = k.TryIncident() },
		func() { event = k.FindEvent() },
		k.ExpectObjects,
		func() {
			if a.Operation == "created" {
				k.ExpectNewEvent()
			}
		})
	if unreadable != nil {
		return gone(k, unreadable)
	}

	if event == nil {
		event = k.CreateEvent()
	}
	var changed bool
	var objects int
	var problems, skipped, objectProblems []string
	var artifacts, tasks kit.Tally
	k.Together(
		func() {
			if !event.Created {
				changed, problems = update(k, event, incident)
			}
		},
		func() { objects, skipped, objectProblems = k.SyncObjects(event, incident) },
		func() {
			if a.Field(fieldArtifacts).Bool() {
				artifacts = k.ImportArtifacts(event.ID)
			}
		},
		func() {
			if a.Field(fieldTasks).Bool() {
				tasks = syncTasks(k, event.ID)
			}
		})
	state := "unchanged"
	switch {
	case event.Created:
		state = "created"
	case changed, event.Adopted:
		state = "updated"
	}
	problems = slices.Concat(problems, objectProblems, artifacts.Problems, tasks.Problems)
	summary := "Synced to ThreatQ event " + kit.ID(event.ID) + " (" + state + "), " + kit.Count(countValues(k.EventAttributes(incident)), "attribute")
	if objects > 0 {
		summary += ", " + kit.Count(objects, "object")
	}
	if len(skipped) > 0 {
		summary += " (setting custom_objects, skipped: " + kit.Joined(skipped) + ")"
	}
	if a.Field(fieldArtifacts).Bool() {
		summary += ", " + strconv.Itoa(artifacts.Done) + " of " + kit.Count(artifacts.All, "artifact")
	}
	if a.Field(fieldTasks).Bool() {
		summary += ", " + strconv.Itoa(tasks.Done) + " of " + kit.Count(tasks.All, "task")
	}
	if !a.Field(fieldIndicators).Bool() {
		return report(k, event.ID, summary, problems).With(jsonvalue.Obj("indicators", artifacts.Indicators, "tasks", tasks.Done))
	}
	return addArtifacts(k, k.PlanImport(event.ID, summary, problems))
}

// update changes what differs; an incident without a change writes nothing.
func update(k *kit.Kit, event *kit.Event, incident kit.Incident) (changed bool, problems []string) {
	var renamed bool
	var changes int
	k.Together(
		func() { renamed = k.UpdateEvent(event, incident) },
		func() { changes, problems = k.SyncEvent(event, incident) })
	return renamed || changes > 0, problems
}

func report(k *kit.Kit, event int64, summary string, problems []string) guest.Reply {
	link := k.EventURL(event) + k.Hint()
	if len(problems) > 0 {
		return guest.Failed(kit.Linked(summary+". Problems: "+kit.Joined(problems), link))
	}
	return guest.Done(kit.Linked(summary, link))
}

// markDeleted records the deletion on the event; the rest of ThreatQ stays.
func markDeleted(k *kit.Kit) guest.Reply {
	event := k.MarkDeleted()
	if event == nil {
		return guest.Done("The incident was deleted in SOAR and has no event in ThreatQ; nothing done.")
	}
	return guest.Done("The incident was deleted in SOAR; ThreatQ event " + kit.ID(event.ID) + " has the status Deleted now; " + k.EventURL(event.ID))
}

// gone ends the action of an incident that cannot be read. A 404 may mean a
// workspace that is closed to us as well, so nothing is recorded in ThreatQ.
func gone(k *kit.Kit, err *guest.CallError) guest.Reply {
	switch {
	case err.Status != 404:
		k.GiveUp(err)
	case k.Field(fieldArtifacts).Exists() || k.Field(fieldIndicators).Exists():
		// A user asked for it, who sees the incident.
		k.Fail(abi.CodeNotFound, kit.IncidentGone)
	}
	return guest.Done(kit.IncidentGone)
}
