//go:build wasip1

// Command panic is a guest that panics.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		panic("the guest gave up")

	}
}

func main() {}
