//go:build wasip1

// Package keepstate is a guest that counts its turns in a global, a map and the heap.
package keepstate

import "strconv"

var (
	turns  int
	byName = map[string]int{}
	list   []int
)

// Turn answers one turn.
func Turn([]byte) []byte {
	turns++
	byName["turns"]++
	list = append(list, turns)
	return []byte("[" + strconv.Itoa(turns) + "," + strconv.Itoa(byName["turns"]) + "," + strconv.Itoa(len(list)) + "]")
}
