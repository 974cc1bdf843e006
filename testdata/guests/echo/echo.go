//go:build wasip1

// Package echo is a guest that answers with its input.
package echo

import ()

// Turn answers one turn.
func Turn(input []byte) []byte {
	return input
}
