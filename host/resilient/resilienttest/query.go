package resilienttest

import (
	"cmp"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// queryPaged answers a query_paged call over the given objects: conditions of one filter
// are ANDed, filters are ORed.
func (s *Server) queryPaged(c *call, kind string, objects []Object, row func(Object) Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	filters, _ := body["filters"].([]any)
	matched := []Object{}
	for _, o := range objects {
		yes, err := s.matchesAny(kind, o, filters)
		if err != nil {
			return fail(http.StatusBadRequest, err.Error())
		}
		if yes {
			matched = append(matched, o)
		}
	}
	sorts, _ := body["sorts"].([]any)
	slices.SortStableFunc(matched, func(a, b Object) int {
		for _, item := range sorts {
			by, _ := item.(Object)
			name, _ := by["field_name"].(string)
			order := compare(lookup(a, name), lookup(b, name))
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
	page := matched[start:min(start+length, int64(found))]
	rows := []any{}
	for _, o := range page {
		rows = append(rows, row(s.render(kind, o, c.formats)))
	}
	return ok(Object{"recordsTotal": int64(len(objects)), "recordsFiltered": int64(found), "data": rows})
}

func (s *Server) matchesAny(kind string, o Object, filters []any) (bool, error) {
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

func (s *Server) matches(kind string, o, condition Object) (bool, error) {
	name, _ := condition["field_name"].(string)
	method, _ := condition["method"].(string)
	value := lookup(o, name)
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
