package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// syncIndicator is the message of the menu item for an artifact; without fields
// that of the automatic rule.
func (w *world) syncIndicator(artifact int64, fields map[string]any) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact, MenuItem: fields != nil, Fields: fields})
}

// writes are the calls to one path of ThreatQ that could change something, and
// to what lies below it, in their order.
func (w *world) writes(path string) (list []threatqtest.Request) {
	for _, r := range w.tq.Requests() {
		if r.Method != "GET" && strings.HasPrefix(r.Path, path) {
			list = append(list, r)
		}
	}
	return list
}

// rows are the attribute rows of an indicator as "value by sources".
func (w *world) rows(collection string, id int, name string) (list []string) {
	for _, a := range w.tq.Attributes(collection, id) {
		if a.Name == name {
			list = append(list, fmt.Sprint(a.Value, " by ", strings.Join(a.Sources, ", ")))
		}
	}
	slices.Sort(list)
	return list
}

// The status of an indicator that exists is its analysts', unless a user chose
// one: that is put, also in place of a protected one (contract: test list, 7).
func TestStatusOfAnIndicatorThatExists(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"sync-indicator", "add-indicator", "sync-incident"}, tq: o})
		p := w.start()
		indicator := w.tq.AddIndicator("FQDN", "good.example.com", "Whitelisted", "Feed")
		path := fmt.Sprint("/api/indicators/", indicator)
		artifact := w.soar.AddArtifact(incident, "DNS Name", "good.example.com")
		status := func() string { o, _ := w.tq.Object("indicators", indicator); return o.Status }

		for what, m := range map[string]resilienttest.Message{
			"automatic rule":          w.syncIndicator(artifact, nil),
			"menu item, no status":    w.syncIndicator(artifact, map[string]any{"Indicator Confidence": "High"}),
			"function without status": w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "good.example.com"}),
			"incident with artifacts": w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{MenuItem: true, Fields: map[string]any{"Import Artifacts into ThreatQ": "Yes"}}),
		} {
			w.twice(m)
			assert.Equal(t, "Whitelisted", status(), what)
		}
		for _, r := range w.writes(path) {
			assert.NotEqual(t, path, r.Path, "%s %s", r.Method, r.Body)
		}

		active := map[string]any{"Indicator Status": "Active"}
		for what, m := range map[string]func() resilienttest.Message{
			"menu item": func() resilienttest.Message { return w.syncIndicator(artifact, active) },
			"function": func() resilienttest.Message {
				return w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "good.example.com", "indicator_status": "Active"})
			},
		} {
			w.tq.SetStatus(indicator, "Whitelisted")
			w.tq.ResetRequests()
			w.twice(m())
			assert.Equal(t, "Active", status(), what)
			puts := w.writes(path)
			require.Len(t, puts, 1, what)
			assert.Equal(t, "PUT", puts[0].Method)
			assert.JSONEq(t, `{"status_id":1}`, puts[0].Body)
		}
		p.settled()
		assert.Equal(t, 1, len(slices.DeleteFunc(w.tq.Indicators(), func(o threatqtest.Object) bool { return o.Name != "good.example.com" })))
	})
}

// A changed value is put in place; where the server knows no PUT, the new value
// comes before the old row goes (contract: test list, 8).
func TestAttributeThatChangesIsOneRow(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		for name, without := range map[string]bool{"by PUT": false, "without PUT": true} {
			t.Run(name, func(t *testing.T) {
				o := o
				o.NoAttributePut = without
				w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator"}, tq: o})
				p := w.start()
				artifact := w.soar.AddArtifact(incident, "DNS Name", "bad.example.com")
				w.do(w.incidentMessage(incident, "created"))
				w.do(w.syncIndicator(artifact, map[string]any{"Indicator Confidence": "Low"}))
				require.Len(t, w.tq.Indicators(), 1)
				event, indicator := w.event().ID, w.tq.Indicators()[0].ID

				w.soar.UpdateIncident(incident, map[string]any{"severity_code": "High"})
				w.changesToHigh(w.incidentMessage(incident, "modified"), "events", event, "Severity", without)
				w.changesToHigh(w.syncIndicator(artifact, map[string]any{"Indicator Confidence": "High"}), "indicators", indicator, "Confidence", without)
				p.settled()
			})
		}
	})
}

// changesToHigh holds how the one row of an attribute changes from Low to High.
func (w *world) changesToHigh(m resilienttest.Message, collection string, id int, name string, withoutPut bool) {
	w.t.Helper()
	require.Equal(w.t, []string{"Low by Resilient"}, w.rows(collection, id, name))
	before := w.rowID(collection, id, name)
	w.tq.ResetRequests()
	w.twice(m)
	assert.Equal(w.t, []string{"High by Resilient"}, w.rows(collection, id, name))
	var methods []string
	for _, r := range w.writes(fmt.Sprintf("/api/%s/%d/attributes", collection, id)) {
		methods = append(methods, r.Method)
	}
	if withoutPut {
		assert.Equal(w.t, []string{"PUT", "POST", "DELETE"}, methods)
		assert.NotEqual(w.t, before, w.rowID(collection, id, name))
		return
	}
	assert.Equal(w.t, []string{"PUT"}, methods)
	assert.Equal(w.t, before, w.rowID(collection, id, name))
}

func (w *world) rowID(collection string, id int, name string) int {
	rows := w.tq.Attributes(collection, id)
	return rows[slices.IndexFunc(rows, func(a threatqtest.Attribute) bool { return a.Name == name })].ID
}

// A row of a feed stays whatever users choose, and so does one that a feed shares
// with us; ours stands beside it (contract: test list, 9).
func TestConfidenceOfAFeedIsUntouched(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"sync-indicator", "add-indicator"}, tq: o})
		p := w.start()
		for name, c := range map[string]struct {
			sources []string // of the row that is there
			high    []string // rows after High was chosen
			low     []string // and after Low
		}{
			"of a feed": {[]string{"Feed"}, []string{"High by Resilient", "Medium by Feed"}, []string{"Low by Resilient", "Medium by Feed"}},
			"shared": {[]string{"Feed", "Resilient"}, []string{"High by Resilient", "Medium by Feed, Resilient"},
				[]string{"Low by Resilient", "Medium by Feed, Resilient"}},
		} {
			value := strings.ReplaceAll(name, " ", "-") + ".example.com"
			indicator := w.tq.AddIndicator("FQDN", value, "Active", "Feed")
			w.tq.AddAttribute("indicators", indicator, "Confidence", "Medium", c.sources...)
			feed := w.rowID("indicators", indicator, "Confidence")
			artifact := w.soar.AddArtifact(incident, "DNS Name", value)
			w.twice(w.syncIndicator(artifact, map[string]any{"Indicator Confidence": "High"}))
			assert.Equal(t, c.high, w.rows("indicators", indicator, "Confidence"), name)
			w.twice(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": value, "indicator_confidence": "Low"}))
			assert.Equal(t, c.low, w.rows("indicators", indicator, "Confidence"), name)
			assert.Equal(t, feed, w.rowID("indicators", indicator, "Confidence"), name)
			for _, r := range w.tq.Requests() {
				assert.NotEqual(t, fmt.Sprintf("/api/indicators/%d/attributes/%d", indicator, feed), r.Path, "%s %s", name, r.Method)
			}
		}
		p.settled()
	})
}
