package jsonvalue_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/guest/jsonvalue"
)

func parse(t testing.TB, text string) jsonvalue.Value {
	t.Helper()
	v, err := jsonvalue.Parse([]byte(text))
	require.NoError(t, err)
	return v
}

func TestGetGoesDownAndIsMissingWhereNothingIs(t *testing.T) {
	v := parse(t, `{"incident":{"id":2095,"owner":{"name":"Ada"},"none":null},"list":[{"id":1},{"id":2}],"k\u0065y":"escaped"}`)
	assert.Equal(t, "Ada", v.Get("incident", "owner", "name").Text())
	assert.Equal(t, int64(2), v.Get("list").Index(1).Get("id").Int())
	assert.Equal(t, "escaped", v.Get("key").Text())
	assert.Equal(t, jsonvalue.Object, v.Get().Kind())

	for name, missing := range map[string]jsonvalue.Value{
		"key": v.Get("incident", "nobody"), "below missing": v.Get("x", "y", "z"), "below a number": v.Get("incident", "id", "x"),
		"below a list": v.Get("list", "id"), "index": v.Get("list").Index(2), "negative index": v.Get("list").Index(-1),
		"index of an object": v.Index(0), "zero": {},
	} {
		assert.False(t, missing.Exists(), name)
		assert.True(t, missing.IsNull(), name)
		assert.Equal(t, jsonvalue.Missing, missing.Kind(), name)
		assert.Empty(t, missing.Text(), name)
		assert.Zero(t, missing.Int(), name)
		assert.Zero(t, missing.Float(), name)
		assert.False(t, missing.Bool(), name)
		assert.Zero(t, missing.Len(), name)
		assert.Nil(t, missing.Raw(), name)
		assert.Empty(t, count(missing), name)
	}
	null := v.Get("incident", "none")
	assert.True(t, null.Exists())
	assert.True(t, null.IsNull())
	assert.Equal(t, "null", null.Raw().String())
}

func count(v jsonvalue.Value) (texts []string) {
	for item := range v.Items() {
		texts = append(texts, item.Raw().String())
	}
	return texts
}

func TestTheLastOfTwoEqualKeysCounts(t *testing.T) {
	v := parse(t, `{"id":1,"x":{"id":9},"\u0069d":2}`)
	assert.Equal(t, int64(2), v.Get("id").Int())
	assert.Equal(t, 3, v.Len())
}

func TestItemsTakesALoneObjectForAListOfOne(t *testing.T) {
	assert.Equal(t, []string{`{"id":1}`, `{"id":2}`}, count(parse(t, `[{"id":1},{"id":2}]`)))
	assert.Equal(t, []string{`{"id":1}`}, count(parse(t, `{"id":1}`)))
	assert.Equal(t, []string{`"Yes"`}, count(parse(t, `"Yes"`)))
	assert.Empty(t, count(parse(t, `null`)))
	assert.Empty(t, count(parse(t, `[]`)))
	for item := range parse(t, `[1,2,3]`).Items() {
		assert.Equal(t, int64(1), item.Int())
		break
	}
	for key := range parse(t, `{"a":1,"b":2}`).Fields() {
		assert.Equal(t, "a", key)
		break
	}
}

func TestIntTakesIdsAsNumbersAndAsTexts(t *testing.T) {
	for text, want := range map[string]int64{
		`55`: 55, `"55"`: 55, `" 55 "`: 55, `-7`: -7, `12.0`: 12, `12.9`: 12, `-12.9`: -12, `1e3`: 1000, `"1e3"`: 1000,
		`9223372036854775807`: math.MaxInt64, `-9223372036854775808`: math.MinInt64,
		`9223372036854775808`: 0, `1e300`: 0, `1e999`: 0, `"NaN"`: 0, `"Inf"`: 0, `""`: 0, `"x55"`: 0, `true`: 0, `null`: 0, `[55]`: 0, `{}`: 0,
	} {
		assert.Equal(t, want, parse(t, text).Int(), text)
	}
}

func TestFloatAndBoolReadWhatTheSystemsWrite(t *testing.T) {
	for text, want := range map[string]float64{`1.5`: 1.5, `"1.5"`: 1.5, `-2e3`: -2000, `"x"`: 0, `true`: 0, `1e999`: 0, `"Infinity"`: 0} {
		assert.Equal(t, want, parse(t, text).Float(), text)
	}
	for _, text := range []string{`true`, `1`, `-1`, `"Y"`, `"yes"`, `"Yes"`, `"TRUE"`, `" on "`, `"1"`} {
		assert.True(t, parse(t, text).Bool(), text)
	}
	for _, text := range []string{`false`, `0`, `"N"`, `"no"`, `"false"`, `""`, `"0"`, `"2"`, `null`, `[true]`, `{"a":true}`} {
		assert.False(t, parse(t, text).Bool(), text)
	}
}

func TestKindNames(t *testing.T) {
	for text, want := range map[string]string{`null`: "null", `true`: "boolean", `1`: "number", `""`: "string", `[]`: "array", `{}`: "object"} {
		assert.Equal(t, want, parse(t, text).Kind().String())
	}
	assert.Equal(t, "missing", jsonvalue.Value{}.Kind().String())
}

func TestObjAndArrWriteEveryType(t *testing.T) {
	v := parse(t, `{"id": 7, "name": "n"}`)
	got := jsonvalue.Obj(
		"text", "<b>\"é\"</b>\n\x01", "bool", true, "int", 1, "int32", int32(-2), "int64", int64(1)<<62, "uint32", uint32(3), "uint64", uint64(math.MaxUint64),
		"float", 0.5, "small", 1e-9, "large", 1e21, "nan", math.NaN(), "inf", math.Inf(-1), "null", nil,
		"raw", jsonvalue.Obj("a", 1), "no raw", jsonvalue.Raw(nil), "value", v, "item", v.Get("name"), "missing", v.Get("x"), "left out", jsonvalue.Omit,
		"texts", []string{"a", "b"}, "raws", []jsonvalue.Raw{jsonvalue.Arr(), nil}, "ints", []int64{1, 2}, "values", []jsonvalue.Value{v.Get("id"), {}},
		"map", map[string]string{"b": "2", "a": "1", "c": ""}, "empty map", map[string]string(nil), "nothing", []string(nil),
		"list", jsonvalue.Arr("sources", 1, jsonvalue.Omit, jsonvalue.Obj("name", "s")))
	assert.Equal(t, `{"text":"<b>\"é\"</b>\n\u0001","bool":true,"int":1,"int32":-2,"int64":4611686018427387904,"uint32":3,"uint64":18446744073709551615,`+
		`"float":0.5,"small":1e-09,"large":1e+21,"nan":null,"inf":null,"null":null,`+
		`"raw":{"a":1},"no raw":null,"value":{"id": 7, "name": "n"},"item":"n","missing":null,`+
		`"texts":["a","b"],"raws":[[],null],"ints":[1,2],"values":[7,null],`+
		`"map":{"a":"1","b":"2","c":""},"empty map":{},"nothing":[],"list":["sources",1,{"name":"s"}]}`, got.String())
	assert.True(t, json.Valid(got))
	assert.Equal(t, `{}`, jsonvalue.Obj("only", jsonvalue.Omit).String())
}

func TestArrTakesASliceForTheList(t *testing.T) {
	assert.Equal(t, `[]`, jsonvalue.Arr().String())
	assert.Equal(t, `["a"]`, jsonvalue.Arr([]string{"a"}).String())
	assert.Equal(t, `[1,2]`, jsonvalue.Arr([]int64{1, 2}).String())
	assert.Equal(t, `[{"a":1}]`, jsonvalue.Arr([]jsonvalue.Raw{jsonvalue.Obj("a", 1)}).String())
	assert.Equal(t, `[{"a":1}]`, jsonvalue.Arr(jsonvalue.Obj("a", 1)).String())
	assert.Equal(t, `[["a"],["b"]]`, jsonvalue.Arr([]string{"a"}, []string{"b"}).String())
}

func TestMistakesOfTheProgramPanicInsteadOfWritingBrokenJSON(t *testing.T) {
	for name, write := range map[string]func(){
		"odd":         func() { jsonvalue.Obj(slices.Repeat([]any{"a"}, 3)...) },
		"key":         func() { jsonvalue.Obj(1, 2) },
		"type":        func() { jsonvalue.Obj("a", struct{}{}) },
		"bytes":       func() { jsonvalue.Obj("a", []byte("x")) },
		"omit":        func() { jsonvalue.Append(nil, jsonvalue.Omit) },
		"broken raw":  func() { jsonvalue.Arr(jsonvalue.Raw(`{"a":`)) },
		"two raws":    func() { jsonvalue.Arr(jsonvalue.Raw(`1,2`)) },
		"blank raw":   func() { jsonvalue.Arr(jsonvalue.Raw(` `)) },
		"endless raw": func() { jsonvalue.Arr(jsonvalue.Raw(strings.Repeat("[", 9999))) },
	} {
		assert.Panics(t, write, name)
	}
}

func TestInvalidUTF8NeverGoesOut(t *testing.T) {
	assert.Equal(t, `["a`+"\uFFFD\uFFFD"+`b"]`, jsonvalue.Arr("a\xff\xfeb").String())
	assert.Equal(t, `["`+"\uFFFD"+`"]`, jsonvalue.Arr(jsonvalue.Raw("\"\xff\"")).String())
	assert.Equal(t, `{"`+"\uFFFD"+`":1}`, jsonvalue.Obj("\xff", 1).String())
	assert.Equal(t, "\"a\uFFFD\"", parse(t, "\"a\xc3\"").Raw().String())
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	text := jsonvalue.Append([]byte("x="), "y")
	assert.Equal(t, `x="y"`, string(text))
	assert.Equal(t, `x="y"null`, string(jsonvalue.Append(text, nil)))
}
