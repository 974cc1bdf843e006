// Package testrun is what test programs have in common: where they keep compiled
// modules, and how they look at what is left behind.
package testrun

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// own is the cache of this program alone.
var own = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "fn-threatq-test-")
	if err != nil {
		panic(err)
	}
	return dir
})

// Cache is the folder of what is worth keeping between runs, as the host has it;
// compiled modules are in Modules. All test programs share that of
// FN_THREATQ_TEST_CACHE, which `make warm` fills. Without it each has its own,
// which Main removes.
func Cache() string {
	shared := os.Getenv("FN_THREATQ_TEST_CACHE")
	if shared == "" {
		shared = own()
	}
	return filepath.Join(shared, "fn-threatq")
}

// Modules is the folder of compiled modules: compiling is slow.
func Modules() string { return filepath.Join(Cache(), "modules") }

// Main runs the tests, lets go of what they share, and ends the program. A
// goroutine that is left is a failure.
func Main(m *testing.M, closers ...func() error) {
	code := m.Run()
	for _, closer := range closers {
		if err := closer(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if os.Getenv("FN_THREATQ_TEST_CACHE") == "" {
		_ = os.RemoveAll(own())
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Descriptors counts the open files and connections of this process.
func Descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not list open files in /proc: ", err)
	}
	return len(entries)
}
