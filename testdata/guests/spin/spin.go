//go:build wasip1

// Package spin is a guest that computes for ever.
package spin

import "fn-threatq/testdata/guests/bare"

var sink uint64

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	for {
		sink = sink*6364136223846793005 + 1
	}
}
