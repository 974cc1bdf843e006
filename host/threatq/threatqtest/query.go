package threatqtest

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// queryObjects answers POST /{collection}/query, the search of the Threat Library.
func (s *Server) queryObjects(c *call, k *kind) reply {
	f, ok := c.item()
	if !ok {
		return badBody()
	}
	now := s.opts.Now()
	var found []*object
	for _, o := range s.store.tables[k].rows {
		if now.Sub(o.born) < s.opts.QueryLag || o.deleted != "" {
			continue
		}
		keep := true
		for _, part := range []string{"criteria", "filters"} {
			if f[part] == nil {
				continue
			}
			match, ok := s.store.satisfies(o, f[part])
			if !ok {
				return s.invalid(part, "The "+part+" cannot be read.")
			}
			keep = keep && match
		}
		if keep {
			found = append(found, o)
		}
	}
	s.store.sortObjects(found, c.query.Get("sort"))

	query := c.query
	cursor := query.Get("cursorMark")
	if cursor != "" {
		offset, ok := readCursor(cursor)
		if !ok || query.Has("offset") || !query.Has("sort") {
			return s.invalid("cursorMark", "A cursor needs a sort order and no offset.")
		}
		query.Set("offset", strconv.Itoa(offset))
	}
	from, to := s.window(query, len(found))
	rows := make([]row, 0, to-from)
	for _, o := range found[from:to] {
		rows = append(rows, s.store.queryRow(o, s.queryParts(f)))
	}
	body := row{"data": rows, "limit": to - from, "offset": from, "total": len(found)}
	if n, err := strconv.Atoi(query.Get("limit")); err == nil {
		body["limit"] = n
	}
	if cursor != "" {
		delete(body, "offset")
		body["nextCursorMark"] = cursorAt(to)
	}
	return reply{status: http.StatusOK, body: body}
}

func cursorAt(offset int) string {
	return base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(offset)))
}

func readCursor(cursor string) (int, bool) {
	if cursor == "*" {
		return 0, true
	}
	b, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(b))
	return n, err == nil && n >= 0
}

// queryParts says whether attributes and sources are shown.
func (s *Server) queryParts(f fields) (show func(part string) bool) {
	if !s.opts.QueryOmitsParts {
		return func(string) bool { return true }
	}
	wanted, _ := f["fields"].([]any)
	return func(part string) bool {
		for _, w := range wanted {
			if strings.HasPrefix(asText(w), part+".") {
				return true
			}
		}
		return false
	}
}

// satisfies reads the filter language: {"+and":[…]}, {"+or":[…]}, {"FIELD":VALUE}, {"FIELD":{"OP":VALUE}}.
// All keys of one object must hold.
func (st *store) satisfies(o *object, filter any) (match, ok bool) {
	m, isMap := filter.(map[string]any)
	if !isMap {
		list, isList := filter.([]any)
		return true, isList && len(list) == 0 // PHP writes an empty map as []
	}
	match = true
	for key, value := range m {
		var holds bool
		switch key {
		case "+and", "+or":
			list, isList := value.([]any)
			if !isList {
				return false, false
			}
			holds = key == "+and"
			for _, element := range list {
				one, ok := st.satisfies(o, element)
				if !ok {
					return false, false
				}
				if key == "+and" {
					holds = holds && one
				} else {
					holds = holds || one
				}
			}
		default:
			if holds, ok = st.leaf(o, key, value); !ok {
				return false, false
			}
		}
		match = match && holds
	}
	return match, true
}

func (st *store) leaf(o *object, field string, value any) (match, ok bool) {
	have, ok := st.queryField(o, field)
	if !ok {
		return false, false
	}
	operators, isMap := value.(map[string]any)
	if !isMap {
		operators = map[string]any{"is": value}
	}
	match = true
	for op, wanted := range operators {
		want := strings.ToLower(plain(wanted))
		switch op {
		case "is":
			match = match && have == want
		case "+contains":
			match = match && strings.Contains(have, want)
		case "+gte":
			match = match && compareText(have, want) >= 0
		case "+lte":
			match = match && compareText(have, want) <= 0
		default:
			return false, false
		}
	}
	return match, true
}

func compareText(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(a, b)
}

// queryField gives a field in lower case.
func (st *store) queryField(o *object, field string) (string, bool) {
	switch field {
	case o.kind.nameField:
		return o.lower, true
	case "type_name":
		if l := byID(st.types(o.kind), o.typeID); l != nil {
			return strings.ToLower(l.name), true
		}
		return "", true
	case "status_name":
		if l := byID(st.statuses, o.statusID); l != nil && o.kind.collection == "indicators" {
			return strings.ToLower(l.name), true
		}
		return "", true
	case "score":
		if o.score == nil {
			return "0", true
		}
		return asText(o.score), true
	case "mentions":
		return o.lower + "\n" + strings.ToLower(plain(o.fields["description"])), true
	case "id", "created_at", "updated_at", "touched_at", "happened_at", "description":
		return strings.ToLower(plain(st.record(o)[field])), true
	}
	return "", false
}

// queryRow is an object as the search index shows it: score is a number, sources are flat, tags are texts.
func (st *store) queryRow(o *object, show func(part string) bool) row {
	r := st.record(o)
	for _, key := range []string{"expires_needs_calc", "last_detected_at", "expires_at", "expired_at", "expires_calculated_at"} {
		delete(r, key)
	}
	r["published_at"] = o.created
	if show("attributes") {
		r["attributes"] = st.attributeRows(o, attributeForm{})
	}
	if show("sources") {
		r["sources"] = st.flatSourceRows(o)
	}
	tags := make([]string, 0, len(o.tags))
	for _, t := range o.tags {
		tags = append(tags, t.name)
	}
	r["tags"] = tags
	comments := make([]row, 0, len(o.comments))
	for _, c := range o.comments {
		cr := st.commentRow(o, c)
		cr["source_name"] = st.account.name
		comments = append(comments, cr)
	}
	r["comments"] = comments
	if l := byID(st.types(o.kind), o.typeID); l != nil {
		r["type"] = row{"id": l.id, "name": l.name}
		if l.class != "" {
			r["type"].(row)["class"] = l.class
		}
	}
	if o.kind.collection == "indicators" {
		st.expandOne(r, o, "adversaries")
		l := byID(st.statuses, o.statusID)
		r["status"] = row{"id": l.id, "name": l.name, "description": l.extra["description"]}
		r["score"] = 0
		if n, err := strconv.Atoi(asText(o.score)); err == nil {
			r["score"] = n
		}
	}
	return r
}
