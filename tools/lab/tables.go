package main

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/tools/facts"
)

const (
	// shownEvents is how many events are shown with all that belongs to them.
	shownEvents = 4
	// shownRows is how many rows of a table of things that are alike are shown.
	shownRows = 8
)

// showThreatQ prints what ThreatQ holds as tables: the events of the given
// incidents in full, or when none is given all events, as long as they are few.
func (l *lab) showThreatQ(incidents ...int64) {
	events := l.threatq.Events()
	linked := map[int]bool{}
	var wanted, rest []threatqtest.Object
	for _, id := range incidents {
		wanted = append(wanted, l.eventsOf(id)...)
	}
	for _, e := range events {
		isWanted := slices.ContainsFunc(wanted, func(w threatqtest.Object) bool { return w.ID == e.ID })
		if isWanted || len(incidents) == 0 && len(events) <= shownEvents {
			l.showEvent(e)
		} else {
			rest = append(rest, e)
		}
		for _, id := range l.threatq.Links("events", e.ID, "indicators") {
			linked[id] = true
		}
	}
	l.showEvents(rest)
	var rows [][]string
	for _, o := range l.threatq.Indicators() {
		if !linked[o.ID] {
			rows = append(rows, indicatorRows(o)...)
		}
	}
	l.out.line("\n  Indicators of no event")
	l.out.table(indicatorHeadings, rows)
}

// eventsOf are those with the key of the incident, which are to be one (contract:
// object mapping).
func (l *lab) eventsOf(incident int64) []threatqtest.Object {
	key := fmt.Sprintf("Resilient #%d: ", incident)
	return slices.DeleteFunc(l.threatq.Events(), func(e threatqtest.Object) bool { return !strings.HasPrefix(e.Name, key) })
}

// showEvent prints an event with all that belongs to it.
func (l *lab) showEvent(e threatqtest.Object) {
	out := l.out
	out.line("")
	out.table([]string{"event", "type", "title", "happened at", "sources"},
		[][]string{{fmt.Sprint(e.ID), e.Type, e.Name, e.HappenedAt, sourcesOf(e)}})
	if e.Description != "" {
		out.wrapped("  ", "  ", e.Description, out.dim)
	}
	var rows [][]string
	for _, a := range e.Attributes {
		rows = append(rows, []string{a.Name, a.Value, strings.Join(a.Sources, ", ")})
	}
	out.line("")
	out.table([]string{"attribute", "value", "sources"}, rows)
	rows = nil
	for _, id := range l.threatq.Links("events", e.ID, "indicators") {
		if o, found := l.threatq.Object("indicators", id); found {
			rows = append(rows, indicatorRows(o)...)
		}
	}
	out.line("")
	out.table(indicatorHeadings, rows)
	l.showComments(e)
	l.showTasks(e)
	l.showFiles(e)
	l.showObjects(e)
}

var indicatorHeadings = []string{"indicator", "type", "value", "status", "sources"}

// indicatorRows are the indicator and below it its attributes.
func indicatorRows(o threatqtest.Object) [][]string {
	rows := [][]string{{fmt.Sprint(o.ID), o.Type, o.Name, o.Status, sourcesOf(o)}}
	for _, a := range o.Attributes {
		rows = append(rows, []string{"", "", "· " + a.Name + ": " + a.Value, "", strings.Join(a.Sources, ", ")})
	}
	return rows
}

// showComments prints those of the event and of its tasks, line by line.
func (l *lab) showComments(e threatqtest.Object) {
	show := func(on string, comments []threatqtest.Comment) {
		for _, c := range comments {
			l.out.line("")
			l.out.line("%s", l.out.dim(fmt.Sprintf("  comment %d on %s", c.ID, on)))
			l.out.wrapped("  ", "  ", c.Value, func(s string) string { return s })
		}
	}
	show("the event", l.threatq.Comments("events", e.ID))
	for _, id := range l.threatq.Links("events", e.ID, "tasks") {
		show(fmt.Sprintf("task %d", id), l.threatq.Comments("tasks", id))
	}
}

func (l *lab) showTasks(e threatqtest.Object) {
	ids := l.threatq.Links("events", e.ID, "tasks")
	var rows [][]string
	for _, t := range l.threatq.Tasks() {
		if slices.Contains(ids, t.ID) {
			rows = append(rows, []string{fmt.Sprint(t.ID), t.Name, t.Status, dayOnly(t.DueAt), t.Assignee})
		}
	}
	if len(rows) > 0 {
		l.out.line("")
		l.out.table([]string{"task", "name", "status", "due on", "assignee"}, rows)
	}
}

// dayOnly is the date of a time of ThreatQ.
func dayOnly(at string) string {
	date, _, _ := strings.Cut(at, " ")
	return date
}

func (l *lab) showFiles(e threatqtest.Object) {
	ids := l.threatq.Links("events", e.ID, "attachments")
	var rows [][]string
	for _, f := range l.threatq.Files() {
		if slices.Contains(ids, f.ID) {
			rows = append(rows, []string{fmt.Sprint(f.ID), f.Type, f.Title, fmt.Sprint(len(f.Content)),
				fmt.Sprint(len(l.threatq.Links("attachments", f.ID, "indicators")))})
		}
	}
	if len(rows) > 0 {
		l.out.line("")
		l.out.table([]string{"file", "type", "title", "bytes", "indicators"}, rows)
	}
}

// showObjects prints what else is linked to the event.
func (l *lab) showObjects(e threatqtest.Object) {
	var rows [][]string
	for _, collection := range facts.Collections {
		if collection == "indicators" || collection == "tasks" || collection == "attachments" {
			continue
		}
		for _, id := range l.threatq.Links("events", e.ID, collection) {
			if o, found := l.threatq.Object(collection, id); found {
				rows = append(rows, []string{fmt.Sprint(id), collection, o.Name, sourcesOf(o)})
			}
		}
	}
	if len(rows) > 0 {
		l.out.line("")
		l.out.table([]string{"object", "collection", "name", "sources"}, rows)
	}
}

// showEvents prints a row for each event.
func (l *lab) showEvents(events []threatqtest.Object) {
	if len(events) == 0 {
		return
	}
	// A historical sync makes them in no order.
	slices.SortFunc(events, func(a, b threatqtest.Object) int { return strings.Compare(a.HappenedAt+a.Name, b.HappenedAt+b.Name) })
	var rows [][]string
	for _, e := range events[:min(shownRows, len(events))] {
		row := []string{fmt.Sprint(e.ID), e.Name, e.HappenedAt, fmt.Sprint(len(e.Attributes))}
		for _, collection := range []string{"indicators", "tasks"} {
			row = append(row, fmt.Sprint(len(l.threatq.Links("events", e.ID, collection))))
		}
		rows = append(rows, row)
	}
	l.out.line("")
	l.out.table([]string{"event", "title", "happened at", "attributes", "indicators", "tasks"}, rows)
	if more := len(events) - len(rows); more > 0 {
		l.out.line("  %s", l.out.dim(fmt.Sprintf("… and %d more", more)))
	}
}

func sourcesOf(o threatqtest.Object) string { return strings.Join(o.Sources, ", ") }
