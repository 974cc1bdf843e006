package main

import (
	"slices"
	"strings"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// sendables are what people do in SOAR, the menu items, and the functions.
var sendables = []sendable{
	{"incident", "[--name NAME] [--severity Low|Medium|High] [--description HTML] [--campaign NAME]", func(l *lab, f *deedFlags) func() {
		values := map[string]any{"name": "Incident from the lab"}
		f.value(values, "name", "name")
		f.value(values, "severity", "severity_code")
		f.value(values, "description", "description")
		campaign := f.String("campaign", "", "")
		return func() {
			if *campaign != "" {
				values["properties"] = map[string]any{"internal_campaign": *campaign}
			}
			l.addIncident(values)
		}
	}},
	{"update", "[--incident ID] [--severity …] [--description HTML] [--status A|C]", func(l *lab, f *deedFlags) func() {
		incident, values := f.incident(), map[string]any{}
		f.value(values, "severity", "severity_code")
		f.value(values, "description", "description")
		f.value(values, "status", "plan_status")
		f.needs("--severity, --description or --status", func() bool { return len(values) > 0 })
		return func() { l.soar.UpdateIncident(*incident, values) }
	}},
	{"delete-incident", "--incident ID", func(l *lab, f *deedFlags) func() {
		incident := f.id("incident")
		return func() { l.soar.DeleteIncident(*incident) }
	}},
	{"artifact", "--type TYPE --value VALUE [--description TEXT] [--incident ID]", func(l *lab, f *deedFlags) func() {
		incident, kind, value, more := f.incident(), f.text("type"), f.text("value"), map[string]any{}
		f.value(more, "description", "description")
		return func() { l.soar.AddArtifact(*incident, *kind, *value, more) }
	}},
	{"delete-artifact", "--artifact ID [--incident ID]", func(l *lab, f *deedFlags) func() {
		incident, artifact := f.incident(), f.id("artifact")
		return func() { l.soar.DeleteArtifact(*incident, *artifact) }
	}},
	{"note", "--text HTML [--incident ID] [--task ID]", func(l *lab, f *deedFlags) func() {
		incident, task, html := f.incident(), f.Int64("task", 0, ""), f.text("text")
		return func() { l.soar.AddNote(l.incidentOfTask(*task, *incident), *task, *html) }
	}},
	{"reply", "--note ID --text HTML", func(l *lab, f *deedFlags) func() {
		note, html := f.id("note"), f.text("text")
		return func() { l.soar.ReplyTo(*note, *html) }
	}},
	{"edit-note", "--note ID --text HTML", func(l *lab, f *deedFlags) func() {
		note, html := f.id("note"), f.text("text")
		return func() { l.soar.EditNote(*note, *html) }
	}},
	{"delete-note", "--note ID", func(l *lab, f *deedFlags) func() {
		note := f.id("note")
		return func() { l.soar.DeleteNote(*note) }
	}},
	{"task", "--name NAME [--instructions HTML] [--due YYYY-MM-DD] [--owner EMAIL] [--incident ID]", func(l *lab, f *deedFlags) func() {
		incident, values := f.incident(), map[string]any{}
		f.value(values, "name", "name")
		f.value(values, "instructions", "instr_text")
		f.value(values, "owner", "owner_id")
		f.day(values, "due", "due_date")
		f.needs("--name", func() bool { return values["name"] != nil })
		return func() { l.soar.AddTask(*incident, values) }
	}},
	{"update-task", "--task ID [--name NAME] [--instructions HTML] [--due YYYY-MM-DD] [--status O|C]", func(l *lab, f *deedFlags) func() {
		task, values := f.id("task"), map[string]any{}
		f.value(values, "name", "name")
		f.value(values, "instructions", "instr_text")
		f.value(values, "status", "status")
		f.day(values, "due", "due_date")
		f.needs("--name, --instructions, --due or --status", func() bool { return len(values) > 0 })
		return func() { l.soar.UpdateTask(*task, values) }
	}},
	{"delete-task", "--task ID", func(l *lab, f *deedFlags) func() {
		task := f.id("task")
		return func() { l.soar.DeleteTask(*task) }
	}},
	{"attachment", "--name NAME --text CONTENT [--incident ID] [--task ID]", func(l *lab, f *deedFlags) func() {
		incident, task, name, content := f.incident(), f.Int64("task", 0, ""), f.text("name"), f.text("text")
		return func() {
			l.soar.AddAttachment(l.incidentOfTask(*task, *incident), *task, *name, "text/plain", []byte(*content))
		}
	}},
	{"older-incidents", "[--count N] [--artifacts N] [--tasks N]", func(l *lab, f *deedFlags) func() {
		count := f.Int("count", olderIncidents, "")
		of := resilienttest.Bulk{From: older.From, Every: older.Every}
		f.IntVar(&of.Artifacts, "artifacts", older.Artifacts, "")
		f.IntVar(&of.Tasks, "tasks", older.Tasks, "")
		return func() { l.addOlderIncidents(*count, of) }
	}},

	{"sync-incident", "[--incident ID] [--import-artifacts] [--import-indicators]", func(l *lab, f *deedFlags) func() {
		incident, artifacts, indicators := f.incident(), f.Bool("import-artifacts", false, ""), f.Bool("import-indicators", false, "")
		return func() { l.syncIncident(*incident, yes(*artifacts), yes(*indicators)) }
	}},
	{"sync-indicator", "--artifact ID [--status Active|Review|…] [--confidence Low|Medium|High]", func(l *lab, f *deedFlags) func() {
		artifact, status, confidence := f.id("artifact"), f.String("status", "", ""), f.String("confidence", "", "")
		return func() { l.syncIndicator(*artifact, *status, *confidence) }
	}},
	{"sync-comment", "--note ID", func(l *lab, f *deedFlags) func() {
		note := f.id("note")
		return func() { l.syncComment(*note) }
	}},
	{"sync-task", "--task ID", func(l *lab, f *deedFlags) func() {
		task := f.id("task")
		return func() { l.syncTask(*task) }
	}},
	{"set-task-status", `--task ID --status "To Do"|"In Progress"|Review|Done`, func(l *lab, f *deedFlags) func() {
		task, status := f.id("task"), f.text("status")
		return func() { l.setTaskStatus(*task, *status) }
	}},
	{"import-attachment", "--attachment ID [--type TYPE] [--parse] [--status …]", func(l *lab, f *deedFlags) func() {
		attachment, kind, parse, status := f.id("attachment"), f.String("type", "", ""), f.Bool("parse", false, ""), f.String("status", "", "")
		return func() { l.importAttachment(*attachment, *kind, yes(*parse), *status) }
	}},
	{"mark-false-positive", "--artifact ID [--remove]", func(l *lab, f *deedFlags) func() {
		artifact, remove := f.id("artifact"), f.Bool("remove", false, "")
		return func() { l.markFalsePositive(*artifact, yes(*remove)) }
	}},
	{"mark-true-positive", "--artifact ID", func(l *lab, f *deedFlags) func() {
		artifact := f.id("artifact")
		return func() { l.markTruePositive(*artifact) }
	}},
	{"find-related", "--artifact ID", func(l *lab, f *deedFlags) func() {
		artifact := f.id("artifact")
		return func() { l.findRelated(*artifact) }
	}},
	{"historical-sync", "[--since YYYY-MM-DD] [--tasks] [--incident ID]", func(l *lab, f *deedFlags) func() {
		incident, tasks, since := f.incident(), f.Bool("tasks", false, ""), map[string]any{"since": older.From.UnixMilli()}
		f.day(since, "since", "since")
		return func() { l.historicalSync(*incident, time.UnixMilli(since["since"].(int64)), yes(*tasks)) }
	}},

	{"menu-item", "[--artifact ID] [--task ID] [--note ID] [--attachment ID] [--incident ID] TITLE field=value …", func(l *lab, f *deedFlags) func() {
		on := resilienttest.ActionOptions{}
		incident := f.incident()
		f.Int64Var(&on.ArtifactID, "artifact", 0, "")
		f.Int64Var(&on.TaskID, "task", 0, "")
		f.Int64Var(&on.NoteID, "note", 0, "")
		f.Int64Var(&on.AttachmentID, "attachment", 0, "")
		call := f.rest(`menu-item needs the title of a rule, such as "My Rule", and field=value pairs`)
		return func() {
			if on.ArtifactID+on.TaskID+on.NoteID+on.AttachmentID == 0 {
				on.IncidentID = *incident
			}
			l.chooseItem(call.name, on, call.inputs)
		}
	}},
	{"function", "NAME input=value …", func(l *lab, f *deedFlags) func() {
		call := f.rest("function needs a name and input=value pairs, such as \"threatq_add_indicator indicator_value=198.51.100.7\"")
		return func() { l.callFunction(l.functionName(call.name), call.inputs) }
	}},
}

// incidentOfTask is the incident that a task belongs to; the given one without a task.
func (w *world) incidentOfTask(task, incident int64) int64 {
	if t := w.soar.Task(task); t != nil {
		return t["inc_id"].(int64)
	}
	return incident
}

func yes(chosen bool) string {
	if chosen {
		return "Yes"
	}
	return ""
}

// functionName accepts names of the host's own with and without what all of them
// begin with.
func (w *world) functionName(name string) string {
	if slices.ContainsFunc(w.soar.Functions(), func(f resilienttest.Function) bool { return f.Name == name }) {
		return name
	}
	return "threatq_" + strings.TrimPrefix(strings.ReplaceAll(name, "-", "_"), "threatq_")
}
