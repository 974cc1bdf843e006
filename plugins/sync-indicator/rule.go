// Package syncindicator is the rule ThreatQ: Sync Indicator: it adds an artifact
// to ThreatQ as one or several indicators and links them to the incident's
// event. For the terms see package kit.
package syncindicator

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
	"fn-threatq/plugins/kit/typing"
)

// Names of the activity fields in the manifest.
const (
	fieldStatus     = "threatq_indicator_status"
	fieldConfidence = "threatq_indicator_confidence"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_sync_indicator": syncIndicator}
}

func syncIndicator(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Operation == "deleted" {
		return deleted()
	}

	var artifact kit.Artifact
	var exists bool
	var event *kit.Event
	k.Together(
		func() { artifact, exists = k.Artifact() },
		func() { event = k.FindEvent() })
	if !exists {
		return gone(k)
	}

	wish := kit.Wish{
		Status:      a.Field(fieldStatus).Text(),
		Confidence:  a.Field(fieldConfidence).Text(),
		Description: artifact.Description,
		NoSource:    k.IsOwn(artifact),
	}
	outcome := k.Candidates(artifact)
	if wish.NoSource {
		// What ThreatQ gave us is there under the very value of the artifact.
		outcome.Candidates = kit.WithLiteral(outcome.Candidates, artifact)
	}
	if len(outcome.Candidates) == 0 {
		return guest.Done(outcome.Reason)
	}

	// The indicators come first: a status that does not exist ends the action
	// before the event is made.
	var indicators []kit.Indicator
	k.Together(
		func() { indicators = k.EnsureIndicators(outcome.Candidates, kit.FromArtifact(artifact), wish) },
		func() {
			if event == nil {
				event = k.CreateEvent()
			}
		})
	k.LinkIndicators(event.ID, indicators)
	return report(k, event, indicators, outcome)
}

// deleted ends the action of an artifact that is gone: intelligence outlives it.
func deleted() guest.Reply {
	return guest.Done("The artifact was deleted in SOAR; nothing done in ThreatQ.")
}

func gone(k *kit.Kit) guest.Reply {
	if _, err := k.TryIncident(); err == nil {
		return deleted()
	}
	if k.Field(fieldStatus).Exists() || k.Field(fieldConfidence).Exists() {
		// A user asked for it, who sees the incident.
		k.Fail(abi.CodeNotFound, kit.IncidentGone)
	}
	return guest.Done(kit.IncidentGone)
}

func report(k *kit.Kit, event *kit.Event, indicators []kit.Indicator, outcome typing.Outcome) guest.Reply {
	var done, failed []string
	for _, i := range indicators {
		switch {
		case i.Problem != "":
			failed = append(failed, i.Line())
		case i.ID != 0:
			done = append(done, i.Line()+", linked to event "+kit.ID(event.ID))
		default:
			done = append(done, i.Line())
		}
	}
	for _, s := range outcome.Skipped {
		done = append(done, `"`+s.Value+`" skipped: it `+s.Reason)
	}
	if outcome.Dropped > 0 {
		done = append(done, kit.Count(outcome.Dropped, "further value")+" left out")
	}
	link := k.EventURL(event.ID) + k.Hint()
	if len(failed) == 0 {
		return guest.Done(kit.Linked(kit.Joined(done), link))
	}
	message := "Failed: " + strings.TrimSuffix(kit.Joined(failed), ".")
	if len(done) > 0 {
		message += ". Done: " + kit.Joined(done)
	}
	return guest.Failed(kit.Linked(message, link))
}
