package wasmbin

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// reader takes values off the front of b. After the first value that is not
// there, failed is set, b is empty and every further value is zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) fail() {
	r.b, r.failed = nil, true
}

func (r *reader) u8() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > binary.MaxVarintLen32 || v > math.MaxUint32 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// opcode reads the number behind a prefix, in its shortest form.
func (r *reader) opcode() uint32 {
	before := len(r.b)
	v := r.u32()
	if shortest := 1 + (bits.Len32(v|1)-1)/7; before-len(r.b) != shortest {
		r.fail()
		return 0
	}
	return v
}

// zero reads a byte that must be 0.
func (r *reader) zero() {
	if r.u8() != 0 {
		r.fail()
	}
}

// count is the length of a vector. Every item has at least one byte, which
// bounds what a forged length can make a caller do.
func (r *reader) count() uint32 {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return n
}

// leb skips a LEB128 number of at most size bytes.
func (r *reader) leb(size int) {
	for range size {
		if r.u8() < 0x80 {
			return
		}
	}
	r.fail()
}

// s32 reads a signed LEB128 number.
func (r *reader) s32() int32 {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		c := r.u8()
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if shift += 7; c&0x40 != 0 {
				v |= -1 << shift
			}
			if int64(int32(v)) != v {
				r.fail()
			}
			return int32(v)
		}
	}
	r.fail()
	return 0
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) skip(n uint32) { r.take(n) }

func (r *reader) name() string { return string(r.take(r.u32())) }

// limits reads the limits of a table or memory and returns the minimum.
func (r *reader) limits() uint32 {
	switch flags := r.u8(); flags {
	case 0:
		return r.u32()
	case 1:
		minimum := r.u32()
		r.u32()
		return minimum
	default:
		// Shared and 64-bit memories are not of WASM core 2.0.
		r.fail()
		return 0
	}
}
