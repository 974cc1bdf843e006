package main

import (
	"fmt"
	"time"

	"fn-threatq/tools/facts"
)

// showSOAR prints what an incident holds in SOAR, with the ids by which "send" names it.
func (l *lab) showSOAR(incident int64) {
	o := l.soar.Incident(incident)
	if o == nil {
		l.out.line("  SOAR has no incident yet")
		return
	}
	text := func(v any) string {
		if v == nil {
			return ""
		}
		return facts.PlainText(v)
	}
	l.out.line("")
	l.out.table([]string{"incident", "name", "status", "severity", "created"},
		[][]string{{fmt.Sprint(incident), text(o["name"]), text(o["plan_status"]), text(o["severity_code"]), day(o["create_date"])}})
	for _, part := range []struct {
		headings, keys []string
		objects        []map[string]any
	}{
		{[]string{"artifact", "type", "value", "description"}, []string{"id", "type", "value", "description"}, l.soar.Artifacts(incident)},
		{[]string{"note", "task", "reply to", "text"}, []string{"id", "task_id", "parent_id", "text"}, l.soar.Notes(incident)},
		{[]string{"task", "name", "status", "instructions"}, []string{"id", "name", "status", "instr_text"}, l.soar.Tasks(incident)},
		{[]string{"attachment", "task", "name", "size"}, []string{"id", "task_id", "name", "size"}, l.soar.Attachments(incident)},
	} {
		var rows [][]string
		for _, object := range part.objects {
			var row []string
			for _, key := range part.keys {
				row = append(row, text(object[key]))
			}
			rows = append(rows, row)
		}
		if len(rows) > 0 {
			l.out.line("")
			l.out.table(part.headings, rows)
		}
	}
}

// day is a time of SOAR, in ms since 1970, for people.
func day(ms any) string {
	if at, isNumber := ms.(int64); isNumber {
		return utc(time.UnixMilli(at))
	}
	return ""
}
