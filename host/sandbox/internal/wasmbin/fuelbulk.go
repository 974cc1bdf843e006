package wasmbin

import (
	"encoding/binary"
	"slices"
)

// Instructions behind the prefix 0xfc that are charged by their length.
const (
	bulkMemoryInit = 8
	bulkMemoryCopy = 10
	bulkMemoryFill = 11
	bulkTableInit  = 12
	bulkTableCopy  = 14
	bulkTableGrow  = 15
	bulkTableFill  = 17
)

// Added functions that stand for no instruction of 0xfc.
const (
	helperRefuel     = -1
	helperMemoryGrow = -2
)

// helper is an added function, by the instruction that it does and its
// immediates.
type helper struct {
	op   int
	a, b uint32
}

// helper gives the index of an added function.
func (w *rewriter) helper(h helper) uint32 {
	index, ok := w.helpers[h]
	if !ok {
		index = w.functions + 1 + uint32(len(w.order))
		w.helpers[h] = index
		w.order = append(w.order, h)
	}
	return index
}

// More opcodes, for the added functions.
const (
	opBrIf     = 0x0d
	opLocalGet = 0x20
	opLocalSet = 0x21
	opLocalTee = 0x22
	opI32Ne    = 0x47
	opI32LtU   = 0x49
	opI32GtU   = 0x4b
	opI64LtS   = 0x53
	opI64GtU   = 0x56
	opI32Add   = 0x6a
	opI32Sub   = 0x6b
	opI32Or    = 0x72
	opI64Add   = 0x7c
	opI64Sub   = 0x7d
	opI64Mul   = 0x7e
	opI64ShrU  = 0x88
	opExtendU  = 0xad // i64.extend_i32_u
	tableSize  = 16
	typeNone   = 0x40
)

// addHelpers appends the added types, functions, the import and the counter.
func (w *rewriter) addHelpers(bodies map[byte][]byte, f Fuel) {
	var types, functions, code [][]byte
	typeOf := func(t []byte) uint32 {
		at := slices.IndexFunc(types, func(other []byte) bool { return slices.Equal(other, t) })
		if at < 0 {
			at, types = len(types), append(types, t)
		}
		return w.types + uint32(at)
	}
	tick := typeOf([]byte{0x60, 1, typeI64, 1, typeI64})
	for _, h := range w.order {
		signature, body := w.body(h)
		functions = append(functions, binary.AppendUvarint(nil, uint64(typeOf(signature))))
		code = append(code, append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	}
	name := func(b []byte, text string) []byte { return append(binary.AppendUvarint(b, uint64(len(text))), text...) }
	importing := binary.AppendUvarint(append(name(name(nil, f.TickModule), f.TickName), KindFunction), uint64(tick))
	w.extend(bodies, typeID, types...)
	w.extend(bodies, importID, importing)
	w.extend(bodies, functionID, functions...)
	w.extend(bodies, globalID, []byte{typeI64, 1, opI64Const, 0, opEnd})
	if bodies[codeID] != nil {
		// Its number of functions was left out.
		bodies[codeID] = append(binary.AppendUvarint(nil, uint64(w.functions-w.imported)), bodies[codeID]...)
	}
	w.extend(bodies, codeID, code...)
}

// extend appends items to a section, which may be a new one.
func (w *rewriter) extend(bodies map[byte][]byte, id byte, items ...[]byte) {
	body := bodies[id]
	if body == nil {
		body = []byte{0}
		for _, s := range w.module.sections {
			if s.ID == id {
				body = s.Content
			}
		}
	}
	r := &reader{b: body}
	n := r.u32()
	out := binary.AppendUvarint(make([]byte, 0, len(body)+100), uint64(n)+uint64(len(items)))
	out = append(out, r.b...)
	for _, item := range items {
		out = append(out, item...)
	}
	bodies[id] = out
}

// body gives the type and the code of an added function.
func (w *rewriter) body(h helper) (signature, body []byte) {
	three := func(middle byte) []byte { return []byte{0x60, 3, typeI32, middle, typeI32, 0} }
	bulk := func(immediates ...uint32) []byte {
		b := binary.AppendUvarint([]byte{prefixFC}, uint64(h.op))
		for _, i := range immediates {
			b = binary.AppendUvarint(b, uint64(i))
		}
		return b
	}
	switch h.op {
	case helperRefuel:
		counter := binary.AppendUvarint(nil, uint64(w.globals))
		return []byte{0x60, 0, 0}, slices.Concat([]byte{0, opGlobalGet}, counter,
			binary.AppendUvarint([]byte{opCall}, uint64(w.imported)), []byte{opGlobalSet}, counter, []byte{opEnd})
	case helperMemoryGrow:
		return []byte{0x60, 1, typeI32, 1, typeI32}, slices.Concat([]byte{1, 1, typeI32,
			opLocalGet, 0, opMemoryGrow, 0, opLocalTee, 1, opI32Const, 0x7f, opI32Ne, opIf, typeNone},
			w.chargeFor(0, []byte{opI64Const}, appendSigned(nil, costPage), []byte{opI64Mul}),
			[]byte{opEnd, opLocalGet, 1, opEnd})
	case bulkMemoryFill:
		return three(typeI32), w.inPieces(bulk(0), false)
	case bulkMemoryCopy:
		return three(typeI32), w.inPieces(bulk(0, 0), true)
	case bulkMemoryInit:
		return three(typeI32), w.inPieces(bulk(h.a, 0), true)
	case bulkTableInit, bulkTableCopy:
		return three(typeI32), w.atOnce(bulk(h.a, h.b), 2)
	case bulkTableFill:
		return three(w.tables[h.a]), w.atOnce(bulk(h.a), 2)
	default: // bulkTableGrow: refused, as the specification allows, when the table would be too large
		size := binary.AppendUvarint([]byte{prefixFC, tableSize}, uint64(h.a))
		return []byte{0x60, 2, w.tables[h.a], typeI32, 1, typeI32}, slices.Concat([]byte{0}, size,
			[]byte{opExtendU, opLocalGet, 1, opExtendU, opI64Add, opI64Const}, appendSigned(nil, MaxElements),
			[]byte{opI64GtU, opIf, typeNone, opI32Const, 0x7f, opReturn, opEnd},
			w.chargeFor(1), []byte{opLocalGet, 0, opLocalGet, 1}, bulk(h.a), []byte{opEnd})
	}
}

// chargeFor charges what a computation makes of the length in a local, and looks.
func (w *rewriter) chargeFor(local byte, computation ...[]byte) []byte {
	out := binary.AppendUvarint([]byte{opGlobalGet}, uint64(w.globals))
	out = append(append(out, opLocalGet, local, opExtendU), slices.Concat(computation...)...)
	out = binary.AppendUvarint(append(out, opI64Sub, opGlobalSet), uint64(w.globals))
	return w.look(out)
}

// atOnce charges for the length in the last of three parameters and does the
// instruction.
func (w *rewriter) atOnce(instruction []byte, length byte) []byte {
	return slices.Concat([]byte{0}, w.chargeFor(length), []byte{opLocalGet, 0, opLocalGet, 1, opLocalGet, 2}, instruction, []byte{opEnd})
}

// inPieces does a bulk instruction on memory, (to, from or value, length).
//
// A range past the end must trap before anything is written. So a range that
// wraps around, which no pieces can stand for, is done at once; else the pieces
// go from the end, so that the first one traps. Where two overlapping ranges
// must be copied from the start, an empty copy at their ends is tried first.
func (w *rewriter) inPieces(instruction []byte, hasSource bool) []byte {
	const to, from, length = 0, 1, 2
	chunk := slices.Concat([]byte{opI32Const}, appendSigned(nil, bulkChunk))
	charge := w.chargeFor(length, []byte{opI64Const, bulkShift, opI64ShrU})
	chargeChunk := w.look(w.charge(nil, bulkChunk>>bulkShift))
	get := func(locals ...byte) (code []byte) {
		for _, l := range locals {
			code = append(code, opLocalGet, l)
		}
		return code
	}
	step := func(local, op byte) []byte {
		return slices.Concat(get(local), chunk, []byte{op, opLocalSet, local})
	}
	end := func(local byte) []byte { return append(get(local, length), opI32Add) }
	wraps := func(local byte) []byte { return append(append(end(local), get(length)...), opI32LtU) }
	long := slices.Concat(get(length), chunk, []byte{opI32GtU})

	out := slices.Concat([]byte{0}, long, []byte{opIf, typeNone})
	// if wraps(to) or wraps(from) { do it at once; return }
	out = append(out, wraps(to)...)
	if hasSource {
		out = append(append(out, wraps(from)...), opI32Or)
	}
	out = slices.Concat(out, []byte{opIf, typeNone}, charge, get(to, from, length), instruction, []byte{opReturn, opEnd})
	source := get(from)
	if hasSource {
		source = end(from)
	}
	fromEnd := slices.Concat([]byte{opLoop, typeNone}, chargeChunk, step(length, opI32Sub), end(to), source, chunk, instruction, long, []byte{opBrIf, 0, opEnd})
	if hasSource {
		// if to > from { from the end } else { from the start }
		fromStart := slices.Concat(end(to), end(from), []byte{opI32Const, 0}, instruction,
			[]byte{opLoop, typeNone}, chargeChunk, get(to, from), chunk, instruction,
			step(to, opI32Add), step(from, opI32Add), step(length, opI32Sub), long, []byte{opBrIf, 0, opEnd})
		out = slices.Concat(out, get(to, from), []byte{opI32GtU, opIf, typeNone}, fromEnd, []byte{opElse}, fromStart, []byte{opEnd})
	} else {
		out = append(out, fromEnd...)
	}
	out = append(out, opEnd)
	return slices.Concat(out, charge, get(to, from, length), instruction, []byte{opEnd})
}
