package sightings_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
	"fn-threatq/abi/tck/tcktest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/examples/sightings/sightings"
	"fn-threatq/plugins/kit/kittest"
)

const address = "203.0.113.77"

func now() time.Time { return time.UnixMilli(1_580_479_200_000) }

// world has the address as an artifact, and as an active indicator.
func world(t *testing.T) (w *kittest.World, artifact int64, indicator int) {
	t.Helper()
	w = kittest.New(t, sightings.Rules(), "manifest.json", resilienttest.Options{Now: now}, threatqtest.Options{Now: now})
	artifact = w.SOAR.AddArtifact(resilienttest.DefaultIncident, "IP Address", address)
	indicator = w.ThreatQ.AddIndicator("IP Address", address, "Active", "Botnet Feed")
	return w, artifact, indicator
}

func onArtifact(rule string, artifact int64) abi.Action {
	return abi.Action{ID: "m-1", Kind: abi.KindRule, Name: rule, Object: "artifact", IncidentID: resilienttest.DefaultIncident, ArtifactID: artifact}
}

func TestASightingIsReportedOnce(t *testing.T) {
	w, artifact, indicator := world(t)
	report := onArtifact("sightings_report_sighting", artifact)
	report.Fields = map[string]abi.JSON{"sightings_seen_at": abi.JSON("1580475600123"), "sightings_seen_on": abi.JSON(`"mail-gw-2"`)}
	for _, want := range []string{"was reported: ", "was reported already: "} {
		out := w.Run(report)
		require.NotNil(t, out.Reply, "%+v", out.Fail)
		assert.True(t, out.Reply.Success)
		assert.Contains(t, out.Reply.Message, "The sighting of 203.0.113.77 at 2020-01-31 13:00:00 UTC "+want)
	}
	events := w.ThreatQ.Events()
	require.Len(t, events, 1)
	assert.Equal(t, "Sighting", events[0].Type)
	assert.True(t, strings.HasSuffix(events[0].Name, " at 2020-01-31 13:00:00: "+address), events[0].Name)
	assert.Contains(t, w.ThreatQ.Links("events", events[0].ID, "indicators"), indicator)

	report.Fields = nil
	w.Run(report)
	assert.Len(t, w.ThreatQ.Events(), 2, "another time is another sighting")
}

func TestAnIndicatorExpires(t *testing.T) {
	w, artifact, indicator := world(t)
	out := w.Run(onArtifact("sightings_expire_indicator", artifact))
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	assert.Equal(t, "IP Address 203.0.113.77 expired (was Active).", out.Reply.Message)
	for _, i := range w.ThreatQ.Indicators() {
		if i.ID == indicator {
			assert.Equal(t, "Expired", i.Status)
		}
	}
	out = w.Run(onArtifact("sightings_expire_indicator", artifact))
	assert.Equal(t, "IP Address 203.0.113.77 is expired already.", out.Reply.Message)
	assert.Empty(t, w.Writes())
}

func TestAWorkflowIsToldWhatIsKnown(t *testing.T) {
	w, _, indicator := world(t)
	w.ThreatQ.AddAttribute("indicators", indicator, "Country", "NL", "Botnet Feed")
	out := w.Run(abi.Action{ID: "m-2", Kind: abi.KindFunction, Name: "sightings_check_indicator", Inputs: map[string]abi.JSON{"indicator_value": abi.JSON(`"` + address + `"`)}})
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	for _, part := range []string{`"known":true`, `"status":"Active"`, `{"name":"Country","value":"NL"}`, `"sources":["Botnet Feed"]`} {
		assert.Contains(t, string(out.Reply.Results), part)
	}
	assert.Empty(t, w.Writes())
	out = w.Run(abi.Action{ID: "m-3", Kind: abi.KindFunction, Name: "sightings_check_indicator", Inputs: map[string]abi.JSON{"indicator_value": abi.JSON(`"50%, or less"`)}})
	assert.JSONEq(t, `{"known":false,"indicators":[]}`, string(out.Reply.Results))
}

func TestTheRulesConform(t *testing.T) {
	text, err := os.ReadFile("manifest.json")
	require.NoError(t, err)
	m, err := manifest.Parse(text)
	require.NoError(t, err)
	twin := tck.Func(func(input []byte) ([]byte, error) { return guest.Handle(sightings.Rules(), input), nil })
	tcktest.Run(t, twin, m)
}
