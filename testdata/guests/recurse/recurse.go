//go:build wasip1

// Package recurse is a guest that calls itself without end.
package recurse

import "fn-threatq/testdata/guests/bare"

// deeper has large frames: the Go runtime walks all of them when it gives up.
func deeper(n int) byte {
	var frame [4096]byte
	frame[n%len(frame)] = 1
	return deeper(n+1) + frame[(n+1)%len(frame)]
}

// Turn answers one turn.
func Turn(input []byte) []byte {
	if bare.Misbehave(input) {
		return []byte{deeper(0)}
	}
	return bare.Polite
}
