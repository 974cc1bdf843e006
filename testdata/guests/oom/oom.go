//go:build wasip1

// Package oom is a guest that takes memory until there is none.
package oom

import "fn-threatq/testdata/guests/bare"

var kept [][]byte

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	for {
		kept = append(kept, make([]byte, 1<<20))
	}
}
