package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// shownAs says how an action is shown.
type shownAs struct {
	// caused by what the host itself wrote in SOAR.
	caused bool
	// shown are the rules whose calls have been shown; calls of the same rule are
	// only counted after that. nil: all are shown.
	shown map[string]bool
}

// manyCalls is from how many calls on they are only counted.
const manyCalls = 60

// showAction prints an action with its calls and its reply. Interim texts are
// shown as they come.
func (l *lab) showAction(number int, a *action, as shownAs) {
	if l.host == nil {
		// What was called is in the log of the user's own host.
		l.out.wrapped(fmt.Sprintf("%2d  ", number), "    ", a.about, l.out.bold)
		for _, answer := range l.answers(a) {
			l.showReply(answer)
		}
		return
	}
	r, calls, out := l.host.record(a.id), l.host.calls(a.id), l.out
	title := r.action.text("rule") + r.action.text("function")
	if title == "" {
		title = "no rule"
	}
	mark := " "
	if as.caused {
		mark = "↳"
	}
	head := fmt.Sprintf("%2d%s %s", number, mark, title)
	turns, _ := strconv.Atoi(r.action.text("turns"))
	effort := fmt.Sprintf("%s, %s, %s", countOf(turns, "turn"), countOf(len(calls), "call"), r.action.duration("duration").Round(100*time.Microsecond))
	gap := max(width-utf8.RuneCountInString(head)-utf8.RuneCountInString(effort), 2)
	out.line("%s%s%s", out.bold(head), strings.Repeat(" ", gap), out.dim(effort))
	out.wrapped("    ", "    ", a.about, func(s string) string { return s })
	if as.shown[title] || len(calls) >= manyCalls {
		out.wrapped("    ", "    ", callCounts(calls), out.dim)
	} else {
		l.showCalls(calls)
	}
	if as.shown != nil {
		as.shown[title] = true
	}
	for _, answer := range l.answers(a) {
		l.showReply(answer)
	}
}

// showReply prints a final reply, with what a workflow is given.
func (l *lab) showReply(r reply) {
	paint := l.out.green
	if r.Type != 0 || r.Results != nil && !r.Results.Success {
		paint = l.out.red
	}
	l.out.wrapped("  → ", "    ", r.Message, paint)
	if r.Results == nil {
		return
	}
	var content map[string]json.RawMessage
	if json.Unmarshal(r.Results.Content, &content) != nil {
		return // told by the message
	}
	var single []string
	for _, key := range sortedKeys(content) {
		var list []json.RawMessage
		if json.Unmarshal(content[key], &list) != nil || list == nil {
			single = append(single, fmt.Sprintf("%s: %s", key, content[key]))
			continue
		}
		l.out.line("    %s", l.out.dim(fmt.Sprintf("content.%s: %d", key, len(list))))
		for _, item := range list {
			l.out.line("      %s", l.out.dim(cut(string(item), width-6)))
		}
	}
	l.out.wrapped("    ", "    ", "content."+strings.Join(single, ", "), l.out.dim)
}

// callLine is one or several calls that look alike.
type callLine struct {
	service, method, path, status, problem, tries string
	count                                         int
	ms                                            float64
}

var numbers = regexp.MustCompile(`\d+`)

// showCalls prints a line for each call; such as differ in ids alone share one.
func (l *lab) showCalls(calls []entry) {
	var lines []*callLine
	for _, c := range calls {
		ms, _ := c["ms"].(float64)
		n := callLine{c.text("service"), c.text("method"), c.text("path"), c.text("status"), c.text("error"), c.text("tries"), 1, ms}
		alike := slices.IndexFunc(lines, func(o *callLine) bool {
			return o.service == n.service && o.method == n.method && o.status == n.status && o.problem == n.problem && o.tries == n.tries &&
				numbers.ReplaceAllString(o.path, "*") == numbers.ReplaceAllString(n.path, "*")
		})
		if alike < 0 {
			lines = append(lines, &n)
			continue
		}
		o := lines[alike]
		if o.path != n.path {
			o.path = numbers.ReplaceAllString(o.path, "*")
		}
		o.count++
		o.ms += ms
	}
	for _, line := range lines {
		l.showCall(line)
	}
}

func (l *lab) showCall(c *callLine) {
	times := ""
	if c.count > 1 {
		times = fmt.Sprintf("×%d", c.count)
	}
	line := fmt.Sprintf("    %-9s %-6s %-60s %4s %3s %5.0f ms", c.service, c.method, c.path, times, c.status, c.ms)
	problem := c.problem
	if c.tries != "" {
		problem = strings.TrimSpace(problem + " (" + c.tries + " tries)")
	}
	if c.problem == "" {
		l.out.line("%s", l.out.dim(line))
	} else {
		l.out.line("%s", l.out.red(line))
	}
	if problem != "" {
		l.out.wrapped("              ", "              ", problem, l.out.red)
	}
}

// callCounts counts calls by service and method.
func callCounts(calls []entry) string {
	counts := map[string]map[string]int{}
	for _, c := range calls {
		service := c.text("service")
		if counts[service] == nil {
			counts[service] = map[string]int{}
		}
		counts[service][c.text("method")]++
	}
	var parts []string
	for _, service := range sortedKeys(counts) {
		part := service
		for i, method := range sortedKeys(counts[service]) {
			if i > 0 {
				part += ","
			}
			part += fmt.Sprintf(" %s ×%d", method, counts[service][method])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func countOf(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
