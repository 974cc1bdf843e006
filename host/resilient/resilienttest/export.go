package resilienttest

import "net/http"

// export answers the whole configuration in the form that an import takes.
func (s *Server) export(c *call) *answer {
	if _, bad := c.object(); bad != nil {
		return fail(http.StatusBadRequest, "The request body is not an export request")
	}
	names := formats{handle: "names"}
	d := Object{
		"id": int64(1), "export_date": s.now(), "export_format_version": int64(2), "server_version": s.version(),
		"action_order": []any{}, "message_destinations": cloneList(s.state.destinations),
		"incident_types": []any{Object{
			"id": int64(0), "name": "Customization Packages (internal)", "export_key": "Customization Packages (internal)",
			"enabled": false, "hidden": false, "system": false, "parent_id": nil, "uuid": "bfeec2d4-3770-11e8-ad39-4a0004044aa0",
		}},
	}
	fields, rules, functions := []any{}, []any{}, []any{}
	for _, objectType := range []string{"incident", "actioninvocation", "__function"} {
		for i := range s.world.fields[objectType] {
			o := s.world.fields[objectType][i].definition(objectType)
			o["export_key"] = objectType + "/" + s.world.fields[objectType][i].Name
			fields = append(fields, o)
		}
	}
	for i := range s.world.rules {
		rules = append(rules, s.ruleObject(&s.world.rules[i], names))
	}
	for i := range s.world.functions {
		o := s.functionObject(&s.world.functions[i], names)
		o["view_items"] = s.viewItems("__function", s.world.functions[i].Inputs)
		functions = append(functions, o)
	}
	d["fields"], d["actions"], d["functions"] = fields, rules, functions
	return ok(d)
}
