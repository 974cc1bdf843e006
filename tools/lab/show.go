package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"fn-threatq/host/threatq/threatqtest"
)

// showAction prints an action with its calls and its reply.
func (l *lab) showAction(number int, a *action) {
	r, out := l.host.record(a.id), l.out
	title := r.action.text("rule") + r.action.text("function")
	if title == "" {
		title = "no rule"
	}
	head := fmt.Sprintf("%2d  %s", number, title)
	effort := fmt.Sprintf("%s turns, %s, %s", r.action.text("turns"), countOf(len(r.calls), "call"), r.action.duration("duration").Round(100*time.Microsecond))
	gap := max(width-utf8.RuneCountInString(head)-utf8.RuneCountInString(effort), 2)
	out.line("%s%s%s", out.bold(head), strings.Repeat(" ", gap), out.dim(effort))
	out.wrapped("    ", "    ", a.about, func(s string) string { return s })
	for _, c := range r.calls {
		l.showCall(c)
	}
	for _, answer := range l.answers(a) {
		mark, paint := "  → ", out.green
		if answer.Type != 0 || answer.Results != nil && !answer.Results.Success {
			paint = out.red
		}
		out.wrapped(mark, "    ", answer.Message, paint)
		if answer.Results == nil {
			continue
		}
		var content bytes.Buffer
		if json.Indent(&content, answer.Results.Content, "    ", "  ") == nil {
			out.line("    results.content = %s", content.String())
		}
	}
}

func (l *lab) showCall(c entry) {
	status, path := c.text("status"), c.text("path")
	problem := c.text("error")
	line := fmt.Sprintf("    %-9s %-6s %-65s %3s %5s ms", c.text("service"), c.text("method"), path, status, c.text("ms"))
	if problem != "" {
		line += "  " + problem
	}
	if tries := c.text("tries"); tries != "" {
		line += "  " + tries + " tries"
	}
	if problem != "" {
		l.out.line("%s", l.out.red(line))
	} else {
		l.out.line("%s", l.out.dim(line))
	}
}

func countOf(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// showThreatQ prints what ThreatQ holds as tables.
func (l *lab) showThreatQ() {
	out, shown := l.out, map[int]bool{}
	for _, e := range l.threatq.Events() {
		out.line("")
		out.table([]string{"event", "type", "title", "happened at", "sources"},
			[][]string{{fmt.Sprint(e.ID), e.Type, e.Name, e.HappenedAt, strings.Join(e.Sources, ", ")}})
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
				rows, shown[id] = append(rows, indicatorRow(o)), true
			}
		}
		out.line("")
		out.table([]string{"linked", "type", "value", "status", "attributes", "sources"}, rows)
		l.showObjects(e.ID)
	}
	var rows [][]string
	for _, o := range l.threatq.Indicators() {
		if !shown[o.ID] {
			rows = append(rows, indicatorRow(o))
		}
	}
	out.line("")
	out.table([]string{"linked to no event", "type", "value", "status", "attributes", "sources"}, rows)
}

func indicatorRow(o threatqtest.Object) []string {
	var attributes []string
	for _, a := range o.Attributes {
		attributes = append(attributes, a.Name+"="+a.Value)
	}
	return []string{fmt.Sprint(o.ID), o.Type, o.Name, o.Status, strings.Join(attributes, ", "), strings.Join(o.Sources, ", ")}
}

func (l *lab) showObjects(event int) {
	var rows [][]string
	for _, collection := range collections[1:] {
		for _, id := range l.threatq.Links("events", event, collection) {
			if o, found := l.threatq.Object(collection, id); found {
				rows = append(rows, []string{fmt.Sprint(id), collection, o.Name, strings.Join(o.Sources, ", ")})
			}
		}
	}
	if len(rows) > 0 {
		l.out.line("")
		l.out.table([]string{"linked", "object", "name", "sources"}, rows)
	}
}
