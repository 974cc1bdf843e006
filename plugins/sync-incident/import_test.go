package syncincident_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
)

const (
	importArtifacts  = "threatq_import_artifacts"
	importIndicators = "threatq_import_indicators"
)

// emptied removes the artifacts that the simulator's incident begins with.
func emptied(w *kittest.World) {
	for _, a := range w.SOAR.Artifacts(incident) {
		w.SOAR.DeleteArtifact(incident, a["id"].(int64))
	}
}

func TestImportArtifactsSingly(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	w.SOAR.AddArtifact(incident, "DNS Name", "a.example.com")
	w.SOAR.AddArtifact(incident, "DNS Name", "A.EXAMPLE.COM.")
	w.SOAR.AddArtifact(incident, "String", "198.51.100.1, 198.51.100.2")
	w.SOAR.AddArtifact(incident, "Port", "443")
	known := w.ThreatQ.AddIndicator("FQDN", "own.example.com", "Indirect", "Feed")
	w.SOAR.AddArtifact(incident, "DNS Name", "own.example.com", map[string]any{"description": "Imported from ThreatQ event 1."})
	message := done(t, w, "", importArtifacts)
	assert.Contains(t, message, "4 of 5 artifacts")
	e := event(t, w).ID
	assert.Len(t, w.ThreatQ.Links("events", e, "indicators"), 4)
	o, _ := w.ThreatQ.Object("indicators", known)
	assert.Equal(t, []string{"Feed"}, o.Sources, "an own artifact is ThreatQ's data")
	assert.NotContains(t, w.Writes(), "POST /api/indicators/consume")

	before := w.ThreatQ.Snapshot()
	done(t, w, "", importArtifacts)
	assert.Equal(t, before, w.ThreatQ.Snapshot())
}

func TestImportArtifactsInBulk(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	const n = 230
	for i := range n {
		w.SOAR.AddArtifact(incident, "DNS Name", fmt.Sprintf("host%d.example.com", i))
	}
	message := done(t, w, "", importArtifacts)
	assert.Contains(t, message, "230 of 230 artifacts")
	assert.Len(t, w.ThreatQ.Links("events", event(t, w).ID, "indicators"), n)
	assert.Equal(t, 2, countPrefix(w.Writes(), "POST /api/indicators/consume"))
	assert.Equal(t, 3, len(w.Writes()), "event and two batches: %v", w.Writes())
	for _, i := range w.ThreatQ.Indicators() {
		require.Equal(t, "Review", i.Status)
		require.Equal(t, []string{"Resilient"}, i.Sources)
	}
}

func TestFailedBatchIsDoneSingly(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	for i := range 30 {
		w.SOAR.AddArtifact(incident, "DNS Name", fmt.Sprintf("host%d.example.com", i))
	}
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators/consume", Times: -1, Status: http.StatusNotFound})
	message := done(t, w, "", importArtifacts)
	assert.Contains(t, message, "30 of 30 artifacts")
	assert.Len(t, w.ThreatQ.Links("events", event(t, w).ID, "indicators"), 30)
}

func TestImportArtifactsCountsWhatFailed(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	w.SOAR.AddArtifact(incident, "DNS Name", "a.example.com")
	w.SOAR.AddArtifact(incident, "DNS Name", "b.example.com")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators", Times: 1, Status: 422, Body: `{"errors":["no good"]}`})
	reply := sync(t, w, "", importArtifacts)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "1 of 2 artifacts")
	assert.Contains(t, reply.Message, "no good")
	assert.Len(t, w.ThreatQ.Links("events", event(t, w).ID, "indicators"), 1, "the other one is done")
}

func TestImportIndicators(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	done(t, w, "created")
	e := event(t, w).ID
	link := func(kind, value string) {
		w.ThreatQ.Link("events", e, "indicators", w.ThreatQ.AddIndicator(kind, value, "Active", "Feed"))
	}
	link("FQDN", "new.example.com")
	link("FQDN", "present.example.com")
	link("SHA-384", strings.Repeat("ab", 48))
	link("URL", "no-scheme.example.com/x")
	link("Password", "hunter2")
	link("Registry Key", "not a hive")
	w.SOAR.AddArtifact(incident, "DNS Name", "PRESENT.example.com")

	message := done(t, w, "", importIndicators)
	assert.Contains(t, message, "5 indicators of the event: 4 added, 1 already present")
	got := map[string]string{}
	for _, a := range w.SOAR.Artifacts(incident) {
		got[fmt.Sprint(a["value"])] = fmt.Sprint(a["description"])
	}
	assert.Len(t, got, 5)
	assert.Contains(t, got["new.example.com"], "Imported from ThreatQ event 55. Type: FQDN. Status: Active. https://threatq.example.com/indicators/")
	assert.NotContains(t, got, "hunter2")

	message = done(t, w, "", importIndicators)
	assert.Contains(t, message, "0 added, 5 already present")
}

func TestLargeImportIsCutIntoBatchesAndStopsAtTheLimit(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	w.Settings["max_related"] = "60"
	done(t, w, "created")
	e := event(t, w).ID
	for i := range 620 {
		w.ThreatQ.Link("events", e, "indicators", w.ThreatQ.AddIndicator("FQDN", fmt.Sprintf("host%d.example.com", i), "Active"))
	}
	reply := sync(t, w, "", importIndicators)
	assert.True(t, reply.Success, "a limit that was set is no failure")
	assert.Contains(t, reply.Message, "620 indicators of the event: 60 added, 0 already present, 560 left out (setting max_related)")
	assert.Len(t, w.SOAR.Artifacts(incident), 60)
	var progress []string
	largest := 0
	for _, turn := range w.Last.Turns {
		if turn.Output.Progress != "" {
			progress = append(progress, turn.Output.Progress)
		}
		if turn.Output.State != nil {
			largest = 0
		}
		largest = max(largest, len(turn.Input))
	}
	assert.Equal(t, []string{"25 artifacts added, 35 to go", "50 artifacts added, 10 to go"}, progress)
	assert.Less(t, largest, 100_000, "the history is forgotten between batches")
}

func TestBothImportsAtOnce(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	emptied(w)
	w.SOAR.AddArtifact(incident, "DNS Name", "ours.example.com")
	message := done(t, w, "", importArtifacts, importIndicators)
	assert.Contains(t, message, "1 of 1 artifact")
	assert.Contains(t, message, "1 indicator of the event: 0 added, 1 already present")
}
