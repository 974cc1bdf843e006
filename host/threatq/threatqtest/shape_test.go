package threatqtest_test

import (
	"slices"
	"strings"
)

// shape gives the JSON types that were seen under each path; elements of lists share one path.
func shape(v any) map[string][]string {
	out := map[string][]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		kind := ""
		switch v := v.(type) {
		case nil:
			kind = "null"
		case bool:
			kind = "boolean"
		case float64:
			kind = "number"
		case string:
			kind = "string"
		case []any:
			kind = "list"
			for _, e := range v {
				walk(path+"[]", e)
			}
		case map[string]any:
			kind = "object"
			for key, e := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), e)
			}
		}
		if !slices.Contains(out[path], kind) {
			out[path] = append(out[path], kind)
		}
	}
	walk("", v)
	return out
}

func compatible(want, have []string) bool {
	for _, w := range want {
		for _, h := range have {
			if w == h || w == "null" || h == "null" {
				return true
			}
		}
	}
	return false
}

// covered says whether the path or one of its parents is listed.
func covered(path string, list []string) bool {
	for _, p := range list {
		if path == p || strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[") {
			return true
		}
	}
	return false
}

// underNull says that the recording shows null or an empty list where the simulator has content.
func underNull(path string, want map[string][]string) bool {
	for p, kinds := range want {
		if slices.Contains(kinds, "null") && strings.HasPrefix(path, p+".") {
			return true
		}
		if slices.Contains(kinds, "list") && want[p+"[]"] == nil && strings.HasPrefix(path, p+"[]") {
			return true
		}
	}
	return false
}
