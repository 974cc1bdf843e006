//go:build wasip1

// Package badjson is a guest that answers with text that is no JSON.
package badjson

import "fn-threatq/testdata/guests/bare"

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	return []byte("{\"calls\":[")
}
