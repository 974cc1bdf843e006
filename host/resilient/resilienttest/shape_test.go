package resilienttest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	restSamples    = "../../../testdata/rest/resilient"
	messageSamples = "../../../testdata/messages"
)

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Clean(path))
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(data, &v))
	return v
}

// shapeDifferences lists where got lacks what want has: keys and JSON types. A null in
// want says nothing about the type. exact also reports keys that only got has.
func shapeDifferences(path string, want, got any, exact bool) []string {
	if want == nil {
		return nil
	}
	if kindOf(want) != kindOf(got) {
		return []string{fmt.Sprintf("%s: want %s, got %s", path, kindOf(want), kindOf(got))}
	}
	var out []string
	switch want := want.(type) {
	case map[string]any:
		got := got.(map[string]any)
		for key, value := range want {
			inner, has := got[key]
			if !has {
				out = append(out, path+"."+key+": missing")
				continue
			}
			out = append(out, shapeDifferences(path+"."+key, value, inner, exact)...)
		}
		if exact {
			for key := range got {
				if _, has := want[key]; !has {
					out = append(out, path+"."+key+": not in the sample")
				}
			}
		}
	case []any:
		got := got.([]any)
		if len(want) > 0 && len(got) == 0 {
			return []string{path + ": want items, got none"}
		}
		for i, item := range want {
			out = append(out, shapeDifferences(fmt.Sprintf("%s[%d]", path, i), item, got[min(i, len(got)-1)], exact)...)
		}
	}
	slices.Sort(out)
	return out
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "list"
	}
	return "object"
}

func TestShapeDifferences(t *testing.T) {
	want := map[string]any{"a": 1.0, "b": []any{map[string]any{"c": "x"}}, "d": nil}
	require.Empty(t, shapeDifferences("", want, map[string]any{"a": 2.0, "b": []any{map[string]any{"c": ""}}, "d": true}, true))
	got := map[string]any{"a": "1", "b": []any{map[string]any{}}, "e": 1.0}
	require.Equal(t, []string{".a: want number, got string", ".b[0].c: missing", ".d: missing", ".e: not in the sample"},
		shapeDifferences("", want, got, true))
}

func sampleFiles(t *testing.T, dir, prefix string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, strings.TrimSuffix(e.Name(), ".json"))
		}
	}
	require.NotEmpty(t, out)
	return out
}
