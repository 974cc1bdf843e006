package resilienttest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
)

// state holds the objects of the organization; Server.mu guards it.
type state struct {
	objects  map[string]map[int64]Object // kind → id → object
	removed  map[string]map[int64]Object // as they were when they were deleted
	contents map[string]content          // "attachment/27" → file
	next     map[string]int64
	bulks    []*bulk
	imports  map[int64]*document
	hidden   map[int64]bool // incidents that the account may not see
	refused  map[int64]int  // incident → status answered for it and all that belongs to it
	// destinations is the list of message destinations.
	destinations []Object
}

// kinds of stored objects; a comment is called note in rules and messages.
var kinds = []string{"incident", "artifact", "comment", "task", "attachment"}

func newState(s *Server) *state {
	st := &state{
		objects: map[string]map[int64]Object{}, removed: map[string]map[int64]Object{},
		contents: map[string]content{}, hidden: map[int64]bool{}, refused: map[int64]int{}, imports: map[int64]*document{},
		next: map[string]int64{"incident": 2096, "artifact": 1550, "comment": 113, "task": 18, "attachment": 29, "import": 12,
			"destination": 10, "rule": 55, "function": 15},
	}
	for _, kind := range append(kinds, "import") {
		st.objects[kind], st.removed[kind] = map[int64]Object{}, map[int64]Object{}
	}
	destination := cloneObject(s.world.templates["destination"])
	st.destinations = []Object{destination}
	s.state = st
	s.prepare(s.options.Installed)
	if s.options.Empty {
		return st
	}
	incident := cloneObject(s.world.templates["incident"])
	incident["org_id"], incident["org_handle"] = s.home.ID, s.home.ID
	st.put("incident", s.withText("incident", incident))
	s.makeArtifact(DefaultIncident, Object{"id": int64(1532), "type": int64(1), "value": "203.0.113.77"})
	s.makeArtifact(DefaultIncident, Object{"id": int64(1538), "type": int64(2), "value": "bad.example.net",
		"hits": []any{Object{
			"id": "6b0b7f6e-0000-4000-8000-000000000001", "value": "bad.example.net", "threat_source_id": int64(13),
			"artifact_type_id": int64(2), "active": true,
			"properties": Object{"Link": "https://threatq.example.com/indicators/4711/details"},
		}}})
	task := s.withText("task", cloneObject(s.world.templates["task"]))
	st.put("task", task)
	s.makeComment(DefaultIncident, nil, Object{"id": int64(110), "text": `<div class="rte"><div>Blocked on the <b>proxy</b></div></div>`})
	s.makeComment(DefaultIncident, task, Object{"id": int64(111), "text": "<div>Mail received</div>"})
	s.makeAttachment(DefaultIncident, nil, Object{"id": int64(27), "name": "invoice.docm",
		"content_type": "application/vnd.ms-word.document.macroEnabled.12"}, generated(20210))
	s.makeAttachment(DefaultIncident, task, Object{"id": int64(28), "name": "report.pdf",
		"content_type": "application/pdf"}, generated(410233))
	return st
}

func (st *state) put(kind string, o Object) {
	id := o["id"].(int64)
	st.objects[kind][id] = o
	if st.next[kind] <= id {
		st.next[kind] = id + 1
	}
}

func (st *state) newID(kind string) int64 {
	id := st.next[kind]
	st.next[kind]++
	return id
}

// get finds an object; one of a bulk is made for the occasion, so changing it changes
// nothing. Nil when there is none.
func (s *Server) get(kind string, id int64) Object {
	if o := s.state.objects[kind][id]; o != nil {
		return o
	}
	return s.bulkObject(kind, id)
}

// own is get for those who change the object: one of a bulk becomes a stored one.
func (s *Server) own(kind string, id int64) Object {
	o := s.get(kind, id)
	if o != nil {
		s.state.objects[kind][id] = o
	}
	return o
}

func (s *Server) remove(kind string, id int64) {
	if o := s.get(kind, id); o != nil {
		s.state.removed[kind][id] = o
		delete(s.state.objects[kind], id)
	}
}

// list returns the stored objects that match, by ascending id.
func (st *state) list(kind string, match func(Object) bool) []Object {
	out := []Object{}
	for _, id := range slices.Sorted(maps.Keys(st.objects[kind])) {
		if o := st.objects[kind][id]; match(o) {
			out = append(out, o)
		}
	}
	return out
}

// of returns the objects of a kind that belong to an incident, by ascending id.
func (s *Server) of(incident int64, kind string) []Object {
	out := s.state.list(kind, func(o Object) bool { return o["inc_id"] == incident })
	out = append(out, s.bulkChildren(kind, incident)...)
	slices.SortFunc(out, func(a, b Object) int { return cmp.Compare(a["id"].(int64), b["id"].(int64)) })
	return out
}

// withText turns the rich text of a new object into its stored form.
func (s *Server) withText(kind string, o Object) Object {
	for _, name := range richText[kind] {
		if text, ok := storedText(o[name]); ok {
			o[name] = text
		}
	}
	return o
}

func (s *Server) now() int64 { return s.options.Now().UnixMilli() }

// newIncident is an incident with the given values over the defaults; id 0 unless given.
func (s *Server) newIncident(values Object) Object {
	now := s.now()
	o := cloneObject(s.world.templates["incident"])
	maps.Copy(o, Object{
		"id": int64(0), "name": "Incident", "description": nil, "org_id": s.home.ID, "org_handle": s.home.ID,
		"incident_type_ids": []any{}, "nist_attack_vectors": []any{}, "severity_code": nil, "vers": int64(1),
		"discovered_date": now, "create_date": now, "inc_last_modified_date": now,
		"properties": Object{"internal_severity": nil, "internal_confidence": nil, "internal_campaign": nil},
	})
	applyValues(o, values)
	return s.withText("incident", o)
}

// makeIncident stores a new incident.
func (s *Server) makeIncident(values Object) Object {
	return s.store("incident", s.newIncident(values))
}

// store gives a new object an id, unless it has one, and keeps it.
func (s *Server) store(kind string, o Object) Object {
	if o["id"] == int64(0) {
		o["id"] = s.state.newID(kind)
	}
	s.state.put(kind, o)
	return o
}

// applyValues lays values over o; properties are merged, not replaced.
func applyValues(o, values Object) {
	for name, value := range values {
		if name == "properties" {
			properties, isObject := value.(Object)
			existing, has := o["properties"].(Object)
			if isObject && has {
				maps.Copy(existing, properties)
				continue
			}
		}
		o[name] = value
	}
}

func (s *Server) makeArtifact(incident int64, values Object) Object {
	return s.store("artifact", s.newArtifact(s.get("incident", incident), values))
}

func (s *Server) newArtifact(owner, values Object) Object {
	now := s.now()
	o := cloneObject(s.world.templates["artifact"])
	maps.Copy(o, Object{
		"id": int64(0), "inc_id": owner["id"], "inc_name": owner["name"], "inc_owner": owner["owner_id"],
		"created": now, "last_modified_time": now,
	})
	applyValues(o, values)
	if _, given := values["properties"]; !given && o["type"] == int64(1) {
		o["properties"] = []any{Object{"name": "source", "value": "true"}}
		o["ip"] = Object{"source": true, "destination": nil}
	}
	sum := sha256.Sum256(fmt.Append(nil, o["type"], "/", o["value"]))
	o["hash"] = hex.EncodeToString(sum[:])
	return s.withText("artifact", o)
}

func (s *Server) makeComment(incident int64, task Object, values Object) Object {
	now := s.now()
	owner := s.get("incident", incident)
	o := cloneObject(s.world.templates["comment"])
	maps.Copy(o, Object{
		"id": int64(0), "inc_id": incident, "inc_name": owner["name"], "inc_owner": owner["owner_id"],
		"create_date": now, "modify_date": now,
	})
	inTask(o, task)
	applyValues(o, values)
	return s.store("comment", s.withText("comment", o))
}

// inTask fills the keys by which notes and attachments refer to a task.
func inTask(o, task Object) {
	if task == nil {
		return
	}
	o["type"], o["task_id"] = "task", task["id"]
	o["task_name"], o["task_custom"], o["task_members"] = task["name"], task["custom"], task["members"]
}

func (s *Server) makeTask(incident int64, values Object) Object {
	return s.store("task", s.newTask(s.get("incident", incident), values))
}

func (s *Server) newTask(owner, values Object) Object {
	o := cloneObject(s.world.templates["task"])
	maps.Copy(o, Object{
		"id": int64(0), "inc_id": owner["id"], "inc_name": owner["name"], "inc_owner_id": owner["owner_id"],
		"inc_training": owner["inc_training"], "name": "Task", "instr_text": nil, "instructions": "", "init_date": s.now(),
	})
	applyValues(o, values)
	s.withText("task", o)
	s.taskSaved(Object{}, o)
	return o
}

func (s *Server) makeAttachment(incident int64, task Object, values Object, file content) Object {
	now := s.now()
	owner := s.get("incident", incident)
	o := cloneObject(s.world.templates["attachment"])
	maps.Copy(o, Object{
		"id": int64(0), "inc_id": incident, "inc_name": owner["name"], "inc_owner": owner["owner_id"],
		"created": now, "last_modified_time": now, "size": file.size, "vers": owner["vers"],
	})
	inTask(o, task)
	applyValues(o, values)
	s.store("attachment", o)
	o["uuid"] = stableUUID(fmt.Sprint("attachment/", o["id"]))
	s.state.contents[contentKey("attachment", o["id"])] = file
	return o
}

func contentKey(kind string, id any) string { return fmt.Sprint(kind, "/", id) }

// touch notes a change of an incident.
func (s *Server) touch(incident Object) {
	vers, _ := incident["vers"].(int64)
	incident["vers"] = vers + 1
	incident["inc_last_modified_date"] = s.now()
}
