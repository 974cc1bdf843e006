package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

const incidentTypeName = "Incident"

// Event is the incident's event in ThreatQ.
type Event struct {
	ID                 int64
	Title, Description string
	// Created says that this action made it, Adopted that it took over an event
	// of another title.
	Created, Adopted bool

	rows []attributeRow
}

// titleKey begins the title of an incident's event. It is what the event is
// found by, and has no text of users in it.
func titleKey(incident int64) string { return "Resilient #" + id(incident) + ": " }

func eventTitle(incident int64, name string) string {
	if name == "" {
		name = "(no name)"
	}
	return text.CutRunes(titleKey(incident)+name, text.EventTitleRunes)
}

func eventPath(event int64) string { return "/api/events/" + id(event) }

// FindEvent looks for the incident's event; nil when there is none. Of several
// it takes the oldest: to join them is a human's work.
func (k *Kit) FindEvent() *Event {
	key := titleKey(k.IncidentID)
	body := k.must(get(abi.ThreatQ, "/api/events", guest.Query{
		"title": key + "%", "with": "attributes,sources,type", "limit": "100", "offset": "0", "sort": "id"})).Body
	var ours *Event
	for row := range body.Get("data").Items() {
		if !strings.HasPrefix(row.Get("title").Text(), key) || !row.Get("deleted_at").IsNull() {
			continue
		}
		event := eventOf(row)
		if !k.isOurs(event, row) {
			continue
		}
		if ours != nil {
			k.Log("incident " + id(k.IncidentID) + " has more than one event in ThreatQ: " + id(ours.ID) + ", " + id(event.ID))
		}
		if ours == nil || event.ID < ours.ID {
			ours = event
		}
	}
	return ours
}

func eventOf(row jsonvalue.Value) *Event {
	var list []jsonvalue.Value
	for a := range row.Get("attributes").Items() {
		list = append(list, a)
	}
	return &Event{
		ID:          row.Get("id").Int(),
		Title:       row.Get("title").Text(),
		Description: row.Get("description").Text(),
		rows:        attributeRows(list),
	}
}

// isOurs keeps two SOAR servers apart that feed one ThreatQ.
func (k *Kit) isOurs(event *Event, row jsonvalue.Value) bool {
	urls := event.values(attributeIncidentURL)
	for _, url := range urls {
		if strings.EqualFold(url, k.IncidentURL()) {
			return true
		}
	}
	return len(urls) == 0 && isIncidentType(row)
}

// isIncidentType holds too where the answer does not tell the type's name.
func isIncidentType(row jsonvalue.Value) bool {
	name := typeName(row.Get("type"))
	return name == "" || strings.EqualFold(name, incidentTypeName)
}

// typeName reads a type or status, which is an object, a name, or absent.
func typeName(v jsonvalue.Value) string {
	if v.Kind() == jsonvalue.Object {
		return v.Get("name").Text()
	}
	if v.Kind() == jsonvalue.String {
		return v.Text()
	}
	return ""
}

func (e *Event) values(name string) []string {
	var list []string
	for _, row := range e.rows {
		if strings.EqualFold(row.name, name) {
			list = append(list, row.value)
		}
	}
	return list
}

// EnsureEvent finds the incident's event or makes it. An event that exists is
// not refreshed: that is Sync Incident's work.
func (k *Kit) EnsureEvent() *Event {
	if event := k.FindEvent(); event != nil {
		return event
	}
	return k.CreateEvent()
}

// ExpectNewEvent reads ahead what CreateEvent will need.
func (k *Kit) ExpectNewEvent() { k.eventTypes() }

// CreateEvent makes the incident's event. Call it when FindEvent found none. Two
// actions of one incident never run at a time in one host, so what can race is
// another host process.
func (k *Kit) CreateEvent() *Event {
	var incident Incident
	var kind int64
	k.Together(
		func() { incident = k.Incident() },
		func() { kind = k.incidentType() })
	var wanted []Attribute
	var legacy *Event
	k.Together(
		func() { wanted = k.EventAttributes(incident) },
		func() { legacy = k.findLegacyEvent(incident.Name()) })
	if legacy != nil {
		return k.adopt(legacy, incident, wanted)
	}
	event := k.keepOldest(k.createOnce(k.eventBody(incident, kind, wanted)))
	if event.Created && !event.has(wanted) {
		// Whether attributes are stored on create is not certain.
		_, problems := k.syncAttributes(eventPath(event.ID), wanted, nil)
		for _, problem := range problems {
			k.Log("event " + id(event.ID) + ": " + problem)
		}
	}
	return event
}

func (e *Event) has(wanted []Attribute) bool {
	for _, a := range wanted {
		for _, value := range a.Values {
			if !stored(e.rows, a.Name, value) {
				return false
			}
		}
	}
	return true
}

func (k *Kit) eventBody(incident Incident, kind int64, wanted []Attribute) jsonvalue.Raw {
	var kindID any = jsonvalue.Omit
	if kind != 0 {
		kindID = kind
	}
	happened := incident.Get("discovered_date").Int()
	if happened == 0 {
		happened = incident.Get("create_date").Int()
	}
	if happened == 0 {
		happened = k.Now
	}
	var attributes []jsonvalue.Raw
	for _, a := range wanted {
		for _, value := range a.Values {
			attributes = append(attributes, jsonvalue.Obj("name", a.Name, "value", value, "sources", k.sources()))
		}
	}
	return jsonvalue.Obj(
		"title", eventTitle(k.IncidentID, incident.Name()),
		"type", incidentTypeName,
		"type_id", kindID,
		"happened_at", text.Time(happened),
		"description", k.eventDescription(incident),
		"sources", k.sources(),
		"attributes", jsonvalue.Arr(attributes))
}

func (k *Kit) eventDescription(incident Incident) string {
	return text.Description(richText(incident.Get("description")), text.DescriptionOptions{
		WhenEmpty: "Created from Resilient incident #" + id(k.IncidentID) + ".",
	})
}

// createOnce posts the event. The call is not safe to repeat: when its outcome
// is unknown we look first, and then try once more at most. There is no sleep in
// a module; the host pauses before it tells of an unknown outcome.
func (k *Kit) createOnce(body jsonvalue.Raw) *Event {
	for last := false; ; last = true {
		result := k.do(write("POST", "/api/events", body, false))
		if event := created(result.Body).Get("id").Int(); result.Err == nil && event != 0 {
			return &Event{ID: event, Created: true}
		}
		if err := result.Err; err != nil && !mayHaveActed(err) {
			k.GiveUp(err)
		}
		if event := k.FindEvent(); event != nil {
			event.Created = true
			return event
		}
		if last {
			if result.Err != nil {
				k.FailWith(result.Err)
			}
			k.Fail(abi.CodeHTTP, "ThreatQ accepted the event of incident "+id(k.IncidentID)+" but does not show it.")
		}
		body = jsonvalue.Raw(text.ReplaceAstral(string(body)))
	}
}

// keepOldest looks once more after a create: another host process may have made
// the event at the same time. Both keep the one with the lower id, and whoever
// made the higher one deletes it again, if nothing is linked to it. It was made
// a turn ago: hardly a minute, unless ThreatQ was down since, and then it is the
// links that tell. Apart from tasks made twice in this way it is the only delete
// of an object that the integration performs.
func (k *Kit) keepOldest(mine *Event) *Event {
	oldest := k.FindEvent()
	if oldest == nil {
		return mine
	}
	if oldest.ID >= mine.ID {
		mine.Title, mine.Description = oldest.Title, oldest.Description
		if oldest.ID == mine.ID {
			mine.rows = oldest.rows
		}
		return mine
	}
	if !k.hasLinks(mine.ID) {
		result := k.do(write("DELETE", eventPath(mine.ID), nil, true))
		if result.OK() || result.NotFound() {
			return oldest
		}
	}
	k.Log("events " + id(oldest.ID) + " and " + id(mine.ID) + " both stand for incident " + id(k.IncidentID) + "; join them by hand")
	return oldest
}

// hasLinks says yes too when it cannot be known.
func (k *Kit) hasLinks(event int64) bool {
	kinds := []string{"adversaries", "attachments", "comments", "events", "indicators", "signatures"}
	result := k.do(get(abi.ThreatQ, eventPath(event), guest.Query{"with": strings.Join(kinds, ",")}))
	if result.Err != nil {
		return true
	}
	for _, kind := range kinds {
		if result.Body.Get("data", kind).Len() > 0 {
			return true
		}
	}
	tasks := k.do(get(abi.ThreatQ, eventPath(event)+"/tasks", guest.Query{"limit": "1", "offset": "0"}))
	if tasks.Err != nil {
		// A server without this call cannot have linked a task through it.
		return tasks.Err.Status != 404 && tasks.Err.Status != 405
	}
	return tasks.Body.Get("data").Len() > 0
}

// findLegacyEvent finds the one event that the Python package may have made:
// setting adopt_legacy_titles.
func (k *Kit) findLegacyEvent(name string) *Event {
	if name == "" || !k.SettingBool("adopt_legacy_titles") {
		return nil
	}
	rows, err := k.exact("events", "title", name, "attributes,sources,type")
	if err != nil {
		k.GiveUp(err)
	}
	var legacy *Event
	for _, row := range rows {
		event := eventOf(row)
		if len(event.values(attributeIncidentURL)) > 0 || !isIncidentType(row) || !hasSource(row, k.Source) {
			continue
		}
		if legacy != nil {
			k.Log("more than one event has the title of incident " + id(k.IncidentID) + "; none is adopted")
			return nil
		}
		legacy = event
	}
	return legacy
}

func hasSource(row jsonvalue.Value, name string) bool {
	for source := range row.Get("sources").Items() {
		if strings.EqualFold(source.Get("name").Text(), name) {
			return true
		}
	}
	return false
}

func (k *Kit) adopt(event *Event, incident Incident, wanted []Attribute) *Event {
	event.Adopted = true
	k.UpdateEvent(event, incident)
	_, problems := k.syncAttributes(eventPath(event.ID), wanted, nil)
	for _, problem := range problems {
		k.Log("event " + id(event.ID) + ": " + problem)
	}
	return event
}

// UpdateEvent writes title and description where they differ. The server cleans
// markup, so descriptions are compared by their plain text. The time of the
// event stays: it may be part of its identity.
func (k *Kit) UpdateEvent(event *Event, incident Incident) (changed bool) {
	var title, description any = jsonvalue.Omit, jsonvalue.Omit
	if t := eventTitle(k.IncidentID, incident.Name()); !sameText(t, event.Title) {
		title, event.Title, changed = t, t, true
	}
	if d := k.eventDescription(incident); !text.SameDescription(d, event.Description) {
		description, event.Description, changed = d, d, true
	}
	if changed {
		k.must(write("PUT", eventPath(event.ID), jsonvalue.Obj("title", title, "description", description), true))
	}
	return changed
}

// MarkDeleted records on the event that the incident was deleted; nothing else
// in ThreatQ changes. It returns nil when there is no event.
func (k *Kit) MarkDeleted() *Event {
	event := k.FindEvent()
	if event == nil {
		return nil
	}
	_, problems := k.syncAttributes(eventPath(event.ID), []Attribute{{Name: attributeStatus, Values: []string{"Deleted"}}}, nil)
	if len(problems) > 0 {
		k.Fail(abi.CodeHTTP, "Event "+id(event.ID)+" could not be marked as deleted: "+clauses(problems))
	}
	return event
}
