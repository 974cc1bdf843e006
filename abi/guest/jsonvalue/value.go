package jsonvalue

import (
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind says what a Value is.
type Kind uint8

// Kinds of values.
const (
	Missing Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

func (k Kind) String() string {
	return [...]string{"missing", "null", "boolean", "number", "string", "array", "object"}[k]
}

// Value is a part of a checked text. The zero Value is missing.
type Value struct {
	document *document
	index    uint32
}

func (v Value) node() *node { return &v.document.nodes[v.index] }

func (v Value) at(index uint32) Value { return Value{document: v.document, index: index} }

// Kind says what the value is.
func (v Value) Kind() Kind {
	if v.document == nil {
		return Missing
	}
	return v.node().kind
}

// Exists reports whether the value stands in the text; null does.
func (v Value) Exists() bool { return v.document != nil }

// IsNull reports whether the value is null or missing.
func (v Value) IsNull() bool { return v.Kind() <= Null }

// Get goes down by keys of objects. It is missing when a key is, or when
// something on the way is no object.
func (v Value) Get(path ...string) Value {
	for _, key := range path {
		v = v.member(key)
	}
	return v
}

func (v Value) member(key string) Value {
	d := v.document
	if d == nil || d.nodes[v.index].kind != Object {
		return Value{}
	}
	nodes, found := d.nodes[:d.nodes[v.index].next], uint32(0)
	for i := v.index + 1; i < uint32(len(nodes)); {
		k := &nodes[i]
		if k.escaped {
			if v.at(i).Text() == key {
				found = i + 1
			}
		} else if d.text[k.start:k.end] == key {
			found = i + 1
		}
		i = nodes[i+1].next
	}
	if found == 0 {
		return Value{}
	}
	return v.at(found)
}

// Index returns item i of an array, counted from 0, or a missing Value.
func (v Value) Index(i int) Value {
	if v.Kind() != Array {
		return Value{}
	}
	for item := v.index + 1; item < v.node().next; item = v.document.nodes[item].next {
		if i == 0 {
			return v.at(item)
		}
		i--
	}
	return Value{}
}

// Len counts the items of an array or the fields of an object; else it is 0.
func (v Value) Len() int {
	n := 0
	switch v.Kind() {
	case Array:
		for range v.Items() {
			n++
		}
	case Object:
		for range v.Fields() {
			n++
		}
	}
	return n
}

// Items yields the items of an array. Anything else but null yields itself
// once, because ThreatQ answers with a lone object where it has a list of one
// (contract: ThreatQ, answers). Null and missing yield nothing.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		switch v.Kind() {
		case Missing, Null:
		case Array:
			for item := v.index + 1; item < v.node().next; item = v.document.nodes[item].next {
				if !yield(v.at(item)) {
					return
				}
			}
		default:
			yield(v)
		}
	}
}

// Fields yields the keys and values of an object in the order of the text, also
// keys that stand twice.
func (v Value) Fields() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != Object {
			return
		}
		for i := v.index + 1; i < v.node().next; i = v.document.nodes[i+1].next {
			if !yield(v.at(i).Text(), v.at(i+1)) {
				return
			}
		}
	}
}

// Text returns a string decoded, and numbers and booleans as they are written.
// Of anything else it is empty.
func (v Value) Text() string {
	switch v.Kind() {
	case String:
		n := v.node()
		if n.escaped {
			return unescape(v.document.text[n.start:n.end])
		}
		return v.document.text[n.start:n.end]
	case Number, Bool:
		n := v.node()
		return v.document.text[n.start:n.end]
	}
	return ""
}

// unescape decodes a checked string.
func unescape(text string) string {
	decoded := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			decoded = append(decoded, text[i])
			continue
		}
		i++
		switch text[i] {
		case 'b':
			decoded = append(decoded, '\b')
		case 'f':
			decoded = append(decoded, '\f')
		case 'n':
			decoded = append(decoded, '\n')
		case 'r':
			decoded = append(decoded, '\r')
		case 't':
			decoded = append(decoded, '\t')
		case 'u':
			r := hexRune(text[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if len(text) > i+6 && text[i+1] == '\\' && text[i+2] == 'u' {
					pair = utf16.DecodeRune(r, hexRune(text[i+3:]))
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			decoded = utf8.AppendRune(decoded, r)
		default: // a quote, a backslash, a slash
			decoded = append(decoded, text[i])
		}
	}
	return string(decoded)
}

func hexRune(digits string) rune {
	var r rune
	for _, c := range []byte(digits[:4]) {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Int returns a number, or a string that holds one ("flexible ids": both
// systems write ids either way). A fraction is cut off. Anything else, and what
// does not fit, is 0.
func (v Value) Int() int64 {
	text := v.numeral()
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	f := v.Float()
	if math.Abs(f) >= 1<<63 {
		return 0
	}
	return int64(f)
}

// Float returns a number, or a string that holds one; else 0, also for what
// does not fit.
func (v Value) Float() float64 {
	f, err := strconv.ParseFloat(v.numeral(), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// numeral returns the text of a number, or of a string without blanks around it.
func (v Value) numeral() string {
	switch v.Kind() {
	case Number:
		return v.Text()
	case String:
		return strings.TrimSpace(v.Text())
	}
	return ""
}

// Bool is true for true, for numbers but 0, and for the texts that Truth knows.
func (v Value) Bool() bool {
	switch v.Kind() {
	case Bool:
		return v.Text() == "true"
	case Number:
		return v.Float() != 0
	case String:
		return Truth(v.Text())
	}
	return false
}

// Truth reports whether a text says yes: y, yes, true, on or 1 in any case.
func Truth(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes", "true", "on", "1":
		return true
	}
	return false
}

// Raw returns the JSON text of the value; of a missing one it is nil, which is
// written as null.
func (v Value) Raw() Raw {
	if v.document == nil {
		return nil
	}
	return Raw(v.raw())
}

func (v Value) raw() string {
	n := v.node()
	start, end := n.start, n.end
	if n.kind == String {
		start, end = start-1, end+1
	}
	return v.document.text[start:end]
}
