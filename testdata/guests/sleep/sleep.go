//go:build wasip1

// Package sleep is a guest that sleeps for an hour of its clock, and tells how
// long it was and how long after its start.
package sleep

import (
	"strconv"
	"time"
)

var started = time.Now()

// Turn answers one turn.
func Turn([]byte) []byte {
	began := time.Now()
	time.Sleep(time.Hour)
	<-time.After(time.Minute)
	return []byte("[" + strconv.FormatInt(int64(time.Since(began)), 10) + "," + strconv.FormatInt(int64(time.Since(started)), 10) + "]")
}
