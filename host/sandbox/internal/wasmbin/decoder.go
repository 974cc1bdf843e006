package wasmbin

import (
	"errors"
	"fmt"
)

// decoder walks instructions to find those that change tables or drop
// segments. It follows the binary format of WASM core 2.0, chapter 5.4, but
// takes opcodes and reserved bytes in their shortest form only: wazero reads
// some of them as single bytes, and what two readers can read in two ways could
// hide an instruction.
type decoder struct {
	hidden   string
	segments bool // memory.init or data.drop was seen
	locals   uint64
}

var errTruncated = errors.New("its code is malformed: it ends within an instruction, has no end, or holds an opcode in an unusual form")

// function reads the locals and the body of a function to the last byte.
func (d *decoder) function(r *reader) error {
	for range r.count() {
		d.locals += uint64(r.u32())
		r.u8()
		if r.failed {
			return errTruncated
		}
	}
	last := byte(0)
	for len(r.b) > 0 {
		last = r.b[0]
		if err := d.instruction(r); err != nil {
			return err
		}
	}
	if r.failed || last != opEnd {
		return errTruncated
	}
	return nil
}

// constant reads a constant expression up to its end.
func (d *decoder) constant(r *reader) error {
	for {
		if len(r.b) == 0 {
			return errTruncated
		}
		end := r.b[0] == opEnd
		if err := d.instruction(r); err != nil {
			return err
		}
		if end {
			return nil
		}
	}
}

const (
	opEnd      = 0x0b
	opI32Const = 0x41
	prefixFC   = 0xfc
	prefixFD   = 0xfd
	lebI32     = 5
	lebI64     = 10
	lebBlock   = 5 // s33
	lastCore2  = 0xff
)

func (d *decoder) instruction(r *reader) error {
	switch op := r.u8(); {
	case op == 0x00, op == 0x01, op == 0x05, op == opEnd, op == 0x0f, // unreachable, nop, else, end, return
		op == 0x1a, op == 0x1b, // drop, select
		op >= 0x45 && op <= 0xc4, // comparisons, arithmetic, conversions, sign extension
		op == 0xd1:               // ref.is_null
	case op == 0x02, op == 0x03, op == 0x04: // block, loop, if
		r.leb(lebBlock)
	case op == 0x0c, op == 0x0d, op == 0x10, // br, br_if, call
		op >= 0x20 && op <= 0x25, // local and global access, table.get
		op == 0xd2:               // ref.func
		r.u32()
	case op == 0x26: // table.set
		d.hide("table.set")
		r.u32()
	case op == 0x0e: // br_table
		for range r.count() {
			r.u32()
		}
		r.u32()
	case op == 0x11: // call_indirect
		r.u32()
		r.u32()
	case op == 0x1c: // select with types
		r.skip(r.count())
	case op >= 0x28 && op <= 0x3e: // loads and stores
		memarg(r)
	case op == 0x3f, op == 0x40: // memory.size, memory.grow
		r.zero()
	case op == 0xd0: // ref.null
		r.u8()
	case op == opI32Const:
		r.leb(lebI32)
	case op == 0x42:
		r.leb(lebI64)
	case op == 0x43:
		r.skip(4)
	case op == 0x44:
		r.skip(8)
	case op == prefixFC:
		return d.bulk(r)
	case op == prefixFD:
		return d.vector(r)
	default:
		return &OpcodeError{Opcode: fmt.Sprintf("0x%02x", op)}
	}
	if r.failed {
		return errTruncated
	}
	return nil
}

func (d *decoder) bulk(r *reader) error {
	op := r.opcode()
	if r.failed {
		return errTruncated
	}
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
	case 8: // memory.init
		d.segments = true
		r.u32()
		r.zero()
	case 10: // memory.copy
		r.zero()
		r.zero()
	case 11: // memory.fill
		r.zero()
	case 16: // table.size
		r.u32()
	case 9: // data.drop
		d.hide("data.drop")
		d.segments = true
		r.u32()
	case 12, 14: // table.init, table.copy
		d.hide(map[uint32]string{12: "table.init", 14: "table.copy"}[op])
		r.u32()
		r.u32()
	case 13, 15, 17: // elem.drop, table.grow, table.fill
		d.hide(map[uint32]string{13: "elem.drop", 15: "table.grow", 17: "table.fill"}[op])
		r.u32()
	default:
		return &OpcodeError{Opcode: fmt.Sprintf("0xfc %d", op)}
	}
	if r.failed {
		return errTruncated
	}
	return nil
}

func (d *decoder) vector(r *reader) error {
	op := r.opcode()
	if r.failed {
		return errTruncated
	}
	switch {
	case op > lastCore2:
		return &OpcodeError{Opcode: fmt.Sprintf("0xfd %d", op)}
	case op <= 11, op == 92, op == 93: // loads and the store, load_zero
		memarg(r)
	case op == 12, op == 13: // const, shuffle
		r.skip(16)
	case op >= 21 && op <= 34: // extract and replace lane
		r.u8()
	case op >= 84 && op <= 91: // load and store lane
		memarg(r)
		r.u8()
	}
	if r.failed {
		return errTruncated
	}
	return nil
}

func (d *decoder) hide(instruction string) {
	if d.hidden == "" {
		d.hidden = instruction
	}
}

func memarg(r *reader) {
	r.u32()
	r.u32()
}
