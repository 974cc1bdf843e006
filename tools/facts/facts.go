// Package facts tells what a simulated ThreatQ holds, for those who compare it
// with what it should hold.
//
// A fact is one line about one thing, without ids of ThreatQ and dates of change:
// two servers that hold the same have the same facts.
package facts

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/host/threatq/threatqtest"
)

// Collections are those of ThreatQ but for the events, to which they may be linked.
var Collections = []string{
	"indicators", "adversaries", "attachments", "signatures", "tasks", "campaign", "course_of_action", "exploit_target", "incident",
	"ttp", "attack_pattern", "identity", "intrusion_set", "malware", "report", "tool", "vulnerability",
}

// OfThreatQ are the facts of a server, in no order.
func OfThreatQ(server *threatqtest.Server) []string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	for _, e := range server.Events() {
		add("event: %s %q, %s, by %s", e.Type, e.Name, e.HappenedAt, By(e.Sources))
		add("description of %s: %s", nameOf(e), e.Description)
	}
	for _, collection := range append([]string{"events"}, Collections...) {
		for _, o := range server.Objects(collection) {
			name := nameOf(o)
			for _, a := range o.Attributes {
				add("attribute of %s: %s = %q by %s", name, a.Name, a.Value, By(a.Sources))
			}
			for _, text := range o.Comments {
				add("comment on %s: %q", name, text)
			}
			for _, linked := range linkedTo(server, o) {
				add("linked to %s: %s", name, nameOf(linked))
			}
			switch collection {
			case "events", "tasks", "attachments": // with more than a name
			case "indicators":
				add("indicator: %s %q, %s, by %s", o.Type, o.Name, o.Status, By(o.Sources))
			default:
				add("%s: %q, by %s", collection, o.Name, By(o.Sources))
			}
		}
	}
	for _, t := range server.Tasks() {
		add("task: %q, %s, %s, due %q, of %q, by %s: %s", t.Name, t.Status, t.Priority, t.DueAt, t.Assignee, By(t.Sources), t.Description)
	}
	for _, f := range server.Files() {
		add("file: %s %q, locked %t, by %s: %q", f.Type, f.Title, f.Locked, By(f.Sources), f.Content)
	}
	return facts
}

// linkedTo are the objects that an object is linked to, each pair told from one
// side: the one of the event, else of the file, the task, the first indicator.
func linkedTo(server *threatqtest.Server, o threatqtest.Object) []threatqtest.Object {
	from := []string{"events", "attachments", "tasks", "indicators"}
	rank := slices.Index(from, o.Collection)
	if rank < 0 {
		return nil
	}
	var linked []threatqtest.Object
	for _, collection := range Collections {
		if other := slices.Index(from, collection); other >= 0 && other < rank {
			continue
		}
		for _, id := range server.Links(o.Collection, o.ID, collection) {
			if other, found := server.Object(collection, id); found && (collection != o.Collection || o.ID < id) {
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

// By joins the sources of a thing.
func By(sources []string) string { return strings.Join(slices.Sorted(slices.Values(sources)), " and ") }

// PlainText is a text of SOAR, which may be rich.
func PlainText(v any) string {
	switch text := v.(type) {
	case nil:
		return ""
	case map[string]any:
		return fmt.Sprint(text["content"])
	default:
		return fmt.Sprint(text)
	}
}

// Differences compares two lists without regard to order; a line that stands
// twice on one side must stand twice on the other.
func Differences(expected, found []string) []string {
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
