package sightings

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

const (
	expired     = "Expired"
	whitelisted = "Whitelisted"
)

// expireIndicator gives the artifact's indicators the status Expired.
func expireIndicator(a *guest.Action) guest.Reply {
	value := artifactValue(a)
	indicators := lookUp(a, value, "")
	statuses := a.Start(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/indicator/statuses",
		Query: guest.Query{"limit": "500"}, Idempotent: true})
	found := known(a, indicators.Wait(), value)
	if len(found) == 0 {
		return guest.Failed(notKnown(value))
	}
	status := statusID(statuses.Wait())
	type change struct {
		indicator
		pending *guest.Pending
	}
	var changes []change
	var lines, problems []string
	for _, i := range found {
		switch {
		case strings.EqualFold(i.status, expired):
			lines = append(lines, i.name(value)+" is expired already")
		case strings.EqualFold(i.status, whitelisted):
			lines = append(lines, i.name(value)+" is whitelisted and stays so")
		default:
			changes = append(changes, change{i, a.Start(guest.Call{Service: abi.ThreatQ, Method: "PUT", Path: "/api/indicators/" + id(i.id),
				Body: jsonvalue.Obj("status_id", status), Idempotent: true})})
		}
	}
	for _, c := range changes {
		if result := c.pending.Wait(); result.OK() {
			lines = append(lines, c.name(value)+" expired (was "+c.status+")")
		} else {
			problems = append(problems, c.name(value)+": "+strings.TrimSuffix(result.Err.Error(), "."))
		}
	}
	message := strings.Join(append(lines, problems...), "; ") + "."
	if len(problems) > 0 {
		return guest.Failed(message)
	}
	return guest.Done(message)
}

// defaultExpired is the id that every known installation has (contract: indicator
// statuses); it counts where the account may not read the list.
const defaultExpired = 2

func statusID(list guest.Result) int64 {
	for row := range list.Body.Get("data").Items() {
		if strings.EqualFold(row.Get("name").Text(), expired) && row.Get("id").Int() > 0 {
			return row.Get("id").Int()
		}
	}
	return defaultExpired
}
