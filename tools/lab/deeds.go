package main

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// addIncident makes an incident that "send" knows.
func (w *world) addIncident(values map[string]any) int64 {
	id := w.soar.AddIncident(values)
	w.made = append(w.made, id)
	return id
}

// addOlderIncidents makes incidents of before the integration was installed.
func (w *world) addOlderIncidents(n int, of resilienttest.Bulk) (first int64) {
	first = w.soar.AddIncidents(n, of)
	for i := range n {
		w.made = append(w.made, first+int64(i))
	}
	return first
}

// menuItem is a user who chooses one of the host's own menu items.
func (w *world) menuItem(rule string, on resilienttest.ActionOptions, fields map[string]any) {
	w.chooseItem("ThreatQ: "+rule, on, fields)
}

// chooseItem is a user who chooses a menu item on an object; empty fields are left out.
func (w *world) chooseItem(title string, on resilienttest.ActionOptions, fields map[string]any) {
	on.MenuItem, on.Fields = true, map[string]any{}
	for name, value := range fields {
		if value != "" {
			on.Fields[name] = value
		}
	}
	w.publish(w.soar.ActionMessage(title, on))
}

// syncIncident takes Yes, No or empty, like all that answers a question.
func (w *world) syncIncident(incident int64, artifacts, indicators string) {
	w.menuItem("Sync Incident", resilienttest.ActionOptions{IncidentID: incident},
		map[string]any{"threatq_import_artifacts": artifacts, "threatq_import_indicators": indicators})
}

func (w *world) syncIndicator(artifact int64, status, confidence string) {
	w.menuItem("Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact},
		map[string]any{"threatq_indicator_status": status, "threatq_indicator_confidence": confidence})
}

func (w *world) syncComment(note int64) {
	w.menuItem("Sync Comment", resilienttest.ActionOptions{NoteID: note}, nil)
}

func (w *world) syncTask(task int64) {
	w.menuItem("Sync Task", resilienttest.ActionOptions{TaskID: task}, nil)
}

func (w *world) setTaskStatus(task int64, status string) {
	w.menuItem("Set Task Status", resilienttest.ActionOptions{TaskID: task}, map[string]any{"threatq_task_status": status})
}

func (w *world) importAttachment(attachment int64, kind, parse, status string) {
	w.menuItem("Import Attachment", resilienttest.ActionOptions{AttachmentID: attachment},
		map[string]any{"threatq_attachment_type": kind, "threatq_parse_indicators": parse, "threatq_indicator_status": status})
}

func (w *world) markFalsePositive(artifact int64, remove string) {
	w.menuItem("Mark as False Positive", resilienttest.ActionOptions{ArtifactID: artifact}, map[string]any{"threatq_remove_artifact": remove})
}

func (w *world) markTruePositive(artifact int64) {
	w.menuItem("Mark as True Positive", resilienttest.ActionOptions{ArtifactID: artifact}, nil)
}

func (w *world) findRelated(artifact int64) {
	w.menuItem("Find Related Indicators", resilienttest.ActionOptions{ArtifactID: artifact}, nil)
}

func (w *world) historicalSync(incident int64, since time.Time, tasks string) {
	w.menuItem("Historical Sync", resilienttest.ActionOptions{IncidentID: incident},
		map[string]any{"threatq_created_after": since.UnixMilli(), "threatq_historical_sync_tasks": tasks})
}

// callFunction is the call of a function by a workflow.
func (w *world) callFunction(name string, inputs map[string]any) {
	w.publish(w.soar.FunctionMessage(name, maps.Clone(inputs)))
}

// artifactID finds an artifact by its value; the newest where there are several.
func (w *world) artifactID(incident int64, value string) int64 {
	found := int64(0)
	for _, a := range w.soar.Artifacts(incident) {
		if a["value"] == value {
			found = a["id"].(int64)
		}
	}
	if found == 0 {
		panic(fmt.Sprintf("incident %d has no artifact %q", incident, value))
	}
	return found
}

// feed is the source of what ThreatQ knows before SOAR tells it anything.
const feed = "Botnet Feed"

// feedThreatQ seeds an address with what is related to it, for Find Related
// Indicators, and the account of the analyst, for the tasks.
func (w *world) feedThreatQ() {
	w.threatq.AddUser(resilienttest.DefaultEmail, "Ada Analyst")
	sender := w.threatq.AddIndicator("IP Address", sentFrom, "Indirect", feed)
	for _, related := range []struct{ kind, value, status string }{
		{"FQDN", "relay.invoice-portal.example.net", "Active"},
		{"URL", "http://relay.invoice-portal.example.net/gate.php", "Active"},
		{"MD5", strings.Repeat("1f", 16), "Expired"},
	} {
		w.threatq.Link("indicators", sender, "indicators", w.threatq.AddIndicator(related.kind, related.value, related.status, feed))
	}
}
