package resilienttest

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

func (s *Server) listIncidents(c *call) *answer {
	out := []any{}
	for _, r := range s.visibleIncidents() {
		out = append(out, s.render("incident", r.object(), c.formats))
	}
	return ok(out)
}

func (s *Server) getIncident(c *call, incident Object) *answer {
	return ok(s.render("incident", incident, c.formats))
}

func (s *Server) createIncident(c *call) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	for _, required := range []string{"name", "discovered_date"} {
		if body[required] == nil || body[required] == "" {
			return fail(http.StatusBadRequest, "Missing required field: "+required)
		}
	}
	delete(body, "id")
	if bad := s.checkValues("incident", body); bad != nil {
		return bad
	}
	incident := s.makeIncident(body)
	incident["creator_principal"] = s.principal(c.account)
	s.fire(c, cause{kind: "incident", incident: incident, object: incident, added: true})
	return ok(s.render("incident", incident, c.formats))
}

// checkValues resolves names to ids and text to its stored form, in place.
func (s *Server) checkValues(kind string, values Object) *answer {
	for _, name := range handles[kind] {
		if value, given := values[name]; given {
			id, known := s.resolveHandle(kind, name, value)
			if !known {
				return badValue(name, value)
			}
			values[name] = id
		}
	}
	for _, name := range richText[kind] {
		if value, given := values[name]; given {
			text, valid := storedText(value)
			if !valid {
				return badValue(name, value)
			}
			values[name] = text
		}
	}
	if kind == "task" {
		return checkTask(values)
	}
	properties, _ := values["properties"].(Object)
	if kind != "incident" {
		return nil
	}
	for name, value := range properties {
		if s.world.field(kind, name) == nil {
			return fail(http.StatusBadRequest, "Unknown field: "+name)
		}
		id, known := s.resolveHandle(kind, name, value)
		if !known {
			return badValue(name, value)
		}
		properties[name] = id
	}
	return nil
}

func (s *Server) putIncident(c *call, incident Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	if body["vers"] != incident["vers"] {
		return fail(http.StatusConflict, "The object was changed by another user")
	}
	if bad := s.checkValues("incident", body); bad != nil {
		return bad
	}
	delete(body, "id")
	delete(body, "create_date")
	before := cloneObject(incident)
	applyValues(incident, body)
	s.incidentChanged(c, before, incident)
	return ok(s.render("incident", incident, c.formats))
}

// patchIncident answers 200 also when it refuses (contract: PATCH conflicts).
func (s *Server) patchIncident(c *call, incident Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	changes, _ := body["changes"].([]any)
	sameVersion := body["version"] != nil && body["version"] == incident["vers"]
	values, failures := Object{"properties": Object{}}, []any{}
	for _, item := range changes {
		change, _ := item.(Object)
		name := patchedField(change["field"])
		target, current := values, incident
		if key, custom := strings.CutPrefix(name, "properties."); custom || s.isCustom(name) {
			name = key
			target = values["properties"].(Object)
			current, _ = incident["properties"].(Object)
		} else if _, exists := incident[name]; !exists {
			return fail(http.StatusBadRequest, fmt.Sprintf("Unknown field: %s", name))
		}
		if !sameVersion && !s.sameValue(name, current[name], patchValue(change["old_value"])) {
			failures = append(failures, Object{
				"field": name, "your_original_value": patchValue(change["old_value"]),
				"actual_current_value": formats{}.renderText(current[name]),
			})
			continue
		}
		target[name] = patchValue(change["new_value"])
	}
	if len(failures) > 0 {
		return ok(Object{"success": false, "title": nil, "message": "The field values have changed", "hints": []any{}, "field_failures": failures})
	}
	if bad := s.checkValues("incident", values); bad != nil {
		return bad
	}
	before := cloneObject(incident)
	applyValues(incident, values)
	s.incidentChanged(c, before, incident)
	return status()
}

func (s *Server) isCustom(name string) bool {
	field := s.world.field("incident", name)
	return field != nil && field.Prefix == "properties"
}

func patchedField(field any) string {
	if o, isObject := field.(Object); isObject {
		field = o["name"]
	}
	name, _ := field.(string)
	return name
}

// patchValue unwraps {"object": v}, {"text": v}, {"id": v}, …
func patchValue(wrapped any) any {
	o, isObject := wrapped.(Object)
	if !isObject {
		return wrapped
	}
	for _, value := range o {
		return value
	}
	return nil
}

func (s *Server) sameValue(field string, current, claimed any) bool {
	if text, isText := current.(textValue); isText {
		claimedText, _ := storedText(claimed)
		other, _ := claimedText.(textValue)
		return text.Content == other.Content || text.plain() == other.plain()
	}
	id, _ := s.resolveHandle("incident", field, claimed)
	return reflect.DeepEqual(current, id)
}

// incidentChanged notes a save of an incident that came by REST or by a test.
func (s *Server) incidentChanged(c *call, before, incident Object) {
	switch {
	case before["plan_status"] != "C" && incident["plan_status"] == "C":
		incident["end_date"] = s.now()
	case before["plan_status"] == "C" && incident["plan_status"] != "C":
		incident["end_date"] = nil
	}
	s.touch(incident)
	s.fire(c, cause{kind: "incident", incident: incident, object: incident, before: before})
}

func (s *Server) deleteIncident(c *call, incident Object) *answer {
	s.removeIncident(c, incident)
	return status()
}

// removeIncident removes an incident with all that belongs to it.
func (s *Server) removeIncident(c *call, incident Object) {
	id := incident["id"].(int64)
	for _, task := range s.of(id, "task") {
		for _, kind := range []string{"comment", "attachment"} {
			children := s.state.list(kind, func(o Object) bool { return o["task_id"] == task["id"] })
			s.removeWith(c, cause{incident: incident, task: task}, kind, children)
		}
		s.removeWith(c, cause{incident: incident, task: task}, "task", []Object{task})
	}
	for _, kind := range []string{"artifact", "comment", "attachment"} {
		s.removeWith(c, cause{incident: incident}, kind, s.of(id, kind))
	}
	s.remove("incident", id)
	s.fire(c, cause{kind: "incident", incident: incident, object: incident, removed: true})
}

// shortRow are the keys of a query_paged row without return_level (observed on 51.x).
var shortRow = []string{"id", "name", "description", "plan_status", "phase_id", "severity_code", "owner_id",
	"create_date", "discovered_date", "due_date", "inc_training", "sequence_code"}

func (s *Server) queryIncidents(c *call) *answer {
	level := c.r.URL.Query().Get("return_level")
	return s.queryPaged(c, "incident", s.visibleIncidents(), func(row Object) Object {
		if level == "normal" || level == "full" {
			return row
		}
		short := Object{}
		for _, key := range shortRow {
			short[key] = row[key]
		}
		return short
	})
}
