package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// contract: test list, 12.
func TestManyRelatedIndicatorsBecomeArtifactsOnceAndOnlyLinks(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"find-related-indicators", "sync-indicator"}, tq: o, threatq: keys{"max_related": "90"}})
		p := w.start()
		known := w.tq.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
		for n := range 1200 {
			w.tq.Link("indicators", known, "indicators", w.tq.AddIndicator("IP Address", fmt.Sprintf("198.18.%d.%d", n/250, n%250+1), "Active", "Feed"))
		}
		artifact := w.soar.AddArtifact(incident, "DNS Name", "known.example.com")
		before := len(w.soar.Artifacts(incident))
		r := w.do(w.menu("Find Related Indicators", artifact, nil))
		assert.Contains(t, r.Message, "1200 related, 90 added")
		values := map[string]int{}
		for _, a := range w.soar.Artifacts(incident) {
			values[fmt.Sprint(a["type"], a["value"])]++
		}
		assert.Len(t, values, before+90, "none twice")

		r = w.do(again(w.menu("Find Related Indicators", artifact, nil)))
		assert.Contains(t, r.Message, "1200 related, 90 added, 90 already present")

		// What our own account added makes the automatic rule run.
		var own int64
		var value string
		for _, a := range w.soar.Artifacts(incident) {
			if v := fmt.Sprint(a["value"]); strings.HasPrefix(v, "198.18.") {
				own, value = a["id"].(int64), v
			}
		}
		require.NotZero(t, own)
		w.twice(w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: own}))
		for _, i := range w.tq.Indicators() {
			assert.Equal(t, []string{"Feed"}, i.Sources, "ThreatQ's own finding does not become ours")
			if i.Name == value {
				assert.Equal(t, []int{i.ID}, w.tq.Links("events", w.event().ID, "indicators"))
			}
		}
		p.settled()
	})
}
