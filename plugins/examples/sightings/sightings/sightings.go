// Package sightings is the module of the pack Sightings.
//
// A sighting is an event in ThreatQ that says when and where an indicator was
// seen. An indicator is known when ThreatQ has one of exactly that value that was
// not deleted; there may be several, of different types.
package sightings

import (
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// Rules are the rules and the function of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{
		"sightings_report_sighting":  reportSighting,
		"sightings_expire_indicator": expireIndicator,
		"sightings_check_indicator":  checkIndicator,
	}
}

func id(n int64) string { return strconv.FormatInt(n, 10) }

// artifactValue is the value of the action's artifact, read anew: the message has
// a snapshot.
func artifactValue(a *guest.Action) string {
	artifact := a.Do(guest.Call{Service: abi.Resilient, Method: "GET", Idempotent: true,
		Path:  "/incidents/" + id(a.IncidentID) + "/artifacts/" + id(a.ArtifactID),
		Query: guest.Query{"handle_format": "names"}})
	switch {
	case artifact.NotFound():
		a.Fail(abi.CodeNotFound, "The artifact no longer exists.")
	case !artifact.OK():
		a.FailWith(artifact.Err)
	}
	value := strings.TrimSpace(artifact.Body.Get("value").Text())
	if value == "" {
		a.Fail(abi.CodeInput, "The artifact has no value to look up.")
	}
	return value
}

// indicator is one that ThreatQ knows.
type indicator struct {
	id           int64
	kind, status string
	row          jsonvalue.Value
}

func (i indicator) name(value string) string { return i.kind + " " + value }

// lookUp starts to look for the indicators of a value. with are the parts of each
// that are wanted besides its type and status.
func lookUp(a *guest.Action, value, with string) *guest.Pending {
	query := guest.Query{"with": "type,status" + with, "limit": "100"}
	if !strings.ContainsAny(value, ",%") {
		query["value"] = value
		return a.Start(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/indicators", Query: query, Idempotent: true})
	}
	// In a query , and % are no plain text (contract: find by value).
	body := jsonvalue.Obj("criteria", jsonvalue.Obj(), "filters", jsonvalue.Obj("+and", jsonvalue.Arr(
		jsonvalue.Obj("value", jsonvalue.Obj("is", value)))))
	return a.Start(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/indicators/query", Query: query, Body: body, Idempotent: true})
}

// known are the indicators that a look-up found; it ends the action when the
// look-up failed.
func known(a *guest.Action, found guest.Result, value string) (list []indicator) {
	if !found.OK() {
		a.FailWith(found.Err)
	}
	for row := range found.Body.Get("data").Items() {
		i := indicator{id: row.Get("id").Int(), kind: named(row, "type"), status: named(row, "status"), row: row}
		if i.id > 0 && strings.EqualFold(row.Get("value").Text(), value) && row.Get("deleted_at").IsNull() {
			list = append(list, i)
		}
	}
	return list
}

// named is a type or status: an object in most answers, a name in those to a query.
func named(row jsonvalue.Value, what string) string {
	if v := row.Get(what); v.Kind() == jsonvalue.Object {
		return v.Get("name").Text()
	} else if v.Kind() == jsonvalue.String {
		return v.Text()
	}
	return row.Get(what + "_name").Text()
}

func notKnown(value string) string {
	return value + " is not known to ThreatQ: add it first (ThreatQ: Sync Indicator)."
}
