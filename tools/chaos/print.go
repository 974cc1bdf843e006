package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// printer writes for people.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
}

// newPrinter uses colours only on a terminal, and not with NO_COLOR.
func newPrinter(w io.Writer) *printer {
	p := &printer{w: w}
	if file, isFile := w.(*os.File); isFile && os.Getenv("NO_COLOR") == "" {
		p.color = term.IsTerminal(int(file.Fd()))
	}
	return p
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// heading begins a part of the output.
func (p *printer) heading(format string, args ...any) {
	p.line("\n%s", p.paint("1", fmt.Sprintf(format, args...)))
}

// table prints rows in columns; all but the first are aligned to the right.
func (p *printer) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, "  %-*s", widths[i], cell)
			} else {
				fmt.Fprintf(&b, "  %*s", widths[i], cell)
			}
		}
		p.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// shownLines is how many findings of a kind are shown.
const shownLines = 20

// tell prints what was tried, and the verdict.
func (s *story) tell() {
	out, w := s.out, s.w
	out.heading("What was tried")
	out.table(s.tally.rows())
	out.heading("What the host did")
	out.table([][]string{
		{"processes started", fmt.Sprint(w.host.count)},
		{"messages delivered again while worked on", fmt.Sprint(w.host.said("message delivered again while it is worked on"))},
		{"messages answered from the record", fmt.Sprint(w.host.said("message delivered again after it was done; answering from the record"))},
		{"interim replies", fmt.Sprint(w.bridge.interim)},
		{"import sessions opened, in all files", fmt.Sprint(len(w.threatq.Imports()))},
		{"time", s.took.Round(time.Second).String()},
	})
	s.tellVerdict()
}

// tellVerdict prints what is wrong, and the verdict in words.
func (s *story) tellVerdict() {
	out, v := s.out, &s.verdict
	for _, g := range v.groups() {
		if len(g.lines) == 0 {
			continue
		}
		out.heading("%s: %d", g.heading, len(g.lines))
		for _, line := range g.lines[:min(shownLines, len(g.lines))] {
			out.line("  %s", line)
		}
		if more := len(g.lines) - shownLines; more > 0 {
			out.line("  … and %d more", more)
		}
	}
	out.heading("Verdict")
	if s.searched != "" {
		out.line("  %s", s.searched)
	}
	colour := "31"
	if v.good() {
		colour = "32"
	}
	out.line("  %s", out.paint(colour, v.words()))
}
