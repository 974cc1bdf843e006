package threatqtest

import (
	"fmt"
	"slices"
	"strings"
)

// Objects are all objects of a collection, by id.
func (s *Server) Objects(collection string) []Object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows := s.store.tables[mustKind(collection)].rows
	out := make([]Object, 0, len(rows))
	for _, o := range rows {
		out = append(out, s.store.view(o))
	}
	return out
}

// Object is one object; false when there is none.
func (s *Server) Object(collection string, id int) (Object, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.store.tables[mustKind(collection)].byID[id]
	if o == nil {
		return Object{}, false
	}
	return s.store.view(o), true
}

// Events are all events, by id.
func (s *Server) Events() []Object { return s.Objects("events") }

// Indicators are all indicators, by id.
func (s *Server) Indicators() []Object { return s.Objects("indicators") }

// Adversaries are all adversaries, by id.
func (s *Server) Adversaries() []Object { return s.Objects("adversaries") }

// Task is one task as analysts see it.
type Task struct {
	ID          int
	Name        string
	Description string
	Status      string
	Priority    string
	DueAt       string // "YYYY-MM-DD HH:MM:SS" UTC; empty for none
	CompletedAt string
	Assignee    string // name of the source, which is the user's e-mail address
	Sources     []string
}

// Tasks are all tasks, by id.
func (s *Server) Tasks() []Task {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Task
	for _, o := range s.store.tables[mustKind("tasks")].rows {
		t := Task{
			ID: o.id, Name: o.name, Description: plain(o.fields["description"]), Status: s.store.statusName(o), Priority: plain(o.fields["priority"]),
			DueAt: plain(o.fields["due_at"]), CompletedAt: plain(o.fields["completed_at"]), Sources: sourceNames(o.sources),
		}
		for _, u := range s.store.users {
			if u.source.id == o.fields["assignee_source_id"] {
				t.Assignee = u.source.name
			}
		}
		out = append(out, t)
	}
	return out
}

// Comment is one comment of an object; its dates are "YYYY-MM-DD HH:MM:SS" UTC.
type Comment struct {
	ID               int
	Value            string
	Created, Updated string
}

// Comments are the comments of an object in order of their making; nil when there is no such object.
func (s *Server) Comments(collection string, id int) []Comment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.store.tables[mustKind(collection)].byID[id]
	if o == nil {
		return nil
	}
	var out []Comment
	for _, c := range o.comments {
		out = append(out, Comment{ID: c.id, Value: c.value, Created: c.created, Updated: c.updated})
	}
	return out
}

// Attributes are the attribute rows of an object in order of their making; nil when there is no such object.
func (s *Server) Attributes(collection string, id int) []Attribute {
	o, _ := s.Object(collection, id)
	return o.Attributes
}

// Links are the ids of the objects of the other collection that are linked to the object, ascending.
func (s *Server) Links(collection string, id int, other string) []int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ids []int
	o := s.store.tables[mustKind(collection)].byID[id]
	if o == nil {
		return nil
	}
	for _, l := range o.links[mustKind(other)] {
		ids = append(ids, l.other(o).id)
	}
	slices.Sort(ids)
	return ids
}

func (st *store) view(o *object) Object {
	out := Object{
		ID: o.id, Collection: o.kind.collection, Name: o.name, Deleted: o.deleted != "",
		Description: plain(o.fields["description"]), HappenedAt: plain(o.fields["happened_at"]),
		Sources: sourceNames(o.sources), Type: st.typeName(o), Status: st.statusName(o),
	}
	for _, a := range o.attributes {
		out.Attributes = append(out.Attributes, Attribute{ID: a.id, NameID: a.name.id, Name: a.name.name, Value: a.value, Sources: sourceNames(a.sources)})
	}
	for _, t := range o.tags {
		out.Tags = append(out.Tags, t.name)
	}
	for _, c := range o.comments {
		out.Comments = append(out.Comments, c.value)
	}
	return out
}

func sourceNames(rows []*sourceRow) []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.source.name)
	}
	return names
}

func (st *store) typeName(o *object) string {
	if l := byID(st.types(o.kind), o.typeID); l != nil {
		return l.name
	}
	return ""
}

func (st *store) statusName(o *object) string {
	switch {
	case o.kind.collection == "tasks":
		return taskStatuses[o.statusID-1]
	case o.kind.collection == "indicators":
		return byID(st.statuses, o.statusID).name
	}
	return ""
}

// Snapshot is the whole state as text without ids and dates of change, in an order that does not depend on
// the order of making: two servers that hold the same things have equal snapshots.
func (s *Server) Snapshot() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var b strings.Builder
	for _, k := range kinds {
		blocks := make([]string, 0, len(s.store.tables[k].rows))
		for _, o := range s.store.tables[k].rows {
			blocks = append(blocks, s.store.block(o))
		}
		slices.Sort(blocks)
		b.WriteString(strings.Join(blocks, ""))
	}
	imports := make([]string, 0, len(s.store.imports))
	for _, im := range s.store.imports {
		imports = append(imports, fmt.Sprintf("import %s, %d commits, of %q\n", im.state, im.commits, im.findings))
	}
	slices.Sort(imports)
	b.WriteString(strings.Join(imports, ""))
	for _, l := range s.store.eventTypes {
		if l.extra["user_editable"] == "Y" {
			fmt.Fprintf(&b, "event type %q\n", l.name)
		}
	}
	return b.String()
}

func (st *store) block(o *object) string {
	v := st.view(o)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", o.kind.singular, v.Name)
	for _, part := range []struct{ label, text string }{{"type", v.Type}, {"status", v.Status}} {
		if part.text != "" {
			fmt.Fprintf(&b, " %s=%s", part.label, part.text)
		}
	}
	if v.Deleted {
		b.WriteString(" deleted")
	}
	b.WriteString("\n")
	var lines []string
	for _, key := range o.kind.writable() {
		if text := plain(o.fields[key]); text != "" {
			lines = append(lines, fmt.Sprintf("%s: %q", key, text))
		}
	}
	if o.kind.collection == "attachments" {
		lines = append(lines, fmt.Sprintf("content: %s, locked %v", plain(o.fields["hash"]), o.fields["malware_locked"]))
	}
	for _, text := range o.descriptions {
		lines = append(lines, fmt.Sprintf("description: %q", text))
	}
	for _, name := range v.Sources {
		lines = append(lines, fmt.Sprintf("source: %q", name))
	}
	for _, a := range v.Attributes {
		slices.Sort(a.Sources)
		lines = append(lines, fmt.Sprintf("attribute: %q = %q by %q", a.Name, a.Value, a.Sources))
	}
	for _, t := range v.Tags {
		lines = append(lines, fmt.Sprintf("tag: %q", t))
	}
	for _, c := range v.Comments {
		lines = append(lines, fmt.Sprintf("comment: %q", c))
	}
	for _, links := range o.links {
		for _, l := range links {
			other := l.other(o)
			lines = append(lines, fmt.Sprintf("link: %s %q", other.kind.singular, other.name))
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}
