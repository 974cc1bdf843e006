// Package markfalsepositive is the rule and the function ThreatQ: Mark as False
// Positive: they write that verdict on indicators, and on request remove the
// artifact from its incident. For the terms see package kit.
package markfalsepositive

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
)

// fieldRemove is the activity field of the manifest.
const fieldRemove = "threatq_remove_artifact"

// Rules are the rule and the function of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_mark_as_false_positive": mark}
}

// mark tells rule and function apart, which have the same routing name.
func mark(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Kind == abi.KindFunction {
		return markValue(k)
	}
	reply, _ := finish(k, k.MarkArtifact(k.ArtifactOrFail(), kit.FalsePositive), a.Field(fieldRemove).Bool())
	return reply
}

func markValue(k *kit.Kit) guest.Reply {
	value := strings.TrimSpace(k.Input("indicator_value").Text())
	remove := k.Input("remove_artifact_after_marking").Bool()
	k.IncidentID, k.ArtifactID = k.Input("incident_id").Int(), k.Input("artifact_id").Int()
	switch {
	case value == "":
		return results(guest.Failed("The input indicator_value is empty."), jsonvalue.Arr(), false)
	case remove && (k.IncidentID == 0 || k.ArtifactID == 0):
		return results(guest.Failed("To remove the artifact, the inputs incident_id and artifact_id are needed; nothing done."), jsonvalue.Arr(), false)
	}
	marking := k.MarkValue(value, kit.FalsePositive)
	reply, removed := finish(k, marking, remove)
	return results(reply, k.MarkingResults(marking), removed)
}

// finish removes the artifact when all of it is marked: what is not marked would
// be forgotten with it.
func finish(k *kit.Kit, marking kit.Marking, remove bool) (reply guest.Reply, removed bool) {
	switch {
	case !marking.OK() && remove:
		return guest.Failed(k.MarkingText(marking, "The artifact was not removed.")), false
	case !marking.OK():
		return guest.Failed(k.MarkingText(marking, "")), false
	case !remove:
		return guest.Done(k.MarkingText(marking, "")), false
	}
	if problem := k.RemoveArtifact(marking); problem != "" {
		return guest.Failed(problem), false
	}
	return guest.Done(k.MarkingText(marking, "The artifact was removed from the incident.")), true
}

// results adds what a workflow reads.
func results(r guest.Reply, indicators jsonvalue.Raw, removed bool) guest.Reply {
	var reason any
	if !r.Success {
		reason = r.Message
	}
	return r.With(jsonvalue.Obj("success", r.Success, "indicators", indicators, "removed", removed, "reason", reason))
}
