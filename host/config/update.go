package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Addition is what Update adds to one section.
type Addition struct {
	Section string
	Whole   bool     // the section was not there
	Keys    []string // that were added, in the order of the reference table
}

// String returns "section [NAME]" or "KEY, KEY in [NAME]".
func (a Addition) String() string {
	if a.Whole {
		return fmt.Sprintf("section [%s]", a.Section)
	}
	return fmt.Sprintf("%s in [%s]", strings.Join(a.Keys, ", "), a.Section)
}

// Update returns a file's text with the sections and keys that it does not have, and what was added. The text that is
// there is not changed by a byte: lines are put at the end of a section, or of the file. A key counts as there when it is
// commented out, so that a second Update adds nothing; a required one does not. The error is an *Error for a text that
// cannot be read or amended; path is only for its messages.
func Update(path string, data []byte) ([]byte, []Addition, error) {
	doc, problems := parseDocument(path, data)
	if len(problems) > 0 {
		return nil, nil, &Error{Problems: problems}
	}
	text := newAmended(data)
	var additions []Addition
	for _, name := range sections {
		if _, found := doc.sections[name]; !found {
			text.append(sectionTemplate(name))
			addition := Addition{Section: name, Whole: true}
			for _, field := range fieldsOf(name) {
				addition.Keys = append(addition.Keys, field.Key)
			}
			additions = append(additions, addition)
			continue
		}
		header := doc.sections[name].line - 1
		commented := text.commentedKeys(name, header)
		addition := Addition{Section: name}
		var lines strings.Builder
		for _, field := range fieldsOf(name) {
			if doc.has(name, field.Key) || !field.Required && commented[field.Key] {
				continue
			}
			addition.Keys = append(addition.Keys, field.Key)
			lines.WriteString("\n" + field.template(field.Required))
		}
		if len(addition.Keys) > 0 {
			text.insert(text.sectionEnd(name, header), lines.String())
			additions = append(additions, addition)
		}
	}
	updated := text.bytes()
	if err := sameValues(path, doc, updated); err != nil {
		return nil, nil, err
	}
	return updated, additions, nil
}

// has tells whether a key is in a section, or in the section that stands for all.
func (d *document) has(section, key string) bool {
	_, inDefaults := d.defaults[key]
	for written := range d.sections[section].options {
		if canonicalKey(section, written) == key {
			return true
		}
	}
	return inDefaults
}

// sameValues is the guard of Update: an updated text says for every key that was there what it said before. Where lines
// are indented in unusual ways, added ones could be taken for the continuation of others.
func sameValues(path string, before *document, updated []byte) error {
	after, problems := parseDocument(path, updated)
	refused := &Error{Problems: []Problem{{File: path, Message: "the file cannot be amended without a change to what is there",
		Advice: "unindent its section headers and keys, or add by hand what `fn-threatq config create --print` shows"}}}
	if len(problems) > 0 || len(after.defaults) != len(before.defaults) {
		return refused
	}
	same := func(before, after map[string]option) bool {
		for key, was := range before {
			if is, found := after[key]; !found || is.value != was.value {
				return false
			}
		}
		return true
	}
	if !same(before.defaults, after.defaults) {
		return refused
	}
	for name, section := range before.sections {
		is, found := after.sections[name]
		if !found || !same(section.options, is.options) || !slices.Contains(sections, name) && len(is.options) != len(section.options) {
			return refused
		}
	}
	return nil
}

// amended is a text to which lines are added.
type amended struct {
	lines [][]byte       // with their line ends
	added map[int]string // by the index of the line that they are put before
	tail  strings.Builder
	eol   string
}

func newAmended(data []byte) *amended {
	a := &amended{added: make(map[int]string), eol: "\n"}
	for rest := data; len(rest) > 0; {
		end := bytes.IndexAny(rest, "\r\n") + 1
		switch {
		case end == 0:
			end = len(rest)
		case rest[end-1] == '\r' && end < len(rest) && rest[end] == '\n':
			end++
		}
		if line := rest[:end]; len(a.lines) == 0 && bytes.HasSuffix(line, []byte("\r\n")) {
			a.eol = "\r\n"
		} else if len(a.lines) == 0 && line[end-1] == '\r' {
			a.eol = "\r"
		}
		a.lines = append(a.lines, rest[:end])
		rest = rest[end:]
	}
	return a
}

func (a *amended) insert(at int, lines string) { a.added[at] += lines }

func (a *amended) append(section string) {
	if len(a.lines) > 0 || a.tail.Len() > 0 {
		a.tail.WriteString("\n")
	}
	a.tail.WriteString(section)
}

func (a *amended) bytes() []byte {
	var out bytes.Buffer
	add := func(lines string) {
		if lines == "" {
			return
		}
		// The last line of the file may have no end.
		if text := out.Bytes(); len(text) > 0 && text[len(text)-1] != '\n' && text[len(text)-1] != '\r' {
			out.WriteString(a.eol)
		}
		out.WriteString(strings.ReplaceAll(lines, "\n", a.eol))
	}
	for i, line := range a.lines {
		add(a.added[i])
		out.Write(line)
	}
	add(a.added[len(a.lines)])
	add(a.tail.String())
	return out.Bytes()
}

// content returns a line without its end and the blanks around it.
func (a *amended) content(i int) string {
	return strings.TrimFunc(strings.TrimPrefix(string(a.lines[i]), "\uFEFF"), isSpace)
}

// nextHeader returns the index of the line at which the section ends.
func (a *amended) nextHeader(header int) int {
	depth := func(i int) int {
		line := strings.TrimPrefix(string(a.lines[i]), "\uFEFF")
		return utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeftFunc(line, isSpace))
	}
	for i := header + 1; i < len(a.lines); i++ {
		// What is indented deeper than the header may as well be a part of a value; sameValues is the judge.
		if strings.HasPrefix(a.content(i), "[") && depth(i) <= depth(header) {
			return i
		}
	}
	return len(a.lines)
}

// sectionEnd returns the index of the line before which keys are added to a section: behind its last key, whether live or
// commented out, and before the blank lines and comments that lead to the next header.
func (a *amended) sectionEnd(name string, header int) int {
	end := a.nextHeader(header)
	for end > header+1 {
		content := a.content(end - 1)
		if content != "" && (content[0] != '#' && content[0] != ';' || commentedKey(name, content) != "") {
			break
		}
		end--
	}
	return end
}

var commentedLine = regexp.MustCompile(`^[#;]+\s*([A-Za-z_ ]+?)\s*[=:]`)

// commentedKey returns the key of the section that a comment switches off, or "".
func commentedKey(section, content string) string {
	match := commentedLine.FindStringSubmatch(content)
	if match == nil {
		return ""
	}
	key := canonicalKey(section, strings.ToLower(match[1]))
	if _, known := Lookup(section, key); known {
		return key
	}
	return ""
}

func (a *amended) commentedKeys(section string, header int) map[string]bool {
	keys := make(map[string]bool)
	for i, end := header+1, a.nextHeader(header); i < end; i++ {
		if key := commentedKey(section, a.content(i)); key != "" {
			keys[key] = true
		}
	}
	return keys
}
