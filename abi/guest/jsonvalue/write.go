package jsonvalue

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// Raw is JSON text. Nil stands for null.
type Raw []byte

func (r Raw) String() string { return string(r) }

type omitted struct{}

// Omit, as a value, leaves its key or its item out.
var Omit omitted

// Obj makes an object of keys and values in turn, in that order. For the types
// of values see Append. A key that is no string, or a key without a value, is a
// mistake in the program and panics.
func Obj(keysAndValues ...any) Raw {
	if len(keysAndValues)%2 != 0 {
		panic("jsonvalue.Obj: the last key has no value")
	}
	text := append(make([]byte, 0, 16*len(keysAndValues)+2), '{')
	for i := 0; i < len(keysAndValues); i += 2 {
		key, ok := keysAndValues[i].(string)
		if !ok {
			panic("jsonvalue.Obj: key " + strconv.Itoa(i/2+1) + " is no string")
		}
		if _, left := keysAndValues[i+1].(omitted); left {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(AppendString(text, key), ':')
		text = Append(text, keysAndValues[i+1])
	}
	return append(text, '}')
}

// Arr makes an array of its items. A slice that is the only argument is itself
// the list: Arr([]string{"a"}) is ["a"].
func Arr(items ...any) Raw {
	if len(items) == 1 {
		switch list := items[0].(type) {
		case []string, []Raw, []Value, []int64, []any:
			return Append(nil, list)
		}
	}
	return Append(nil, items)
}

// Append writes v as JSON behind dst. It takes string, bool, int, int32, int64,
// uint32, uint64, float64, nil, Raw, Value, map[string]string (sorted by key)
// and slices of string, int64, Raw, Value and any. A float that JSON has no
// word for (NaN, infinity), a nil Raw and a missing Value become null. Any other
// type, and a Raw that is not JSON, is a mistake in the program and panics.
func Append(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return AppendString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int32:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case float64:
		return appendFloat(dst, v)
	case Raw:
		return appendRaw(dst, v)
	case Value:
		if !v.Exists() {
			return append(dst, "null"...)
		}
		return append(dst, v.raw()...)
	case []string:
		return appendList(dst, v, AppendString)
	case []int64:
		return appendList(dst, v, func(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) })
	case []Raw:
		return appendList(dst, v, appendRaw)
	case []Value:
		return appendList(dst, v, func(dst []byte, v Value) []byte { return Append(dst, v) })
	case []any:
		return appendList(dst, slices.DeleteFunc(slices.Clone(v), isOmitted), Append)
	case map[string]string:
		dst = append(dst, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, key), ':')
			dst = AppendString(dst, v[key])
		}
		return append(dst, '}')
	case omitted:
		panic("jsonvalue: Omit can stand only for a value of Obj or an item of Arr")
	}
	panic("jsonvalue: a value has a type that cannot be written as JSON")
}

func isOmitted(v any) bool {
	_, ok := v.(omitted)
	return ok
}

func appendList[T any](dst []byte, list []T, write func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, item := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = write(dst, item)
	}
	return append(dst, ']')
}

// appendRaw checks the text: a broken one would make the whole answer
// unreadable, far from where it was made.
func appendRaw(dst []byte, raw Raw) []byte {
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	// The view ends with this function, and nobody writes meanwhile.
	text := unsafe.String(unsafe.SliceData(raw), len(raw))
	p := parser{text: text, checkOnly: true}
	if err := p.document(); err != nil {
		panic("jsonvalue: a Raw is not JSON: " + err.Error())
	}
	if p.nonASCII && !utf8.ValidString(text) {
		text = validUTF8(text)
	}
	return append(dst, text...)
}

// appendFloat writes small and large numbers with an exponent.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	form := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(dst, f, form, -1, 64)
}

const hexDigits = "0123456789abcdef"

// AppendString writes a string, as Append does without boxing it.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		// Eight bytes at a time as long as they are written as they are.
		for i+8 <= len(s) {
			w := load64(s[i : i+8])
			quote, slash := w^ones*'"', w^ones*'\\'
			if ((quote-ones)&^quote|(slash-ones)&^slash|(w-ones*0x20)&^w|w)&highs != 0 {
				break
			}
			i += 8
		}
		if i == len(s) {
			break
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == '"' || c == '\\' {
				dst = appendEscape(append(dst, s[from:i]...), c)
				from = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, "\uFFFD"...)
			from = i + 1
		}
		i += size
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
