//go:build wasip1

// Command exit is a guest that ends its process with code 3.
package main

import (
	"os"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte {
		if !bare.Misbehave(input) {
			return bare.Polite
		}

		os.Exit(3)
		return nil

	}
}

func main() {}
