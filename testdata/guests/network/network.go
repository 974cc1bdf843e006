//go:build wasip1

// Package network is a guest that tries to reach the host of its tests.
package network

import (
	"net"
	"strconv"
)

// Turn answers one turn.
func Turn(input []byte) []byte {
	conn, err := net.Dial("tcp", string(input))
	if err != nil {
		return []byte(strconv.Quote("failed: " + err.Error()))
	}
	conn.Close()
	return []byte(strconv.Quote("connected"))
}
