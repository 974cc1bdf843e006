// Package findrelatedindicators is the rule and the function ThreatQ: Find
// Related Indicators: they add what ThreatQ links to an indicator to the
// incident, as artifacts. For the terms see package kit.
package findrelatedindicators

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
)

// Rules are the rule and the function of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_find_related_indicators": find}
}

// find tells rule and function apart, which have the same routing name.
func find(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Kind == abi.KindFunction {
		return findForValue(k)
	}
	if a.State().Exists() {
		return add(k, kit.LoadRelated(a.State()))
	}
	related, problem, err := k.RelatedToArtifact(k.ArtifactOrFail())
	switch {
	case err != nil:
		k.GiveUp(err)
	case problem != "":
		return guest.Failed(problem)
	}
	return add(k, related)
}

func add(k *kit.Kit, related kit.Related) guest.Reply {
	return report(k, k.AddRelated(related))
}

func report(k *kit.Kit, related kit.Related) guest.Reply {
	if related.Failed() > 0 {
		return guest.Failed(k.RelatedText(related))
	}
	return guest.Done(k.RelatedText(related))
}

func findForValue(k *kit.Kit) guest.Reply {
	k.IncidentID = k.Input("incident_id").Int()
	value := strings.TrimSpace(k.Input("indicator_value").Text())
	switch {
	case k.State().Exists():
		return addForValue(k, kit.LoadRelated(k.State()))
	case value == "":
		return results(guest.Failed("The input indicator_value is empty."), kit.Related{})
	case k.IncidentID == 0:
		return results(guest.Failed("The input incident_id is empty."), kit.Related{})
	}
	related, err := k.RelatedToValue(value)
	switch {
	case err != nil && err.Status == 404 && err.Service == abi.Resilient:
		return results(guest.Failed(kit.IncidentGone), kit.Related{})
	case err != nil:
		k.GiveUp(err)
	}
	return addForValue(k, related)
}

func addForValue(k *kit.Kit, related kit.Related) guest.Reply {
	related = k.AddRelated(related)
	return results(report(k, related), related)
}

// results adds what a workflow reads. What was present or left out is skipped.
func results(r guest.Reply, related kit.Related) guest.Reply {
	var reason any
	if !r.Success {
		reason = r.Message
	}
	t := related.Tally
	return r.With(jsonvalue.Obj("success", r.Success, "found", t.All, "related", jsonvalue.Arr(related.Rows), "added", t.Done,
		"skipped", t.Present+related.Left, "failed", related.Failed(), "reason", reason))
}
