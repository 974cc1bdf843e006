package kit

import (
	"strings"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
	"fn-threatq/plugins/kit/typing"
)

// objectKind is an object type of ThreatQ that a field is mapped to.
type objectKind struct {
	collection string
	// field is the name field: value, or name for adversaries.
	field string
}

// wantedObject is one value of a mapped field.
type wantedObject struct {
	objectKind
	value string
}

// SyncObjects links the event to the objects that custom_objects asks for, and
// makes those that are missing. A value that left its field stays linked, as
// the link may have been made by hand. It returns how many objects the incident
// has, which pairs and values were skipped, and what went wrong, in words. What
// is skipped is no failure: it would be one in every sync of every incident.
func (k *Kit) SyncObjects(event *Event, incident Incident) (count int, skipped, problems []string) {
	mapped := k.pairs("custom_objects")
	if len(mapped) == 0 {
		return 0, nil, nil
	}
	values := make([][]string, len(mapped))
	strands := []func(){k.ExpectObjects}
	for i, p := range mapped {
		strands = append(strands, func() { values[i], _ = k.values(incident, p.field, false) })
	}
	k.Together(strands...)

	var objects []wantedObject
	var candidates []typing.Candidate
	var indicatorText []string
	for i, p := range mapped {
		kind, ok := k.kinds[foldName(p.name)]
		if !ok {
			skipped = append(skipped, "ThreatQ has no object "+quote(p.name))
			continue
		}
		switch kind.collection {
		case "events", "attachments", "tasks", "signatures":
			skipped = append(skipped, "fields cannot be mapped to "+p.name)
			continue
		}
		for _, value := range values[i] {
			value = oneLine(value)
			switch {
			case kind.collection == "indicators":
				candidates = append(candidates, typing.FromText(value, k.TypingOptions()).Candidates...)
				indicatorText = append(indicatorText, value)
			case utf8.RuneCountInString(value) > text.ObjectValueRunes:
				skipped = append(skipped, "a value of "+p.field+" is too long for "+p.name)
			default:
				objects = appendOnce(objects, wantedObject{kind, value})
			}
		}
	}
	results := make([]string, len(objects))
	strands = []func(){func() {
		n, p := k.syncMappedIndicators(event, candidates, indicatorText)
		count += n
		problems = append(problems, p...)
	}}
	for _, group := range byCollection(objects) {
		strands = append(strands, func() { k.syncCollection(event, objects, group, results) })
	}
	k.Together(strands...)
	for _, problem := range results {
		if problem != "" {
			problems = append(problems, problem)
			continue
		}
		count++
	}
	return count, skipped, problems
}

func appendOnce(list []wantedObject, o wantedObject) []wantedObject {
	for _, other := range list {
		if other.collection == o.collection && strings.EqualFold(other.value, o.value) {
			return list
		}
	}
	return append(list, o)
}

// byCollection groups the positions of objects.
func byCollection(objects []wantedObject) [][]int {
	var groups [][]int
	at := map[string]int{}
	for i, o := range objects {
		g, ok := at[o.collection]
		if !ok {
			g = len(groups)
			at[o.collection] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// ExpectObjects reads ahead the object types, if custom_objects needs them. They
// are found under all the names they have (contract: grammar of
// custom_attributes and custom_objects).
func (k *Kit) ExpectObjects() {
	if k.kinds != nil || len(k.pairs("custom_objects")) == 0 {
		return
	}
	kinds := map[string]objectKind{}
	for row := range k.must(get(abi.ThreatQ, "/api/objects", allRows())).Body.Get("data").Items() {
		kind := objectKind{collection: row.Get("collection").Text(), field: "value"}
		if !isCollection(kind.collection) {
			continue
		}
		if kind.collection == "adversaries" {
			kind.field = "name"
		}
		for _, key := range []string{"name", "display_name", "display_name_plural", "collection"} {
			if name := foldName(row.Get(key).Text()); name != "" {
				if _, taken := kinds[name]; !taken {
					kinds[name] = kind
				}
			}
		}
	}
	k.kinds = kinds
}

func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '_' {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// isCollection keeps a name from the server fit for a path, and away from paths
// that are no collection of objects.
func isCollection(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return name != "" && name != "token" && name != "users"
}

// syncCollection works on the objects of one collection. What the event is
// linked to needs nothing; the rest is found or made, and linked in one call.
func (k *Kit) syncCollection(event *Event, objects []wantedObject, group []int, problems []string) {
	kind := objects[group[0]].objectKind
	fail := func(problem string) {
		for _, i := range group {
			problems[i] = problem
		}
	}
	var linked []jsonvalue.Value
	if !event.Created {
		var err *guest.CallError
		if linked, err = k.rows("/api/events/"+id(event.ID)+"/"+kind.collection, ""); err != nil {
			fail("objects of " + kind.collection + " cannot be read: " + err.Error())
			return
		}
	}
	var absent []int
	var keys []string
	for _, i := range group {
		if !hasObject(linked, kind.field, objects[i].value) {
			absent = append(absent, i)
			keys = append(keys, "object:"+kind.collection+":"+strings.ToLower(objects[i].value))
		}
	}
	if len(absent) == 0 {
		return
	}
	// Objects are shared by incidents, which run side by side.
	k.Hold(keys...)
	ids := make([]int64, len(absent))
	var strands []func()
	for n, i := range absent {
		strands = append(strands, func() { ids[n], problems[i] = k.ensureObject(objects[i]) })
	}
	k.Together(strands...)
	var made []int64
	for _, n := range ids {
		if n != 0 {
			made = append(made, n)
		}
	}
	if err := k.link(event.ID, kind.collection, made); err != nil {
		fail("objects of " + kind.collection + " could not be linked: " + err.Error())
	}
}

func hasObject(rows []jsonvalue.Value, field, value string) bool {
	for _, row := range rows {
		if stored := row.Get(field).Text(); (sameText(value, stored) || strings.EqualFold(value, stored)) && row.Get("deleted_at").IsNull() {
			return true
		}
	}
	return false
}

// ensureObject finds an object or makes it. What the server does with a second
// object of the same value is not known: so we find first, and once more when
// the creation failed. Only when it may have been done are there two tries.
func (k *Kit) ensureObject(o wantedObject) (int64, string) {
	found, err := k.findObject(o)
	if err != nil {
		return 0, o.collection + " " + quote(o.value) + " cannot be looked up: " + err.Error()
	}
	if found != 0 {
		return found, ""
	}
	for last := false; ; last = true {
		result := k.do(write("POST", "/api/"+o.collection, jsonvalue.Obj(o.field, o.value, "sources", k.sources()), false))
		if result.Err == nil {
			if made := created(result.Body).Get("id").Int(); made != 0 {
				return made, ""
			}
		}
		found, unread := k.findObject(o)
		switch {
		case unread == nil && found != 0:
			return found, ""
		case result.Err == nil:
			return 0, o.collection + " " + quote(o.value) + " was made, but ThreatQ does not show it"
		case last || unread != nil || !mayHaveActed(result.Err):
			return 0, o.collection + " " + quote(o.value) + " could not be made: " + result.Err.Error()
		}
	}
}

func (k *Kit) findObject(o wantedObject) (int64, *guest.CallError) {
	rows, err := k.exact(o.collection, o.field, o.value, "")
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].Get("id").Int(), nil
}

// syncMappedIndicators treats a field that is mapped to Indicator like an
// artifact of unknown type.
func (k *Kit) syncMappedIndicators(event *Event, candidates []typing.Candidate, texts []string) (int, []string) {
	if len(candidates) == 0 {
		return 0, nil
	}
	again := func(o typing.Options) typing.Outcome {
		var all typing.Outcome
		for _, value := range texts {
			one := typing.FromText(value, o)
			all.Candidates = append(all.Candidates, one.Candidates...)
			all.Skipped = append(all.Skipped, one.Skipped...)
		}
		return all
	}
	var linked []jsonvalue.Value
	if !event.Created {
		linked, _ = k.rows("/api/events/"+id(event.ID)+"/indicators", "type,status")
	}
	var absent []typing.Candidate
	for _, c := range candidates {
		if !hasObject(linked, "value", c.Value) {
			absent = append(absent, c)
		}
	}
	indicators := k.EnsureIndicators(absent, again, Wish{})
	k.LinkIndicators(event.ID, indicators)
	count := len(candidates) - len(absent)
	var problems []string
	for _, i := range indicators {
		if i.Problem != "" {
			problems = append(problems, i.Line())
		}
		if i.ID != 0 {
			count++
		}
	}
	return count, problems
}
