package main

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/threatq/threatqtest"
)

// collections are those of ThreatQ but for the events, to which they may be linked.
var collections = []string{
	"indicators", "adversaries", "attachments", "signatures", "tasks", "campaign", "course_of_action", "exploit_target", "incident",
	"ttp", "attack_pattern", "identity", "intrusion_set", "malware", "report", "tool", "vulnerability",
}

// facts are what ThreatQ and the incident in SOAR hold at the end, in the lines
// of expected.
func (w *world) facts(incident int64) []string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	for _, e := range w.threatq.Events() {
		add("event: %s %q, %s, by %s", e.Type, e.Name, e.HappenedAt, by(e.Sources))
		add("description of %s: %s", nameOf(e), e.Description)
	}
	for _, collection := range append([]string{"events"}, collections...) {
		for _, o := range w.threatq.Objects(collection) {
			name := nameOf(o)
			for _, a := range o.Attributes {
				add("attribute of %s: %s = %q by %s", name, a.Name, a.Value, by(a.Sources))
			}
			for _, text := range o.Comments {
				add("comment on %s: %q", name, text)
			}
			for _, linked := range w.linkedTo(o) {
				add("linked to %s: %s", name, nameOf(linked))
			}
			switch collection {
			case "events", "tasks", "attachments": // with more than a name
			case "indicators":
				add("indicator: %s %q, %s, by %s", o.Type, o.Name, o.Status, by(o.Sources))
			default:
				add("%s: %q, by %s", collection, o.Name, by(o.Sources))
			}
		}
	}
	for _, t := range w.threatq.Tasks() {
		add("task: %q, %s, %s, due %q, of %q, by %s: %s", t.Name, t.Status, t.Priority, t.DueAt, t.Assignee, by(t.Sources), t.Description)
	}
	for _, f := range w.threatq.Files() {
		add("file: %s %q, locked %t, by %s: %q", f.Type, f.Title, f.Locked, by(f.Sources), f.Content)
	}
	for _, i := range w.threatq.Imports() {
		add("import: %s, committed %s, %d found, as %s, by %s", i.State, countOf(i.Commits, "time"), len(i.Found), i.Status, i.Source)
	}
	for _, a := range w.soar.Artifacts(incident) {
		// The address of the indicator holds an id of ThreatQ.
		description, _, _ := strings.Cut(plainText(a["description"]), " https://")
		add("artifact: %v %q, %q", a["type"], a["value"], description)
	}
	return facts
}

// linkedTo are the objects that an object is linked to, each pair told from one
// side: the one of the event, else of the file, the task, the first indicator.
func (w *world) linkedTo(o threatqtest.Object) []threatqtest.Object {
	from := []string{"events", "attachments", "tasks", "indicators"}
	rank := slices.Index(from, o.Collection)
	if rank < 0 {
		return nil
	}
	var linked []threatqtest.Object
	for _, collection := range collections {
		if other := slices.Index(from, collection); other >= 0 && other < rank {
			continue
		}
		for _, id := range w.threatq.Links(o.Collection, o.ID, collection) {
			if other, found := w.threatq.Object(collection, id); found && (collection != o.Collection || o.ID < id) {
				linked = append(linked, other)
			}
		}
	}
	return linked
}

// nameOf is a name that tells an object from others: the key that begins the
// titles of what comes from SOAR, else type or collection and name.
func nameOf(o threatqtest.Object) string {
	switch o.Collection {
	case "indicators":
		return o.Type + " " + o.Name
	case "events", "tasks":
		key, _, _ := strings.Cut(o.Name, ": ")
		return key
	case "attachments":
		return "file " + o.Name
	}
	return o.Collection + " " + o.Name
}

func by(sources []string) string { return strings.Join(slices.Sorted(slices.Values(sources)), " and ") }

// plainText is a text of SOAR, which may be rich.
func plainText(v any) string {
	switch text := v.(type) {
	case nil:
		return ""
	case map[string]any:
		return fmt.Sprint(text["content"])
	default:
		return fmt.Sprint(text)
	}
}

// check compares the end state with the expectation and returns the differences.
func (w *world) check(t told) []string {
	return differences(w.expected(t), w.facts(t.incident))
}

// differences compares two lists without regard to order; a line that stands
// twice on one side must stand twice on the other.
func differences(expected, found []string) []string {
	counts := map[string]int{}
	for _, line := range found {
		counts[line]++
	}
	var wrong []string
	for _, line := range expected {
		if counts[line]--; counts[line] < 0 {
			wrong = append(wrong, "missing:  "+line)
		}
	}
	for _, line := range found {
		if counts[line] > 0 {
			counts[line]--
			wrong = append(wrong, "too much: "+line)
		}
	}
	return wrong
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
