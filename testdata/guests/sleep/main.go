//go:build wasip1

// Command sleep is a guest that sleeps for an hour of its clock and tells how long it was.
package main

import (
	"strconv"
	"time"

	"fn-threatq/testdata/guests/bare"
)

func init() {
	bare.Handle = func([]byte) []byte {
		began := time.Now()
		time.Sleep(time.Hour)
		<-time.After(time.Minute)
		return []byte(strconv.FormatInt(int64(time.Since(began)), 10))
	}
}

func main() {}
