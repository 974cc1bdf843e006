package sandbox

import "github.com/tetratelabs/wazero/experimental"

const pageSize = 64 << 10

// linearMemory backs the memory of one instance. Its room is a region of the
// size of the limit, of which only what is used takes real memory; growing
// never moves it.
//
// It takes the place of a maximum in the module because it can tell afterwards
// that a growth was refused: a guest that then gives up ran out of memory, and
// did not just trap.
type linearMemory struct {
	region  []byte
	size    uint64 // of the memory, from the start of the region
	refused bool
}

var _ experimental.LinearMemory = (*linearMemory)(nil)

// newLinearMemory makes a memory that can begin with that size.
func newLinearMemory(size, limit uint64) (*linearMemory, error) {
	region, err := reserve(limit)
	if err != nil {
		return nil, err
	}
	l := &linearMemory{region: region}
	if err := commit(region, 0, size); err != nil {
		release(region)
		return nil, err
	}
	l.size = size
	return l, nil
}

// Allocate implements experimental.MemoryAllocator for the one memory.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate implements experimental.LinearMemory.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(l.region)) {
		l.refused = true
		return nil
	}
	if size > l.size {
		if err := commit(l.region, l.size, size); err != nil {
			l.refused = true
			return nil
		}
		l.size = size
	}
	return l.region[:size:size]
}

// Free implements experimental.LinearMemory.
func (l *linearMemory) Free() {
	if l.region != nil {
		release(l.region)
	}
	l.region, l.size = nil, 0
}
