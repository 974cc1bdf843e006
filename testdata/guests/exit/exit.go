//go:build wasip1

// Package exits is a guest that ends its process with code 3.
package exits

import (
	"os"

	"fn-threatq/testdata/guests/bare"
)

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	os.Exit(3)
	return nil
}
