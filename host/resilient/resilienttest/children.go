package resilienttest

import (
	"cmp"
	"net/http"
	"slices"
)

func (s *Server) listTasks(c *call, incident Object) *answer {
	tasks := slices.DeleteFunc(s.of(incident["id"].(int64), "task"), s.keptPrivate)
	return ok(s.renderList("task", tasks, c.formats))
}

func (s *Server) createTask(c *call, incident Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	if body["name"] == nil || body["name"] == "" {
		return fail(http.StatusBadRequest, "Missing required field: name")
	}
	for _, name := range []string{"id", "inc_id", "inc_name"} {
		delete(body, name)
	}
	if bad := s.checkValues("task", body); bad != nil {
		return bad
	}
	task := s.makeTask(incident["id"].(int64), body)
	s.fire(c, cause{kind: "task", incident: incident, task: task, object: task, added: true})
	return ok(Object{"id": task["id"]})
}

func (s *Server) getTask(c *call, task Object) *answer {
	return ok(s.render("task", task, c.formats))
}

// putTask takes the whole object; tasks have no version and the server keeps closed_date.
func (s *Server) putTask(c *call, task Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	if bad := s.checkValues("task", body); bad != nil {
		return bad
	}
	before := cloneObject(task)
	for _, name := range []string{"id", "inc_id", "inc_name", "closed_date", "instructions", "owner_fname", "owner_lname", "cat_name"} {
		delete(body, name)
	}
	applyValues(task, body)
	s.taskSaved(before, task)
	s.fire(c, cause{kind: "task", incident: s.incidentOf(task), task: task, object: task, before: before})
	return status()
}

// checkTask refuses values of the wrong kind; null takes a due date away.
func checkTask(values Object) *answer {
	if status, given := values["status"]; given && status != "O" && status != "C" {
		return badValue("status", status)
	}
	if due := values["due_date"]; due != nil {
		if _, isNumber := due.(int64); !isNumber {
			return badValue("due_date", due)
		}
	}
	if name, given := values["name"]; given && (name == nil || name == "") {
		return fail(http.StatusBadRequest, "Missing required field: name")
	}
	return nil
}

// taskSaved brings the values that follow from others up to date.
func (s *Server) taskSaved(before, task Object) {
	switch {
	case task["status"] == "C" && before["status"] != "C":
		task["closed_date"] = s.now()
	case task["status"] != "C":
		task["closed_date"] = nil
	}
	task["instructions"] = cmp.Or(task["instr_text"], any(textValue{Format: "html"}))
	task["owner_fname"], task["owner_lname"] = nil, nil
	if id, assigned := task["owner_id"].(int64); assigned {
		owner := s.world.user(id)
		task["owner_fname"], task["owner_lname"] = owner.First, owner.Last
	}
	if phase := s.world.field("task", "phase_id").valueByID(task["phase_id"]); phase != nil {
		task["cat_name"] = phase.Label
	}
}

// keptPrivate says whether the account may not read a task.
func (s *Server) keptPrivate(task Object) bool {
	return s.options.PrivateTaskStatus != 0 && task["private"] == true
}

func (s *Server) deleteTask(c *call, task Object) *answer {
	s.removeTask(c, task)
	return status()
}

// removeTask removes a task with its notes and attachments.
func (s *Server) removeTask(c *call, task Object) {
	why := cause{incident: s.incidentOf(task), task: task}
	for _, kind := range []string{"comment", "attachment"} {
		s.removeWith(c, why, kind, s.state.list(kind, func(o Object) bool { return o["task_id"] == task["id"] }))
	}
	task["active"] = false
	s.remove("task", task["id"].(int64))
	why.kind, why.object, why.removed = "task", task, true
	s.fire(c, why)
}

// removeWith removes what belongs to an object that is being deleted.
func (s *Server) removeWith(c *call, why cause, kind string, children []Object) {
	for _, o := range children {
		s.remove(kind, o["id"].(int64))
		if s.options.CascadeMessages {
			why.kind, why.object, why.removed = kind, o, true
			s.fire(c, why)
		}
	}
}

// incidentOf finds the incident of a child, also when it has been deleted.
func (s *Server) incidentOf(child Object) Object {
	id, _ := child["inc_id"].(int64)
	if incident := s.get("incident", id); incident != nil {
		return incident
	}
	return s.state.removed["incident"][id]
}

// listComments answers the top-level notes with their replies in children.
func (s *Server) listComments(c *call, o owner) *answer {
	all := s.state.list("comment", o.has)
	out := []any{}
	for _, note := range all {
		if note["parent_id"] == nil {
			out = append(out, s.withReplies(note, all, c.formats))
		}
	}
	return ok(out)
}

func (s *Server) withReplies(note Object, all []Object, f formats) Object {
	rendered := s.render("comment", note, f)
	children := []any{}
	for _, reply := range all {
		if reply["parent_id"] == note["id"] {
			children = append(children, s.withReplies(reply, all, f))
		}
	}
	rendered["children"] = children
	return rendered
}

func (s *Server) comment(c *call, o owner) (Object, *answer) {
	note := s.state.objects["comment"][c.id("id")]
	if note == nil || !o.has(note) {
		return nil, notFound(c.r.PathValue("id"))
	}
	return note, nil
}

func (s *Server) getComment(c *call, o owner) *answer {
	note, bad := s.comment(c, o)
	if bad != nil {
		return bad
	}
	return ok(s.withReplies(note, s.state.list("comment", o.has), c.formats))
}

func (s *Server) createComment(c *call, o owner) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	text, valid := storedText(body["text"])
	if !valid || text == nil {
		return fail(http.StatusBadRequest, "Missing required field: text")
	}
	values := Object{"text": text}
	if parent, given := body["parent_id"].(int64); given {
		above := s.state.objects["comment"][parent]
		if above == nil || !o.has(above) {
			return badValue("parent_id", parent)
		}
		values["parent_id"] = parent
	}
	values["modify_principal"] = s.principal(c.account)
	note := s.makeComment(o.incident, o.task, values)
	s.fire(c, cause{kind: "comment", incident: s.incidentOf(note), task: o.task, object: note, added: true})
	return ok(s.render("comment", note, c.formats))
}

func (s *Server) putComment(c *call, o owner) *answer {
	note, bad := s.comment(c, o)
	if bad != nil {
		return bad
	}
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	text, valid := storedText(body["text"])
	if !valid || text == nil {
		return fail(http.StatusBadRequest, "Missing required field: text")
	}
	before := cloneObject(note)
	note["text"], note["modify_date"], note["modify_principal"] = text, s.now(), s.principal(c.account)
	s.fire(c, cause{kind: "comment", incident: s.incidentOf(note), task: o.task, object: note, before: before})
	return ok(s.render("comment", note, c.formats))
}

// deleteComment removes a note, or only marks it when it has replies (contract: CommentDTO).
func (s *Server) deleteComment(c *call, o owner) *answer {
	note, bad := s.comment(c, o)
	if bad != nil {
		return bad
	}
	s.removeComment(c, note)
	return status()
}

func (s *Server) removeComment(c *call, note Object) {
	replies := s.state.list("comment", func(o Object) bool { return o["parent_id"] == note["id"] })
	note["is_deleted"], note["text"] = true, nil
	if len(replies) == 0 {
		s.remove("comment", note["id"].(int64))
	}
	s.fire(c, cause{kind: "comment", incident: s.incidentOf(note), task: s.taskOf(note), object: note, removed: true})
}

func (s *Server) listAttachments(c *call, o owner) *answer {
	return ok(s.renderList("attachment", s.state.list("attachment", o.has), c.formats))
}

func (s *Server) attachment(c *call, o owner) (Object, *answer) {
	attachment := s.state.objects["attachment"][c.id("id")]
	if attachment == nil || !o.has(attachment) {
		return nil, notFound(c.r.PathValue("id"))
	}
	return attachment, nil
}

func (s *Server) getAttachment(c *call, o owner) *answer {
	attachment, bad := s.attachment(c, o)
	if bad != nil {
		return bad
	}
	return ok(s.render("attachment", attachment, c.formats))
}

func (s *Server) attachmentContents(c *call, o owner) *answer {
	attachment, bad := s.attachment(c, o)
	if bad != nil {
		return bad
	}
	return file(attachment, s.state.contents[contentKey("attachment", attachment["id"])])
}

func (s *Server) createAttachment(c *call, o owner) *answer {
	parts, bad := c.parts()
	if bad != nil {
		return bad
	}
	upload, given := parts["file"]
	if !given {
		return fail(http.StatusBadRequest, "Part file is required")
	}
	values := Object{"name": upload.name, "content_type": upload.contentType, "last_modified_by": s.principal(c.account)}
	attachment := s.makeAttachment(o.incident, o.task, values, stored(upload.content))
	s.fire(c, cause{kind: "attachment", incident: s.incidentOf(attachment), task: o.task, object: attachment, added: true})
	return ok(s.render("attachment", attachment, c.formats))
}

func (s *Server) deleteAttachment(c *call, o owner) *answer {
	attachment, bad := s.attachment(c, o)
	if bad != nil {
		return bad
	}
	s.removeAttachment(c, attachment)
	return status()
}

func (s *Server) removeAttachment(c *call, attachment Object) {
	s.remove("attachment", attachment["id"].(int64))
	s.fire(c, cause{kind: "attachment", incident: s.incidentOf(attachment), task: s.taskOf(attachment), object: attachment, removed: true})
}
