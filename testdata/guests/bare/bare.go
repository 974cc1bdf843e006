//go:build wasip1

// Package bare joins a test guest to the ABI with as little code as can be.
// A guest answers turns by one function; each of the folders beside this one
// holds one, named for what it does. One with a fault behaves well until a
// turn's input holds "misbehave", so that it passes the warm-up.
package bare

import (
	"bytes"
	"unsafe"
)

// Handle answers one turn.
var Handle func(input []byte) []byte

// Polite is an answer that asks for nothing.
var Polite = []byte(`{"reply":{"success":true,"message":""}}`)

// Misbehave reports whether the turn asks the guest to show its fault.
func Misbehave(input []byte) bool { return bytes.Contains(input, []byte("misbehave")) }

var in, out []byte

//go:wasmexport ftq1_input
func offer(size uint32) uint32 {
	if uint32(cap(in)) < size {
		in = make([]byte, size, size*2)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(in[:1:cap(in)]))))
}

//go:wasmexport ftq1_turn
func turn(length uint32) uint64 {
	out = Handle(in[:length:cap(in)])
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(out))))<<32 | uint64(len(out))
}
