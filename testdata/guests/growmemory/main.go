//go:build wasip1

// Command growmemory is a guest that needs 24 MB in some turns, and then behaves.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

var kept []byte

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		kept = make([]byte, 24<<20)
		kept[len(kept)-1] = 1
		return bare.Polite

	}
}

func main() {}
