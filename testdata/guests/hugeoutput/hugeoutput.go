//go:build wasip1

// Package hugeoutput is a guest that answers with 32 MB.
package hugeoutput

import "fn-threatq/testdata/guests/bare"

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	return make([]byte, 32<<20)
}
