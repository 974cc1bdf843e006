// Package marktruepositive is the rule and the function ThreatQ: Mark as True
// Positive: they write that verdict on indicators. For the terms see package kit.
package marktruepositive

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
)

// Rules are the rule and the function of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_mark_as_true_positive": mark}
}

// mark tells rule and function apart, which have the same routing name.
func mark(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.Kind == abi.KindFunction {
		return markValue(k)
	}
	return report(k, k.MarkArtifact(k.ArtifactOrFail(), kit.TruePositive))
}

func markValue(k *kit.Kit) guest.Reply {
	value := strings.TrimSpace(k.Input("indicator_value").Text())
	if value == "" {
		return results(guest.Failed("The input indicator_value is empty."), jsonvalue.Arr())
	}
	marking := k.MarkValue(value, kit.TruePositive)
	return results(report(k, marking), k.MarkingResults(marking))
}

func report(k *kit.Kit, marking kit.Marking) guest.Reply {
	text := k.MarkingText(marking, "")
	if !marking.OK() {
		return guest.Failed(text)
	}
	return guest.Done(text)
}

// results adds what a workflow reads.
func results(r guest.Reply, indicators jsonvalue.Raw) guest.Reply {
	var reason any
	if !r.Success {
		reason = r.Message
	}
	return r.With(jsonvalue.Obj("success", r.Success, "indicators", indicators, "reason", reason))
}
