//go:build wasip1

// Command keepstate is a guest that counts its turns in a global, a map and the heap.
package main

import (
	"strconv"

	"fn-threatq/testdata/guests/bare"
)

var (
	turns  int
	byName = map[string]int{}
	list   []int
)

func init() {
	bare.Handle = func([]byte) []byte {
		turns++
		byName["turns"]++
		list = append(list, turns)
		return []byte("[" + strconv.Itoa(turns) + "," + strconv.Itoa(byName["turns"]) + "," + strconv.Itoa(len(list)) + "]")
	}
}

func main() {}
