package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// width is that of all output, in columns.
const width = 100

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
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) bold(text string) string  { return p.paint("1", text) }
func (p *printer) dim(text string) string   { return p.paint("2", text) }
func (p *printer) green(text string) string { return p.paint("32", text) }
func (p *printer) red(text string) string   { return p.paint("31", text) }

// heading begins a part of the output.
func (p *printer) heading(text string) {
	p.line("\n%s", p.bold(text))
}

// progress prints an interim text as it comes.
func (p *printer) progress(text string) {
	p.wrapped("  … ", "    ", text, p.dim)
}

// wrapped prints text over as many lines as it needs, each behind an indent.
func (p *printer) wrapped(first, indent, text string, paint func(string) string) {
	lead := first
	for _, line := range wrap(text, width-max(utf8.RuneCountInString(first), utf8.RuneCountInString(indent))) {
		if line == "" {
			lead = strings.TrimRight(lead, " ")
		}
		p.line("%s%s", lead, paint(line))
		lead = indent
	}
}

// wrap breaks text at blanks; a word longer than a line stays whole, so that links can be clicked.
func wrap(text string, columns int) []string {
	var lines []string
	for part := range strings.SplitSeq(text, "\n") {
		line := ""
		for _, word := range strings.Fields(part) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= columns:
				line += " " + word
			default:
				lines = append(lines, line)
				line = word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// table prints rows under headings; the widest columns give way when a line would be too long.
func (p *printer) table(headings []string, rows [][]string) {
	widths := make([]int, len(headings))
	for i, text := range headings {
		widths[i] = utf8.RuneCountInString(text)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for total(widths) > width {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		widths[widest]--
	}
	format := func(row []string) string {
		var line strings.Builder
		for i, text := range row {
			text = cut(text, widths[i])
			line.WriteString("  " + text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
		}
		return strings.TrimRight(line.String(), " ")
	}
	p.line("%s", p.dim(format(headings)))
	for _, row := range rows {
		p.line("%s", format(row))
	}
	if len(rows) == 0 {
		p.line("  %s", p.dim("none"))
	}
}

func total(widths []int) int {
	sum := 0
	for _, w := range widths {
		sum += 2 + w
	}
	return sum
}

func cut(text string, columns int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > columns {
		return string(runes[:max(columns-1, 0)]) + "…"
	}
	return text
}

// entry prints a line of the host's log.
func (p *printer) entry(e entry) {
	text := plainEntry(e)
	if e.text("msg") == "action" {
		text = actionEntry(e)
	}
	switch clock := logClock(e); e.text("level") {
	case "ERROR":
		p.line("%s %s", clock, p.red(text))
	case "DEBUG":
		p.line("%s %s", clock, p.dim(text))
	default:
		p.line("%s %s", clock, text)
	}
}

// actionEntry is the line of an action as a person wants it.
func actionEntry(e entry) string {
	where := ""
	if incident := e.text("incident"); incident != "" {
		where = " on incident " + incident
	}
	return fmt.Sprintf("%-5s %s%s%s: %s in %s, %s turns, %s calls: %s", e.text("level"), e.text("rule"), e.text("function"), where,
		e.text("outcome"), e.duration("duration").Round(100*time.Microsecond), e.text("turns"), e.text("calls"), e.text("message"))
}

// logClock is the time of day of a log line.
func logClock(e entry) string {
	_, clock, _ := strings.Cut(e.text("time"), "T")
	if len(clock) < len("15:04:05.000") {
		return clock
	}
	return clock[:len("15:04:05.000")]
}

// copyLines prints what a reader brings, as it comes.
func (p *printer) copyLines(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line("%s", lines.Text())
	}
	return lines.Err()
}
