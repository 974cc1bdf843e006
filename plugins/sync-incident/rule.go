// Package syncincident is the rule ThreatQ: Sync Incident: it keeps the event of
// an incident in step with it. For the terms see package kit.
package syncincident

import (
	"slices"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// Names of the activity fields in the manifest.
const (
	fieldArtifacts  = "threatq_import_artifacts"
	fieldIndicators = "threatq_import_indicators"
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
	var problems, objectProblems []string
	var artifacts kit.Tally
	k.Together(
		func() {
			if !event.Created {
				changed, problems = update(k, event, incident)
			}
		},
		func() { objects, objectProblems = k.SyncObjects(event, incident) },
		func() {
			if a.Field(fieldArtifacts).Bool() {
				artifacts = k.ImportArtifacts(event.ID)
			}
		})
	state := "unchanged"
	switch {
	case event.Created:
		state = "created"
	case changed:
		state = "updated"
	}
	problems = slices.Concat(problems, objectProblems, artifacts.Problems)
	summary := "Synced to ThreatQ event " + kit.ID(event.ID) + " (" + state + "), " + kit.Count(countValues(k.EventAttributes(incident)), "attribute")
	if objects > 0 {
		summary += ", " + kit.Count(objects, "object")
	}
	if a.Field(fieldArtifacts).Bool() {
		summary += ", " + strconv.Itoa(artifacts.Done) + " of " + kit.Count(artifacts.All, "artifact")
	}
	if !a.Field(fieldIndicators).Bool() {
		return report(k, event.ID, summary, problems)
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

// addArtifacts adds indicators of the event to the incident, a batch a turn. The
// work is resumed from the state after each batch.
func addArtifacts(k *kit.Kit, work kit.Import) guest.Reply {
	work.Todo = k.PostArtifacts(work.Todo, &work.Tally)
	if len(work.Todo) > 0 {
		k.Progress(kit.Count(work.Tally.Done, "artifact") + " added, " + strconv.Itoa(len(work.Todo)) + " to go")
		k.Cut(work.State())
	}
	t := work.Tally
	summary := work.Summary + ", " + kit.Count(t.All, "indicator") + " of the event: " + strconv.Itoa(t.Done) + " added, " +
		strconv.Itoa(t.Present) + " already present"
	return report(k, work.Event, summary, append(work.Problems, t.Problems...))
}

func report(k *kit.Kit, event int64, summary string, problems []string) guest.Reply {
	link := "; " + k.EventURL(event) + k.Hint()
	if len(problems) > 0 {
		return guest.Failed(summary + ". Problems: " + kit.Joined(problems) + link)
	}
	return guest.Done(summary + link)
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

func countValues(attributes []kit.Attribute) int {
	n := 0
	for _, a := range attributes {
		n += len(a.Values)
	}
	return n
}
