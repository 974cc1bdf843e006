package threatqtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (s *Server) create(c *call, k *kind) reply {
	switch k.collection {
	case "indicators":
		return s.createIndicators(c)
	case "attachments":
		return s.createFile(c)
	}
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	name := f.text(k.nameField)
	if name == "" {
		return s.invalid(k.nameField, "The "+k.nameField+" field is required.")
	}
	st := s.store
	// Events and tasks are not idempotent: the same again is a second one.
	if k.custom() || k.collection == "adversaries" || k.collection == "signatures" {
		if len(st.tables[k].byName[strings.ToLower(name)]) > 0 {
			return s.invalid(k.nameField, "The "+k.nameField+" has already been taken.")
		}
	}
	if field, text := s.checkFields(k, f, true); text != "" {
		return s.invalid(field, text)
	}
	o := st.insert(k, 0, name)
	st.setFields(o, f)
	if s.opts.IgnoreAttributesOnCreate {
		delete(f, "attributes")
	}
	s.addParts(o, f)
	r := st.created(o)
	if !st.expand(r, o, c.query.Get("with")) {
		return crashed()
	}
	return s.one(http.StatusCreated, r)
}

// checkFields checks what the kind requires; it returns the field and the complaint, or no text.
func (s *Server) checkFields(k *kind, f fields, creating bool) (field, text string) {
	for _, list := range []string{"sources", "attributes", "comments", "tags"} {
		if f.has(list) {
			if _, ok := f[list].([]any); !ok {
				return list, "The " + list + " must be a list."
			}
		}
	}
	for _, a := range f.list("attributes") {
		if a.text("name") == "" || a.text("value") == "" {
			return "attributes", "An attribute needs a name and a value."
		}
	}
	switch k.collection {
	case "events":
		if creating && !f.has("type") {
			return "type", "The type field is required."
		}
		if f.has("type") && s.eventType(f) == nil {
			return "type", "The selected type is invalid."
		}
		if creating || f.has("happened_at") {
			if !isDate(f.text("happened_at")) {
				return "happened_at", "The happened at does not match the format Y-m-d H:i:s."
			}
		}
	case "adversaries":
		if _, list := f["description"].([]any); f.has("description") && !list {
			return "description", "The description of an adversary must be a list."
		}
	case "tasks":
		if id, _ := f.number("assignee_source_id"); f["assignee_source_id"] != nil && !s.store.isUser(id) {
			return "assignee_source_id", "The selected assignee is invalid."
		}
		if id, ok := f.number("status_id"); f.has("status_id") && (!ok || id < 1 || id > len(taskStatuses)) {
			return "status_id", "The selected status is invalid."
		}
		if f.has("priority") && !slices.Contains(taskPriorities, f.text("priority")) {
			return "priority", "The selected priority is invalid."
		}
		if f["due_at"] != nil && !isDate(f.text("due_at")) {
			return "due_at", "The due at does not match the format Y-m-d H:i:s."
		}
	}
	return "", ""
}

func isDate(text string) bool {
	_, err := time.Parse(stamp, text)
	return err == nil
}

func (s *Server) eventType(f fields) *lookup {
	name, id := f.name("type")
	if id != 0 {
		return byID(s.store.eventTypes, id)
	}
	return byName(s.store.eventTypes, name)
}

// writable are the fields, besides name, type and status, that a kind stores as sent.
func (k *kind) writable() []string {
	switch k.collection {
	case "events":
		return []string{"description", "happened_at"}
	case "tasks":
		return []string{"description", "priority", "due_at", "assignee_source_id"}
	case "attachments":
		return []string{"title", "description"}
	case "adversaries", "signatures":
		return nil
	}
	if k.collection == "incident" {
		return []string{"description", "started_at", "ended_at"}
	}
	return []string{"description"}
}

// setFields stores checked fields.
func (st *store) setFields(o *object, f fields) {
	if o.kind.collection == "tasks" && o.fields["assigned_at"] == nil {
		o.fields = row{
			"description": nil, "priority": "Low", "due_at": nil, "completed_at": nil, "assigned_at": o.created,
			"assignee_source_id": st.account.id, "creator_source_id": st.account.id,
		}
		o.statusID = 1
	}
	for _, key := range o.kind.writable() {
		if !f.has(key) {
			continue
		}
		if n, ok := f.number(key); ok && key == "assignee_source_id" {
			if o.fields[key] != n {
				o.fields["assigned_at"] = st.now()
			}
			o.fields[key] = n
		} else {
			o.fields[key] = orNull(f.text(key))
		}
	}
	switch o.kind.collection {
	case "events":
		if name, id := f.name("type"); name != "" {
			o.typeID = byName(st.eventTypes, name).id
		} else if id != 0 {
			o.typeID = id
		}
	case "tasks":
		if id, ok := f.number("status_id"); ok && id != o.statusID {
			o.statusID = id
			o.fields["completed_at"] = nil
			if id == taskDone {
				o.fields["completed_at"] = st.now()
			}
		}
	}
}

// addParts adds what a create or consume body brings along.
func (s *Server) addParts(o *object, f fields) {
	st := s.store
	for _, src := range f.list("sources") {
		if src.text("name") != "" {
			o.sources, _, _ = st.addSource(o.sources, src)
		}
	}
	if len(o.sources) == 0 {
		o.sources, _, _ = st.addSource(nil, fields{"name": st.account.name})
	}
	for _, a := range f.list("attributes") {
		st.addAttribute(o, a)
	}
	if o.kind.collection == "adversaries" {
		for _, d := range f.list("description") {
			o.descriptions = append(o.descriptions, d.text("value"))
		}
	}
	for _, c := range f.list("comments") {
		st.addComment(o, c.text("value"))
	}
	if tags, ok := f["tags"].([]any); ok {
		for _, t := range tags {
			if m, ok := t.(map[string]any); ok {
				t = m["name"]
			}
			if name := asText(t); name != "" {
				st.addTag(o, name)
			}
		}
	}
	for _, k := range kinds {
		for _, ref := range f.list(k.collection) {
			if other := s.referred(k, ref); other != nil && other != o {
				st.link(o, other)
			}
		}
	}
}

// referred finds an object by {"id":N} or by its name field.
func (s *Server) referred(k *kind, ref fields) *object {
	t := s.store.tables[k]
	if id, ok := ref.number("id"); ok {
		return t.byID[id]
	}
	if found := t.byName[strings.ToLower(ref.text(k.nameField))]; len(found) > 0 {
		return found[0]
	}
	return nil
}

// change is PUT on an object: keys that are not sent stay, sources and attributes are added.
func (s *Server) change(c *call, o *object) reply {
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	st := s.store
	if f.has(o.kind.nameField) && f.text(o.kind.nameField) == "" {
		return s.invalid(o.kind.nameField, "The "+o.kind.nameField+" field is required.")
	}
	if field, text := s.checkFields(o.kind, f, false); text != "" {
		return s.invalid(field, text)
	}
	if o.kind.collection == "indicators" {
		if field, text := s.changeIndicator(o, f); text != "" {
			return s.invalid(field, text)
		}
	} else if name := f.text(o.kind.nameField); name != "" && name != o.name {
		st.rename(o, name)
	}
	st.setFields(o, f)
	s.addParts(o, f)
	o.updated = st.now()
	o.touched = o.updated
	return s.answerObject(c, http.StatusOK, o)
}

// consume is the bulk upsert of any collection. Items that are not valid are left out of the answer.
func (s *Server) consume(c *call, k *kind) reply {
	items, ok := c.items()
	if !ok {
		return badBody()
	}
	var rows []row
	for _, f := range items {
		var o *object
		if k.collection == "indicators" {
			normalize := s.opts.Normalize && f.text("normalize") != "N" || f.text("normalize") == "Y" || c.query.Get("normalize") == "Y"
			o, _, _, _ = s.putIndicator(f, normalize)
		} else {
			o = s.upsert(k, f)
		}
		if o == nil {
			continue
		}
		r := row{"id": o.id, k.nameField: o.name}
		switch k.collection {
		case "indicators":
			r["type_id"], r["status_id"] = o.typeID, o.statusID
		case "events":
			r["type_id"], r["happened_at"] = o.typeID, o.fields["happened_at"]
		}
		rows = append(rows, r)
	}
	return s.many(http.StatusCreated, rows)
}

// upsert finds an object by its content identity or makes it. For events that is title, type and time.
func (s *Server) upsert(k *kind, f fields) *object {
	name := f.text(k.nameField)
	if _, text := s.checkFields(k, f, true); name == "" || text != "" {
		return nil
	}
	for _, o := range s.store.tables[k].byName[strings.ToLower(name)] {
		if k.collection == "events" && (o.typeID != s.eventType(f).id || o.fields["happened_at"] != f.text("happened_at")) {
			continue
		}
		s.addParts(o, f)
		return o
	}
	o := s.store.insert(k, 0, name)
	s.store.setFields(o, f)
	s.addParts(o, f)
	return o
}

func (s *Server) putScore(c *call, o *object) reply {
	if c.method != http.MethodPut {
		return methodNotAllowed()
	}
	f, ok := c.item()
	if !ok || !f.has("manual_score") {
		return badBody()
	}
	o.score = nil
	if n, ok := f.number("manual_score"); ok {
		o.score = fmt.Sprint(n)
	}
	o.updated = s.store.now()
	return s.one(http.StatusOK, s.store.scoreRow(o))
}
