package kit

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is the regular expression of an artifact type. Package regexp would
// make a module half as large again, and reads no Java expressions either; this
// reads what both have in common.
type pattern struct {
	program []instruction
	// fold ignores case.
	fold bool
	// steps counts the work of writing the program.
	steps int

	// here and there are used by one value after the other.
	here, there places
}

const (
	// A larger pattern, or a longer value, is left to the server to check.
	maxInstructions = 1000
	maxCheckedRunes = 500
	maxGroups       = 50
)

type opcode uint8

const (
	opMatch opcode = iota
	opRune
	opSplit
	opJump
	opBegin
	opEnd
)

type instruction struct {
	op opcode
	// to are the places where a split or jump goes on.
	to   [2]int
	rune runeClass
}

// runeClass holds the runes of its ranges and of other classes, or all but them.
type runeClass struct {
	not    bool
	ranges [][2]rune
	others []runeClass
}

func (c runeClass) has(r rune) bool {
	for _, one := range c.ranges {
		if one[0] <= r && r <= one[1] {
			return !c.not
		}
	}
	for _, other := range c.others {
		if other.has(r) {
			return !c.not
		}
	}
	return c.not
}

// node is a part of a pattern: a rune, a place, or a group of alternatives,
// each a sequence; repeated from min to max times, max -1 for any number.
type node struct {
	op           opcode
	rune         runeClass
	alternatives [][]node
	min, max     int
}

// compilePattern returns nil for a pattern that it does not understand whole.
func compilePattern(text string) *pattern {
	p := &pattern{}
	text, p.fold = strings.CutPrefix(text, "(?i)")
	parser := patternParser{text: text}
	whole := parser.alternatives(0)
	if parser.bad || parser.text != "" {
		return nil
	}
	p.emitGroup(whole)
	if p.tooLarge() {
		return nil
	}
	p.program = append(p.program, instruction{op: opMatch})
	return p
}

type patternParser struct {
	text string
	bad  bool
}

func (p *patternParser) take(prefix string) (ok bool) {
	p.text, ok = strings.CutPrefix(p.text, prefix)
	return ok
}

func (p *patternParser) next() rune {
	r, size := utf8.DecodeRuneInString(p.text)
	p.text = p.text[size:]
	p.bad = p.bad || size == 0
	return r
}

func (p *patternParser) alternatives(depth int) [][]node {
	p.bad = p.bad || depth > maxGroups
	list := [][]node{nil}
	for !p.bad && p.text != "" && p.text[0] != ')' {
		if p.take("|") {
			list = append(list, nil)
			continue
		}
		last := &list[len(list)-1]
		*last = append(*last, p.repeat(p.atom(depth)))
	}
	return list
}

func (p *patternParser) atom(depth int) node {
	switch r := p.next(); r {
	case '(':
		if p.take("?") && !p.take(":") {
			p.bad = true
		}
		n := node{op: opMatch, alternatives: p.alternatives(depth + 1)}
		p.bad = p.bad || !p.take(")")
		return n
	case '[':
		return node{op: opRune, rune: p.class()}
	case '.':
		return node{op: opRune, rune: runeClass{not: true, ranges: [][2]rune{{'\n', '\n'}, {'\r', '\r'}}}}
	case '^':
		return node{op: opBegin}
	case '$':
		return node{op: opEnd}
	case '\\':
		switch {
		case p.take("A"):
			return node{op: opBegin}
		case p.take("z"), p.take("Z"):
			return node{op: opEnd}
		}
		return node{op: opRune, rune: p.escape()}
	case '*', '+', '?', '{':
		p.bad = true
		return node{}
	default:
		return node{op: opRune, rune: oneRune(r)}
	}
}

func oneRune(r rune) runeClass { return runeClass{ranges: [][2]rune{{r, r}}} }

// escape reads what stands behind a backslash and means runes.
func (p *patternParser) escape() runeClass {
	r := p.next()
	c := runeClass{not: unicode.IsUpper(r)}
	switch unicode.ToLower(r) {
	case 'd':
		c.ranges = [][2]rune{{'0', '9'}}
	case 'w':
		c.ranges = [][2]rune{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}
	case 's':
		c.ranges = [][2]rune{{'\t', '\r'}, {' ', ' '}}
	default:
		return p.escapedRune(r)
	}
	return c
}

func (p *patternParser) escapedRune(r rune) runeClass {
	digits := 0
	switch r {
	case 't':
		return oneRune('\t')
	case 'n':
		return oneRune('\n')
	case 'r':
		return oneRune('\r')
	case 'f':
		return oneRune('\f')
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	}
	if digits > 0 && len(p.text) >= digits {
		n, err := strconv.ParseUint(p.text[:digits], 16, 32)
		p.bad = p.bad || err != nil
		p.text = p.text[digits:]
		return oneRune(rune(n))
	}
	if r > unicode.MaxASCII || unicode.IsLetter(r) || unicode.IsDigit(r) {
		p.bad = true
	}
	return oneRune(r)
}

// class reads a class behind its opening bracket. Java also nests and intersects
// classes.
func (p *patternParser) class() runeClass {
	c := runeClass{not: p.take("^")}
	for first := true; !p.bad; first = false {
		if !first && p.take("]") {
			return c
		}
		low := p.classRune(&c)
		if low < 0 {
			continue
		}
		high := low
		if strings.HasPrefix(p.text, "-") && !strings.HasPrefix(p.text, "-]") {
			p.take("-")
			high = p.classRune(nil)
			p.bad = p.bad || high < low
		}
		c.ranges = append(c.ranges, [2]rune{low, high})
	}
	return c
}

// classRune reads a rune of a class; a class within it is added to c, and -1
// returned.
func (p *patternParser) classRune(c *runeClass) rune {
	r := p.next()
	switch {
	case r == '[' || r == ']' || r == '&' && strings.HasPrefix(p.text, "&"):
		p.bad = true
	case r == '\\':
		escaped := p.escape()
		if len(escaped.ranges) == 1 && escaped.ranges[0][0] == escaped.ranges[0][1] && !escaped.not {
			return escaped.ranges[0][0]
		}
		if c == nil {
			p.bad = true
			return -1
		}
		c.others = append(c.others, escaped)
		return -1
	}
	return r
}

func (p *patternParser) repeat(n node) node {
	n.min, n.max = 1, 1
	switch {
	case p.take("*"):
		n.min, n.max = 0, -1
	case p.take("+"):
		n.max = -1
	case p.take("?"):
		n.min = 0
	case p.take("{"):
		p.bounds(&n)
	default:
		return n
	}
	// A lazy one finds the same; a possessive one does not.
	p.take("?")
	p.bad = p.bad || p.text != "" && strings.ContainsRune("+*?{", rune(p.text[0]))
	return n
}

func (p *patternParser) bounds(n *node) {
	bounds, rest, ok := strings.Cut(p.text, "}")
	from, to, open := strings.Cut(bounds, ",")
	var err1, err2 error
	n.min, err1 = strconv.Atoi(from)
	switch {
	case !open:
		n.max = n.min
	case to == "":
		n.max = -1
	default:
		n.max, err2 = strconv.Atoi(to)
	}
	p.text = rest
	p.bad = p.bad || !ok || err1 != nil || err2 != nil || n.min < 0 || n.max >= 0 && n.max < n.min || max(n.min, n.max) > maxInstructions
}

func (p *pattern) emit(op opcode, c runeClass) int {
	p.program = append(p.program, instruction{op: op, rune: c})
	return len(p.program) - 1
}

func (p *pattern) emitGroup(alternatives [][]node) {
	var ends []int
	for i, sequence := range alternatives {
		split := -1
		if i < len(alternatives)-1 {
			split = p.emit(opSplit, runeClass{})
		}
		for _, n := range sequence {
			p.emitRepeated(n)
		}
		if split >= 0 {
			ends = append(ends, p.emit(opJump, runeClass{}))
			p.program[split].to = [2]int{split + 1, len(p.program)}
		}
	}
	for _, end := range ends {
		p.program[end].to[0] = len(p.program)
	}
}

func (p *pattern) emitRepeated(n node) {
	for range n.min {
		if p.emitOnce(n); p.tooLarge() {
			return
		}
	}
	if n.max < 0 {
		split := p.emit(opSplit, runeClass{})
		p.emitOnce(n)
		p.program[p.emit(opJump, runeClass{})].to[0] = split
		p.program[split].to = [2]int{split + 1, len(p.program)}
	}
	for range n.max - n.min {
		split := p.emit(opSplit, runeClass{})
		p.emitOnce(n)
		p.program[split].to = [2]int{split + 1, len(p.program)}
		if p.tooLarge() {
			return
		}
	}
}

func (p *pattern) emitOnce(n node) {
	p.steps++
	switch {
	case p.tooLarge():
	case n.alternatives != nil:
		p.emitGroup(n.alternatives)
	default:
		p.emit(n.op, n.rune)
	}
}

// tooLarge counts repeated empty groups as well.
func (p *pattern) tooLarge() bool { return max(len(p.program), p.steps/4) > maxInstructions }

// mayFit reports whether the pattern occurs in the value. Whether a server wants
// the whole value to match is not known: what it refuses after all is tried as
// String then.
func (p *pattern) mayFit(value string) bool {
	if p == nil || utf8.RuneCountInString(value) > maxCheckedRunes {
		return true
	}
	p.here.clear(p.program)
	for at := 0; at < len(value); {
		if p.here.follow(0, at, len(value)) {
			return true
		}
		r, size := utf8.DecodeRuneInString(value[at:])
		at += size
		p.there.clear(p.program)
		for _, place := range p.here.list {
			if p.has(p.program[place].rune, r) && p.there.follow(place+1, at, len(value)) {
				return true
			}
		}
		p.here, p.there = p.there, p.here
	}
	return p.here.follow(0, len(value), len(value))
}

func (p *pattern) has(c runeClass, r rune) bool {
	return c.has(r) || p.fold && (c.has(unicode.ToLower(r)) || c.has(unicode.ToUpper(r)))
}

// places are where in the program a value may have led to: all that wait for
// the next rune.
type places struct {
	program []instruction
	list    []int
	seen    []bool
}

func (s *places) clear(program []instruction) {
	if s.program == nil {
		s.program, s.seen = program, make([]bool, len(program))
	}
	s.list = s.list[:0]
	clear(s.seen)
}

// follow adds the places that are reached without a rune, and reports whether
// the end of the program is.
func (s *places) follow(place, at, end int) bool {
	if s.seen[place] {
		return false
	}
	s.seen[place] = true
	switch in := s.program[place]; in.op {
	case opMatch:
		return true
	case opSplit:
		return s.follow(in.to[0], at, end) || s.follow(in.to[1], at, end)
	case opJump:
		return s.follow(in.to[0], at, end)
	case opBegin:
		return at == 0 && s.follow(place+1, at, end)
	case opEnd:
		return at == end && s.follow(place+1, at, end)
	}
	s.list = append(s.list, place)
	return false
}
