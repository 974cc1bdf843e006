package resilienttest

import (
	"net/http"
	"slices"
)

func (s *Server) listTasks(c *call, incident Object) *answer {
	return ok(s.renderList("task", s.state.list("task", ofIncident(incident["id"].(int64))), c.formats))
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
	for _, name := range []string{"id", "inc_id", "inc_name", "closed_date"} {
		delete(body, name)
	}
	applyValues(task, body)
	s.taskSaved(before, task)
	s.fire(c, cause{kind: "task", incident: s.incidentOf(task), task: task, object: task, before: before})
	return status()
}

func (s *Server) taskSaved(before, task Object) {
	switch {
	case task["status"] == "C" && before["status"] != "C":
		task["closed_date"] = s.now()
	case task["status"] != "C":
		task["closed_date"] = nil
	}
}

func (s *Server) deleteTask(c *call, task Object) *answer {
	s.removeTask(task["id"].(int64))
	s.fire(c, cause{kind: "task", incident: s.incidentOf(task), task: task, object: task, removed: true})
	return status()
}

func (s *Server) removeTask(id int64) {
	for _, kind := range []string{"comment", "attachment"} {
		for _, o := range s.state.list(kind, func(o Object) bool { return o["task_id"] == id }) {
			s.state.remove(kind, o["id"].(int64))
		}
	}
	s.state.remove("task", id)
}

// incidentOf finds the incident of a child, also when it has been deleted.
func (s *Server) incidentOf(child Object) Object {
	id, _ := child["inc_id"].(int64)
	if incident := s.state.objects["incident"][id]; incident != nil {
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
	if c.account.basic {
		values["modify_principal"] = s.principal(c.account)
	}
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
	note["text"], note["modify_date"] = text, s.now()
	s.fire(c, cause{kind: "comment", incident: s.incidentOf(note), task: o.task, object: note, before: before})
	return ok(s.render("comment", note, c.formats))
}

// deleteComment removes a note, or only marks it when it has replies (contract: CommentDTO).
func (s *Server) deleteComment(c *call, o owner) *answer {
	note, bad := s.comment(c, o)
	if bad != nil {
		return bad
	}
	s.removeComment(note)
	s.fire(c, cause{kind: "comment", incident: s.incidentOf(note), task: o.task, object: note, removed: true})
	return status()
}

func (s *Server) removeComment(note Object) {
	replies := s.state.list("comment", func(o Object) bool { return o["parent_id"] == note["id"] })
	if len(replies) > 0 {
		note["is_deleted"] = true
		return
	}
	s.state.remove("comment", note["id"].(int64))
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
	return file(attachment, slices.Clone(s.state.contents[contentKey("attachment", attachment["id"])]))
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
	attachment := s.makeAttachment(o.incident, o.task, values, upload.content)
	s.fire(c, cause{kind: "attachment", incident: s.incidentOf(attachment), task: o.task, object: attachment, added: true})
	return ok(s.render("attachment", attachment, c.formats))
}

func (s *Server) deleteAttachment(c *call, o owner) *answer {
	attachment, bad := s.attachment(c, o)
	if bad != nil {
		return bad
	}
	s.state.remove("attachment", attachment["id"].(int64))
	s.fire(c, cause{kind: "attachment", incident: s.incidentOf(attachment), task: o.task, object: attachment, removed: true})
	return status()
}
