//go:build wasip1

package guest

import "unsafe"

// Both buffers live as long as the module: the host reads and writes them
// between the calls.
var input, answer []byte

//go:wasmexport ftq1_input
func offerInput(size uint32) uint32 {
	if uint64(cap(input)) < uint64(size) || cap(input) == 0 {
		input = make([]byte, max(size, 64<<10))
	}
	input = input[:cap(input)]
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport ftq1_turn
func playTurn(length uint32) uint64 {
	answer = Handle(registered, input[:length])
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(answer))))<<32 | uint64(len(answer))
}
