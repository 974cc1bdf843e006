//go:build wasip1

// Command hugeoutput is a guest that answers with 32 MB.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		return make([]byte, 32<<20)

	}
}

func main() {}
