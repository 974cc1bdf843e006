package guestbuild

import (
	"encoding/binary"
	"slices"
	"testing"
)

// Tiny is a hand-made guest: faults that no compiler makes. Its functions are
// ftq1_input (offers address 1024), ftq1_turn and _initialize, in this order
// after the imports. Its memory has one page and begins with `"0123456789"`.
type Tiny struct {
	Imports  [][]byte       // entries of the import section; functions only shift the indices when counted in
	Imported byte           // how many of them are functions
	Types    map[int][]byte // replaces one of the three function types
	Input    []byte         // code of ftq1_input
	Turn     []byte         // code of ftq1_turn
	Init     []byte         // code of _initialize
	Locals   []byte         // declarations of ftq1_turn
	Pages    []byte         // limits of the memory
	Globals  [][]byte
	Start    bool              // makes _initialize the start function instead
	Without  string            // leaves out an export
	Renamed  map[string]string // exports under another name
	Tables   []byte            // content of the table section
	Elements []byte            // content of the element section
	// Data is placed at 0 in the place of "0123456789".
	Data     string
	Manifest string
}

// Opcodes.
const (
	OpEnd   = 0x0b
	OpLoad  = 0x28 // i32.load
	OpStore = 0x36 // i32.store
	OpI32   = 0x41
	OpI64   = 0x42
)

// Answer is code for an answer of that length at that address.
func Answer(at, length uint32) []byte {
	return append([]byte{OpI64}, Signed(int64(uint64(at)<<32|uint64(length)))...)
}

// Signed writes a signed LEB128 number.
func Signed(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func sized(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

func vector(items ...[]byte) []byte {
	b := binary.AppendUvarint(nil, uint64(len(items)))
	for _, item := range items {
		b = append(b, item...)
	}
	return b
}

// ImportFunction is an entry of the import section.
func ImportFunction(module, name string, typeIndex byte) []byte {
	return append(append(sized([]byte(module)), sized([]byte(name))...), 0, typeIndex)
}

// Code gives the bytes of the guest without a manifest.
func (g Tiny) Code() []byte {
	types := [][]byte{
		{0x60, 1, 0x7f, 1, 0x7f}, // (i32) -> (i32)
		{0x60, 1, 0x7f, 1, 0x7e}, // (i32) -> (i64)
		{0x60, 0, 0},             // () -> ()
		{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f},
	}
	for i, t := range g.Types {
		types[i] = t
	}
	if g.Locals == nil {
		g.Locals = []byte{0}
	}
	or := func(locals, code, fallback []byte) []byte {
		if code == nil {
			code = fallback
		}
		return sized(append(append(slices.Clone(locals), code...), OpEnd))
	}
	none := []byte{0}
	if g.Data == "" {
		g.Data = `"0123456789"`
	}
	if g.Pages == nil {
		g.Pages = []byte{0, 1}
	}
	var exports [][]byte
	export := func(name string, kind, index byte) {
		if name == g.Without {
			return
		}
		if other, ok := g.Renamed[name]; ok {
			name = other
		}
		exports = append(exports, append(sized([]byte(name)), kind, index))
	}
	export("ftq1_input", 0, g.Imported)
	export("ftq1_turn", 0, g.Imported+1)
	if !g.Start {
		export("_initialize", 0, g.Imported+2)
	}
	export("memory", 2, 0)

	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	section := func(id byte, body []byte) {
		if body != nil {
			m = append(append(m, id), sized(body)...)
		}
	}
	section(1, vector(types...))
	section(2, vector(g.Imports...))
	section(3, []byte{3, 0, 1, 2})
	section(4, g.Tables)
	section(5, vector(g.Pages))
	section(6, vector(g.Globals...))
	section(7, vector(exports...))
	if g.Start {
		section(8, []byte{g.Imported + 2})
	}
	section(9, g.Elements)
	section(10, vector(or(none, g.Input, []byte{OpI32, 0x80, 0x08}), or(g.Locals, g.Turn, Answer(0, uint32(len(g.Data)))), or(none, g.Init, nil)))
	section(11, vector(append([]byte{0, OpI32, 0, OpEnd}, sized([]byte(g.Data))...)))
	return m
}

// File gives the module file.
func (g Tiny) File(t testing.TB) []byte {
	t.Helper()
	if g.Manifest == "" {
		g.Manifest = Manifest("tiny", `{}`)
	}
	return WithManifest(t, g.Code(), g.Manifest)
}
