// Package modulefile reads and writes the custom sections of a module file
// without compiling or running anything of it.
//
// A module file is a core WASM binary: a header and a list of sections, each
// an id, a size and a content. A custom section has the id 0 and begins with
// its name; what follows is its content, which WASM itself never looks at.
package modulefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// CustomID is the id of a custom section.
const CustomID = 0

// lastID is the highest section id of the WASM core specification (13, tag).
const lastID = 13

var (
	header    = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	component = []byte{0, 'a', 's', 'm', 0x0d, 0, 1, 0}
)

// RawSection is one section of a module file. Its slices are views into the
// file.
type RawSection struct {
	ID byte
	// Name is set for custom sections only.
	Name string
	// Body is the section without id and size, but with the name.
	Body []byte
	// Content is what follows the name; of other sections it is the Body.
	Content []byte
}

// Sections lists the sections in the order of the file. It fails when the file
// is not a core WASM module, when a size points past the end, or when two
// custom sections share a name (so that two readers cannot see two different
// manifests); the order of the other sections is the compiler's business.
func Sections(module []byte) ([]RawSection, error) {
	if !bytes.HasPrefix(module, header) {
		if bytes.HasPrefix(module, component) {
			return nil, errors.New("module file: a WASM component, want a core module (build without the component model)")
		}
		return nil, errors.New("module file: not a WASM core module of version 1 (wrong first bytes)")
	}
	var sections []RawSection
	names := map[string]bool{}
	for rest := module[len(header):]; len(rest) > 0; {
		at := len(module) - len(rest)
		id := rest[0]
		if id > lastID {
			return nil, fmt.Errorf("module file: unknown section id %d at byte %d", id, at)
		}
		body, after, err := sized(rest[1:])
		if err != nil {
			return nil, fmt.Errorf("module file: section %d at byte %d: %w", id, at, err)
		}
		rest = after
		s := RawSection{ID: id, Body: body, Content: body}
		if id == CustomID {
			name, content, err := sized(body)
			if err != nil {
				return nil, fmt.Errorf("module file: name of the custom section at byte %d: %w", at, err)
			}
			if !utf8.Valid(name) {
				return nil, fmt.Errorf("module file: name of the custom section at byte %d is not UTF-8", at)
			}
			s.Name, s.Content = string(name), content
			if names[s.Name] {
				return nil, fmt.Errorf("module file: two custom sections %q", s.Name)
			}
			names[s.Name] = true
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// Section returns a copy of the content of the custom section of that name,
// and whether there is one.
func Section(module []byte, name string) ([]byte, bool, error) {
	sections, err := Sections(module)
	if err != nil {
		return nil, false, err
	}
	for _, s := range sections {
		if s.ID == CustomID && s.Name == name {
			return slices.Clone(s.Content), true, nil
		}
	}
	return nil, false, nil
}

// WithSection returns a copy of the module with that custom section at its
// end, in place of one of the same name.
func WithSection(module []byte, name string, content []byte) ([]byte, error) {
	if name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("module file: %q cannot name a section", name)
	}
	sections, err := Sections(module)
	if err != nil {
		return nil, err
	}
	sections = slices.DeleteFunc(sections, func(s RawSection) bool { return s.ID == CustomID && s.Name == name })
	body := binary.AppendUvarint(nil, uint64(len(name)))
	body = append(append(body, name...), content...)
	if uint64(len(body)) > math.MaxUint32 {
		return nil, fmt.Errorf("module file: section %q of %d bytes is too large", name, len(content))
	}
	return Join(append(sections, RawSection{ID: CustomID, Name: name, Body: body})), nil
}

// Join writes a module file of these sections, by their ID and Body.
func Join(sections []RawSection) []byte {
	size := len(header)
	for _, s := range sections {
		size += 1 + binary.MaxVarintLen32 + len(s.Body)
	}
	module := append(make([]byte, 0, size), header...)
	for _, s := range sections {
		module = append(module, s.ID)
		module = binary.AppendUvarint(module, uint64(len(s.Body)))
		module = append(module, s.Body...)
	}
	return module
}

// sized splits off a piece that its size (unsigned LEB128) stands before.
func sized(b []byte) (piece, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || n > binary.MaxVarintLen32 || size > math.MaxUint32 {
		return nil, nil, errors.New("no valid size")
	}
	if size > uint64(len(b)-n) {
		return nil, nil, fmt.Errorf("%d bytes announced, %d left", size, len(b)-n)
	}
	end := n + int(size)
	return b[n:end:end], b[end:], nil
}
