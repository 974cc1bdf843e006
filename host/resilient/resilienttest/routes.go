package resilienttest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// routedCall carries a call through the ServeMux, and its answer back.
type routedCall struct {
	*call
	answer *answer
}

// The mux itself writes only redirects and errors of its own; both mean "no such route".
func (rc *routedCall) Header() http.Header         { return http.Header{} }
func (rc *routedCall) Write(b []byte) (int, error) { return len(b), nil }
func (rc *routedCall) WriteHeader(int)             { rc.answer = fail(http.StatusNotFound, "Not Found") }

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*call) *answer) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			rc := w.(*routedCall)
			rc.r = r
			rc.answer = f(rc.call)
		})
	}
	// inOrg are paths below /rest/orgs/{org}; only the first organization has content.
	inOrg := func(method, path string, f func(*call) *answer) {
		handle(method+" /rest/orgs/{org}"+path, func(c *call) *answer {
			if c.id("org") != s.home.ID || len(s.orgs) == 0 || s.home.Disabled {
				return fail(http.StatusForbidden, "Forbidden")
			}
			return f(c)
		})
	}
	handle("/", func(c *call) *answer {
		if c.r.Method == http.MethodGet { // observed on 51.x: not 404
			return fail(http.StatusInternalServerError, "Internal Server Error")
		}
		return fail(http.StatusMethodNotAllowed, "Method Not Allowed")
	})
	handle("POST /rest/session", s.openSession)
	handle("GET /rest/session", s.getSession)
	handle("DELETE /rest/session", s.closeSession)
	handle("GET /rest/const", func(*call) *answer { return ok(s.world.templates["const"]) })

	inOrg("GET", "", s.getOrg)
	inOrg("GET", "/types/{type}/fields", s.listFields)
	inOrg("GET", "/types/{type}/fields/{field}", s.getField)
	inOrg("GET", "/actions", s.listRules)
	inOrg("GET", "/actions/{id}", s.getRule)
	inOrg("GET", "/functions", s.listFunctions)
	inOrg("GET", "/functions/{id}", s.getFunction)
	inOrg("GET", "/message_destinations", s.listDestinations)
	inOrg("GET", "/message_destinations/{id}", s.getDestination)
	inOrg("PUT", "/message_destinations/{id}", s.putDestination)
	inOrg("POST", "/configurations/imports", s.postImport)
	inOrg("PUT", "/configurations/imports/{id}", s.putImport)
	inOrg("GET", "/artifact_types/{id}", s.getArtifactType)
	inOrg("GET", "/users", s.listUsers)
	inOrg("GET", "/users/{id}", s.getUser)

	inOrg("GET", "/incidents", s.listIncidents)
	inOrg("POST", "/incidents", s.createIncident)
	inOrg("POST", "/incidents/query_paged", s.queryIncidents)
	inOrg("GET", "/incidents/{inc}", s.withIncident(s.getIncident))
	inOrg("PUT", "/incidents/{inc}", s.withIncident(s.putIncident))
	inOrg("PATCH", "/incidents/{inc}", s.withIncident(s.patchIncident))
	inOrg("DELETE", "/incidents/{inc}", s.withIncident(s.deleteIncident))

	inOrg("GET", "/incidents/{inc}/artifacts", s.withIncident(s.listArtifacts))
	inOrg("POST", "/incidents/{inc}/artifacts", s.withIncident(s.createArtifacts))
	inOrg("POST", "/incidents/{inc}/artifacts/query_paged", s.withIncident(s.queryArtifacts))
	inOrg("POST", "/incidents/{inc}/artifacts/files", s.withIncident(s.createFileArtifact))
	inOrg("GET", "/incidents/{inc}/artifacts/{id}", s.withIncident(s.getArtifact))
	inOrg("GET", "/incidents/{inc}/artifacts/{id}/contents", s.withIncident(s.artifactContents))
	inOrg("PUT", "/incidents/{inc}/artifacts/{id}", s.withIncident(s.putArtifact))
	inOrg("DELETE", "/incidents/{inc}/artifacts/{id}", s.withIncident(s.deleteArtifact))

	inOrg("GET", "/incidents/{inc}/tasks", s.withIncident(s.listTasks))
	inOrg("POST", "/incidents/{inc}/tasks", s.withIncident(s.createTask))
	inOrg("GET", "/tasks/{task}", s.withTask(s.getTask))
	inOrg("PUT", "/tasks/{task}", s.withTask(s.putTask))
	inOrg("DELETE", "/tasks/{task}", s.withTask(s.deleteTask))

	// notes and attachments hang on an incident or on a task
	for prefix, owned := range map[string]func(func(*call, owner) *answer) func(*call) *answer{
		"/incidents/{inc}": func(f func(*call, owner) *answer) func(*call) *answer {
			return s.withIncident(func(c *call, incident Object) *answer { return f(c, owner{incident: incident["id"].(int64)}) })
		},
		"/tasks/{task}": func(f func(*call, owner) *answer) func(*call) *answer {
			return s.withTask(func(c *call, task Object) *answer { return f(c, owner{task["inc_id"].(int64), task}) })
		},
	} {
		inOrg("GET", prefix+"/comments", owned(s.listComments))
		inOrg("POST", prefix+"/comments", owned(s.createComment))
		inOrg("GET", prefix+"/comments/{id}", owned(s.getComment))
		inOrg("PUT", prefix+"/comments/{id}", owned(s.putComment))
		inOrg("DELETE", prefix+"/comments/{id}", owned(s.deleteComment))
		inOrg("GET", prefix+"/attachments", owned(s.listAttachments))
		inOrg("POST", prefix+"/attachments", owned(s.createAttachment))
		inOrg("GET", prefix+"/attachments/{id}", owned(s.getAttachment))
		inOrg("GET", prefix+"/attachments/{id}/contents", owned(s.attachmentContents))
		inOrg("DELETE", prefix+"/attachments/{id}", owned(s.deleteAttachment))
	}
	return mux
}

// owner is the incident, or a task of it, that notes and attachments belong to.
type owner struct {
	incident int64
	task     Object
}

func (o owner) has(child Object) bool {
	if o.task != nil {
		return child["task_id"] == o.task["id"]
	}
	return child["inc_id"] == o.incident && child["task_id"] == nil
}

func (s *Server) withIncident(f func(*call, Object) *answer) func(*call) *answer {
	return func(c *call) *answer {
		id := c.id("inc")
		if refused := s.refusal(id, c.r.PathValue("inc")); refused != nil {
			return refused
		}
		incident := s.get("incident", id)
		if c.r.Method != http.MethodGet && c.r.Method != http.MethodPost {
			incident = s.own("incident", id)
		}
		if incident == nil {
			return notFound(c.r.PathValue("inc"))
		}
		return f(c, incident)
	}
}

func (s *Server) withTask(f func(*call, Object) *answer) func(*call) *answer {
	return func(c *call) *answer {
		id := c.r.PathValue("task")
		task := s.get("task", c.id("task"))
		if task == nil {
			return notFound(id)
		}
		if refused := s.refusal(task["inc_id"].(int64), id); refused != nil {
			return refused
		}
		if s.keptPrivate(task) {
			return failAs(s.options.PrivateTaskStatus, id)
		}
		if c.r.Method == http.MethodPut || c.r.Method == http.MethodDelete {
			task = s.own("task", c.id("task"))
		}
		return f(c, task)
	}
}

// refusal is the answer for an incident that the account cannot read; object is what the
// call asked for.
func (s *Server) refusal(incident int64, object string) *answer {
	if s.state.hidden[incident] {
		return failAs(http.StatusForbidden, object)
	}
	if code := s.state.refused[incident]; code != 0 {
		return failAs(code, object)
	}
	return nil
}

func failAs(code int, object string) *answer {
	if code == http.StatusNotFound {
		return notFound(object)
	}
	return fail(code, http.StatusText(code))
}

func notFound(id string) *answer {
	return fail(http.StatusNotFound, "Unable to find object with ID "+id)
}

func (s *Server) getOrg(c *call) *answer {
	types, severities, phases := Object{}, Object{}, Object{}
	key := func(id int64, name string) string {
		if c.formats.handle == "names" {
			return name
		}
		return strconv.FormatInt(id, 10)
	}
	for _, t := range s.world.artifactTypes {
		types[key(t.ID, t.Name)] = t.object()
	}
	for _, v := range s.world.field("incident", "severity_code").Values {
		severities[key(v.Value.(int64), v.Label)] = Object{"id": v.Value, "name": v.Label}
	}
	for i, v := range s.world.field("incident", "phase_id").Values {
		phases[key(v.Value.(int64), v.Label)] = Object{"id": v.Value, "name": v.Label, "order": int64(i), "enabled": true}
	}
	users := Object{}
	for _, u := range s.world.users {
		users[key(u.ID, u.Email)] = s.userObject(u)
	}
	return ok(Object{
		"id": s.home.ID, "name": s.home.Name, "actions_framework_enabled": !s.options.ActionsFrameworkDisabled,
		"attachments_enabled": true, "inc_deletion_allowed": true, "incident_artifact_types": types,
		"incident_severities": severities, "phases": phases, "users": users, "groups": Object{},
	})
}

func (t artifactType) object() Object {
	entry := Object{
		"id": t.ID, "name": t.Name, "programmatic_name": t.ProgrammaticName, "desc": t.Name, "file": t.File,
		"multi_aware": t.Multi, "parse_as_csv": false, "default_scan_option": "on", "use_for_relationships": true,
		"enabled": true, "system": true, "uuid": t.UUID, "version": int64(1), "tags": []any{},
		"reg_exp": nilIfEmpty(t.RegExp),
	}
	if t.SplitOn != "" {
		entry["split_on"] = t.SplitOn
	}
	return entry
}

func (s *Server) getArtifactType(c *call) *answer {
	for _, t := range s.world.artifactTypes {
		if t.ID == c.id("id") {
			return ok(t.object())
		}
	}
	return notFound(c.r.PathValue("id"))
}

func (s *Server) userObject(u user) Object {
	return Object{"id": u.ID, "fname": u.First, "lname": u.Last, "email": u.Email, "display_name": u.displayName(), "status": "A"}
}

func (s *Server) listUsers(*call) *answer {
	out := []any{}
	for _, u := range s.world.users {
		out = append(out, s.userObject(u))
	}
	return ok(out)
}

func (s *Server) getUser(c *call) *answer {
	for _, u := range s.world.users {
		if u.ID == c.id("id") {
			return ok(s.userObject(u))
		}
	}
	return notFound(c.r.PathValue("id"))
}

func (s *Server) listFields(c *call) *answer {
	objectType := c.r.PathValue("type")
	fields, known := s.world.fields[objectType]
	if !known {
		return notFound(objectType)
	}
	out := make([]any, 0, len(fields))
	for i := range fields {
		out = append(out, fields[i].definition(objectType))
	}
	return ok(out)
}

func (s *Server) getField(c *call) *answer {
	objectType, name := c.r.PathValue("type"), c.r.PathValue("field")
	field := s.world.field(objectType, name)
	if field == nil {
		return notFound(name)
	}
	return ok(field.definition(objectType))
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
		"object_type": handle(f, objectTypeIDs[rule.ObjectType], rule.ObjectType), "enabled": true,
		"logic_type": rule.LogicType, "conditions": conditions, "timeout_seconds": int64(86400), "tags": []any{},
		"message_destinations": []any{handle(f, s.destinationID(), Destination)}, "workflows": []any{},
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
		"destination_handle": handle(format, s.destinationID(), Destination),
		"description":        Object{"format": "text", "content": f.Description},
		"created_date":       int64(1580479200000), "last_modified_time": int64(1580479200000),
		"last_modified_by": s.userPrincipal(5), "tags": []any{}, "uuid": f.UUID, "version": int64(1), "workflows": []any{},
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

func cloneList(objects []Object) []any {
	out := make([]any, 0, len(objects))
	for _, o := range objects {
		out = append(out, clone(o))
	}
	return out
}

func (s *Server) renderList(kind string, objects []Object, f formats) []any {
	out := make([]any, 0, len(objects))
	for _, o := range objects {
		out = append(out, s.render(kind, o, f))
	}
	return out
}

// fieldNameInObject strips the qualification that conditions use: "incident.description".
func fieldNameInObject(name string) string {
	for _, prefix := range []string{"incident.", "artifact.", "note.", "task.", "attachment."} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

func badValue(field string, value any) *answer {
	return fail(http.StatusBadRequest, fmt.Sprintf("Invalid value for field %s: %v", field, value))
}
