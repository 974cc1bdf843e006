//go:build wasip1

// Command recurse is a guest that calls itself without end.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

func deeper(n int) int { return deeper(n+1) + 1 }

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		return make([]byte, deeper(0))

	}
}

func main() {}
