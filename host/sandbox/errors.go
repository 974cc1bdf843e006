package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what was wrong with a module or a turn. The set is closed.
type Kind string

// Kinds of a refused module file (Load).
const (
	// KindFile: not a core WASM module, too large, or malformed.
	KindFile Kind = "file"
	// KindManifest: no manifest in the file, or one with mistakes.
	KindManifest Kind = "manifest"
	// KindABI: written for another ABI version; Err is a *manifest.VersionError.
	KindABI Kind = "abi"
	// KindImport: it imports something that no module gets.
	KindImport Kind = "import"
	// KindExport: an export of the ABI is missing or has another signature.
	KindExport Kind = "export"
	// KindCompile: the code is invalid or uses instructions we do not take.
	KindCompile Kind = "compile"
	// KindStart: it failed in its initialisation or in the warm-up.
	KindStart Kind = "start"
)

// Kinds of a failed turn (Turn).
const (
	// KindTrap: the code trapped; a panic of a Go module ends so.
	KindTrap Kind = "trap"
	// KindFuel: it did more work than Limits.TurnFuel.
	KindFuel Kind = "fuel"
	// KindTimeout: it ran over Limits.TurnTime, before its fuel was used up.
	KindTimeout Kind = "timeout"
	// KindMemory: it trapped after more memory than Limits.MemoryBytes was
	// refused to it.
	KindMemory Kind = "memory"
	// KindExit: it ended itself (proc_exit).
	KindExit Kind = "exit"
	// KindInput: the input is over the limit, or the module offered no usable
	// buffer for it.
	KindInput Kind = "input"
	// KindOutput: the answer is empty, over the limit or outside the memory.
	KindOutput Kind = "output"
	// KindCanceled: the caller's context ended; Err is its error.
	KindCanceled Kind = "canceled"
	// KindClosed: the module or the sandbox was closed; Err is ErrClosed.
	KindClosed Kind = "closed"
)

// ErrClosed is the cause of errors after Close.
var ErrClosed = errors.New("the module is closed")

// Error is a refused module file or a failed turn.
type Error struct {
	// Module and Version are empty while the manifest is not read.
	Module, Version string
	// Digest is the SHA-256 of the module file in hexadecimal.
	Digest string
	Kind   Kind
	// Message says what happened, without the module's name.
	Message string
	// Log is the end of what the module itself wrote to stderr, in printable
	// lines; untrusted text.
	Log string
	// Err is the cause, if there is one to compare with.
	Err error
}

// Error gives everything but the log in one line, with the one line of the log
// that says most.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("module")
	if e.Module != "" {
		fmt.Fprintf(&b, " %s %s", e.Module, e.Version)
	}
	if len(e.Digest) >= 12 {
		fmt.Fprintf(&b, " (%s)", e.Digest[:12])
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	if line := tellingLine(e.Log); line != "" {
		fmt.Fprintf(&b, "; it wrote: %s", line)
	}
	return b.String()
}

// Fault reports whether a failed turn was the module's own doing: not what it
// was given, not the caller, not the machine.
func (e *Error) Fault() bool {
	switch e.Kind {
	case KindTrap, KindFuel, KindMemory, KindExit, KindOutput:
		return true
	case KindInput:
		return errors.Is(e.Err, errBuffer)
	}
	return false
}

// errBuffer is the cause of the KindInput that is the module's.
var errBuffer = errors.New("no usable buffer")

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// tellingLine is the first line of a Go panic or fatal error, or the last line.
func tellingLine(log string) string {
	line := ""
	for l := range strings.Lines(log) {
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		line = l
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			break
		}
	}
	const most = 200
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
