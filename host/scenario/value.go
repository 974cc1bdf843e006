package scenario

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"fn-threatq/abi/guest/jsonvalue"
)

// value is a JSON value that keeps the order of its keys and the digits of its
// numbers, so that what is written again reads as its author wrote it.
type value struct {
	kind jsonvalue.Kind
	// text is a string decoded, and other scalars as they are written.
	text string
	// keys of an object, one for each of items; items of an array.
	keys  []string
	items []*value
}

// parseValue reads a text. An empty one is a nil value: none.
func parseValue(text string) (*value, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	v, err := jsonvalue.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return valueOf(v), nil
}

// syntaxLine is the line of a text in which a JSON error stands, from 0.
func syntaxLine(text string, err error) int {
	var syntax *jsonvalue.SyntaxError
	if !errors.As(err, &syntax) {
		return 0
	}
	return strings.Count(text[:min(max(syntax.Offset, 0), len(text))], "\n")
}

func valueOf(v jsonvalue.Value) *value {
	out := &value{kind: v.Kind(), text: v.Text()}
	switch v.Kind() {
	case jsonvalue.Null:
		out.text = "null"
	case jsonvalue.Array:
		for item := range v.Items() {
			out.items = append(out.items, valueOf(item))
		}
	case jsonvalue.Object:
		for key, item := range v.Fields() {
			out.set(key, valueOf(item))
		}
	}
	return out
}

func textValue(text string) *value { return &value{kind: jsonvalue.String, text: text} }

// get is the item of a key, or nil.
func (v *value) get(key string) *value {
	if v == nil {
		return nil
	}
	for i, k := range v.keys {
		if k == key {
			return v.items[i]
		}
	}
	return nil
}

// set gives a key its item; a new key comes last.
func (v *value) set(key string, item *value) {
	for i, k := range v.keys {
		if k == key {
			v.items[i] = item
			return
		}
	}
	v.keys, v.items = append(v.keys, key), append(v.items, item)
}

// patched is the value with a JSON merge patch (RFC 7396) laid over it.
func (v *value) patched(patch *value) *value {
	if patch == nil {
		return v
	}
	if patch.kind != jsonvalue.Object {
		return patch
	}
	out := &value{kind: jsonvalue.Object}
	if v != nil && v.kind == jsonvalue.Object {
		for i, key := range v.keys {
			if p := patch.get(key); p == nil || p.kind != jsonvalue.Null {
				out.set(key, v.items[i].patched(p))
			}
		}
	}
	for i, key := range patch.keys {
		if v.get(key) == nil && patch.items[i].kind != jsonvalue.Null {
			out.set(key, (*value)(nil).patched(patch.items[i]))
		}
	}
	return out
}

// json is the value without white space.
func (v *value) json() []byte { return v.append(nil, "", "") }

// lineWidth is how long a line may be, in characters, before it is broken.
const lineWidth = 100

// pretty is the value for people, with a newline at its end: what fits into a
// line stands in one line.
func (v *value) pretty() string { return v.layout("", 0) + "\n" }

// layout writes a value that begins at a column of a line with that indent.
func (v *value) layout(indent string, column int) string {
	short := string(v.append(nil, " ", " "))
	if len(v.items) == 0 || column+utf8.RuneCountInString(short) <= lineWidth {
		return short
	}
	var b strings.Builder
	inner := indent + "  "
	opening, closing := "[", "]"
	if v.kind == jsonvalue.Object {
		opening, closing = "{", "}"
	}
	b.WriteString(opening + "\n")
	for i, item := range v.items {
		b.WriteString(inner)
		column := len(inner)
		if v.kind == jsonvalue.Object {
			key := string(jsonvalue.AppendString(nil, v.keys[i])) + ": "
			b.WriteString(key)
			column += utf8.RuneCountInString(key)
		}
		b.WriteString(item.layout(inner, column+len(",")))
		if i < len(v.items)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(indent + closing)
	return b.String()
}

// append writes the value in one line, with what stands behind each colon and
// each comma.
func (v *value) append(dst []byte, colon, comma string) []byte {
	switch v.kind {
	case jsonvalue.Missing, jsonvalue.Null:
		return append(dst, "null"...)
	case jsonvalue.String:
		return jsonvalue.AppendString(dst, v.text)
	case jsonvalue.Array, jsonvalue.Object:
		opening, closing := byte('['), byte(']')
		if v.kind == jsonvalue.Object {
			opening, closing = '{', '}'
		}
		dst = append(dst, opening)
		for i, item := range v.items {
			if i > 0 {
				dst = append(append(dst, ','), comma...)
			}
			if v.kind == jsonvalue.Object {
				dst = append(append(jsonvalue.AppendString(dst, v.keys[i]), ':'), colon...)
			}
			dst = item.append(dst, colon, comma)
		}
		return append(dst, closing)
	default:
		return append(dst, v.text...)
	}
}

// commons are named JSON values that scenarios share.
type commons map[string]*value

// resolve reads a JSON text, which may begin with `@name` and go on with a merge
// patch. The line of an error counts from 0.
func (c commons) resolve(text string) (v *value, line int, err error) {
	rest, isName := strings.CutPrefix(strings.TrimLeft(text, " \n"), "@")
	if !isName {
		if v, err = parseValue(text); err != nil {
			return nil, syntaxLine(text, err), fmt.Errorf("not JSON: %w", err)
		}
		return v, 0, nil
	}
	name, patchText, _ := strings.Cut(rest, "\n")
	name = strings.TrimSpace(name)
	base, ok := c[name]
	if !ok {
		return nil, 0, fmt.Errorf("there is no common answer %q; known are %s", name, list(c))
	}
	patch, err := parseValue(patchText)
	if err != nil {
		return nil, 1 + syntaxLine(patchText, err), fmt.Errorf("the merge patch is not JSON: %w", err)
	}
	return base.patched(patch), 0, nil
}
