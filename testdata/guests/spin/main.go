//go:build wasip1

// Command spin is a guest that computes for ever.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

var sink uint64

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		for {
			sink = sink*6364136223846793005 + 1
		}

	}
}

func main() {}
