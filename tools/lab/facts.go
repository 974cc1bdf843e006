package main

import (
	"fmt"
	"strings"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/tools/facts"
)

// facts are what ThreatQ and the incident in SOAR hold at the end, in the lines
// of expected.
func (w *world) facts(incident int64) []string {
	lines := facts.OfThreatQ(w.threatq)
	for _, i := range w.threatq.Imports() {
		lines = append(lines, fmt.Sprintf("import: %s, committed %s, %d found, as %s, by %s", i.State, countOf(i.Commits, "time"), len(i.Found), i.Status, i.Source))
	}
	for _, a := range w.soar.Artifacts(incident) {
		// The address of the indicator holds an id of ThreatQ.
		description, _, _ := strings.Cut(facts.PlainText(a["description"]), " https://")
		lines = append(lines, fmt.Sprintf("artifact: %v %q, %q", a["type"], a["value"], description))
	}
	return lines
}

// check compares the end state with the expectation and returns the differences.
func (w *world) check(t told) []string {
	return facts.Differences(w.expected(t), w.facts(t.incident))
}

// storyActions is how many messages the story makes SOAR publish.
const storyActions = 32

// checkConduct says what was wrong with the way rather than with the end of it:
// replies, calls, queues, the host's log and its end.
func (l *lab) checkConduct(stopped error) []string {
	var wrong []string
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if len(l.actions) != storyActions {
		report("%d actions, expected %d", len(l.actions), storyActions)
	}
	for _, a := range l.actions {
		replies := l.answers(a)
		if len(replies) != 1 {
			report("%s: answered %d times, expected once", a.about, len(replies))
		}
		for _, r := range replies {
			if r.Type != 0 || r.Results != nil && !r.Results.Success {
				report("%s: answered with an error: %s", a.about, strings.Join(strings.Fields(r.Message), " "))
			}
		}
		for _, c := range l.host.calls(a.id) {
			if problem := c.text("error"); problem != "" {
				report("%s: %s %s %s failed: %s", a.about, c.text("service"), c.text("method"), c.text("path"), problem)
			}
		}
		if ends := l.host.record(a.id).ends; ends != 1 {
			report("%s: ran %d times, expected once", a.about, ends)
		}
	}
	wrong = append(wrong, l.strays...)
	for _, queue := range []string{l.queue("actions"), brokertest.DeadLetterQueue} {
		if ready, unacked := l.broker.Depth(queue); ready+unacked > 0 {
			report("queue %s: %d messages wait and %d are not acknowledged, expected none", queue, ready, unacked)
		}
	}
	for _, line := range l.host.loggedErrors() {
		report("the host logged: %s", line)
	}
	if stopped != nil {
		report("%v", stopped)
	}
	return wrong
}
