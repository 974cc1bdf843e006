//go:build wasip1

// Package panics is a guest that panics.
package panics

import "fn-threatq/testdata/guests/bare"

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	panic("the guest gave up")
}
