package resilienttest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// customizing guards the calls that change or export customizations.
func (s *Server) customizing(f func(*call) *answer) func(*call) *answer {
	return func(c *call) *answer {
		if s.options.CustomizationForbidden {
			return fail(http.StatusForbidden, "Forbidden")
		}
		return f(c)
	}
}

func (s *Server) getConst(*call) *answer {
	o := cloneObject(s.world.templates["const"])
	o["server_version"] = s.version()
	return ok(o)
}

// version is the server's, as GET /const and exports show it.
func (s *Server) version() Object {
	if s.options.Version == "" {
		return cloneObject(s.world.templates["const"]["server_version"].(Object))
	}
	var major, minor, build int64
	if _, err := fmt.Sscanf(s.options.Version, "%d.%d.%d", &major, &minor, &build); err != nil {
		panic(fmt.Sprintf("resilienttest: Options.Version %q is not MAJOR.MINOR.BUILD", s.options.Version))
	}
	return Object{"major": major, "minor": minor, "build_number": build, "version": s.options.Version}
}

func (s *Server) listRules(c *call) *answer {
	if s.options.ActionsForbidden {
		return fail(http.StatusForbidden, "Forbidden")
	}
	out := make([]any, 0, len(s.world.rules))
	for i := range s.world.rules {
		out = append(out, s.ruleObject(&s.world.rules[i], c.formats))
	}
	return ok(Object{"entities": out})
}

func (s *Server) getRule(c *call) *answer {
	if s.options.ActionsForbidden {
		return fail(http.StatusForbidden, "Forbidden")
	}
	for i := range s.world.rules {
		if rule := &s.world.rules[i]; rule.ID == c.id("id") {
			return ok(s.ruleObject(rule, c.formats))
		}
	}
	return notFound(c.r.PathValue("id"))
}

func (s *Server) ruleObject(rule *Rule, f formats) Object {
	conditions := []any{}
	for _, condition := range rule.Conditions {
		conditions = append(conditions, Object{"evaluation_id": nil, "field_name": condition[0], "method": condition[1], "type": nil, "value": nil})
	}
	return Object{
		"id": rule.ID, "name": rule.Name, "export_key": rule.Name, "uuid": rule.UUID, "type": int64(rule.Type),
		"object_type": handle(f, objectTypeIDs[rule.ObjectType], rule.ObjectType), "enabled": !rule.Disabled,
		"logic_type": rule.LogicType, "conditions": conditions, "timeout_seconds": int64(86400), "tags": []any{},
		"message_destinations": []any{s.destinationHandle(f, rule.Destination)}, "workflows": s.workflowHandles(f, rule.Workflows),
		"automations": []any{}, "view_items": s.viewItems("actioninvocation", rule.Fields),
	}
}

func handle(f formats, id int64, name string) any {
	switch f.handle {
	case "names":
		return name
	case "objects":
		return Object{"id": id, "name": name}
	}
	return id
}

func (s *Server) viewItems(fieldType string, names []string) []any {
	items := []any{}
	for _, name := range names {
		items = append(items, Object{
			"content": s.world.field(fieldType, name).UUID, "element": "field_uuid", "field_type": fieldType,
			"show_if": nil, "show_link_header": false, "step_label": nil,
		})
	}
	return items
}

func (s *Server) functionObject(f *Function, format formats) Object {
	return Object{
		"id": f.ID, "name": f.Name, "display_name": f.DisplayName, "export_key": f.Name,
		"destination_handle": s.destinationHandle(format, f.Destination),
		"description":        Object{"format": "text", "content": f.Description},
		"created_date":       int64(1580479200000), "last_modified_time": int64(1580479200000),
		"last_modified_by": s.userPrincipal(5), "tags": []any{}, "uuid": f.UUID, "version": int64(1), "workflows": s.workflowsOf(f.Name),
	}
}

func (s *Server) listFunctions(c *call) *answer {
	out := []any{}
	for i := range s.world.functions {
		out = append(out, s.functionObject(&s.world.functions[i], c.formats))
	}
	return ok(Object{"entities": out})
}

func (s *Server) getFunction(c *call) *answer {
	key := c.r.PathValue("id")
	for i := range s.world.functions {
		f := &s.world.functions[i]
		if f.Name == key || strconv.FormatInt(f.ID, 10) == key {
			o := s.functionObject(f, c.formats)
			o["view_items"] = s.viewItems("__function", f.Inputs)
			return ok(o)
		}
	}
	return notFound(key)
}

// destinationID is 0 while the app is not installed.
func (s *Server) destinationID() int64 {
	id, _ := s.destination(Destination)["id"].(int64)
	return id
}

// destinationHandle shows the destination of a rule or function; the app's when empty.
func (s *Server) destinationHandle(f formats, name string) any {
	name = cmp.Or(name, Destination)
	id, _ := s.destination(name)["id"].(int64)
	return handle(f, id, name)
}

func (s *Server) listDestinations(*call) *answer {
	return ok(Object{"entities": cloneList(s.state.destinations)})
}

func (s *Server) getDestination(c *call) *answer {
	for _, d := range s.state.destinations {
		if d["id"] == c.id("id") || d["programmatic_name"] == c.r.PathValue("id") {
			return ok(cloneObject(d))
		}
	}
	return notFound(c.r.PathValue("id"))
}

func (s *Server) putDestination(c *call) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	for i, d := range s.state.destinations {
		if d["id"] == c.id("id") {
			body["id"] = d["id"]
			s.state.destinations[i] = body
			return status()
		}
	}
	return notFound(c.r.PathValue("id"))
}

// workflowsOf are the workflows that call a function, as the function shows them. It does
// not show playbooks.
func (s *Server) workflowsOf(function string) []any {
	out := []any{}
	for i, w := range s.world.workflows {
		if slices.Contains(w.Functions, function) {
			out = append(out, Object{
				"workflow_id": int64(i + 1), "name": w.Name, "programmatic_name": w.programmaticName(),
				"object_type": w.ObjectType, "description": nil, "uuid": nil, "actions": []any{}, "tags": []any{},
			})
		}
	}
	return out
}

func (s *Server) listWorkflows(*call) *answer {
	out := []any{}
	for i, w := range s.world.workflows {
		out = append(out, Object{
			"workflow_id": int64(i + 1), "name": w.Name, "programmatic_name": w.programmaticName(), "object_type": w.ObjectType,
			"export_key": w.programmaticName(), "content": Object{"version": int64(1), "workflow_id": w.programmaticName(), "xml": "<definitions/>"},
		})
	}
	return ok(Object{"entities": out})
}

func (s *Server) workflowHandles(f formats, names []string) []any {
	out := []any{}
	for _, name := range names {
		i := slices.IndexFunc(s.world.workflows, func(w Workflow) bool { return w.Name == name })
		out = append(out, handle(f, int64(i+1), name))
	}
	return out
}

// inUse is the refusal to delete what something else needs.
func inUse(kind, name, userKind, user string) *answer {
	return fail(http.StatusBadRequest, fmt.Sprintf("The %s '%s' cannot be deleted because the %s '%s' uses it", kind, name, userKind, user))
}

func (s *Server) deleteRule(c *call) *answer {
	i := slices.IndexFunc(s.world.rules, func(r Rule) bool { return r.ID == c.id("id") })
	if i < 0 {
		return notFound(c.r.PathValue("id"))
	}
	s.world.rules = slices.Delete(s.world.rules, i, i+1)
	return status()
}

func (s *Server) deleteFunction(c *call) *answer {
	key := c.r.PathValue("id")
	i := slices.IndexFunc(s.world.functions, func(f Function) bool { return f.Name == key || strconv.FormatInt(f.ID, 10) == key })
	if i < 0 {
		return notFound(key)
	}
	f := s.world.functions[i]
	for _, w := range s.world.workflows {
		if slices.Contains(w.Functions, f.Name) {
			return inUse("function", f.DisplayName, "workflow", w.Name)
		}
	}
	for _, p := range s.world.playbooks {
		if slices.Contains(p.Functions, f.Name) {
			return inUse("function", f.DisplayName, "playbook", p.Name)
		}
	}
	s.world.functions = slices.Delete(s.world.functions, i, i+1)
	return status()
}

func (s *Server) deleteField(c *call) *answer {
	objectType := c.r.PathValue("type")
	fields := s.world.fields[objectType]
	key := c.r.PathValue("field")
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == key || strconv.FormatInt(f.ID, 10) == key })
	if i < 0 {
		return notFound(key)
	}
	switch name := fields[i].Name; objectType {
	case "actioninvocation":
		for _, r := range s.world.rules {
			if slices.Contains(r.Fields, name) {
				return inUse("field", name, "rule", r.Name)
			}
		}
	case "__function":
		for _, f := range s.world.functions {
			if slices.Contains(f.Inputs, name) {
				return inUse("field", name, "function", f.DisplayName)
			}
		}
	default:
		if fields[i].Prefix != "properties" {
			return fail(http.StatusBadRequest, "Only custom fields can be deleted")
		}
	}
	s.world.fields[objectType] = slices.Delete(fields, i, i+1)
	return status()
}

func (s *Server) deleteDestination(c *call) *answer {
	i := slices.IndexFunc(s.state.destinations, func(d Object) bool { return d["id"] == c.id("id") })
	if i < 0 {
		return notFound(c.r.PathValue("id"))
	}
	name := s.state.destinations[i]["programmatic_name"].(string)
	for _, r := range s.world.rules {
		if cmp.Or(r.Destination, Destination) == name {
			return inUse("message destination", name, "rule", r.Name)
		}
	}
	for _, f := range s.world.functions {
		if cmp.Or(f.Destination, Destination) == name {
			return inUse("message destination", name, "function", f.DisplayName)
		}
	}
	s.state.destinations = slices.Delete(s.state.destinations, i, i+1)
	return status()
}
