package wasmbin

import "encoding/binary"

// Opcodes that the metering looks at or writes.
const (
	opUnreachable = 0x00
	opNop         = 0x01
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opBr          = 0x0c
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opIndirect    = 0x11
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opMemoryGrow  = 0x40
	opI64Const    = 0x42
	opRefFunc     = 0xd2
)

// segment is a piece of code that is entered at its start alone.
type segment struct {
	at     int // where it starts
	region int
	cost   int64
}

// region is a function body or a loop, without the loops inside.
type region struct {
	cost  int64
	calls bool // anything, so that it could call itself
}

// patch puts `op index` in the place of an instruction.
type patch struct {
	from, to int
	op       byte
	index    uint32
}

// plan is what becomes of one function body. It is used again for the next.
type plan struct {
	segments []segment
	regions  []region
	patches  []patch
	// open are the regions of the blocks around an instruction.
	open []int
}

// code rewrites the code section, but for the added functions.
func (w *rewriter) code(r *reader) ([]byte, error) {
	n := r.count()
	if n != w.functions-w.imported {
		return nil, errIndex
	}
	out := make([]byte, 0, len(r.b)+len(r.b)/2)
	var p plan
	var body []byte
	for range n {
		old := r.take(r.u32())
		if r.failed {
			return nil, errTruncated
		}
		if err := w.plan(&p, old); err != nil {
			return nil, err
		}
		body = w.apply(&p, body[:0], old)
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// plan walks a function body, its locals included.
func (w *rewriter) plan(p *plan, body []byte) error {
	*p = plan{segments: p.segments[:0], regions: p.regions[:0], patches: p.patches[:0], open: p.open[:0]}
	r := &reader{b: body}
	for range r.count() {
		r.u32()
		r.u8()
	}
	if r.failed {
		return errTruncated
	}
	now := 0 // the region
	begin := func(region int) {
		now = region
		p.segments = append(p.segments, segment{at: len(body) - len(r.b), region: region})
	}
	p.regions, p.open = append(p.regions, region{}), append(p.open, 0)
	begin(0)
	var d decoder
	for len(p.open) > 0 {
		if len(r.b) == 0 {
			return errTruncated
		}
		at := len(body) - len(r.b)
		if err := d.instruction(r); err != nil {
			return err
		}
		code := body[at : len(body)-len(r.b)]
		cost, err := w.instruction(p, code, at)
		if err != nil {
			return err
		}
		p.segments[len(p.segments)-1].cost += cost
		p.regions[now].cost += cost
		if cost >= costCall {
			p.regions[now].calls = true
		}
		switch code[0] {
		case opBlock:
			p.open = append(p.open, now)
		case opIf:
			p.open = append(p.open, now)
			begin(now)
		case opLoop:
			p.open = append(p.open, now)
			p.regions = append(p.regions, region{})
			begin(len(p.regions) - 1)
		case opElse, opBr, opBrTable, opReturn, opUnreachable:
			begin(now)
		case opEnd:
			last := len(p.open) - 1
			outer := p.open[last]
			p.open = p.open[:last]
			begin(outer)
		}
	}
	if len(r.b) > 0 {
		return errTruncated
	}
	p.segments = p.segments[:len(p.segments)-1] // behind the last end is nothing
	return nil
}

// instruction looks at one instruction: what it costs, what takes its place,
// and whether its indices are the module's own.
func (w *rewriter) instruction(p *plan, code []byte, at int) (int64, error) {
	immediate := &reader{b: code[1:]}
	replace := func(op byte, index uint32) {
		p.patches = append(p.patches, patch{from: at, to: at + len(code), op: op, index: index})
	}
	switch op := code[0]; op {
	case opNop, opElse, opEnd:
		return 0, nil
	case opBlock, opLoop, opIf:
		// A block type is one byte, or the index of a type.
		if c := immediate.b[0]; c&0xc0 != 0x40 && immediate.u32() >= w.types {
			return 0, errIndex
		}
		if op != opIf {
			return 0, nil
		}
	case opCall, opRefFunc:
		old := immediate.u32()
		index, err := w.shift(old)
		if err != nil {
			return 0, err
		}
		replace(op, index)
		switch {
		case op == opRefFunc:
		case old < w.imported:
			return costImport, nil
		default:
			return costCall, nil
		}
	case opIndirect:
		if immediate.u32() >= w.types {
			return 0, errIndex
		}
		return costCall, nil
	case opGlobalGet, opGlobalSet:
		if immediate.u32() >= w.globals {
			return 0, errIndex
		}
	case opMemoryGrow:
		replace(opCall, w.helper(helper{op: helperMemoryGrow}))
		return costCall, nil
	case prefixFC:
		h := helper{op: int(immediate.opcode())}
		switch h.op {
		case bulkMemoryInit, bulkTableGrow, bulkTableFill:
			h.a = immediate.u32()
		case bulkTableInit, bulkTableCopy:
			h.a, h.b = immediate.u32(), immediate.u32()
		case bulkMemoryCopy, bulkMemoryFill:
		default:
			return 1, nil
		}
		if (h.op == bulkTableGrow || h.op == bulkTableFill) && int64(h.a) >= int64(len(w.tables)) {
			return 0, errIndex
		}
		replace(opCall, w.helper(h))
		return costCall, nil
	}
	return 1, nil
}

// apply writes a function body as it was planned.
func (w *rewriter) apply(p *plan, out, body []byte) []byte {
	from := 0
	patches := p.patches
	copyTo := func(to int) {
		for len(patches) > 0 && patches[0].from < to {
			out = append(append(out, body[from:patches[0].from]...), patches[0].op)
			out = binary.AppendUvarint(out, uint64(patches[0].index))
			from, patches = patches[0].to, patches[1:]
		}
		out = append(out, body[from:to]...)
		from = to
	}
	seen := -1 // regions come in the order of their heads
	for _, s := range p.segments {
		copyTo(s.at)
		r := p.regions[s.region]
		head := s.region > seen
		seen = max(seen, s.region)
		switch {
		case head && r.cost <= hoisted:
			if s.region == 0 && r.cost == 0 {
				continue
			}
			out = w.charge(out, max(r.cost, 1))
			if s.region > 0 || r.calls {
				out = w.look(out)
			}
		case head:
			out = w.charge(out, max(s.cost, 1))
			out = w.look(out)
		case r.cost > hoisted && s.cost > 0:
			out = w.charge(out, s.cost)
			if r.cost > longRegion {
				out = w.look(out)
			}
		}
	}
	copyTo(len(body))
	return out
}

// charge takes units off the counter.
func (w *rewriter) charge(out []byte, units int64) []byte {
	out = binary.AppendUvarint(append(out, opGlobalGet), uint64(w.globals))
	out = appendSigned(append(out, opI64Const), units)
	return binary.AppendUvarint(append(out, opI64Sub, opGlobalSet), uint64(w.globals))
}

// look calls the tick when the counter is below zero.
func (w *rewriter) look(out []byte) []byte {
	out = binary.AppendUvarint(append(out, opGlobalGet), uint64(w.globals))
	out = append(out, opI64Const, 0, opI64LtS, opIf, typeNone, opCall)
	return append(binary.AppendUvarint(out, uint64(w.helpers[helper{op: helperRefuel}])), opEnd)
}

// appendSigned writes a signed LEB128 number.
func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
