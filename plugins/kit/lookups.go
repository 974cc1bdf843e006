package kit

import (
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// names is one of ThreatQ's look-up tables. Ids differ between installations,
// so everything is found by name.
type names struct {
	// readable is false when the account's role may not see the table: the
	// server answers {} then, and names are sent instead of ids.
	readable bool
	rows     []named
}

type named struct {
	id   int64
	name string
}

// id returns 0 for a name that the table does not have.
func (n names) id(name string) int64 {
	for _, row := range n.rows {
		if strings.EqualFold(row.name, name) {
			return row.id
		}
	}
	return 0
}

func (n names) name(id int64) string {
	for _, row := range n.rows {
		if row.id == id {
			return row.name
		}
	}
	return ""
}

func (n names) list() []string {
	list := make([]string, 0, len(n.rows))
	for _, row := range n.rows {
		list = append(list, row.name)
	}
	slices.Sort(list)
	return list
}

// table reads a look-up table once per action. A table that was read whole has
// all names.
func (k *Kit) table(path string, query guest.Query) names {
	key := path + "?" + query["name"]
	for _, key := range []string{path + "?", key} {
		if n, ok := k.known[key]; ok {
			return n
		}
	}
	n := namesOf(k.must(get(abi.ThreatQ, path, query)).Body)
	k.weakRole = k.weakRole || !n.readable
	k.known[key] = n
	return n
}

func namesOf(body jsonvalue.Value) names {
	data := body.Get("data")
	n := names{readable: data.Exists()}
	for row := range data.Items() {
		n.rows = append(n.rows, named{row.Get("id").Int(), row.Get("name").Text()})
	}
	return n
}

func allRows() guest.Query { return guest.Query{"limit": "500", "offset": "0"} }

// indicatorTypes reads the types of the given names, or all for none. One type
// is asked for by name: the whole table has 8 KB, which every later turn would
// carry along. A server that ignores the filter does no harm.
func (k *Kit) indicatorTypes(wanted ...string) names {
	query := allRows()
	slices.Sort(wanted)
	if wanted = slices.Compact(wanted); len(wanted) == 1 {
		query["name"] = wanted[0]
	}
	return k.table("/api/indicator/types", query)
}

func (k *Kit) indicatorStatuses() names {
	statuses := k.table("/api/indicator/statuses", allRows())
	if !statuses.readable {
		// The five that ship with ThreatQ have the same ids everywhere
		// (contract: indicator statuses).
		statuses.rows = []named{{1, "Active"}, {2, "Expired"}, {3, "Indirect"}, {4, "Review"}, {5, "Whitelisted"}}
	}
	return statuses
}

// status checks a status that is about to be written.
func (k *Kit) status(statuses names, name string) {
	if statuses.readable && statuses.id(name) == 0 {
		k.Fail(abi.CodeInput, "ThreatQ has no indicator status "+quote(name)+"; it has "+strings.Join(statuses.list(), ", ")+".")
	}
}

func (k *Kit) eventTypes() names { return k.table("/api/event/types", allRows()) }

// incidentType is the id of the event type Incident, which is made when it is
// missing; 0 when the types cannot be read.
func (k *Kit) incidentType() int64 {
	types := k.eventTypes()
	if !types.readable {
		return 0
	}
	if id := types.id(incidentTypeName); id != 0 {
		return id
	}
	for last := false; ; last = true {
		made := k.do(write("POST", "/api/event/types", jsonvalue.Obj("name", incidentTypeName), false))
		if made.Err == nil {
			return created(made.Body).Get("id").Int()
		}
		if made.Err.Status != 403 {
			// We may have made it and not been told, or another host did.
			types = namesOf(k.must(get(abi.ThreatQ, "/api/event/types", allRows())).Body)
			if id := types.id(incidentTypeName); id != 0 {
				return id
			}
		}
		if last || !mayHaveActed(made.Err) {
			k.Fail(made.Err.Code, advised("ThreatQ has no event type Incident, and it could not be made: "+made.Err.Error(),
				"Ask a ThreatQ administrator to add the event type."))
		}
	}
}
