//go:build wasip1

// Command all holds every test guest beside it. Which of them it is stands in a
// text that guestbuild writes over in the finished file: one program to build
// and to compile, whatever guests a test asks for.
package main

import (
	"strings"

	"fn-threatq/testdata/guests/badjson"
	"fn-threatq/testdata/guests/bare"
	"fn-threatq/testdata/guests/clock"
	"fn-threatq/testdata/guests/closefiles"
	"fn-threatq/testdata/guests/echo"
	exits "fn-threatq/testdata/guests/exit"
	"fn-threatq/testdata/guests/files"
	"fn-threatq/testdata/guests/floodlog"
	"fn-threatq/testdata/guests/growmemory"
	"fn-threatq/testdata/guests/hugeoutput"
	"fn-threatq/testdata/guests/keepstate"
	"fn-threatq/testdata/guests/network"
	"fn-threatq/testdata/guests/oom"
	panics "fn-threatq/testdata/guests/panic"
	"fn-threatq/testdata/guests/random"
	"fn-threatq/testdata/guests/recurse"
	"fn-threatq/testdata/guests/sleep"
	"fn-threatq/testdata/guests/spin"
	"fn-threatq/testdata/guests/swapped"
)

// which is the text that a name takes the place of, with blanks behind it.
var which = "which-test-guest-is-this"

var guests = map[string]func([]byte) []byte{
	"badjson":    badjson.Turn,
	"clock":      clock.Turn,
	"closefiles": closefiles.Turn,
	"echo":       echo.Turn,
	"exit":       exits.Turn,
	"files":      files.Turn,
	"floodlog":   floodlog.Turn,
	"growmemory": growmemory.Turn,
	"hugeoutput": hugeoutput.Turn,
	"keepstate":  keepstate.Turn,
	"network":    network.Turn,
	"oom":        oom.Turn,
	"panic":      panics.Turn,
	"random":     random.Turn,
	"recurse":    recurse.Turn,
	"sleep":      sleep.Turn,
	"spin":       spin.Turn,
	"swapped":    swapped.Turn,
}

func init() {
	turn := guests[strings.TrimRight(which, " ")]
	bare.Handle = func(input []byte) []byte { return turn(input) }
}

func main() {}
