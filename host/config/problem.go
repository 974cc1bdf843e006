package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoFile is in the chain of an Error when there is no configuration file to read.
var ErrNoFile = errors.New("no configuration file")

// ErrCertificate is in the chain of an Error when a file of certificates or its key cannot be used.
var ErrCertificate = errors.New("certificate file cannot be used")

// Problem is one mistake (in an Error) or one thing worth knowing (in Config.Warnings). It never holds a secret.
type Problem struct {
	File         string // as it was opened; empty when no file is concerned
	Line         int    // 1-based; 0 when no line is concerned
	Section, Key string // empty when none is concerned
	Message      string // what is wrong
	Advice       string // what to write instead; may be empty

	cause error // one of the Err… variables, or nil
}

// String returns "FILE:LINE: MESSAGE; ADVICE", without the parts that are not known.
func (p Problem) String() string {
	var out strings.Builder
	if p.File != "" {
		out.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&out, "%d:", p.Line)
		}
		out.WriteString(" ")
	}
	out.WriteString(p.Message)
	if p.Advice != "" {
		out.WriteString("; " + p.Advice)
	}
	return out.String()
}

// Error holds every mistake of a configuration, at least one, in the order of the file.
type Error struct {
	Problems []Problem
	// Warnings and Settings are what those of Config would have been, as far as they can be told.
	Warnings []Problem
	Settings []Setting
}

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	if len(e.Problems) == 1 {
		return "configuration: " + e.Problems[0].String()
	}
	lines = append(lines, fmt.Sprintf("configuration: %d mistakes", len(e.Problems)))
	for _, problem := range e.Problems {
		lines = append(lines, "  "+problem.String())
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is find ErrNoFile and ErrCertificate.
func (e *Error) Unwrap() []error {
	var causes []error
	for _, problem := range e.Problems {
		if problem.cause != nil {
			causes = append(causes, problem.cause)
		}
	}
	return causes
}
