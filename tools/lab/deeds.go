package main

import (
	"fmt"
	"maps"

	"fn-threatq/host/resilient/resilienttest"
)

// syncIndicator is the menu item on an artifact; empty fields are left out.
func (w *world) syncIndicator(artifactID int64, status, confidence string) {
	fields := map[string]any{}
	set(fields, "threatq_indicator_status", status)
	set(fields, "threatq_indicator_confidence", confidence)
	w.publish(w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{MenuItem: true, ArtifactID: artifactID, Fields: fields}))
}

// syncIncident is the menu item on an incident; the fields are Yes, No or empty.
func (w *world) syncIncident(incident int64, artifacts, indicators string) {
	fields := map[string]any{}
	set(fields, "threatq_import_artifacts", artifacts)
	set(fields, "threatq_import_indicators", indicators)
	w.publish(w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{MenuItem: true, IncidentID: incident, Fields: fields}))
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

func set(fields map[string]any, name, value string) {
	if value != "" {
		fields[name] = value
	}
}
