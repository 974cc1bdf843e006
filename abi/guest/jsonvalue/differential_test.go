package jsonvalue_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/guest/jsonvalue"
)

// tree is a value as encoding/json decodes it with UseNumber.
func tree(v jsonvalue.Value) any {
	switch v.Kind() {
	case jsonvalue.Bool:
		return v.Bool()
	case jsonvalue.Number:
		return json.Number(v.Text())
	case jsonvalue.String:
		return v.Text()
	case jsonvalue.Array:
		items := []any{}
		for item := range v.Items() {
			items = append(items, tree(item))
		}
		return items
	case jsonvalue.Object:
		fields := map[string]any{}
		for key, value := range v.Fields() {
			fields[key] = tree(value)
		}
		return fields
	}
	return nil
}

func reference(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more text")
	}
	return v, nil
}

// depth counts brackets outside of strings.
func depth(text []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return deepest
}

// agree holds Parse against encoding/json: the same texts, the same values.
func agree(t *testing.T, text []byte) {
	t.Helper()
	want, wantErr := reference(text)
	got, err := jsonvalue.Parse(bytes.Clone(text))
	if wantErr != nil {
		require.Error(t, err, "accepted %q, encoding/json says %v", text, wantErr)
		return
	}
	if err != nil && depth(text) > jsonvalue.MaxDepth {
		return
	}
	require.NoError(t, err, "refused %q", text)
	require.Equal(t, want, tree(got), "%q", text)
	require.True(t, utf8.Valid(got.Raw()), "%q", text)

	// What is written again means the same, for us and for encoding/json.
	again, err := reference(jsonvalue.Append(nil, got))
	require.NoError(t, err)
	require.Equal(t, want, again)
	if object, ok := want.(map[string]any); ok {
		for key := range object {
			require.Equal(t, object[key], tree(got.Get(key)), "key %q of %q", key, text)
		}
	}
	if list, ok := want.([]any); ok {
		require.Equal(t, len(list), got.Len())
		for i := range list {
			require.Equal(t, list[i], tree(got.Index(i)))
		}
	}
}

var texts = []string{
	`null`, `true`, `false`, `0`, `-0`, `-1`, `1.5`, `1e5`, `1E+5`, `1.25e-7`, `""`, `"a"`, `[]`, `{}`, ` [ 1 , 2 ] `, "\t{\r\n\"a\" : [ ] }\n",
	`{"a":{"b":[1,{"c":"d"}]},"a2":null}`, `{"a":1,"a":2}`, `{"":0}`, `{"\u0061":1,"a":2}`,
	`"\"\\\/\b\f\n\r\t"`, `"\u00e9\u20ac"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\`, `"\u00`, `"\u00e"`, `"\u00eg"`, `"\u"`, `"\x"`,
	`"é€😀"`, "\"\xff\xfe\"", "\"a\xc3\"", "\"\xed\xa0\x80\"", "\"abcdef\xffghijklmnopqrstuvw\"", "{\"abcdef\xffghijklmnopqrstuvw\":[]}", "{\"\xff\":1}", "\xff", "\"\u2028<>&\"",
	`"12345678"`, `"1234567\n"`, `"1234567"`, `"12345678\\"`, `"1234567\\"`, "\"1234567\x01\"", "\"1234567\x1f890\"", "\"\x7f\"", `"0123456789abcdef\"0123456789abcdef"`,
	`12345678901234567890`, `-9223372036854775808`, `1e400`, `1e-400`, `0.1000000000000000055511151231257827`,
	``, ` `, `nul`, `nulll`, `tru`, `truE`, `falsy`, `01`, `-`, `+1`, `1.`, `.5`, `1e`, `1e+`, `--1`, `0x1`, `NaN`, `Infinity`,
	`[`, `[1`, `[1,`, `[1,]`, `[,]`, `[1 2]`, `]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{]`, `[}`, `"a`, `'a'`, `"a" "b"`, `1 2`, `{}{}`, "\ufeff{}", "[1]\x00", "\"\n\"",
}

func TestParseAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range texts {
		agree(t, []byte(text))
	}
	for _, file := range samples(t) {
		agree(t, file)
		// Every text that ends early is refused, wherever it ends.
		for end := 0; end < len(file); end += 1 + len(file)/97 {
			agree(t, file[:end])
		}
	}
}

// samples are texts as they come from the two systems.
func samples(t testing.TB) [][]byte {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all = append(all, text)
	}
	return all
}

func TestDeepNestingIsRefusedWithoutHarm(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	}
	nestedObjects := func(depth int) []byte {
		return []byte(strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth))
	}
	for _, nested := range []func(int) []byte{nested, nestedObjects} {
		_, err := jsonvalue.Parse(nested(jsonvalue.MaxDepth))
		require.NoError(t, err)
		_, err = jsonvalue.Parse(nested(jsonvalue.MaxDepth + 1))
		require.ErrorContains(t, err, "nested too deep")
	}
	_, err := jsonvalue.Parse([]byte(strings.Repeat(`{"a":`, 1_000_000)))
	require.ErrorContains(t, err, "nested too deep")
}

func TestASyntaxErrorSaysWhere(t *testing.T) {
	for text, want := range map[string]jsonvalue.SyntaxError{
		`{"a":tru}`:     {Offset: 5, Problem: "true is expected"},
		`{"a":1,`:       {Offset: 7, Problem: "the text ends early"},
		`[1 2]`:         {Offset: 3, Problem: "a comma or ] is expected"},
		"\"a\nb\"":      {Offset: 2, Problem: "control character in a string"},
		`{"a":"\q"}`:    {Offset: 7, Problem: "unknown escape"},
		`{} {}`:         {Offset: 3, Problem: "more text after the value"},
		`{"a":"\u12g4"`: {Offset: 10, Problem: "four hexadecimal digits are expected"},
	} {
		_, err := jsonvalue.Parse([]byte(text))
		var syntax *jsonvalue.SyntaxError
		require.ErrorAs(t, err, &syntax, text)
		assert.Equal(t, want, *syntax, text)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(agree)
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\b\f\n\r\t\x00\x1f\x7f", "é😀\u2028", "\xff", "a\xc3(", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := jsonvalue.Append(nil, s)
		require.True(t, utf8.Valid(text))
		var want string
		require.NoError(t, json.Unmarshal(text, &want))
		require.Equal(t, strings.Map(func(r rune) rune { return r }, s), want)
		got, err := jsonvalue.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, got.Text())
	})
}
