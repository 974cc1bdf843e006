package e2e

import (
	"flag"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// flood is how many updates wait, of waitingIncidents, when the host starts: what
// the guide's last chapter has people clear by hand.
var flood = flag.Int("flood", 3000, "updates that wait in the test of a flood")

const waitingIncidents = 100

func TestFloodOfUpdatesIsAnsweredByAboutOneSyncPerIncident(t *testing.T) {
	// However slow the machine is, no run ends before all messages are there: ThreatQ
	// answers when the last one, which needs no ThreatQ, has been answered.
	w := newWorld(t, setup{threatq: keys{"max_parallel": strconv.Itoa(waitingIncidents + 10)}})
	arrived := make(chan struct{})
	w.tq.Inject(threatqtest.Fault{Method: http.MethodGet, PathPrefix: "/api/events", Times: -1, Until: arrived})
	first := w.soar.AddIncidents(waitingIncidents, resilienttest.Bulk{})
	correlations := make([]string, *flood)
	for i := range correlations {
		correlations[i] = w.send(w.incidentMessage(first+int64(i%waitingIncidents), "modified"))
	}
	last := w.incidentMessage(first, "modified")
	last.Body = []byte("{")
	lastCorrelation := w.send(last)
	p := w.start()
	w.final(lastCorrelation)
	close(arrived)
	for _, correlation := range correlations {
		require.Zero(t, w.final(correlation).Type)
	}
	p.settled()

	lines := w.logs.lines("action")
	require.Len(t, lines, *flood+1)
	runs := -1 // the last message is none
	for _, line := range lines {
		if line["served_by"] == nil {
			runs++
		}
	}
	assert.LessOrEqual(t, runs, 2*waitingIncidents)
	counts := w.tq.Counts()
	t.Logf("%d updates of %d incidents: %d runs, ThreatQ saw %d requests, %+v", *flood, waitingIncidents, runs, w.tq.CountRequests("GET", "/api/events"), counts)
	assert.LessOrEqual(t, w.tq.CountRequests("GET", "/api/events"), 2*runs+waitingIncidents)
	assert.Len(t, w.tq.Events(), waitingIncidents)
	w.once(correlations[0])
}

// A new incident brings a dozen actions at once.
func TestActionsOfANewIncidentShareWhatTheyRead(t *testing.T) {
	w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator"}})
	incident := w.soar.AddIncident(map[string]any{"name": "Phishing"})
	const artifacts = 12
	var correlations []string
	for i := range artifacts {
		artifact := w.soar.AddArtifact(incident, "DNS Name", "host"+strconv.Itoa(i)+".example.net")
		correlations = append(correlations, w.send(w.artifactMessage(artifact)))
	}
	p := w.start()
	for _, correlation := range correlations {
		r := w.final(correlation)
		require.Zero(t, r.Type, r.Message)
	}
	p.settled()
	require.Len(t, w.tq.Events(), 1)
	reads := 0
	for _, r := range w.soar.Requests() {
		if r.Method == "GET" && r.Path == "/rest/orgs/"+strconv.FormatInt(w.soar.OrgID(), 10)+"/incidents/"+strconv.FormatInt(incident, 10) {
			reads++
		}
	}
	events := w.tq.CountRequests("GET", "/api/events")
	t.Logf("%d artifacts: the incident was read %d times, its event looked for %d times", artifacts, reads, events)
	assert.LessOrEqual(t, reads, 3)
	assert.LessOrEqual(t, events, 5)
}
