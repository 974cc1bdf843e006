package resilienttest

import (
	"fmt"
	"maps"
)

// Notes, tasks and attachments, as a person adds, changes and deletes them; see seed.go.

// optionalTask is nil for 0; else a task of this incident.
func (s *Server) optionalTask(incident, id int64) Object {
	if id == 0 {
		return nil
	}
	task := s.existing("task", id)
	if task["inc_id"] != incident {
		panic(fmt.Sprintf("resilienttest: task %d does not belong to incident %d", id, incident))
	}
	return task
}

// taskOf is the task that a note or attachment belongs to, or nil.
func (s *Server) taskOf(child Object) Object {
	id, _ := child["task_id"].(int64)
	return s.get("task", id)
}

// AddNote makes a note on an incident, or on a task of it when task is not 0.
func (s *Server) AddNote(incident, task int64, html string, more ...map[string]any) (id int64) {
	s.change(func() {
		owner, parent := s.existing("incident", incident), s.optionalTask(incident, task)
		values := Object{"text": html}
		for _, m := range more {
			applyValues(values, m)
		}
		note := s.makeComment(incident, parent, s.values("comment", values))
		id = note["id"].(int64)
		s.fire(nil, cause{kind: "comment", incident: owner, task: parent, object: note, added: true})
	})
	return id
}

// ReplyTo makes a note below another one, on the same incident or task.
func (s *Server) ReplyTo(note int64, html string) (id int64) {
	parent := locked(s, func() Object { return maps.Clone(s.existing("comment", note)) })
	task, _ := parent["task_id"].(int64)
	return s.AddNote(parent["inc_id"].(int64), task, html, map[string]any{"parent_id": note})
}

// EditNote replaces the text of a note.
func (s *Server) EditNote(id int64, html string) {
	s.change(func() {
		note := s.existing("comment", id)
		before := cloneObject(note)
		note["text"], note["modify_date"] = s.values("comment", Object{"text": html})["text"], s.now()
		s.fire(nil, cause{kind: "comment", incident: s.incidentOf(note), task: s.taskOf(note), object: note, before: before})
	})
}

// DeleteNote removes a note; one with replies is only marked as deleted, as SOAR does.
func (s *Server) DeleteNote(id int64) {
	s.change(func() { s.removeComment(nil, s.existing("comment", id)) })
}

// AddTask makes a task.
func (s *Server) AddTask(incident int64, values map[string]any) (id int64) {
	s.change(func() {
		owner := s.existing("incident", incident)
		task := s.makeTask(incident, s.values("task", values))
		id = task["id"].(int64)
		s.fire(nil, cause{kind: "task", incident: owner, task: task, object: task, added: true})
	})
	return id
}

// UpdateTask saves changed values of a task.
func (s *Server) UpdateTask(id int64, values map[string]any) {
	s.change(func() {
		task := s.existing("task", id)
		before := cloneObject(task)
		applyValues(task, s.values("task", values))
		s.taskSaved(before, task)
		s.fire(nil, cause{kind: "task", incident: s.incidentOf(task), task: task, object: task, before: before})
	})
}

// CloseTask sets the status of a task to closed.
func (s *Server) CloseTask(id int64) { s.UpdateTask(id, map[string]any{"status": "C"}) }

// ReopenTask sets the status of a task to open.
func (s *Server) ReopenTask(id int64) { s.UpdateTask(id, map[string]any{"status": "O"}) }

// DeleteTask removes a task with its notes and attachments.
func (s *Server) DeleteTask(id int64) {
	s.change(func() { s.removeTask(nil, s.existing("task", id)) })
}

// AddAttachment makes an attachment of an incident, or of a task of it when task is not 0.
func (s *Server) AddAttachment(incident, task int64, name, contentType string, content []byte) (id int64) {
	return s.attach(incident, task, name, contentType, stored(content))
}

// AddLargeAttachment is AddAttachment with size bytes of GeneratedFile, which take no memory.
func (s *Server) AddLargeAttachment(incident, task int64, name, contentType string, size int64) (id int64) {
	return s.attach(incident, task, name, contentType, generated(size))
}

func (s *Server) attach(incident, task int64, name, contentType string, file content) (id int64) {
	s.change(func() {
		owner, parent := s.existing("incident", incident), s.optionalTask(incident, task)
		attachment := s.makeAttachment(incident, parent, Object{"name": name, "content_type": contentType}, file)
		id = attachment["id"].(int64)
		s.fire(nil, cause{kind: "attachment", incident: owner, task: parent, object: attachment, added: true})
	})
	return id
}

// DeleteAttachment removes an attachment; messages about it can still be built.
func (s *Server) DeleteAttachment(id int64) {
	s.change(func() { s.removeAttachment(nil, s.existing("attachment", id)) })
}

// Note returns a note as GET shows it, or nil.
func (s *Server) Note(id int64) Object { return s.shown("comment", id) }

// Attachments returns the attachments of an incident and its tasks, oldest first.
func (s *Server) Attachments(incident int64) []Object { return s.children("attachment", incident) }
