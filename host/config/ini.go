package config

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/ini.v1"
)

// option is one key of a section, as it stands in the file.
type option struct {
	value string
	line  int
}

// section holds the options of one section by lower-cased key.
type section struct {
	line    int
	options map[string]option
}

// document is an app.config as Python's configparser understands it.
type document struct {
	sections map[string]section
	// defaults are the options of [DEFAULT], which configparser shows in every section.
	defaults map[string]option
}

// parseDocument reads INI text with the manners of Python's configparser without interpolation (contract: Finding and
// reading it). The division of labour: ini.v1 says which sections and keys there are and which of them are there twice;
// it is handed each value as the number of its line, because it would unquote and unescape the value itself, and
// because it reports no line numbers. Problems name lines, never their text: it may be a secret.
func parseDocument(file string, data []byte) (*document, []Problem) {
	scan := scanLines(file, data)
	if len(scan.problems) > 0 {
		return nil, scan.problems
	}
	parsed, err := ini.LoadSources(ini.LoadOptions{
		InsensitiveKeys:        true,
		AllowShadows:           true, // keeps all values of a key, so that a second one is seen
		AllowNonUniqueSections: true, // likewise
	}, scan.skeleton.Bytes())
	if err != nil {
		return nil, []Problem{unreadable(file)} // err would quote a line
	}

	doc := &document{sections: make(map[string]section), defaults: make(map[string]option)}
	var problems []Problem
	header := 0
	for i, parsedSection := range parsed.Sections() {
		name := parsedSection.Name()
		options := make(map[string]option)
		current := section{options: options}
		if i > 0 { // ini.v1 puts an empty section before the first header
			current.line = scan.headers[header]
			header++
		}
		if name == ini.DefaultSection {
			options = doc.defaults
		} else if earlier, found := doc.sections[name]; found {
			problems = append(problems, Problem{File: file, Line: current.line, Section: name,
				Message: fmt.Sprintf("section [%s] is there a second time, first on line %d", name, earlier.line),
				Advice:  "join the two sections"})
			continue
		} else {
			doc.sections[name] = current
		}
		for _, key := range parsedSection.Keys() {
			keyName := strings.TrimPrefix(key.Name(), keyMark)
			for _, reference := range key.ValueWithShadows() {
				line, err := strconv.Atoi(reference)
				if err != nil {
					return nil, append(problems, unreadable(file))
				}
				if earlier, found := options[keyName]; found {
					problems = append(problems, Problem{File: file, Line: line, Section: name, Key: keyName,
						Message: fmt.Sprintf("key %s is there a second time in [%s], first on line %d", keyName, name, earlier.line),
						Advice:  "remove one of the two lines"})
					continue
				}
				options[keyName] = option{value: scan.values[line], line: line}
			}
		}
	}
	if len(problems) > 0 {
		sort.SliceStable(problems, func(i, j int) bool { return problems[i].Line < problems[j].Line })
		return nil, problems
	}
	return doc, nil
}

func unreadable(file string) Problem {
	return Problem{File: file, Message: "the file cannot be read as INI", Advice: "look for unusual characters in its section headers and keys"}
}

// lineScan is what the lines of a file say before anything is known of sections and keys.
type lineScan struct {
	skeleton bytes.Buffer   // the file for ini.v1: headers, and keys with a line number for a value
	headers  []int          // line numbers of the section headers, in order
	values   map[int]string // raw values by the line number of their key
	problems []Problem
}

// scanLines follows configparser's reading loop: full-line comments, values continued on lines that are indented
// deeper than their key, empty lines within values kept, text trimmed, byte order mark and all kinds of line ends.
func scanLines(file string, data []byte) *lineScan {
	scan := &lineScan{values: make(map[int]string)}
	text := strings.TrimPrefix(string(data), "\uFEFF")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")

	fail := func(line int, message, advice string) {
		scan.problems = append(scan.problems, Problem{File: file, Line: line, Message: message, Advice: advice})
	}
	indent, keyLine, inSection := 0, 0, false
	for i, line := range strings.Split(text, "\n") {
		number := i + 1
		if !utf8.ValidString(line) {
			fail(number, "the line is not UTF-8 text", "save the file as UTF-8")
			continue
		}
		content := strings.TrimFunc(line, isSpace)
		if content == "" {
			if keyLine > 0 {
				scan.values[keyLine] += "\n"
			}
			continue
		}
		if content[0] == '#' || content[0] == ';' {
			continue
		}
		depth := utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeftFunc(line, isSpace))
		if keyLine > 0 && depth > indent {
			scan.values[keyLine] += "\n" + content
			continue
		}
		indent, keyLine = depth, 0
		end := strings.LastIndexByte(content, ']')
		if content[0] == '[' && end > 1 {
			inSection = true
			scan.headers = append(scan.headers, number)
			scan.skeleton.WriteString(content[:end+1] + "\n")
			continue
		}
		at := strings.IndexAny(content, "=:")
		switch {
		case !inSection:
			fail(number, "the line stands before the first section", "put a header such as [resilient] above it")
		case at < 0:
			fail(number, "the line is neither [section] nor key=value", "a comment begins with #; the further lines of a long value are indented")
		case at == 0:
			fail(number, "the line has no key before its "+content[:1], "write key=value")
		default:
			keyLine = number
			scan.values[number] = strings.TrimFunc(content[at+1:], isSpace)
			scan.skeleton.WriteString(keyMark + strings.TrimRightFunc(content[:at], isSpace) + "=" + strconv.Itoa(number) + "\n")
		}
	}
	for line, value := range scan.values {
		scan.values[line] = strings.TrimRightFunc(value, isSpace)
	}
	return scan
}

// keyMark is put before each key of the skeleton: ini.v1 treats a leading quote and the key "-" in ways of its own.
const keyMark = "x"

// isSpace is Python's str.isspace, which counts four control characters more than Go does.
func isSpace(r rune) bool { return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f) }
