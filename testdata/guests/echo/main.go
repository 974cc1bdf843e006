//go:build wasip1

// Command echo is a guest that answers with its input.
package main

import (
	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte { return input }
}

func main() {}
