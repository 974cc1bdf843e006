//go:build wasip1

// Command oom is a guest that takes memory until there is none.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

var kept [][]byte

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		for {
			kept = append(kept, make([]byte, 1<<20))
		}

	}
}

func main() {}
