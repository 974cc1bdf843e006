package threatqtest

import (
	"encoding/json"
	"strconv"
)

// fields is one JSON object of a request. Numbers may come as text everywhere.
type fields map[string]any

func (f fields) has(key string) bool { _, ok := f[key]; return ok }

// text reads a string or a number; everything else is empty.
func (f fields) text(key string) string { return asText(f[key]) }

func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		return ""
	}
}

func (f fields) number(key string) (int, bool) { return asNumber(f[key]) }

func asNumber(v any) (int, bool) {
	n, err := strconv.Atoi(asText(v))
	return n, err == nil
}

// name reads a name that is written "X" or {"name":"X"}, and an id that is written {"id":1}.
func (f fields) name(key string) (name string, id int) {
	if m, ok := f[key].(map[string]any); ok {
		id, _ := asNumber(m["id"])
		return asText(m["name"]), id
	}
	return f.text(key), 0
}

// list reads an object or a list of objects below key.
func (f fields) list(key string) []fields {
	items, _ := asItems(f[key])
	return items
}

func asItems(v any) ([]fields, bool) {
	switch v := v.(type) {
	case map[string]any:
		return []fields{v}, true
	case []any:
		items := make([]fields, 0, len(v))
		for _, element := range v {
			m, ok := element.(map[string]any)
			if !ok {
				return nil, false
			}
			items = append(items, m)
		}
		return items, true
	default:
		return nil, false
	}
}
