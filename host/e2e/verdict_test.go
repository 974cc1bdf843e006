package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// menu is the message of a menu item on an artifact of the incident.
func (w *world) menu(title string, artifact int64, fields map[string]any) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: "+title, resilienttest.ActionOptions{ArtifactID: artifact, MenuItem: true, Fields: fields})
}

// rowsOf are the rows of an attribute, as VALUE (SOURCES).
func rowsOf(o threatqtest.Object, name string) (rows []string) {
	for _, a := range o.Attributes {
		if a.Name == name {
			rows = append(rows, a.Value+" ("+strings.Join(a.Sources, ", ")+")")
		}
	}
	return rows
}

// contract: test list, 10.
func TestTheLastVerdictCountsAndThatOfAnotherSourceStays(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"mark-false-positive", "mark-true-positive"}, tq: o})
		p := w.start()
		w.tq.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
		id := w.tq.Indicators()[0].ID
		w.tq.AddAttribute("indicators", id, "True Positive", "Yes", "Analyst team")
		artifact := w.soar.AddArtifact(incident, "DNS Name", "bad.example.com")
		indicator := func() threatqtest.Object {
			o, ok := w.tq.Object("indicators", id)
			require.True(t, ok)
			return o
		}

		w.twice(w.menu("Mark as False Positive", artifact, nil))
		assert.Equal(t, []string{"Yes (Resilient)"}, rowsOf(indicator(), "False Positive"))
		assert.Equal(t, []string{"Yes (Analyst team)"}, rowsOf(indicator(), "True Positive"), "the verdict of another source")

		w.tq.Delete("indicators", id)
		id = w.tq.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
		w.twice(w.menu("Mark as False Positive", artifact, nil))
		w.twice(w.menu("Mark as True Positive", artifact, nil))
		assert.Empty(t, rowsOf(indicator(), "False Positive"), "ours alone, so it goes")
		assert.Equal(t, []string{"Yes (Resilient)"}, rowsOf(indicator(), "True Positive"))
		assert.Equal(t, "Active", indicator().Status, "a verdict is no status")
		p.settled()
	})
}

// contract: test list, 11.
func TestArtifactStaysWhenItsVerdictDidNotReachThreatQ(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"mark-false-positive"}, tq: o})
		p := w.start()
		w.tq.AddIndicator("FQDN", "good.example.com", "Active", "Feed")
		artifact := w.soar.AddArtifact(incident, "DNS Name", "good.example.com")
		has := func() bool {
			for _, a := range w.soar.Artifacts(incident) {
				if a["id"] == artifact {
					return true
				}
			}
			return false
		}
		remove := map[string]any{"Remove Artifact After Marking": "Yes"}

		w.tq.Inject(threatqtest.Fault{Method: http.MethodPost, PathPrefix: "/api/indicators/", Status: http.StatusUnprocessableEntity})
		r := w.final(w.send(w.menu("Mark as False Positive", artifact, remove)))
		assert.Equal(t, 1, r.Type)
		assert.True(t, has(), r.Message)

		r = w.do(again(w.menu("Mark as False Positive", artifact, remove)))
		assert.False(t, has(), r.Message)
		assert.Equal(t, []string{"Yes (Resilient)"}, rowsOf(w.tq.Indicators()[0], "False Positive"))
		p.settled()
	})
}

// A removed artifact makes its automatic rule run, which must leave ThreatQ alone.
func TestRemovalOfAFalsePositiveEndsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"mark-false-positive", "sync-indicator"}})
	p := w.start()
	artifact := w.soar.AddArtifact(incident, "DNS Name", "good.example.com")
	w.rules.Store(true)
	w.do(w.menu("Mark as False Positive", artifact, map[string]any{"Remove Artifact After Marking": "Yes"}))
	sent := w.automatic()
	require.Len(t, sent, 1, "the deletion is told")
	w.unchanged(func() { assert.Contains(t, w.final(sent[0]).Message, "deleted in SOAR") })
	p.settled()
}
