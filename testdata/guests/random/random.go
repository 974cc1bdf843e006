//go:build wasip1

// Package random is a guest that answers with random bytes.
package random

import (
	"crypto/rand"
	"encoding/hex"
)

// Turn answers one turn.
func Turn([]byte) []byte {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return []byte("\"" + hex.EncodeToString(b) + "\"")
}
