package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// numberings are those of indicator types.
var numberings = map[string]threatqtest.Numbering{"A": threatqtest.NumberingA, "B": threatqtest.NumberingB}

// eachNumbering runs a test under both numberings of indicator types.
func eachNumbering(t *testing.T, test func(t *testing.T, o threatqtest.Options)) {
	t.Parallel()
	for name, numbering := range numberings {
		t.Run("numbering "+name, func(t *testing.T) {
			t.Parallel()
			test(t, threatqtest.Options{Numbering: numbering})
		})
	}
}

func TestNewIncidentBecomesAnEventAndIsAnsweredOnce(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{tq: o})
		p := w.start()
		w.rules.Store(true)
		incident := w.soar.AddIncident(map[string]any{"name": "Stolen laptop, 100% encrypted", "severity_code": "High"})
		sent := w.automatic()
		require.Len(t, sent, 1)
		w.final(sent[0])
		p.settled()

		event := w.event()
		assert.Equal(t, fmt.Sprintf("Resilient #%d: Stolen laptop, 100%% encrypted", incident), event.Name)
		assert.Equal(t, "Incident", event.Type)
		assert.Equal(t, []string{"Resilient"}, event.Sources)
		assert.Equal(t, "High", attribute(event, "Severity"))
		assert.Equal(t, "Active", attribute(event, "Status"))
		assert.Equal(t, fmt.Sprint(incident), attribute(event, "Resilient Incident ID"))
		assert.Equal(t, fmt.Sprintf("%s/#incidents/%d?orgId=%d", w.soar.URL(), incident, w.soar.OrgID()), attribute(event, "Resilient Incident URL"))
		assert.Equal(t, resilienttest.DefaultOrg, attribute(event, "Resilient Organization"))

		r := w.once(sent[0])
		assert.Zero(t, r.Type)
		assert.Contains(t, r.Message, fmt.Sprintf("Synced to ThreatQ event %d (created)", event.ID))
		assert.Contains(t, r.Message, w.eventURL(event.ID))
		assert.Empty(t, r.Results, "a rule has no results")

		lines := w.logs.lines("action")
		require.Len(t, lines, 1)
		line := lines[0]
		assert.Equal(t, "ThreatQ: Sync Incident", line["rule"])
		assert.Equal(t, "done", line["outcome"])
		assert.EqualValues(t, incident, line["incident"])
		assert.Equal(t, r.Message, line["message"])
		for _, key := range []string{"action", "module", "turns", "calls", "duration", "waited"} {
			assert.Contains(t, line, key)
		}
	})
}

func TestArtifactsOfANewIncidentShareOneEvent(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator"}, tq: o})
		p := w.start()
		w.rules.Store(true)
		incident := w.soar.AddIncident(map[string]any{"name": "Beaconing"})
		want := map[string]string{
			"198.51.100.7": "IP Address", "bad.example.com": "FQDN", "http://bad.example.net/a?b=c,d%20e": "URL",
			"a@bad.example.org": "Email Address", "44d88612fea8a8f36de82e1278abb02f": "MD5", `HKLM\Software\Bad`: "Registry Key",
		}
		w.soar.AddArtifact(incident, "IP Address", "198.51.100.7")
		w.soar.AddArtifact(incident, "DNS Name", "Bad.Example.com.")
		w.soar.AddArtifact(incident, "URL", "hxxp://bad.example.net/a?b=c,d%20e")
		w.soar.AddArtifact(incident, "Email Sender", "Evil <a@bad.example.org>")
		w.soar.AddArtifact(incident, "Malware MD5 Hash", "44D88612FEA8A8F36DE82E1278ABB02F")
		w.soar.AddArtifact(incident, "Registry Key", `HKLM\Software\Bad`)
		sent := w.automatic()
		require.Len(t, sent, 7)
		for _, correlation := range sent {
			w.final(correlation)
		}
		p.settled()
		for _, correlation := range sent {
			assert.Zero(t, w.once(correlation).Type, w.once(correlation).Message)
		}
		event := w.event()
		assert.Equal(t, 1, w.tq.CountRequests("POST", "/api/events"))
		got, ids := map[string]string{}, []int{}
		for _, i := range w.tq.Indicators() {
			got[i.Name] = i.Type
			ids = append(ids, i.ID)
			assert.Equal(t, "Review", i.Status)
		}
		assert.Equal(t, want, got)
		assert.Equal(t, ids, w.tq.Links("events", event.ID, "indicators"))
	})
}

func TestChangedSeverityIsPutInPlaceAndNoChangeWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.start()
	w.do(w.incidentMessage(resilienttest.DefaultIncident, "created"))
	before := w.event()
	require.Equal(t, "Low", attribute(before, "Severity"))

	w.soar.UpdateIncident(resilienttest.DefaultIncident, map[string]any{"severity_code": "High"})
	w.tq.ResetRequests()
	r := w.do(w.incidentMessage(resilienttest.DefaultIncident, "modified"))
	assert.Contains(t, r.Message, "(updated)")
	assert.Equal(t, "High", attribute(w.event(), "Severity"), "one row")
	assert.Equal(t, 1, w.tq.Counts().ByMethod["PUT"])
	assert.Equal(t, 1, w.tq.Counts().Writes())
	assert.Len(t, w.event().Attributes, len(before.Attributes))

	w.tq.ResetRequests()
	r = w.do(w.incidentMessage(resilienttest.DefaultIncident, "modified"))
	assert.Contains(t, r.Message, "(unchanged)")
	assert.Zero(t, w.tq.Counts().Writes())
	p.settled()
}
