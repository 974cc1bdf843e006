package sightings

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// reportSighting makes an event for the time and the artifact, or finds it, and
// links it to the indicators.
func reportSighting(a *guest.Action) guest.Reply {
	seen := a.Now
	if at := a.Field("sightings_seen_at"); at.Kind() == jsonvalue.Number {
		seen = at.Int()
	}
	happened := timestamp(seen)
	// No text of users stands in it, so it can be looked for; the same report has
	// the same key.
	key := "SOAR sighting " + id(a.IncidentID) + "/" + id(a.ArtifactID) + " at " + happened + ": "
	look := func() *guest.Pending {
		return a.Start(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/events",
			Query: guest.Query{"title": key + "%", "limit": "10", "sort": "id"}, Idempotent: true})
	}
	value := artifactValue(a)
	indicators, events := lookUp(a, value, ""), look()
	found := known(a, indicators.Wait(), value)
	event := eventOf(a, events.Wait(), key)
	if len(found) == 0 {
		return guest.Failed(notKnown(value))
	}
	done := "was reported already"
	if event == "" {
		done = "was reported"
		if event = create(a, key+value, happened); event == "" {
			// The answer was lost: the event may be there.
			if event = eventOf(a, look().Wait(), key); event == "" {
				a.Retry(abi.CodeUnknown, "ThreatQ gave no answer to the report of "+value+", and does not show it: try again.")
			}
		}
	}
	var links []jsonvalue.Raw
	var names []string
	for _, i := range found {
		links = append(links, jsonvalue.Obj("id", i.id))
		names = append(names, i.name(value))
	}
	// Linking again gives the link that is there (contract: links).
	a.Must(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events/" + event + "/indicators", Body: jsonvalue.Arr(links), Idempotent: true})
	return guest.Done("The sighting of " + value + " at " + happened + " UTC " + done + ": ThreatQ event " + event + ", linked to " +
		strings.Join(names, ", ") + ".")
}

// create makes the event; its id is empty when the answer was lost.
func create(a *guest.Action, title, happened string) string {
	incident := a.Site.ResilientURL + "/#incidents/" + id(a.IncidentID) + "?orgId=" + id(a.Site.OrgID)
	attributes := []jsonvalue.Raw{jsonvalue.Obj("name", "SOAR Incident URL", "value", incident)}
	if on := strings.TrimSpace(a.Field("sightings_seen_on").Text()); on != "" {
		attributes = append(attributes, jsonvalue.Obj("name", "Seen On", "value", on))
	}
	created := a.Do(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events", Body: jsonvalue.Obj(
		"title", title, "type", "Sighting", "happened_at", happened,
		"sources", jsonvalue.Arr(jsonvalue.Obj("name", a.Setting("custom_source"))),
		"attributes", jsonvalue.Arr(attributes))})
	switch {
	case created.OK() && created.Body.Get("data", "id").Kind() == jsonvalue.Number:
		return created.Body.Get("data", "id").Text()
	case created.OK() || created.Err.Code == abi.CodeUnknown:
		return ""
	}
	a.FailWith(created.Err)
	return ""
}

// eventOf is the id of the event whose title begins with the key; empty for none.
func eventOf(a *guest.Action, found guest.Result, key string) string {
	if !found.OK() {
		a.FailWith(found.Err)
	}
	for row := range found.Body.Get("data").Items() {
		if row.Get("id").Kind() == jsonvalue.Number && strings.HasPrefix(row.Get("title").Text(), key) && row.Get("deleted_at").IsNull() {
			return row.Get("id").Text()
		}
	}
	return ""
}
