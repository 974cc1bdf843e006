//go:build wasip1

// Command floodlog is a guest that writes 100,000 lines to stderr and then answers.
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

		for range 100_000 {
			os.Stderr.WriteString("the same line again and again\n")
		}
		return bare.Polite

	}
}

func main() {}
