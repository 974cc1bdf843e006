package resilienttest

import (
	"cmp"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// row is an object in a search. Of a bulk only what differs from incident to incident is
// made before it is known which rows are answered.
type row struct {
	values Object
	base   Object // what values does not hold; nil for a stored object
	whole  func() Object
}

func (r row) object() Object {
	if r.whole == nil {
		return r.values
	}
	return r.whole()
}

func (r row) lookup(name string) any {
	if value := lookup(r.values, name); value != nil || r.base == nil {
		return value
	}
	return lookup(r.base, name)
}

func rowsOf(objects []Object) []row {
	rows := make([]row, len(objects))
	for i, o := range objects {
		rows[i].values = o
	}
	return rows
}

// visibleIncidents are the incidents that the account finds, by ascending id.
func (s *Server) visibleIncidents() []row {
	rows := append(rowsOf(s.state.list("incident", func(Object) bool { return true })), s.bulkRows()...)
	rows = slices.DeleteFunc(rows, func(r row) bool { return s.state.hidden[r.values["id"].(int64)] })
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.values["id"].(int64), b.values["id"].(int64)) })
	return rows
}

// queryPaged answers a query_paged call over the given rows: conditions of one filter
// are ANDed, filters are ORed.
func (s *Server) queryPaged(c *call, kind string, all []row, shape func(Object) Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	filters, _ := body["filters"].([]any)
	matched := []row{}
	for _, o := range all {
		yes, err := s.matchesAny(kind, o, filters)
		if err != nil {
			return fail(http.StatusBadRequest, err.Error())
		}
		if yes {
			matched = append(matched, o)
		}
	}
	sorts, _ := body["sorts"].([]any)
	slices.SortStableFunc(matched, func(a, b row) int {
		for _, item := range sorts {
			by, _ := item.(Object)
			name, _ := by["field_name"].(string)
			order := compare(a.lookup(name), b.lookup(name))
			if by["type"] == "desc" {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	found := len(matched)
	start, _ := body["start"].(int64)
	start = min(max(start, 0), int64(found))
	length, limited := body["length"].(int64)
	if !limited || length < 0 {
		length = int64(found)
	}
	if limit := s.options.MaxPageSize; limit > 0 {
		length = min(length, int64(limit))
	}
	page := matched[start:min(start+length, int64(found))]
	rows := []any{}
	for _, o := range page {
		rows = append(rows, shape(s.render(kind, o.object(), c.formats)))
	}
	return ok(Object{"recordsTotal": int64(len(all)), "recordsFiltered": int64(found), "data": rows})
}

func (s *Server) matchesAny(kind string, o row, filters []any) (bool, error) {
	if len(filters) == 0 {
		return true, nil
	}
	for _, item := range filters {
		filter, _ := item.(Object)
		conditions, _ := filter["conditions"].([]any)
		all := true
		for _, condition := range conditions {
			c, _ := condition.(Object)
			yes, err := s.matches(kind, o, c)
			if err != nil {
				return false, err
			}
			all = all && yes
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func (s *Server) matches(kind string, o row, condition Object) (bool, error) {
	name, _ := condition["field_name"].(string)
	method, _ := condition["method"].(string)
	value := o.lookup(name)
	if text, isText := value.(textValue); isText {
		value = text.Content
	}
	wanted := condition["value"]
	if s.world.field(kind, fieldNameInObject(name)) != nil {
		if id, known := s.resolveHandle(kind, fieldNameInObject(name), wanted); known {
			wanted = id
		}
	}
	equals := func(a any) bool { return reflect.DeepEqual(a, wanted) || contains(a, wanted) }
	switch method {
	case "equals":
		return equals(value), nil
	case "not_equals":
		return !equals(value), nil
	case "contains":
		return containsText(value, wanted), nil
	case "not_contains":
		return !containsText(value, wanted), nil
	case "in":
		return contains(wanted, value), nil
	case "not_in":
		return !contains(wanted, value), nil
	case "has_a_value":
		return !empty(value), nil
	case "not_has_a_value":
		return empty(value), nil
	case "gt", "gte", "lt", "lte":
		if value == nil || wanted == nil {
			return false, nil
		}
		order := compare(value, wanted)
		return order > 0 && method[0] == 'g' || order < 0 && method[0] == 'l' || order == 0 && len(method) == 3, nil
	}
	return false, fmt.Errorf("condition with unsupported method %q", method)
}

func lookup(o Object, name string) any {
	name = fieldNameInObject(name)
	if key, custom := strings.CutPrefix(name, "properties."); custom {
		properties, _ := o["properties"].(Object)
		return properties[key]
	}
	return o[name]
}

func contains(list, item any) bool {
	items, isList := list.([]any)
	return isList && slices.ContainsFunc(items, func(x any) bool { return reflect.DeepEqual(x, item) })
}

func containsText(value, part any) bool {
	text, isText := value.(string)
	wanted, _ := part.(string)
	if isText {
		return strings.Contains(strings.ToLower(text), strings.ToLower(wanted))
	}
	return contains(value, part)
}

func empty(value any) bool {
	list, isList := value.([]any)
	return value == nil || value == "" || isList && len(list) == 0
}

func compare(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, both := b.(int64); both {
			return cmp.Compare(a, b)
		}
	case string:
		if b, both := b.(string); both {
			return strings.Compare(a, b)
		}
	case nil:
		if b == nil {
			return 0
		}
		return -1
	}
	if b == nil {
		return 1
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}
