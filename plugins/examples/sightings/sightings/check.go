package sightings

import (
	"strconv"
	"strings"

	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// checkIndicator tells a workflow what ThreatQ knows. That it knows nothing is an
// answer, and no failure.
func checkIndicator(a *guest.Action) guest.Reply {
	value := strings.TrimSpace(a.Input("indicator_value").Text())
	if value == "" {
		return guest.Failed("The input indicator_value is empty.").With(jsonvalue.Obj("known", false, "indicators", jsonvalue.Arr()))
	}
	found := known(a, lookUp(a, value, ",score,attributes,adversaries,sources").Wait(), value)
	var rows []jsonvalue.Raw
	var lines []string
	for _, i := range found {
		rows = append(rows, jsonvalue.Obj("id", i.id, "type", i.kind, "status", i.status, "score", score(i.row.Get("score")),
			"url", a.Site.ThreatQURL+"/indicators/"+id(i.id)+"/details",
			"attributes", attributes(i.row.Get("attributes")), "adversaries", names(i.row.Get("adversaries")), "sources", names(i.row.Get("sources"))))
		lines = append(lines, i.name(value)+": "+i.status)
	}
	message := value + " is not known to ThreatQ."
	if len(found) > 0 {
		message = strings.Join(lines, "; ") + "."
	}
	return guest.Done(message).With(jsonvalue.Obj("known", len(found) > 0, "indicators", jsonvalue.Arr(rows)))
}

// score is a number, or an object in which what a person set wins (contract:
// data types); null when there is none.
func score(v jsonvalue.Value) any {
	if v.Kind() == jsonvalue.Object {
		generated := v.Get("generated_score")
		if v = v.Get("manual_score"); v.IsNull() {
			v = generated
		}
	}
	if n, err := strconv.ParseFloat(v.Text(), 64); err == nil && n >= 0 && n <= 100 {
		return jsonvalue.Raw(strconv.FormatFloat(n, 'f', -1, 64))
	}
	return nil
}

func attributes(list jsonvalue.Value) jsonvalue.Raw {
	var rows []jsonvalue.Raw
	for row := range list.Items() {
		name := row.Get("name").Text()
		if name == "" {
			name = row.Get("attribute", "name").Text()
		}
		rows = append(rows, jsonvalue.Obj("name", name, "value", row.Get("value").Text()))
	}
	return jsonvalue.Arr(rows)
}

func names(list jsonvalue.Value) jsonvalue.Raw {
	var rows []string
	for row := range list.Items() {
		if name := row.Get("name").Text(); name != "" {
			rows = append(rows, name)
		}
	}
	return jsonvalue.Arr(rows)
}
