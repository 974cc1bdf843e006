package sandbox_test

import (
	"encoding/binary"
	"testing"

	"fn-threatq/testdata/guests/guestbuild"
)

// tiny is a hand-made guest: faults that no compiler makes. Its functions are
// ftq1_input (offers address 1024), ftq1_turn and _initialize, in this order
// after the imports. Its memory has one page and begins with `"0123456789"`.
type tiny struct {
	imports  [][]byte       // entries of the import section; functions only shift the indices when counted in
	imported byte           // how many of them are functions
	types    map[int][]byte // replaces one of the three function types
	input    []byte         // code of ftq1_input
	turn     []byte         // code of ftq1_turn
	init     []byte         // code of _initialize
	pages    []byte         // limits of the memory
	globals  [][]byte
	start    bool              // makes _initialize the start function instead
	without  string            // leaves out an export
	renamed  map[string]string // exports under another name
	tables   []byte            // content of the table section
	elements []byte            // content of the element section
	manifest string
}

const (
	opEnd   = 0x0b
	opLoad  = 0x28 // i32.load
	opStore = 0x36 // i32.store
	opI32   = 0x41
	opI64   = 0x42
)

// answer is code for an answer of that length at that address.
func answer(at, length uint32) []byte {
	return append([]byte{opI64}, signed(int64(uint64(at)<<32|uint64(length)))...)
}

func signed(v int64) (b []byte) {
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

func importFunction(module, name string, typeIndex byte) []byte {
	return append(append(sized([]byte(module)), sized([]byte(name))...), 0, typeIndex)
}

// code gives the bytes of the guest without a manifest.
func (g tiny) code() []byte {
	types := [][]byte{
		{0x60, 1, 0x7f, 1, 0x7f}, // (i32) -> (i32)
		{0x60, 1, 0x7f, 1, 0x7e}, // (i32) -> (i64)
		{0x60, 0, 0},             // () -> ()
		{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f},
	}
	for i, t := range g.types {
		types[i] = t
	}
	or := func(code, fallback []byte) []byte {
		if code == nil {
			code = fallback
		}
		return sized(append(append([]byte{0}, code...), opEnd))
	}
	if g.pages == nil {
		g.pages = []byte{0, 1}
	}
	var exports [][]byte
	export := func(name string, kind, index byte) {
		if name == g.without {
			return
		}
		if other, ok := g.renamed[name]; ok {
			name = other
		}
		exports = append(exports, append(sized([]byte(name)), kind, index))
	}
	export("ftq1_input", 0, g.imported)
	export("ftq1_turn", 0, g.imported+1)
	if !g.start {
		export("_initialize", 0, g.imported+2)
	}
	export("memory", 2, 0)

	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	section := func(id byte, body []byte) {
		if body != nil {
			m = append(append(m, id), sized(body)...)
		}
	}
	section(1, vector(types...))
	section(2, vector(g.imports...))
	section(3, []byte{3, 0, 1, 2})
	section(4, g.tables)
	section(5, vector(g.pages))
	section(6, vector(g.globals...))
	section(7, vector(exports...))
	if g.start {
		section(8, []byte{g.imported + 2})
	}
	section(9, g.elements)
	section(10, vector(or(g.input, []byte{opI32, 0x80, 0x08}), or(g.turn, answer(0, 12)), or(g.init, nil)))
	section(11, vector(append([]byte{0, opI32, 0, opEnd}, sized([]byte(`"0123456789"`))...)))
	return m
}

// file gives the module file.
func (g tiny) file(t testing.TB) []byte {
	t.Helper()
	if g.manifest == "" {
		g.manifest = guestbuild.Manifest("tiny", `{}`)
	}
	return guestbuild.WithManifest(t, g.code(), g.manifest)
}
