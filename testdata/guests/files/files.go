//go:build wasip1

// Package files is a guest that tries to read, write and list files, and looks at its environment.
package files

import (
	"os"
	"strconv"
)

// Turn answers one turn.
func Turn([]byte) []byte {
	report := ""
	_, err := os.ReadFile("/etc/passwd")
	report += outcome("read", err)
	report += outcome("write", os.WriteFile("/tmp/fn-threatq-guest", []byte("x"), 0o600))
	_, err = os.ReadDir(".")
	report += outcome("list", err)
	report += "env " + strconv.Itoa(len(os.Environ())) + "; args " + strconv.Itoa(len(os.Args))
	return []byte(strconv.Quote(report))
}

func outcome(what string, err error) string {
	if err == nil {
		return what + " worked; "
	}
	return what + " failed; "
}
