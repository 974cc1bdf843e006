package threatqtest

import (
	"fmt"
	"strings"
)

// Object is one object as tests seed and see it. Types and statuses are names.
type Object struct {
	ID          int // 0 when seeding: the next free one
	Collection  string
	Name        string // value, title or name
	Type        string // indicators, events, attachments; when seeding: FQDN, Incident, Generic Text if empty
	Status      string // indicators, tasks; when seeding: Review, To Do if empty
	Description string
	HappenedAt  string         // events, "YYYY-MM-DD HH:MM:SS" UTC; when seeding: now if empty
	Extra       map[string]any // further fields of the record, when seeding only: "hash", "title", "due_at" …
	Sources     []string       // when seeding: the account if empty
	Attributes  []Attribute
	Tags        []string
	Comments    []string
	Deleted     bool // softly: the row stays visible with a deleted_at
}

// Attribute is one attribute row.
type Attribute struct {
	ID      int // row id
	NameID  int // attribute_id
	Name    string
	Value   string
	Sources []string
}

// Seed stores an object and returns its id. It panics on what ThreatQ could not hold: an unknown collection, type or status.
func (s *Server) Seed(o Object) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.store
	k := mustKind(o.Collection)
	if o.ID != 0 && st.tables[k].byID[o.ID] != nil {
		panic(fmt.Sprintf("threatqtest: %s %d exists already", o.Collection, o.ID))
	}
	stored := st.insert(k, o.ID, o.Name)
	for key, value := range o.Extra {
		stored.fields[key] = value
	}
	f := fields{}
	if o.Description != "" {
		f["description"] = o.Description
	}
	switch k.collection {
	case "indicators":
		setDefault(&o.Type, "FQDN")
		typ := must(byName(st.indicatorTypes, o.Type), "indicator type", o.Type)
		stored.typeID, stored.class = typ.id, typ.class
		setDefault(&o.Status, "Review")
		stored.statusID = must(byName(st.statuses, o.Status), "indicator status", o.Status).id
	case "events":
		setDefault(&o.Type, "Incident")
		stored.typeID = must(byName(st.eventTypes, o.Type), "event type", o.Type).id
		setDefault(&o.HappenedAt, st.now())
		f["happened_at"] = o.HappenedAt
	case "attachments":
		setDefault(&o.Type, "Generic Text")
		stored.typeID = must(byName(st.attachmentTypes, o.Type), "attachment type", o.Type).id
		for key, value := range map[string]any{"title": o.Name, "hash": contentHash(o.Name), "file_size": 43, "malware_locked": 1, "content_type_id": 1, "description": nil} {
			if _, given := stored.fields[key]; !given {
				stored.fields[key] = value
			}
		}
	case "tasks":
		setDefault(&o.Status, "To Do")
		f["status_id"] = fmt.Sprint(taskStatus(o.Status))
	}
	st.setFields(stored, f)
	if k.collection == "tasks" {
		for key, value := range o.Extra {
			stored.fields[key] = value
		}
	}
	parts := fields{"sources": named(o.Sources)}
	var tags, comments []any
	for _, t := range o.Tags {
		tags = append(tags, t)
	}
	for _, c := range o.Comments {
		comments = append(comments, map[string]any{"value": c})
	}
	parts["tags"], parts["comments"] = tags, comments
	s.addParts(stored, parts)
	for _, a := range o.Attributes {
		st.addAttribute(stored, fields{"name": a.Name, "value": a.Value, "sources": named(a.Sources)})
	}
	if o.Deleted {
		stored.deleted = st.now()
	}
	return stored.id
}

func mustKind(collection string) *kind {
	k := kindByCollection[collection]
	if k == nil {
		panic("threatqtest: no collection " + collection)
	}
	return k
}

func must(l *lookup, what, name string) *lookup {
	if l == nil {
		panic(fmt.Sprintf("threatqtest: this server has no %s %q", what, name))
	}
	return l
}

func taskStatus(name string) int {
	for i, n := range taskStatuses {
		if strings.EqualFold(n, name) {
			return i + 1
		}
	}
	panic("threatqtest: no task status " + name)
}

func named(names []string) []any {
	var list []any
	for _, n := range names {
		list = append(list, map[string]any{"name": n})
	}
	return list
}

// AddIndicator seeds an indicator that the sources contributed.
func (s *Server) AddIndicator(typ, value, status string, sources ...string) int {
	return s.Seed(Object{Collection: "indicators", Name: value, Type: typ, Status: status, Sources: sources})
}

// AddEvent seeds an event; its time is now.
func (s *Server) AddEvent(typ, title string, sources ...string) int {
	return s.Seed(Object{Collection: "events", Name: title, Type: typ, Sources: sources})
}

// AddObject seeds an object of any collection by name.
func (s *Server) AddObject(collection, name string, sources ...string) int {
	return s.Seed(Object{Collection: collection, Name: name, Sources: sources})
}

// AddAttribute adds an attribute row and returns its row id.
func (s *Server) AddAttribute(collection string, id int, name, value string, sources ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.store.addAttribute(s.mustObject(collection, id), fields{"name": name, "value": value, "sources": named(sources)})
	return a.id
}

// AddComment adds a comment and returns its id.
func (s *Server) AddComment(collection string, id int, text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.addComment(s.mustObject(collection, id), text).id
}

// Link joins two objects and returns the pivot id.
func (s *Server) Link(collection string, id int, otherCollection string, otherID int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.link(s.mustObject(collection, id), s.mustObject(otherCollection, otherID)).pivot
}

// AddUser adds an account that tasks may be assigned to and returns its source id.
func (s *Server) AddUser(email, displayName string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.addUser(email, displayName).source.id
}

// SetStatus changes the status of an indicator by name, as an analyst would.
func (s *Server) SetStatus(indicator int, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustObject("indicators", indicator).statusID = must(byName(s.store.statuses, status), "indicator status", status).id
}

// Rename changes the name of an object, as an analyst would.
func (s *Server) Rename(collection string, id int, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.rename(s.mustObject(collection, id), name)
}

// Delete removes an object with its links.
func (s *Server) Delete(collection string, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.remove(s.mustObject(collection, id))
}

func (s *Server) mustObject(collection string, id int) *object {
	o := s.store.tables[mustKind(collection)].byID[id]
	if o == nil {
		panic(fmt.Sprintf("threatqtest: no %s %d", collection, id))
	}
	return o
}
