// Package wasmbin reads as much of a WASM binary as the sandbox must know
// before it compiles it, and rewrites it at the level of sections.
//
// The state of an instance is its memory, its mutable globals, its tables and
// the set of its dropped segments. Memory and globals can be copied from
// outside once the globals are exported; tables and segments cannot, so Parse
// looks for the instructions that change them.
package wasmbin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"fn-threatq/abi/modulefile"
)

// Kinds of an import or export, by their number in the binary.
const (
	KindFunction = iota
	KindTable
	KindMemory
	KindGlobal
)

// KindName is the word of the WASM text format for a kind.
func KindName(kind byte) string {
	if names := []string{"function", "table", "memory", "global"}; int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("item of kind %d", kind)
}

// Value types, by their number in the binary.
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF64       = 0x7c
	typeFuncRef   = 0x70
	typeExternRef = 0x6f
)

// ids of sections.
const (
	typeID     = 1
	importID   = 2
	functionID = 3
	tableID    = 4
	memoryID   = 5
	globalID   = 6
	exportID   = 7
	startID    = 8
	elementID  = 9
	codeID     = 10
	dataID     = 11
	countID    = 12
)

// Import is one import.
type Import struct {
	Module, Name string
	Kind         byte
}

// Export is one export.
type Export struct {
	Name  string
	Kind  byte
	Index uint32
}

// Data is an active data segment.
type Data struct {
	Offset uint32
	Bytes  []byte
}

// Module is what was read.
type Module struct {
	Imports []Import
	Exports []Export
	// Memories is the number of memories; MemoryMin the pages of the first.
	Memories  int
	MemoryMin uint32
	// Tables are the elements with which the tables begin.
	Tables []uint32
	// MutableGlobals are the indices of globals that code can change.
	MutableGlobals []uint32
	// Start is the index of the start function, when HasStart.
	Start    uint32
	HasStart bool
	// HiddenState names an instruction that changes tables or drops segments:
	// state that cannot be put back. Empty when no code holds one.
	HiddenState string
	// Data is what is placed in the memory of a new instance.
	Data []Data

	segments     [][]byte // passive data; nil for what is in Data
	usesSegments bool     // code names a data segment
	sections     []modulefile.RawSection
}

// OpcodeError is the refusal of an instruction outside WASM core 2.0.
type OpcodeError struct {
	Function int // among the module's own functions
	Opcode   string
}

func (e *OpcodeError) Error() string {
	return fmt.Sprintf("function %d uses the instruction %s, which is not of WASM core 2.0: build the module without newer proposals", e.Function, e.Opcode)
}

// Parse reads a module. It does not validate it: that is the compiler's part.
func Parse(file []byte) (*Module, error) {
	sections, err := modulefile.Sections(file)
	if err != nil {
		return nil, err
	}
	m := &Module{sections: sections}
	seen := map[byte]bool{}
	for _, s := range sections {
		if s.ID == modulefile.CustomID {
			continue
		}
		if seen[s.ID] {
			return nil, fmt.Errorf("module file: section %d stands twice", s.ID)
		}
		seen[s.ID] = true
		r := &reader{b: s.Content}
		var read func(*reader) error
		switch s.ID {
		case importID:
			read = m.readImports
		case tableID:
			read = m.readTables
		case memoryID:
			read = m.readMemories
		case globalID:
			read = m.readGlobals
		case exportID:
			read = m.readExports
		case startID:
			read = func(r *reader) error { m.Start, m.HasStart = r.u32(), true; return nil }
		case codeID:
			read = m.readCode
		case dataID:
			read = m.readData
		default:
			continue
		}
		if err := read(r); err != nil {
			return nil, err
		}
		if r.failed || len(r.b) > 0 {
			return nil, fmt.Errorf("module file: section %d is malformed", s.ID)
		}
	}
	return m, nil
}

func (m *Module) readImports(r *reader) error {
	for range r.count() {
		i := Import{Module: r.name(), Name: r.name(), Kind: r.u8()}
		switch i.Kind {
		case KindFunction:
			r.u32()
		case KindTable:
			r.u8()
			r.limits()
		case KindMemory:
			r.limits()
		case KindGlobal:
			r.skip(2)
		default:
			return fmt.Errorf("module file: import %s.%s is of the unknown kind %d", i.Module, i.Name, i.Kind)
		}
		if r.failed {
			break
		}
		m.Imports = append(m.Imports, i)
	}
	return nil
}

func (m *Module) readTables(r *reader) error {
	for range r.count() {
		if kind := r.u8(); kind != typeFuncRef && kind != typeExternRef {
			r.fail()
		}
		minimum := r.limits()
		if r.failed {
			break
		}
		m.Tables = append(m.Tables, minimum)
	}
	return nil
}

func (m *Module) readMemories(r *reader) error {
	for n := range r.count() {
		minimum := r.limits()
		if n == 0 {
			m.MemoryMin = minimum
		}
		m.Memories++
		if r.failed {
			break
		}
	}
	return nil
}

func (m *Module) readGlobals(r *reader) error {
	imported := uint32(0)
	for _, i := range m.Imports {
		if i.Kind == KindGlobal {
			imported++
		}
	}
	for n := range r.count() {
		valueType, mutable := r.u8(), r.u8() == 1
		var d decoder
		if err := d.constant(r); err != nil {
			return fmt.Errorf("module file: global %d: %w", n, err)
		}
		if r.failed {
			break
		}
		if !mutable {
			continue
		}
		if valueType < typeF64 || valueType > typeI32 {
			return fmt.Errorf("module file: global %d is a changeable one of type 0x%x; only numbers can be put back between turns", n, valueType)
		}
		m.MutableGlobals = append(m.MutableGlobals, imported+n)
	}
	return nil
}

func (m *Module) readExports(r *reader) error {
	for range r.count() {
		e := Export{Name: r.name(), Kind: r.u8(), Index: r.u32()}
		if r.failed {
			break
		}
		m.Exports = append(m.Exports, e)
	}
	return nil
}

// A compiler keeps something for each local of a function, of which six bytes can
// declare four billion. The first bound is that of browsers; the second is for all
// functions together.
const (
	maxLocals    = 50_000
	maxAllLocals = 1 << 22
)

func (m *Module) readCode(r *reader) error {
	all := uint64(0)
	for n := range r.count() {
		body := &reader{b: r.take(r.u32())}
		if r.failed {
			break
		}
		var d decoder
		if err := d.function(body); err != nil {
			var opcode *OpcodeError
			if errors.As(err, &opcode) {
				opcode.Function = int(n)
				return opcode
			}
			return fmt.Errorf("module file: function %d: %w", n, err)
		}
		if all += d.locals; d.locals > maxLocals || all > maxAllLocals {
			return fmt.Errorf("module file: function %d has %d locals, all up to it %d; %d and %d are the most", n, d.locals, all, maxLocals, maxAllLocals)
		}
		if m.HiddenState == "" {
			m.HiddenState = d.hidden
		}
		m.usesSegments = m.usesSegments || d.segments
	}
	return nil
}

func (m *Module) readData(r *reader) error {
	for n := range r.count() {
		flags := r.u32()
		if flags == 2 {
			r.u32() // index of the memory
		}
		var at int32
		if flags != 1 {
			if r.u8() != opI32Const {
				return fmt.Errorf("module file: data segment %d has a place that is no constant", n)
			}
			at = r.s32()
			if r.u8() != opEnd {
				return fmt.Errorf("module file: data segment %d has a place that is no constant", n)
			}
		}
		content := r.take(r.u32())
		switch {
		case r.failed:
			return nil
		case flags > 2:
			return fmt.Errorf("module file: data segment %d is of the unknown kind %d", n, flags)
		case flags == 1:
			m.segments = append(m.segments, content)
		default:
			m.segments = append(m.segments, nil)
			m.Data = append(m.Data, Data{Offset: uint32(at), Bytes: content})
		}
	}
	return nil
}

// dataSection leaves the passive segments, and empty ones in place of the
// others: that is what code sees of an active segment after it was placed.
func (m *Module) dataSection() []byte {
	b := binary.AppendUvarint(nil, uint64(len(m.segments)))
	for _, content := range m.segments {
		b = append(b, 1)
		b = binary.AppendUvarint(b, uint64(len(content)))
		b = append(b, content...)
	}
	return b
}

// Export returns the export of that name, or nil.
func (m *Module) Export(name string) *Export {
	if i := slices.IndexFunc(m.Exports, func(e Export) bool { return e.Name == name }); i >= 0 {
		return &m.Exports[i]
	}
	return nil
}

// Rewrite returns the module with these exports added, without its start
// section, without its Data (an instance that gets an image needs none, and a
// Go program has thousands of pieces), and without custom sections but "name"
// (which gives traps the names of functions).
func (m *Module) Rewrite(added []Export) ([]byte, error) {
	for _, e := range added {
		if m.Export(e.Name) != nil {
			return nil, fmt.Errorf("module file: it exports %q, a name that the sandbox reserves", e.Name)
		}
	}
	var out []modulefile.RawSection
	written := false
	for _, s := range m.sections {
		switch {
		case s.ID == startID, s.ID == modulefile.CustomID && s.Name != "name":
			continue
		case s.ID == dataID && !m.usesSegments, s.ID == countID && !m.usesSegments:
			continue
		case s.ID == dataID:
			s.Body = m.dataSection()
		case s.ID == exportID:
			s.Body = exportSection(append(slices.Clone(m.Exports), added...))
			written = true
		}
		out = append(out, s)
	}
	if !written && len(added) > 0 {
		return nil, errors.New("module file: it exports nothing")
	}
	return modulefile.Join(out), nil
}

func exportSection(exports []Export) []byte {
	b := binary.AppendUvarint(nil, uint64(len(exports)))
	for _, e := range exports {
		b = binary.AppendUvarint(b, uint64(len(e.Name)))
		b = append(b, e.Name...)
		b = append(b, e.Kind)
		b = binary.AppendUvarint(b, uint64(e.Index))
	}
	return b
}
