package sandbox

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
)

// tailBytes is how much of the end of stderr is kept for an error: enough for
// a Go panic with its stack.
const tailBytes = 8 << 10

// errAllUsed ends one call that asks for millions of overlapping writes, or for
// a whole memory of random bytes, between two looks of the guest's own code.
var errAllUsed = errors.New("the fuel of the turn is used up")

// guestLog collects what a guest writes during one turn.
type guestLog struct {
	limit   int
	kept    int
	dropped int
	text    []byte // lines of both streams, in order
	partial [2][]byte
	tail    []byte // the last of stderr, up to twice tailBytes
}

const (
	stdout = iota
	stderr
)

// stream is the io.Writer of one of the two.
type stream struct {
	env *surroundings
	fd  int
}

func (s stream) Write(p []byte) (int, error) {
	if !s.env.mayCost(costOfWrite + int64(len(p))/16) {
		return 0, errAllUsed
	}
	s.env.log.write(s.fd, p)
	return len(p), nil
}

func (l *guestLog) write(fd int, p []byte) {
	if fd == stderr {
		l.tail = append(l.tail, p[max(0, len(p)-tailBytes):]...)
		if len(l.tail) > 2*tailBytes {
			l.tail = append(l.tail[:0], l.tail[len(l.tail)-tailBytes:]...)
		}
	}
	room := max(0, l.limit-l.kept)
	if len(p) > room {
		l.dropped += len(p) - room
		p = p[:room]
	}
	l.kept += len(p)
	for len(p) > 0 {
		line, rest, complete := bytes.Cut(p, []byte{'\n'})
		l.partial[fd] = append(l.partial[fd], line...)
		if complete {
			l.endLine(fd)
		}
		p = rest
	}
}

func (l *guestLog) endLine(fd int) {
	l.text = append(append(l.text, l.partial[fd]...), '\n')
	l.partial[fd] = l.partial[fd][:0]
}

// lines gives the printable lines, without empty ones.
func (l *guestLog) lines() []string {
	for fd := range l.partial {
		if len(l.partial[fd]) > 0 {
			l.endLine(fd)
		}
	}
	return printableLines(l.text)
}

// errorTail gives the end of stderr for an error.
func (l *guestLog) errorTail() string {
	return strings.Join(printableLines(l.tail[max(0, len(l.tail)-tailBytes):]), "\n")
}

// printableLines makes text of a stranger fit for a log: valid UTF-8, nothing
// that moves a cursor or turns the direction of writing.
func printableLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(text), "\ufffd")) {
		line = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case r == '\n', r == '\r':
				return -1
			case !unicode.IsPrint(r):
				return unicode.ReplacementChar
			}
			return r
		}, line)
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
