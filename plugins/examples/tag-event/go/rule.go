// Package tagevent is the rule ThreatQ: Tag Event in Go. For the others see the
// folders beside it.
package tagevent

import (
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_tag_event": tagEvent}
}

func tagEvent(a *guest.Action) guest.Reply {
	incident := strconv.FormatInt(a.IncidentID, 10)
	key := "Resilient #" + incident + ": " // which Sync Incident begins the event's title with
	reading := a.Start(guest.Call{Service: abi.Resilient, Method: "GET", Path: "/incidents/" + incident,
		Query: guest.Query{"handle_format": "names"}, Idempotent: true})
	looking := a.Start(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/events",
		Query: guest.Query{"title": key + "%", "with": "tags", "limit": "100", "sort": "id"}, Idempotent: true})
	read := reading.Wait()
	if read.NotFound() {
		a.Fail(abi.CodeNotFound, "Incident "+incident+" no longer exists.")
	}
	stopUnlessOK(a, "SOAR", read)
	found := looking.Wait()
	stopUnlessOK(a, "ThreatQ", found)

	workspace := read.Body.Get("workspace").Text()
	if workspace == "" {
		return guest.Done("Incident " + incident + " has no workspace: nothing was tagged.")
	}
	event, tagged := eventOf(found.Body, key, workspace)
	switch {
	case event == "":
		return guest.Failed("ThreatQ has no event for incident " + incident + ": run ThreatQ: Sync Incident first.")
	case tagged:
		return guest.Done("ThreatQ event " + event + ` bears the tag "` + workspace + `" already.`)
	}
	// Not idempotent: whether ThreatQ keeps a tag that it has twice is not known.
	stopUnlessOK(a, "ThreatQ", a.Do(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events/" + event + "/tags",
		Body: jsonvalue.Obj("name", workspace)}))
	done := "ThreatQ event " + event + ` was tagged "` + workspace + `"`
	note := a.Do(guest.Call{Service: abi.Resilient, Method: "POST", Path: "/incidents/" + incident + "/comments",
		Body: jsonvalue.Obj("text", jsonvalue.Obj("format", "text",
			"content", done+": "+a.Site.ThreatQURL+"/events/"+event+"/details"))})
	if !note.OK() {
		return guest.Failed(done + ", but the note could not be added: " + note.Err.Message)
	}
	return guest.Done(done + ", and a note tells of it.")
}

// eventOf is the id of the incident's event, and whether it bears the tag.
func eventOf(list jsonvalue.Value, key, tag string) (id string, tagged bool) {
	for event := range list.Get("data").Items() {
		if event.Get("id").Kind() != jsonvalue.Number || !event.Get("deleted_at").IsNull() || !strings.HasPrefix(event.Get("title").Text(), key) {
			continue
		}
		for t := range event.Get("tags").Items() {
			// A text in answers to a query, an object elsewhere.
			if t.Kind() == jsonvalue.Object {
				t = t.Get("name")
			}
			tagged = tagged || t.Text() == tag
		}
		return event.Get("id").Text(), tagged
	}
	return "", false
}

// stopUnlessOK ends the action when a call failed. What may pass may be tried
// again: this rule looks before it writes.
func stopUnlessOK(a *guest.Action, service string, r guest.Result) {
	if r.OK() {
		return
	}
	message := service + ": " + r.Err.Message
	if r.Err.Code == abi.CodeUnreachable || r.Err.Code == abi.CodeUnknown || r.Status == 429 || r.Status >= 500 {
		a.Retry(r.Err.Code, message)
	}
	a.Fail(r.Err.Code, message)
}
