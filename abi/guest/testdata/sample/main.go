// A small module that uses the SDK as real ones do: for the test of what it
// links, and for measuring.
package main

import (
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

func main() {}

func init() {
	guest.Register("threatq_sync_incident", syncIncident)
	guest.Register("threatq_panic", func(*guest.Action) guest.Reply { panic("the event has no id") })
}

// syncIncident reads an incident and its event, and renames or creates the event.
func syncIncident(a *guest.Action) guest.Reply {
	id := strconv.FormatInt(a.IncidentID, 10)
	incident := a.Start(guest.Call{Service: abi.Resilient, Method: "GET", Path: "/incidents/" + id,
		Query: guest.Query{"handle_format": "names"}, Idempotent: true})
	events := a.Start(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/events",
		Query: guest.Query{"title": "SOAR " + id + "%", "limit": "10"}, Idempotent: true})
	body := jsonvalue.Obj(
		"title", "SOAR "+id+": "+incident.Wait().Body.Get("name").Text(),
		"description", incident.Wait().Body.Get("description"),
		"type", "Incident",
		"happened_at", a.Now)
	for event := range events.Wait().Body.Get("data").Items() {
		eventID := event.Get("id").Text()
		a.Must(guest.Call{Service: abi.ThreatQ, Method: "PUT", Path: "/api/events/" + eventID, Body: body, Idempotent: true})
		return guest.Done("Synced to ThreatQ event " + eventID + ".")
	}
	a.Progress("Creating the event")
	created := a.Must(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events", Body: body})
	return guest.Done("Created ThreatQ event " + created.Body.Get("data", "id").Text() + ".")
}
