//go:build wasip1

// Package growmemory is a guest that needs 24 MB in some turns, and then behaves.
package growmemory

import "fn-threatq/testdata/guests/bare"

var kept []byte

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	kept = make([]byte, 24<<20)
	kept[len(kept)-1] = 1
	return bare.Polite
}
