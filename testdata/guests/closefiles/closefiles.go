//go:build wasip1

// Package closefiles is a guest that closes stdout and stderr after it wrote
// to them.
package closefiles

import (
	"os"
	"syscall"

	"fn-threatq/testdata/guests/bare"
)

// Turn answers one turn.
func Turn([]byte) []byte {
	os.Stdout.WriteString("to stdout\n")
	os.Stderr.WriteString("to stderr\n")
	syscall.Close(1)
	syscall.Close(2)
	return bare.Polite
}
