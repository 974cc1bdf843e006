package resilienttest

import (
	"fmt"
	"slices"
)

// The methods of this file act like a person in the user interface of SOAR: they change
// the state without a REST call, and cause messages when Options.OnMessage is set. They
// panic when an object or value does not exist: that is a mistake in the test. Handles may
// be given as id or name, rich text as a string (HTML) or {format, content}.

// change runs f under the lock and hands on the messages it caused.
func (s *Server) change(f func()) {
	var messages []Message
	locked(s, func() bool {
		f()
		messages, s.caused = s.caused, nil
		return true
	})
	if s.options.OnMessage != nil {
		for _, m := range messages {
			s.options.OnMessage(m)
		}
	}
}

// values checks what a test gives and brings it to the stored form.
func (s *Server) values(kind string, given map[string]any) Object {
	values := Object{}
	if given != nil {
		values = normalise(given).(Object)
	}
	if bad := s.checkValues(kind, values); bad != nil {
		panic(fmt.Sprintf("resilienttest: %s: %v", kind, bad.body.(Object)["message"]))
	}
	return values
}

// existing is an object that may be changed.
func (s *Server) existing(kind string, id int64) Object {
	o := s.own(kind, id)
	if o == nil {
		panic(fmt.Sprintf("resilienttest: there is no %s %d", kind, id))
	}
	return o
}

// AddIncident makes an incident and returns its id; values lie over sensible defaults.
func (s *Server) AddIncident(values map[string]any) (id int64) {
	s.change(func() {
		incident := s.makeIncident(s.values("incident", values))
		id = incident["id"].(int64)
		s.fire(nil, cause{kind: "incident", incident: incident, object: incident, added: true})
	})
	return id
}

// UpdateIncident saves changed values; "properties" are merged.
func (s *Server) UpdateIncident(id int64, values map[string]any) {
	s.change(func() {
		incident := s.existing("incident", id)
		before := cloneObject(incident)
		applyValues(incident, s.values("incident", values))
		s.incidentChanged(nil, before, incident)
	})
}

// DeleteIncident removes an incident with all that belongs to it.
func (s *Server) DeleteIncident(id int64) {
	s.change(func() {
		incident := s.existing("incident", id)
		s.removeIncident(nil, incident)
	})
}

// Forbid makes the server answer 403 for an incident and all that belongs to it, and leave
// it out of searches, as for an incident of a workspace that the account is not in.
func (s *Server) Forbid(incident int64) {
	locked(s, func() bool { s.state.hidden[incident] = true; return true })
}

// SetUnreadable makes the server answer this status (403, 404, 500, …) to each call about
// an incident and what belongs to it, though searches still find it.
func (s *Server) SetUnreadable(incident int64, status int) {
	locked(s, func() bool { s.state.refused[incident] = status; return true })
}

// Allow takes back Forbid and SetUnreadable.
func (s *Server) Allow(incident int64) {
	locked(s, func() bool {
		delete(s.state.hidden, incident)
		delete(s.state.refused, incident)
		return true
	})
}

// AddArtifact makes one artifact — without splitting, checking or duplicate handling — of
// a type given by name, and returns its id. More values may be given, for example
// "description".
func (s *Server) AddArtifact(incident int64, typeName, value string, more ...map[string]any) (id int64) {
	s.change(func() {
		owner := s.existing("incident", incident)
		values := Object{"type": typeName, "value": value}
		for _, m := range more {
			applyValues(values, m)
		}
		artifact := s.makeArtifact(incident, s.values("artifact", values))
		id = artifact["id"].(int64)
		s.fire(nil, cause{kind: "artifact", incident: owner, object: artifact, added: true})
	})
	return id
}

// AddFileArtifact makes an artifact of a file type, for example "Malware Sample".
func (s *Server) AddFileArtifact(incident int64, typeName, fileName, contentType string, content []byte) (id int64) {
	s.change(func() {
		owner := s.existing("incident", incident)
		attachment := s.makeAttachment(incident, nil, Object{"name": fileName, "content_type": contentType}, stored(content))
		delete(s.state.objects["attachment"], attachment["id"].(int64))
		artifact := s.makeArtifact(incident, s.values("artifact", Object{"type": typeName, "value": fileName}))
		artifact["attachment"] = attachment
		id = artifact["id"].(int64)
		s.state.contents[contentKey("artifact", id)] = stored(content)
		s.fire(nil, cause{kind: "artifact", incident: owner, object: artifact, added: true})
	})
	return id
}

// DeleteArtifact removes an artifact; messages about it can still be built.
func (s *Server) DeleteArtifact(incident, id int64) {
	s.change(func() {
		artifact := s.existing("artifact", id)
		if artifact["inc_id"] != incident {
			panic(fmt.Sprintf("resilienttest: artifact %d does not belong to incident %d", id, incident))
		}
		s.remove("artifact", id)
		s.fire(nil, cause{kind: "artifact", incident: s.existing("incident", incident), object: artifact, removed: true})
	})
}

// AddRule makes a rule and returns its id. A Rule with the name of an existing one is what
// an administrator gets who deletes and recreates it; see RemoveRule.
func (s *Server) AddRule(rule Rule) int64 {
	return locked(s, func() int64 {
		if rule.ID == 0 {
			rule.ID = s.state.newID("rule")
		}
		setDefault(&rule.ObjectType, "incident")
		setDefault(&rule.LogicType, "all")
		rule.UUID = stableUUID(fmt.Sprint("rule/", rule.ID))
		s.world.rules = append(s.world.rules, rule)
		return rule.ID
	})
}

// RemoveRule deletes the rule with this id.
func (s *Server) RemoveRule(id int64) {
	locked(s, func() bool {
		s.world.rules = slices.DeleteFunc(s.world.rules, func(r Rule) bool { return r.ID == id })
		return true
	})
}

// AddUser makes a user of the organization, to be named as owner by id or e-mail address.
func (s *Server) AddUser(first, last, email string) (id int64) {
	return locked(s, func() int64 {
		added := user{ID: 1, First: first, Last: last, Email: email}
		for _, u := range s.world.users {
			added.ID = max(added.ID, u.ID+1)
		}
		s.world.users = append(s.world.users, added)
		for _, fields := range s.world.fields {
			for i := range fields {
				if isUserField(&fields[i]) {
					label := fmt.Sprintf("%s (%s)", added.displayName(), email)
					fields[i].Values = append(fields[i].Values, Value{Value: added.ID, Label: label})
				}
			}
		}
		return added.ID
	})
}

// SetField adds a field to an object type, or replaces the one of that API name, for
// example to give a server other severity ids.
func (s *Server) SetField(objectType string, field Field) {
	locked(s, func() bool {
		if field.UUID == "" {
			field.UUID = stableUUID(objectType + "/" + field.Name)
		}
		field.Values = slices.Clone(field.Values)
		for i := range field.Values {
			field.Values[i].Value = normalise(field.Values[i].Value)
		}
		if old := s.world.field(objectType, field.Name); old != nil {
			*old = field
			return true
		}
		s.world.fields[objectType] = append(s.world.fields[objectType], field)
		return true
	})
}

// Field returns the definition of a field; ok is false when there is none.
func (s *Server) Field(objectType, name string) (field Field, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.world.field(objectType, name)
	if found == nil {
		return Field{}, false
	}
	field = *found
	field.Values = slices.Clone(found.Values)
	return field, true
}

// Incident returns an incident as GET with handle_format=names shows it, or nil.
func (s *Server) Incident(id int64) Object { return s.shown("incident", id) }

// Task returns a task as GET with handle_format=names shows it, or nil.
func (s *Server) Task(id int64) Object { return s.shown("task", id) }

func (s *Server) shown(kind string, id int64) Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.get(kind, id)
	if o == nil {
		return nil
	}
	return s.render(kind, o, formats{handle: "names"})
}

// Artifacts returns the artifacts of an incident, oldest first, with type names.
func (s *Server) Artifacts(incident int64) []Object { return s.children("artifact", incident) }

// Notes returns the notes of an incident and its tasks, oldest first.
func (s *Server) Notes(incident int64) []Object { return s.children("comment", incident) }

// Tasks returns the tasks of an incident, oldest first.
func (s *Server) Tasks(incident int64) []Object { return s.children("task", incident) }

func (s *Server) children(kind string, incident int64) []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Object{}
	for _, o := range s.of(incident, kind) {
		out = append(out, s.render(kind, o, formats{handle: "names"}))
	}
	return out
}
