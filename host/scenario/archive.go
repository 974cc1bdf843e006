package scenario

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// archive is a text of the txtar format: a comment, then sections.
type archive struct {
	file     string
	comment  string
	sections []section
}

// section is a named part of an archive.
type section struct {
	name string
	// text ends with a newline, unless it is empty.
	text string
	// line is the number of the first line of text, counted from 1.
	line int
}

// FileError is a mistake in a file.
type FileError struct {
	File string
	Line int
	Text string
}

// Error is FILE:LINE: what is wrong.
func (e *FileError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// readArchive splits a text at its `-- name --` lines.
func readArchive(file string, text []byte) (*archive, error) {
	if !utf8.Valid(text) {
		return nil, &FileError{file, 1, "the file is not UTF-8"}
	}
	a := &archive{file: file}
	part := &a.comment
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if name, ok := marker(line); ok {
			if name == "" {
				return nil, &FileError{file, number, "a section without a name"}
			}
			a.sections = append(a.sections, section{name: name, line: number + 1})
			part = &a.sections[len(a.sections)-1].text
			continue
		}
		*part += line + "\n"
	}
	return a, nil
}

// marker reports the name of a line that begins a section.
func marker(line string) (name string, ok bool) {
	name, ok = strings.CutPrefix(line, "-- ")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, " --")
	return strings.TrimSpace(name), ok
}

// fail is a mistake at a line of the section, counted from 0.
func (a *archive) fail(s section, line int, format string, args ...any) error {
	return &FileError{a.file, s.line + line, fmt.Sprintf(format, args...)}
}
