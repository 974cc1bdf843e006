package sandbox

import "github.com/tetratelabs/wazero/experimental"

const pageSize = 64 << 10

// linearMemory backs the memory of one instance and refuses to grow over the
// limit. It takes the place of a maximum in the module because it can tell
// afterwards that a growth was refused: a guest that then gives up ran out of
// memory, and did not just trap.
type linearMemory struct {
	limit   uint64
	bytes   []byte
	refused bool
}

var _ experimental.LinearMemory = (*linearMemory)(nil)

// newLinearMemory reserves space for an expected size.
func newLinearMemory(expected, limit uint64) *linearMemory {
	return &linearMemory{limit: limit, bytes: make([]byte, 0, min(expected, limit))}
}

// Allocate implements experimental.MemoryAllocator for the one memory.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate implements experimental.LinearMemory.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > l.limit {
		l.refused = true
		return nil
	}
	if size > uint64(cap(l.bytes)) {
		// A memory that grew once mostly grows again.
		grown := make([]byte, size, min(size+size/2, l.limit))
		copy(grown, l.bytes)
		l.bytes = grown
	}
	l.bytes = l.bytes[:size]
	return l.bytes
}

// Free implements experimental.LinearMemory.
func (l *linearMemory) Free() { l.bytes = nil }
