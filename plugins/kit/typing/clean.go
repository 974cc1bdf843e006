package typing

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean removes what cannot be seen and the quotes around a value. Line breaks and tabs inside become blanks, so that
// two words do not grow together.
func clean(value string) string {
	value = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || isLineBreak(r):
			return ' '
		case isInvisible(r) || unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(value, "\uFFFD"))
	for {
		trimmed := strings.TrimSpace(value)
		if n := len(trimmed); n >= 2 {
			open, inner, end := trimmed[0], trimmed[1:n-1], trimmed[n-1]
			isPair := (open == '"' || open == '\'') && open == end || open == '<' && end == '>'
			// Quotes inside mean that the outer ones belong to different words.
			if isPair && !strings.ContainsAny(inner, trimmed[:1]+trimmed[n-1:]) {
				trimmed = inner
			}
		}
		if trimmed == value {
			return value
		}
		value = trimmed
	}
}

// isInvisible covers zero-width characters and marks of writing direction.
func isInvisible(r rune) bool {
	switch {
	case r >= 0x200B && r <= 0x200F, r == 0xFEFF, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x061C:
		return true
	}
	return false
}

func isLineBreak(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

func lines(value string) []string { return strings.FieldsFunc(value, isLineBreak) }

// split parts a pasted list: at line breaks always, at separators only where no value of the kind can hold them.
func split(value string, k kind) []string {
	var values []string
	for _, line := range lines(value) {
		switch k {
		case kindAddress, kindCIDR, kindHost:
			line = joinDotWords(line)
			fallthrough
		case kindHash, kindFuzzy, kindCVE, kindMAC:
			values = append(values, strings.FieldsFunc(line, func(r rune) bool {
				return r == ',' || r == ';' || unicode.IsSpace(r)
			})...)
		default:
			// E-mail addresses are parted later: a display name may hold a comma.
			values = append(values, line)
		}
	}
	return values
}

const dotWord = " dot "

// joinDotWords makes one word of "evil dot com", so that splitting at blanks does not part it.
func joinDotWords(s string) string {
	var b strings.Builder
	for {
		i := indexFold(s, dotWord)
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		b.WriteByte('.')
		s = s[i+len(dotWord):]
	}
}

// indexFold finds a lower-case ASCII needle in any case.
func indexFold(s, needle string) int {
	for i := 0; i+len(needle) <= len(s); i++ {
		if s[i]|0x20 == needle[0]|0x20 && hasPrefixFold(s[i:], needle) {
			return i
		}
	}
	return -1
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// bracketed are the defanged characters, by their last byte. They are matched at the end of what was written so far,
// which makes nested forms such as "[[.]]" collapse in the same pass.
var bracketed = []struct{ from, to string }{
	{"[.]", "."}, {"(.)", "."}, {"{.}", "."}, {"[dot]", "."}, {"(dot)", "."},
	{"[@]", "@"}, {"[at]", "@"}, {"(at)", "@"}, {"[:]", ":"}, {"[://]", "://"},
}

var defangedSchemes = []string{"hxxp", "h**p", "meow"}

// refangValue undoes defanging in one value of a network type.
func refangValue(value string) string {
	r := refanger{words: true}
	return r.run(value)
}

// refangText undoes defanging in running text: "dot" as a word is left alone, and so are backslashes of paths.
func refangText(text string) string {
	r := refanger{}
	return r.run(text)
}

type refanger struct {
	out    []byte
	words  bool // " dot " means "."
	inPath bool // running text only: the current word began like a Windows path
}

func (r *refanger) run(s string) string {
	if !mayBeDefanged(s) {
		return s
	}
	r.out = make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		r.push(s[i])
	}
	return string(r.out)
}

// mayBeDefanged saves the copy for the many values that are not.
func mayBeDefanged(s string) bool {
	return strings.ContainsAny(s, `[({\*`) || indexFold(s, dotWord) >= 0 || indexFold(s, "hxxp") >= 0 || indexFold(s, "meow") >= 0
}

func (r *refanger) push(b byte) {
	r.out = append(r.out, b)
	n := len(r.out)
	switch b {
	case ']', ')', '}':
		for _, form := range bracketed {
			if r.endsWith(form.from) {
				r.replaceEnd(len(form.from), form.to)
				return
			}
		}
	case ' ':
		if r.words && r.endsWith(dotWord) {
			r.replaceEnd(len(dotWord), ".")
			return
		}
		r.inPath = false
	case '\t', '\n', '"', '<', '>':
		r.inPath = false
	case '\\':
		if n >= 2 && (r.out[n-2] == ':' || r.out[n-2] == '\\') {
			r.inPath = true
		}
	case '.':
		if n >= 3 && r.out[n-2] == '\\' && isWordByte(r.out[n-3]) && (r.words || !r.inPath) {
			r.replaceEnd(2, ".")
		}
	case ':':
		r.scheme()
	}
}

func (r *refanger) endsWith(lower string) bool {
	n := len(r.out) - len(lower)
	return n >= 0 && strings.EqualFold(string(r.out[n:]), lower)
}

func (r *refanger) replaceEnd(length int, with string) {
	r.out = r.out[:len(r.out)-length]
	for i := 0; i < len(with); i++ {
		r.push(with[i])
	}
}

// scheme mends "hxxp:" and its like when the colon after them arrives.
func (r *refanger) scheme() {
	head := r.out[:len(r.out)-1]
	secure := ""
	if n := len(head); n > 0 && head[n-1]|0x20 == 's' {
		secure, head = "s", head[:n-1]
	}
	for _, form := range defangedSchemes {
		n := len(head) - len(form)
		if n >= 0 && strings.EqualFold(string(head[n:]), form) && (n == 0 || !isWordByte(head[n-1])) {
			r.out = append(append(append(head[:n], "http"...), secure...), ':')
			return
		}
	}
}

func isWordByte(b byte) bool { return isDigit(b) || isAlpha(b) || b >= utf8.RuneSelf }

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isAlpha(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

func isHex(b byte) bool { return isDigit(b) || b|0x20 >= 'a' && b|0x20 <= 'f' }
