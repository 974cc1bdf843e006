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
	handle("GET /rest/const", s.getConst)

	inOrg("GET", "", s.getOrg)
	inOrg("GET", "/types/{type}/fields", s.listFields)
	inOrg("GET", "/types/{type}/fields/{field}", s.getField)
	inOrg("DELETE", "/types/{type}/fields/{field}", s.customizing(s.deleteField))
	inOrg("GET", "/actions", s.listRules)
	inOrg("GET", "/actions/{id}", s.getRule)
	inOrg("DELETE", "/actions/{id}", s.customizing(s.deleteRule))
	inOrg("GET", "/functions", s.listFunctions)
	inOrg("GET", "/functions/{id}", s.getFunction)
	inOrg("DELETE", "/functions/{id}", s.customizing(s.deleteFunction))
	inOrg("GET", "/workflows", s.listWorkflows)
	inOrg("GET", "/message_destinations", s.listDestinations)
	inOrg("GET", "/message_destinations/{id}", s.getDestination)
	inOrg("PUT", "/message_destinations/{id}", s.customizing(s.putDestination))
	inOrg("DELETE", "/message_destinations/{id}", s.customizing(s.deleteDestination))
	inOrg("POST", "/configurations/imports", s.customizing(s.postImport))
	inOrg("PUT", "/configurations/imports/{id}", s.customizing(s.putImport))
	inOrg("POST", "/configurations/exports/", s.customizing(s.export))
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
