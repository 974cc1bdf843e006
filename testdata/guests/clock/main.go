//go:build wasip1

// Command clock is a guest that tells the time, twice.
package main

import (
	"strconv"
	"time"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func([]byte) []byte {
		first := time.Now()
		for range 1000 {
			_ = time.Since(first)
		}
		return []byte("[" + strconv.FormatInt(first.UnixMilli(), 10) + "," + strconv.FormatInt(int64(time.Since(first)), 10) + "]")
	}
}

func main() {}
