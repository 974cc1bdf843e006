package kit

import (
	"maps"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Paging (contract: paging).
const (
	pageRows      = 500
	smallPageRows = 25
	maxPages      = 100
)

func get(service, path string, query guest.Query) guest.Call {
	return guest.Call{Service: service, Method: "GET", Path: path, Query: query, Idempotent: true}
}

func write(method, path string, body jsonvalue.Raw, idempotent bool) guest.Call {
	return guest.Call{Service: abi.ThreatQ, Method: method, Path: path, Body: body, Idempotent: idempotent}
}

// do performs a call side by side with those of other strands. A failure of the
// service itself (login, connection) ends the action: nothing else would work.
// A text that the server refused is sent once more without the runes that need
// four bytes, which not every server can store (contract: text, time, sizes).
func (k *Kit) do(c guest.Call) guest.Result {
	result := k.wait(k.Start(c))
	if result.Err == nil || c.Body == nil || !refusesText(result.Err, c.Idempotent) {
		return result
	}
	plain := text.ReplaceAstral(string(c.Body))
	if plain == string(c.Body) {
		return result
	}
	c.Body = jsonvalue.Raw(plain)
	return k.wait(k.Start(c))
}

func (k *Kit) wait(p *guest.Pending) guest.Result {
	k.pause()
	result := p.Wait()
	if err := result.Err; err != nil && err.Code != abi.CodeHTTP && err.Code != abi.CodeUnknown && err.Code != abi.CodeTooLarge {
		k.FailWith(err)
	}
	return result
}

// mayHaveActed reports whether the server may have done what it gave no good
// answer to: we look then, and try once more at most.
func mayHaveActed(err *guest.CallError) bool {
	return err != nil && (err.Code == abi.CodeUnknown || err.Status >= 500)
}

// refusesText reports whether the text may be what the server could not take.
// An outcome that is unknown must not be repeated blindly.
func refusesText(err *guest.CallError, idempotent bool) bool {
	switch err.Status {
	case 400, 409, 422:
		return true
	case 500:
		return idempotent
	}
	return false
}

// must performs a call that the action cannot do without.
func (k *Kit) must(c guest.Call) guest.Result {
	result := k.do(c)
	if result.Err != nil {
		k.GiveUp(result.Err)
	}
	return result
}

// GiveUp ends the action with an error that says what the person can do.
func (k *Kit) GiveUp(err *guest.CallError) {
	switch err.Status {
	case 403:
		k.Fail(abi.CodeForbidden, advised(err.Error(), "Give the integration's "+serviceName(err.Service)+" account the right to do this."))
	case 404:
		k.Fail(abi.CodeNotFound, err.Error())
	}
	k.FailWith(err)
}

func serviceName(service string) string {
	if service == abi.Resilient {
		return "SOAR"
	}
	return "ThreatQ"
}

// rows reads a list to its end.
func (k *Kit) rows(path, with string) ([]jsonvalue.Value, *guest.CallError) {
	query := guest.Query{"sort": "id"}
	if with != "" {
		query["with"] = with
	}
	return k.pages(path, query)
}

// pages reads a list with filters to its end. Pages come one after the other,
// because only a page tells whether there is a next one. Rows with long texts
// may not fit into an answer; smaller pages are asked for then.
func (k *Kit) pages(path string, query guest.Query) ([]jsonvalue.Value, *guest.CallError) {
	var all []jsonvalue.Value
	size := pageRows
	for page := 0; page < maxPages; page++ {
		query := maps.Clone(query)
		query["limit"], query["offset"] = strconv.Itoa(size), strconv.Itoa(len(all))
		result := k.do(get(abi.ThreatQ, path, query))
		if result.Err != nil && result.Err.Code == abi.CodeTooLarge && size > smallPageRows {
			size = smallPageRows
			continue
		}
		if result.Err != nil {
			return nil, result.Err
		}
		before := len(all)
		for row := range result.Body.Get("data").Items() {
			all = append(all, row)
		}
		total := result.Body.Get("total")
		switch got := len(all) - before; {
		case got == 0, total.Exists() && int64(len(all)) >= total.Int(), !total.Exists() && got < size:
			return all, nil
		}
	}
	k.Log("ThreatQ " + path + ": stopped reading after " + strconv.Itoa(len(all)) + " rows")
	return all, nil
}

// exact looks rows up by the value of one field. The server reads % and , in a
// filter as wildcard and separator (contract: filters on list endpoints), so the
// answer is searched here: rows that match exactly, else without case.
func (k *Kit) exact(collection, field, value, with string) ([]jsonvalue.Value, *guest.CallError) {
	var fold []jsonvalue.Value
	for offset, page := 0, 0; page < maxPages; page++ {
		result := k.do(lookUp(collection, field, value, with, offset))
		if result.Err != nil {
			return nil, result.Err
		}
		var same []jsonvalue.Value
		got := 0
		for row := range result.Body.Get("data").Items() {
			got++
			if !row.Get("deleted_at").IsNull() {
				continue
			}
			switch stored := row.Get(field).Text(); {
			case sameText(value, stored):
				same = append(same, row)
			case strings.EqualFold(stored, value):
				fold = append(fold, row)
			}
		}
		offset += got
		if len(same) > 0 {
			return same, nil
		}
		if total := result.Body.Get("total"); got == 0 || !total.Exists() && got < lookUpRows || total.Exists() && int64(offset) >= total.Int() {
			break
		}
	}
	return fold, nil
}

const lookUpRows = 100

func lookUp(collection, field, value, with string, offset int) guest.Call {
	query := guest.Query{"limit": strconv.Itoa(lookUpRows), "offset": strconv.Itoa(offset), "sort": "id"}
	if with != "" {
		query["with"] = with
	}
	before, _, comma := strings.Cut(value, ",")
	if comma && before == "" {
		// Nothing stands before the comma: only the query language can ask.
		body := jsonvalue.Obj("criteria", jsonvalue.Obj(), "filters",
			jsonvalue.Obj("+and", jsonvalue.Arr(jsonvalue.Obj(field, jsonvalue.Obj("is", value)))))
		c := write("POST", "/api/"+collection+"/query", body, true)
		c.Query = query
		return c
	}
	query[field] = value
	if comma {
		query[field] = before + "%"
	}
	return get(abi.ThreatQ, "/api/"+collection, query)
}

// sameText compares what we want with what is stored, which may have lost the
// runes that the server cannot store.
func sameText(wanted, stored string) bool {
	return wanted == stored || text.ReplaceAstral(wanted) == stored
}

// ID writes an id.
func ID(n int64) string { return strconv.FormatInt(n, 10) }

func id(n int64) string { return ID(n) }

func quote(s string) string { return `"` + s + `"` }

// created is the object in the answer of a create call, which may come as an
// object or as a list of one.
func created(body jsonvalue.Value) jsonvalue.Value {
	for row := range body.Get("data").Items() {
		return row
	}
	return jsonvalue.Value{}
}
