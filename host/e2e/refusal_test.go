package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// refusals are the forms in which ThreatQ says no (contract: errors), with what
// has to reach the user of each.
var refusals = map[string]struct {
	fault threatqtest.Fault
	words []string
}{
	"a map of fields": {
		threatqtest.Fault{Status: http.StatusBadRequest, Body: `{"data":{"errors":{"name":["The name has already been taken."],"test":["one error","another error"]}}}`},
		[]string{"name: The name has already been taken.", "one error", "another error"},
	},
	"nested lists": {
		threatqtest.Fault{Status: http.StatusBadRequest, Body: `{"errors":["First error",["Second error, part 1","Second error, part 2"]]}`},
		[]string{"First error", "Second error, part 1", "Second error, part 2"},
	},
	"in a 200 answer": {
		threatqtest.Fault{Status: http.StatusOK, Body: `{"errors":["The value is not valid."]}`},
		[]string{"The value is not valid"},
	},
	"a web page": {
		threatqtest.Fault{Status: http.StatusInternalServerError, Body: threatqtest.HTMLError, ContentType: "text/html"},
		[]string{"Whoops, looks like something went wrong"},
	},
}

// What is refused: what rules make, and the relations of an indicator.
var (
	creations = regexp.MustCompile(`^/api/(events|indicators|tasks|attachments|attachments/upload|events/\d+/comments)$`)
	relations = regexp.MustCompile(`^/api/indicators/\d+/indicators$`)
)

func isRefused(r *http.Request) bool {
	return r.Method == "POST" && creations.MatchString(r.URL.Path) || r.Method == "GET" && relations.MatchString(r.URL.Path)
}

// refused holds that every rule and function hands on what ThreatQ says, in
// whatever form, and nothing of the form (contract: test list, 18).
func (w everything) refused(t *testing.T) {
	// Each rule has an incident of its own, so that none waits for another.
	rules, first := map[string]resilienttest.ActionOptions{}, map[string]resilienttest.Message{}
	for title := range w.ofNewIncident(incident) {
		id := w.soar.AddIncident(map[string]any{"name": title})
		o := w.ofNewIncident(id)[title]
		o.IncidentID = id
		if rules[title] = o; title != "Sync Incident" { // which has nothing else to make
			first[title] = w.incidentMessage(id, "created")
		}
	}
	w.allDone(first)
	known := w.soar.AddIncident(map[string]any{"name": "Related"})
	rules["Find Related Indicators"] = resilienttest.ActionOptions{ArtifactID: w.soar.AddArtifact(known, "DNS Name", "known.example.com")}
	functions := map[string]map[string]any{
		"threatq_add_indicator":           {"indicator_value": "refused.example.com"},
		"threatq_find_related_indicators": {"incident_id": known, "indicator_value": "known.example.com"},
		"threatq_mark_as_false_positive":  {"indicator_value": "refused.example.com"},
		"threatq_mark_as_true_positive":   {"indicator_value": "refused.example.com"},
	}
	for form, refusal := range refusals {
		f := refusal.fault
		f.Match, f.Times = isRefused, -1
		w.tq.Inject(f)
		w.unchanged(func() {
			sent := map[string]string{}
			for title, o := range rules {
				sent[title] = w.send(w.soar.ActionMessage("ThreatQ: "+title, o))
			}
			for name, inputs := range functions {
				sent[name] = w.send(w.soar.FunctionMessage(name, inputs))
			}
			for name, correlation := range sent {
				w.requireRefused(name+", "+form, w.final(correlation), refusal.words)
			}
		})
		require.Positive(t, w.tq.ClearFaults())
	}
	w.twice(w.soar.ActionMessage("ThreatQ: Sync Indicator", rules["Sync Indicator"]))
}

// requireRefused holds that a reply, be it a function's, tells of a refusal.
func (w *world) requireRefused(what string, r reply, words []string) {
	w.t.Helper()
	text := r.Message
	if r.Type == 0 {
		require.NotEmpty(w.t, r.Results, "%s: %s", what, r.text)
		got := results(w.t, r)
		require.False(w.t, got.Success, "%s: %s", what, r.text)
		require.NotNil(w.t, got.Reason, what)
		text = *got.Reason
	}
	for _, word := range words {
		assert.Contains(w.t, text, word, what)
	}
	for _, form := range []string{"<html", "<body", `{"`, `["`, "goroutine"} {
		assert.NotContains(w.t, text, form, what)
	}
}

// A historical sync goes on behind an incident that is refused, and names it
// (contract: test list, 18).
func TestRefusalsOfThreatQDuringAHistoricalSync(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"historical-sync", "sync-incident"}, tq: o})
		p := w.start()
		historical := func() resilienttest.Message {
			return w.soar.ActionMessage("ThreatQ: Historical Sync", resilienttest.ActionOptions{Fields: map[string]any{
				"Created After Date": time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()}})
		}
		w.do(historical())
		late := w.soar.AddIncidents(1, resilienttest.Bulk{})
		for form, refusal := range refusals {
			f := refusal.fault
			f.Method, f.Times = "POST", -1
			f.Match = func(r *http.Request) bool { return r.URL.Path == "/api/events" }
			w.tq.Inject(f)
			w.unchanged(func() {
				r := w.final(w.send(historical()))
				assert.Equal(t, 1, r.Type, form)
				assert.Contains(t, r.Message, fmt.Sprintf("2 incidents, 1 failed (#%d)", late), form)
			})
			require.Positive(t, w.tq.ClearFaults())
		}
		w.do(historical())
		p.settled()
		assert.Len(t, w.tq.Events(), 2)
	})
}
