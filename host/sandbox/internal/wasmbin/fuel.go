package wasmbin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"fn-threatq/abi/modulefile"
)

// FuelVersion changes with every change of what Metered and Rewrite make of a
// module: it names what is kept of them.
const FuelVersion = 1

// Costs of the instructions that are more than one unit. Those that only give
// structure (block, loop, else, end, nop) are free, all others cost one.
const (
	costCall = 5
	// costImport is about what leaving the module and coming back takes.
	costImport = 250
	// costPage is what a page of new memory costs to make and to clean.
	costPage = 1000
	// bulkShift: bulk instructions on memory cost one unit for 16 bytes.
	bulkShift = 4
)

const (
	// hoisted is the most that is charged in advance at the head of a region:
	// larger regions charge each segment when it is entered.
	hoisted = 100
	// longRegion has so much code that the head's look at the counter is not
	// enough; each of its segments looks.
	longRegion = 10_000
	// bulkChunk is the most that one bulk instruction on memory does at once.
	bulkChunk = 64 << 10
	// MaxTables and MaxElements bound tables, which lie in the host's memory.
	MaxTables, MaxElements = 16, 1 << 18
)

// Fuel names what joins a metered module to its host.
type Fuel struct {
	// TickModule and TickName import the function (i64) -> (i64) that is called
	// when the counter has fallen below zero, with the counter, and gives its
	// new value. It may also never return.
	TickModule, TickName string
	// Counter exports the counter, a changeable i64.
	Counter string
}

// Metered returns a module that does the same and counts its work: each charge
// takes units off a counter, and at the head of functions and loops the code
// looks whether the counter is below zero and calls the tick. What is charged
// depends on the way through the code alone, so it is the same on any host.
//
// A region is a function body without its loops, or a loop without the loops
// inside it: each of its instructions runs at most once between two passes of
// its head. A segment is a piece of a region without a branch target in it. A
// small region is charged at its head, a large one segment by segment; then no
// instruction runs that was not charged before, and no way leads round a head.
//
// Bulk instructions and memory.grow become calls of added functions, which
// charge by the length and do long ones piece by piece. The tick is an added
// import, so the indices of the module's own functions move up by one; all
// indices are held to the module's own, so that none can name what was added.
func (m *Module) Metered(f Fuel) (*Module, error) {
	w := &rewriter{module: m, helpers: map[helper]uint32{}}
	if err := w.count(); err != nil {
		return nil, err
	}
	if m.Export(f.Counter) != nil {
		return nil, fmt.Errorf("module file: it exports %q, a name that the sandbox reserves", f.Counter)
	}
	w.helper(helper{op: helperRefuel})
	bodies := map[byte][]byte{}
	var err error
	for id, rewrite := range map[byte]func(*reader) ([]byte, error){elementID: w.elements, codeID: w.code, globalID: w.globalSection} {
		if bodies[id], err = w.section(id, rewrite); err != nil {
			return nil, err
		}
	}
	// Only now is it known which functions are to be added, so these come last.
	w.addHelpers(bodies, f)
	out := *m
	out.sections = nil
	out.Imports = append(slices.Clone(m.Imports), Import{Module: f.TickModule, Name: f.TickName, Kind: KindFunction})
	out.Exports = nil
	for _, e := range m.Exports {
		if e.Kind == KindFunction {
			if e.Index, err = w.shift(e.Index); err != nil {
				return nil, err
			}
		} else if e.Kind == KindGlobal && e.Index >= w.globals {
			return nil, errIndex
		}
		out.Exports = append(out.Exports, e)
	}
	out.Exports = append(out.Exports, Export{Name: f.Counter, Kind: KindGlobal, Index: w.globals})
	bodies[exportID] = exportSection(out.Exports)
	if m.HasStart {
		if out.Start, err = w.shift(m.Start); err != nil {
			return nil, err
		}
		bodies[startID] = binary.AppendUvarint(nil, uint64(out.Start))
	}
	out.sections = replaceSections(m.sections, bodies, w.shiftNames)
	return &out, nil
}

// MovedFunction is where Metered moved a function to.
func (m *Module) MovedFunction(index uint32) uint32 {
	if index < m.importedFunctions() {
		return index
	}
	return index + 1
}

func (m *Module) importedFunctions() (n uint32) {
	for _, i := range m.Imports {
		if i.Kind == KindFunction {
			n++
		}
	}
	return n
}

// replaceSections puts new bodies in the place of old ones, and those that were
// not there to where they belong.
func replaceSections(old []modulefile.RawSection, bodies map[byte][]byte, names func([]byte) []byte) (out []modulefile.RawSection) {
	order := []byte{typeID, importID, functionID, globalID, exportID, startID, elementID, codeID}
	missing := func(before byte) {
		for _, id := range order {
			if bodies[id] != nil && rank(id) < rank(before) && !slices.ContainsFunc(old, func(s modulefile.RawSection) bool { return s.ID == id }) {
				out = append(out, modulefile.RawSection{ID: id, Body: bodies[id]})
				bodies[id] = nil
			}
		}
	}
	for _, s := range old {
		switch {
		case s.ID != modulefile.CustomID:
			missing(s.ID)
			if body := bodies[s.ID]; body != nil {
				s.Body, s.Content = body, body
			}
		case s.Name == "name":
			s.Body = names(s.Content)
		}
		out = append(out, s)
	}
	missing(modulefile.CustomID)
	return out
}

// rank is the place of a section in a module; custom sections may stand at the end.
func rank(id byte) int {
	switch id {
	case modulefile.CustomID:
		return 100
	case countID:
		return 2*int(codeID) - 1
	}
	return 2 * int(id)
}

var errIndex = errors.New("module file: an index points past the module's own functions, globals or types")

// rewriter holds what is known of the old module while the new one is made.
type rewriter struct {
	module *Module
	// types, functions (of them imported ones) and globals are the sizes of the
	// module's index spaces.
	types, functions, imported, globals uint32
	tables                              []byte // element type of each
	helpers                             map[helper]uint32
	order                               []helper
}

// count reads the sizes of the index spaces.
func (w *rewriter) count() error {
	w.imported = w.module.importedFunctions()
	w.functions = w.imported
	for _, i := range w.module.Imports {
		switch i.Kind {
		case KindGlobal:
			w.globals++
		case KindTable:
			return errors.New("module file: a metered module cannot import tables")
		}
	}
	for _, s := range w.module.sections {
		r := &reader{b: s.Content}
		switch s.ID {
		case typeID:
			w.types = r.count()
			for range w.types {
				if r.u8() != 0x60 {
					r.fail()
				}
				r.skip(r.count())
				r.skip(r.count())
			}
		case functionID:
			n := r.count()
			w.functions += n
			for range n {
				if r.u32() >= w.types && !r.failed {
					return errIndex
				}
			}
		case tableID:
			for range r.count() {
				w.tables = append(w.tables, r.u8())
				r.limits()
				if r.failed {
					break
				}
			}
		case globalID:
			w.globals += r.count()
			continue
		default:
			continue
		}
		if r.failed || len(r.b) > 0 {
			return fmt.Errorf("module file: section %d is malformed", s.ID)
		}
	}
	return nil
}

// section rewrites a section; nil when the module has none of this id.
func (w *rewriter) section(id byte, rewrite func(*reader) ([]byte, error)) ([]byte, error) {
	for _, s := range w.module.sections {
		if s.ID != id {
			continue
		}
		r := &reader{b: s.Content}
		body, err := rewrite(r)
		if err == nil && (r.failed || len(r.b) > 0) {
			err = fmt.Errorf("module file: section %d is malformed", id)
		}
		return body, err
	}
	return nil, nil
}

// shift gives the new index of a function.
func (w *rewriter) shift(index uint32) (uint32, error) {
	if index >= w.functions {
		return 0, errIndex
	}
	if index >= w.imported {
		index++
	}
	return index, nil
}

// constant copies a constant expression.
func (w *rewriter) constant(out []byte, r *reader) ([]byte, error) {
	var d decoder
	for {
		code := r.b
		if len(code) == 0 {
			return nil, errTruncated
		}
		if err := d.instruction(r); err != nil {
			return nil, err
		}
		code = code[:len(code)-len(r.b)]
		immediate := &reader{b: code[1:]}
		switch code[0] {
		case opRefFunc:
			index, err := w.shift(immediate.u32())
			if err != nil {
				return nil, err
			}
			out = binary.AppendUvarint(append(out, opRefFunc), uint64(index))
		case opGlobalGet:
			if immediate.u32() >= w.globals {
				return nil, errIndex
			}
			out = append(out, code...)
		default:
			out = append(out, code...)
		}
		if code[0] == opEnd {
			return out, nil
		}
	}
}

func (w *rewriter) globalSection(r *reader) ([]byte, error) {
	n := r.count()
	out := binary.AppendUvarint(nil, uint64(n))
	for range n {
		out = append(out, r.u8(), r.u8())
		var err error
		if out, err = w.constant(out, r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// elements copies the element section (WASM core 2.0, 5.5.12).
func (w *rewriter) elements(r *reader) ([]byte, error) {
	n := r.count()
	out := binary.AppendUvarint(nil, uint64(n))
	var err error
	for range n {
		flags := r.u32()
		if flags > 7 {
			return nil, fmt.Errorf("module file: an element segment is of the unknown kind %d", flags)
		}
		active, explicit, expressions := flags&1 == 0, flags&2 != 0, flags&4 != 0
		out = binary.AppendUvarint(out, uint64(flags))
		if active && explicit {
			out = binary.AppendUvarint(out, uint64(r.u32()))
		}
		if active {
			if out, err = w.constant(out, r); err != nil {
				return nil, err
			}
		}
		if flags&3 != 0 {
			out = append(out, r.u8()) // kind or type of the elements
		}
		items := r.count()
		out = binary.AppendUvarint(out, uint64(items))
		for range items {
			if expressions {
				if out, err = w.constant(out, r); err != nil {
					return nil, err
				}
				continue
			}
			index, err := w.shift(r.u32())
			if err != nil {
				return nil, err
			}
			out = binary.AppendUvarint(out, uint64(index))
		}
		if r.failed {
			break
		}
	}
	return out, nil
}

// shiftNames gives a name section with the names of the module and of its
// functions; what else debuggers like to know is left out. A malformed one,
// which is no error in a custom section, becomes empty.
func (w *rewriter) shiftNames(content []byte) []byte {
	out := append([]byte{4}, "name"...)
	r := &reader{b: content}
	for len(r.b) > 0 {
		id := r.u8()
		part := &reader{b: r.take(r.u32())}
		if r.failed {
			break
		}
		switch id {
		case 0:
			out = append(out, id)
			out = append(binary.AppendUvarint(out, uint64(len(part.b))), part.b...)
		case 1:
			n := part.count()
			names := binary.AppendUvarint(nil, uint64(n))
			for range n {
				index, err := w.shift(part.u32())
				name := part.name()
				if err != nil || part.failed {
					return append([]byte{4}, "name"...)
				}
				names = binary.AppendUvarint(names, uint64(index))
				names = append(binary.AppendUvarint(names, uint64(len(name))), name...)
			}
			out = append(out, id)
			out = append(binary.AppendUvarint(out, uint64(len(names))), names...)
		}
	}
	return out
}
