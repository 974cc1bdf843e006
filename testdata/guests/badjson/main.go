//go:build wasip1

// Command badjson is a guest that answers with text that is no JSON.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		return []byte("{\"calls\":[")

	}
}

func main() {}
