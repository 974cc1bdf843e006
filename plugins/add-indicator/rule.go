// Package addindicator is the function ThreatQ: Add Indicator: it brings one
// value of a workflow into ThreatQ. For the terms see package kit.
package addindicator

import (
	"strings"

	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
	"fn-threatq/plugins/kit/typing"
)

// Rules are the functions of this module by API name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_add_indicator": addIndicator}
}

func addIndicator(a *guest.Action) guest.Reply {
	k := kit.New(a)
	value := strings.TrimSpace(a.Input("indicator_value").Text())
	if value == "" {
		return failed("The input indicator_value is empty.", nil)
	}
	kind := strings.TrimSpace(a.Input("indicator_type").Text())
	typed := func(o typing.Options) typing.Outcome {
		if kind == "" {
			return typing.FromText(value, o)
		}
		return typing.FromTyped(kind, value, o)
	}
	o := k.TypingOptions()
	if kind != "" {
		// The type is named as ThreatQ shows it, and sites have types of their own.
		o.Types = k.InstanceTypes()
	}
	outcome := typed(o)
	if len(outcome.Candidates) == 0 {
		return failed(outcome.Reason, nil)
	}
	indicators := k.EnsureIndicators(outcome.Candidates, typed, kit.Wish{
		Status:     strings.TrimSpace(a.Input("indicator_status").Text()),
		Confidence: strings.TrimSpace(a.Input("indicator_confidence").Text()),
	})
	return report(k, indicators)
}

func report(k *kit.Kit, indicators []kit.Indicator) guest.Reply {
	var rows []jsonvalue.Raw
	var lines, problems []string
	for _, i := range indicators {
		lines = append(lines, i.Line())
		if i.Problem != "" {
			problems = append(problems, i.Line())
		}
		if i.ID != 0 {
			rows = append(rows, jsonvalue.Obj("id", i.ID, "value", i.Value, "type", i.Type, "status", i.Status,
				"existing", i.Existing, "url", k.IndicatorURL(i.ID)))
		}
	}
	if len(problems) > 0 {
		return failed(kit.Joined(problems), rows)
	}
	return guest.Done(kit.Joined(lines) + "." + k.Hint()).With(results(true, rows, nil))
}

// failed is a failure that the author of the workflow can handle.
func failed(reason string, rows []jsonvalue.Raw) guest.Reply {
	return guest.Failed(reason).With(results(false, rows, reason))
}

func results(success bool, rows []jsonvalue.Raw, reason any) jsonvalue.Raw {
	return jsonvalue.Obj("success", success, "indicators", jsonvalue.Arr(rows), "reason", reason)
}
