//go:build wasip1

// Command network is a guest that tries to reach the host of its tests.
package main

import (
	"net"
	"strconv"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func(input []byte) []byte {
		conn, err := net.Dial("tcp", string(input))
		if err != nil {
			return []byte(strconv.Quote("failed: " + err.Error()))
		}
		conn.Close()
		return []byte(strconv.Quote("connected"))
	}
}

func main() {}
