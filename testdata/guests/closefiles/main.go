//go:build wasip1

// Command closefiles is a guest that closes stdout and stderr after it wrote
// to them.
package main

import (
	"os"
	"syscall"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func([]byte) []byte {
		os.Stdout.WriteString("to stdout\n")
		os.Stderr.WriteString("to stderr\n")
		syscall.Close(1)
		syscall.Close(2)
		return bare.Polite
	}
}

func main() {}
