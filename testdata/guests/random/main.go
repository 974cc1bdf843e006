//go:build wasip1

// Command random is a guest that answers with random bytes.
package main

import (
	"crypto/rand"
	"encoding/hex"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func([]byte) []byte {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			panic(err)
		}
		return []byte("\"" + hex.EncodeToString(b) + "\"")
	}
}

func main() {}
