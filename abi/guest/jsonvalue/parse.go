package jsonvalue

import (
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested in a text.
const MaxDepth = 200

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	// Offset counts bytes from 0.
	Offset  int
	Problem string
}

func (e *SyntaxError) Error() string {
	return "JSON: " + e.Problem + " at byte " + strconv.Itoa(e.Offset)
}

// Parse checks the whole text and returns its value. It keeps a copy of the
// text, of which all texts that are read are parts: one allocation for all.
func Parse(text []byte) (Value, error) { return parse(string(text)) }

func parse(text string) (Value, error) {
	if uint64(len(text)) > math.MaxUint32 {
		return Value{}, &SyntaxError{Offset: math.MaxUint32, Problem: "text is too long"}
	}
	p := parser{text: text, nodes: make([]node, 0, len(text)/10+4)}
	if err := p.document(); err != nil {
		return Value{}, err
	}
	if p.nonASCII && !utf8.ValidString(text) {
		// Done once here, so that every view, also a Raw one, is UTF-8.
		return parse(validUTF8(text))
	}
	return Value{document: &document{text: text, nodes: p.nodes}}, nil
}

// validUTF8 puts U+FFFD in place of each byte that is not UTF-8.
func validUTF8(text string) string {
	valid := make([]byte, 0, len(text)+16)
	for _, r := range text {
		valid = utf8.AppendRune(valid, r)
	}
	return string(valid)
}

// document is a checked text with its values in the order of the text.
type document struct {
	text  string
	nodes []node
}

// node is one value or key. An object's keys and values follow it in turn, an
// array's items follow it.
type node struct {
	// text[start:end] is the value; of a string it is what stands between the
	// quotes.
	start, end uint32
	// next is the index of the node behind this one and all it holds.
	next    uint32
	kind    Kind
	escaped bool
}

type parser struct {
	text     string
	nodes    []node
	nonASCII bool
	// checkOnly leaves out the nodes.
	checkOnly bool
}

func (p *parser) document() error {
	i, err := p.value(p.space(0), 0)
	if err != nil {
		return err
	}
	if i = p.space(i); i != len(p.text) {
		return p.fail(i, "more text after the value")
	}
	return nil
}

func (p *parser) fail(i int, problem string) error {
	if i >= len(p.text) {
		return &SyntaxError{Offset: len(p.text), Problem: "the text ends early"}
	}
	return &SyntaxError{Offset: i, Problem: problem}
}

// space returns the index of the next byte that is no white space.
func (p *parser) space(i int) int {
	if i < len(p.text) && p.text[i] > ' ' {
		return i
	}
	return p.skipSpace(i)
}

func (p *parser) skipSpace(i int) int {
	for i < len(p.text) {
		switch p.text[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// add notes a value that holds no others.
func (p *parser) add(kind Kind, start, end int, escaped bool) {
	if !p.checkOnly {
		p.nodes = append(p.nodes, node{start: uint32(start), end: uint32(end), next: uint32(len(p.nodes) + 1), kind: kind, escaped: escaped})
	}
}

// open notes an array or object that begins at i, and close its end.
func (p *parser) open(kind Kind, i int) int {
	p.add(kind, i, i, false)
	return len(p.nodes) - 1
}

func (p *parser) close(n, end int) {
	if !p.checkOnly {
		p.nodes[n].end, p.nodes[n].next = uint32(end), uint32(len(p.nodes))
	}
}

// value reads the value that begins at i and returns the index behind it.
func (p *parser) value(i, depth int) (int, error) {
	if i >= len(p.text) {
		return i, p.fail(i, "")
	}
	switch c := p.text[i]; c {
	case '"':
		return p.str(i)
	case '{':
		return p.object(i, depth+1)
	case '[':
		return p.array(i, depth+1)
	case 't':
		return p.word(i, "true", Bool)
	case 'f':
		return p.word(i, "false", Bool)
	case 'n':
		return p.word(i, "null", Null)
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return p.number(i)
		}
		return i, p.fail(i, "a value is expected")
	}
}

func (p *parser) word(i int, word string, kind Kind) (int, error) {
	end := i + len(word)
	if end > len(p.text) {
		return i, p.fail(len(p.text), "")
	}
	if p.text[i:end] != word {
		return i, p.fail(i, word+" is expected")
	}
	p.add(kind, i, end, false)
	return end, nil
}

func (p *parser) object(i, depth int) (int, error) {
	if depth > MaxDepth {
		return i, p.fail(i, "nested too deep")
	}
	n := p.open(Object, i)
	i = p.space(i + 1)
	if i < len(p.text) && p.text[i] == '}' {
		p.close(n, i+1)
		return i + 1, nil
	}
	for {
		if i >= len(p.text) || p.text[i] != '"' {
			return i, p.fail(i, "a key in quotes is expected")
		}
		var err error
		if i, err = p.str(i); err != nil {
			return i, err
		}
		if i = p.space(i); i >= len(p.text) || p.text[i] != ':' {
			return i, p.fail(i, "a colon is expected")
		}
		if i, err = p.value(p.space(i+1), depth); err != nil {
			return i, err
		}
		if i = p.space(i); i >= len(p.text) {
			return i, p.fail(i, "")
		}
		switch p.text[i] {
		case ',':
			i = p.space(i + 1)
		case '}':
			p.close(n, i+1)
			return i + 1, nil
		default:
			return i, p.fail(i, "a comma or } is expected")
		}
	}
}

func (p *parser) array(i, depth int) (int, error) {
	if depth > MaxDepth {
		return i, p.fail(i, "nested too deep")
	}
	n := p.open(Array, i)
	i = p.space(i + 1)
	if i < len(p.text) && p.text[i] == ']' {
		p.close(n, i+1)
		return i + 1, nil
	}
	for {
		var err error
		if i, err = p.value(i, depth); err != nil {
			return i, err
		}
		if i = p.space(i); i >= len(p.text) {
			return i, p.fail(i, "")
		}
		switch p.text[i] {
		case ',':
			i = p.space(i + 1)
		case ']':
			p.close(n, i+1)
			return i + 1, nil
		default:
			return i, p.fail(i, "a comma or ] is expected")
		}
	}
}

func (p *parser) number(start int) (int, error) {
	text, i := p.text, start
	if text[i] == '-' {
		i++
	}
	from := i
	if i < len(text) && text[i] == '0' {
		i++
	} else {
		i = digits(text, i)
	}
	if i > from && i < len(text) && text[i] == '.' {
		from = i + 1
		i = digits(text, from)
	}
	if i > from && i < len(text) && text[i]|0x20 == 'e' {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		from = i
		i = digits(text, from)
	}
	if i == from {
		return i, p.fail(i, "a digit is expected")
	}
	p.add(Number, start, i, false)
	return i, nil
}

// digits returns the index behind the digits that begin at i.
func digits(text string, i int) int {
	for i < len(text) && text[i]-'0' < 10 {
		i++
	}
	return i
}

// Every byte of a word at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str reads the string whose opening quote is at i.
func (p *parser) str(i int) (int, error) {
	i++
	start, escaped := i, false
	text := p.text
	for {
		// Eight bytes at a time up to a quote, a backslash or a control
		// character. A bit may be set wrongly above the lowest one, never below.
		for i+8 <= len(text) {
			w := load64(text[i : i+8])
			quote, slash := w^ones*'"', w^ones*'\\'
			found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & highs
			if w&highs != 0 {
				p.nonASCII = true
			}
			if found != 0 {
				i += bits.TrailingZeros64(found) >> 3
				break
			}
			i += 8
		}
		if i >= len(text) {
			return i, p.fail(i, "")
		}
		switch c := text[i]; {
		case c == '"':
			p.add(String, start, i, escaped)
			return i + 1, nil
		case c == '\\':
			escaped = true
			var err error
			if i, err = p.escape(i + 1); err != nil {
				return i, err
			}
		case c < 0x20:
			return i, p.fail(i, "control character in a string")
		default:
			if c >= utf8.RuneSelf {
				p.nonASCII = true
			}
			i++
		}
	}
}

// escape checks what follows a backslash.
func (p *parser) escape(i int) (int, error) {
	if i >= len(p.text) {
		return i, p.fail(i, "")
	}
	switch p.text[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, nil
	case 'u':
		for range 4 {
			if i++; i >= len(p.text) || !isHex(p.text[i]) {
				return i, p.fail(i, "four hexadecimal digits are expected")
			}
		}
		return i + 1, nil
	}
	return i, p.fail(i, "unknown escape")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// load64 reads eight bytes; the compiler makes one load of it.
func load64(b string) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
