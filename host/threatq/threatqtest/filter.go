package threatqtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLimit is the largest page any client has been seen to get.
const maxLimit = 1000

// like is SQL LIKE: % stands for any text, _ for one character. Both sides are in lower case already,
// because the database compares without case.
func like(pattern, text string) bool {
	p, t := 0, 0
	star, resume := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '%':
			star, resume = p, t
			p++
		case p < len(pattern) && pattern[p] == '_':
			_, size := utf8.DecodeRuneInString(text[t:])
			p, t = p+1, t+size
		case p < len(pattern) && pattern[p] == text[t]:
			p, t = p+1, t+1
		case star >= 0:
			_, size := utf8.DecodeRuneInString(text[resume:])
			resume += size
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "%") == ""
}

// condition is one FIELD=VALUE of a list: commas separate alternatives.
type condition struct {
	field    string
	patterns []string
}

func (c condition) matches(text string) bool {
	for _, p := range c.patterns {
		if like(p, text) {
			return true
		}
	}
	return false
}

var reservedParameters = map[string]bool{"with": true, "limit": true, "offset": true, "sort": true, "fields": true}

// filterable are the fields that a list may be filtered by, besides the name field.
var filterable = map[string]bool{
	"id": true, "type_id": true, "status_id": true, "hash": true, "class": true, "title": true, "description": true,
	"happened_at": true, "priority": true, "created_at": true, "updated_at": true,
}

// conditions refuses unknown fields: whether a real server ignores them is not known, and a misspelt filter
// that is ignored would look like a match of everything.
func (k *kind) conditions(query url.Values) ([]condition, string) {
	var out []condition
	for field, values := range query {
		if reservedParameters[field] {
			continue
		}
		if field != k.nameField && !filterable[field] {
			return nil, field
		}
		out = append(out, condition{field, strings.Split(strings.ToLower(values[0]), ",")})
	}
	return out, ""
}

// find lists the objects that meet all conditions, by id.
func (st *store) find(k *kind, conditions []condition) []*object {
	t := st.tables[k]
	candidates, prefix := t.rows, ""
	for _, c := range conditions {
		if c.field != k.nameField || len(c.patterns) != 1 {
			continue
		}
		// Titles of many events begin alike: the fixed beginning sorts out nearly all rows cheaply.
		wildcard := strings.IndexAny(c.patterns[0], "%_")
		if wildcard >= 0 {
			prefix = c.patterns[0][:wildcard]
			continue
		}
		candidates = slices.Clone(t.byName[c.patterns[0]])
		slices.SortFunc(candidates, func(a, b *object) int { return a.id - b.id })
	}
	var found []*object
	for _, o := range candidates {
		if strings.HasPrefix(o.lower, prefix) && st.meets(o, conditions) {
			found = append(found, o)
		}
	}
	return found
}

func (st *store) meets(o *object, conditions []condition) bool {
	for _, c := range conditions {
		var text string
		switch c.field {
		case o.kind.nameField:
			text = o.lower
		case "id":
			text = strconv.Itoa(o.id)
		case "type_id":
			text = strconv.Itoa(o.typeID)
		case "status_id":
			text = strconv.Itoa(o.statusID)
		default:
			text = strings.ToLower(plain(st.record(o)[c.field]))
		}
		if !c.matches(text) {
			return false
		}
	}
	return true
}

func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// sortObjects sorts by "field,-field"; unknown names are ignored, and equal objects stay in order of id.
func (st *store) sortObjects(objects []*object, order string) {
	if order == "" || order == "id" {
		return
	}
	keys := map[*object]row{}
	for _, o := range objects {
		keys[o] = st.record(o)
	}
	slices.SortStableFunc(objects, func(a, b *object) int {
		return compareBy(order, keys[a], keys[b])
	})
}

func compareBy(order string, a, b row) int {
	for _, field := range strings.Split(order, ",") {
		field, down := strings.CutPrefix(field, "-")
		result := 0
		if x, ok := a[field].(int); ok {
			y, _ := b[field].(int)
			result = cmp.Compare(x, y)
		} else {
			result = cmp.Compare(strings.ToLower(plain(a[field])), strings.ToLower(plain(b[field])))
		}
		if down {
			result = -result
		}
		if result != 0 {
			return result
		}
	}
	return 0
}

// window is the page that limit and offset (counted in records) choose.
func (s *Server) window(query url.Values, total int) (from, to int) {
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 0 {
		limit = s.opts.DefaultLimit
	}
	offset, _ := strconv.Atoi(query.Get("offset"))
	from = min(max(offset, 0), total)
	return from, min(from+min(limit, maxLimit), total)
}
