//go:build wasip1

// Package floodlog is a guest that writes 100,000 lines to stderr and then answers.
package floodlog

import (
	"os"

	"fn-threatq/testdata/guests/bare"
)

// Turn answers one turn.
func Turn(input []byte) []byte {
	if !bare.Misbehave(input) {
		return bare.Polite
	}

	for range 100_000 {
		os.Stderr.WriteString("the same line again and again\n")
	}
	return bare.Polite
}
