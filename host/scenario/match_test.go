package scenario

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWildcards(t *testing.T) {
	for _, c := range []struct {
		pattern, value string
		want           bool
	}{
		{`{"a": 1, "b": [true, null]}`, `{"b":[true,null],"a":1}`, true},
		{`{"a": 1}`, `{"a":1.0}`, false},
		{`{"a": 1}`, `{"a":"1"}`, false},
		{`{"a": 1}`, `{"a":1,"b":2}`, false},
		{`{"a": 1, "b": 2}`, `{"a":1}`, false},
		{`{"a": null}`, `{}`, false},
		{`[1, 2]`, `[2,1]`, false},
		{`[1]`, `[1,2]`, false},
		{`[1, 2]`, `[1]`, false},
		{`{"a": "*"}`, `{"a":{"b":[1]}}`, true},
		{`{"a": "*"}`, `{"a":null}`, true},
		{`{"a": "*"}`, `{}`, false},
		{`"Resilient #{*}: {*} end"`, `"Resilient #12: a end"`, true},
		{`"{*}"`, `""`, true},
		{`"{*}"`, `1`, false},
		{`"a{*}a"`, `"a"`, false},
		{`"a{*}b{*}c"`, `"a b b c"`, true},
		{`"a{*}b"`, `"a b c"`, false},
		{`"a{*}"`, `"ba"`, false},
		{`"a*"`, `"ab"`, false},
		{`{"a": 1, "...": "*"}`, `{"a":1,"b":2,"c":3}`, true},
		{`{"a": 1, "...": "*"}`, `{"a":1}`, true},
		{`{"a": 1, "...": "*"}`, `{"b":1}`, false},
		{`[1, "..."]`, `[1,2,3]`, true},
		{`[1, "..."]`, `[1]`, true},
		{`[1, "..."]`, `[2,1]`, false},
		{`["...", 1]`, `[0,1]`, false},
		{`[{"id": "*"}, "..."]`, `[{"id":1},{"x":1}]`, true},
	} {
		pattern, err := parseValue(c.pattern)
		require.NoError(t, err)
		v, err := parseValue(c.value)
		require.NoError(t, err)
		assert.Equal(t, c.want, matches(pattern, v), "%s and %s", c.pattern, c.value)
	}
}

func TestKeptWildcards(t *testing.T) {
	for _, c := range []struct{ pattern, value, want string }{
		{`{"b": "*", "a": 1}`, `{"a":2,"b":3}`, `{"b":"*","a":2}`},
		{`{"b": "*", "gone": 1}`, `{"new":2,"b":3}`, `{"b":"*","new":2}`},
		{`{"a": "x {*}", "b": "x {*}"}`, `{"a":"x 1","b":"y 1"}`, `{"a":"x {*}","b":"y 1"}`},
		{`{"a": 1, "...": "*"}`, `{"a":2,"b":3}`, `{"a":2,"...":"*"}`},
		{`[{"a": "*", "b": 1}, 2]`, `[{"a":7,"b":2},2,3]`, `[{"a":"*","b":2},2,3]`},
		{`[1, "..."]`, `[2,3,4]`, `[2,"..."]`},
		{`[1, 2, "..."]`, `[3]`, `[3]`},
		{`{"a": 1}`, `[1]`, `[1]`},
		{`["*"]`, `[]`, `[]`},
	} {
		pattern, err := parseValue(c.pattern)
		require.NoError(t, err)
		v, err := parseValue(c.value)
		require.NoError(t, err)
		assert.Equal(t, c.want, string(kept(pattern, v).json()), "%s and %s", c.pattern, c.value)
	}
}

func TestAssignPairsAllThatCanBe(t *testing.T) {
	// The first takes both, the second only what the first would take first.
	fits := map[[2]int]bool{{0, 0}: true, {0, 1}: true, {1, 0}: true}
	assert.Equal(t, []int{1, 0}, assign(2, 2, func(i, j int) bool { return fits[[2]int{i, j}] }))
	assert.Equal(t, []int{0, 1, -1}, assign(3, 2, func(i, j int) bool { return true }))
}
