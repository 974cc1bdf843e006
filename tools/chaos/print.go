package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// printer writes for people.
type printer struct{ w io.Writer }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// heading begins a part of the output.
func (p *printer) heading(format string, args ...any) { p.line("\n"+format, args...) }

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
		{"processes started", fmt.Sprint(w.started())},
		{"messages delivered again while worked on", fmt.Sprint(w.said("message delivered again while it is worked on"))},
		{"messages answered from the record", fmt.Sprint(w.said("message delivered again after it was done; answering from the record"))},
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
	out.line("  %s", v.words())
}
