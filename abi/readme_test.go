package abi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

var fenced = regexp.MustCompile("(?ms)^```json (\\w+)\n(.*?)^```$")

// TestTheExamplesOfTheSpecificationAreOfTheContract reads each fenced JSON block
// of README.md strictly: no unknown keys, and what is written again is the same.
func TestTheExamplesOfTheSpecificationAreOfTheContract(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	seen := map[string]int{}
	for _, block := range fenced.FindAllSubmatch(text, -1) {
		kind, example := string(block[1]), block[2]
		seen[kind]++
		switch kind {
		case "input":
			var in abi.Input
			same(t, example, &in)
			assert.Equal(t, abi.Version, in.Version)
		case "output":
			var out abi.Output
			same(t, example, &out)
			for _, call := range out.Calls {
				assert.NoError(t, manifest.CheckPath(call.Path))
			}
		case "manifest":
			var m manifest.Manifest
			same(t, example, &m)
			_, err := manifest.Parse(example)
			assert.NoError(t, err)
		default:
			t.Errorf("a block of unknown kind %q", kind)
		}
	}
	assert.Equal(t, 1, seen["manifest"])
	assert.GreaterOrEqual(t, seen["input"], 5)
	assert.GreaterOrEqual(t, seen["output"], 9)
}

func same(t *testing.T, example []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(example))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into), "%s", example)
	again, err := json.Marshal(into)
	require.NoError(t, err)
	var want, got any
	require.NoError(t, json.Unmarshal(example, &want))
	require.NoError(t, json.Unmarshal(again, &got))
	assert.Equal(t, without(want), without(got), "%s", example)
}

// without drops null, false, empty text and empty collections: an example may
// spell out what the Go types leave out.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value = without(value); empty(value) {
				delete(v, key)
			} else {
				v[key] = value
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = without(v[i])
		}
	}
	return v
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
