package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// The task of the incident that every SOAR of these tests starts with.
const task int64 = 17

// deed is one thing that a rule or a workflow of SOAR does.
type deed struct {
	name    string
	message func() resilienttest.Message
}

// deeds are every rule, in each of its forms, and every function, in an order in
// which all of them succeed, also when each is done twice.
func (w *world) deeds() []deed {
	malware := w.tq.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.tq.Link("indicators", malware, "indicators", w.tq.AddIndicator("URL", "http://related.example.com/x", "Active", "Feed"))
	known := w.soar.AddArtifact(incident, "DNS Name", "Known.example.com.")
	mixed := w.soar.AddArtifact(incident, "String", "from hxxp://bad[.]example[.]net/x and 2001:db8::1, CVE-2020-0601")
	note, taskNote := w.soar.AddNote(incident, 0, "<p>Blocked on the <b>proxy</b></p>"), w.soar.AddNote(incident, task, "Mail received")
	report := w.soar.AddAttachment(incident, 0, "report.txt", "text/plain", []byte("Seen 203.0.113.9 and evil.example.org."))
	sample := w.soar.AddAttachment(incident, task, "sample.exe", "application/octet-stream", []byte("MZ\x00\x01 not a real one"))
	since := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

	rule := func(form, title string, o resilienttest.ActionOptions) deed {
		return deed{title + ", " + form, func() resilienttest.Message {
			o.IncidentID, o.MenuItem = incident, form != "automatic"
			return w.soar.ActionMessage("ThreatQ: "+title, o)
		}}
	}
	function := func(name string, inputs map[string]any) deed {
		return deed{name, func() resilienttest.Message { return w.soar.FunctionMessage(name, inputs) }}
	}
	type options = resilienttest.ActionOptions
	type fields = map[string]any
	return []deed{
		rule("automatic", "Sync Incident", options{}),
		rule("with indicators and artifacts", "Sync Incident", options{Fields: fields{"Import Artifacts into ThreatQ": "Yes", "Import Indicators from ThreatQ": "Yes"}}),
		rule("automatic", "Sync Indicator", options{ArtifactID: mixed}),
		rule("with status and confidence", "Sync Indicator", options{ArtifactID: mixed, Fields: fields{"Indicator Status": "Active", "Indicator Confidence": "High"}}),
		rule("menu item", "Mark as True Positive", options{ArtifactID: known}),
		rule("artifact stays", "Mark as False Positive", options{ArtifactID: known, Fields: fields{"Remove Artifact After Marking": "No"}}),
		rule("menu item", "Find Related Indicators", options{ArtifactID: known}),
		rule("automatic", "Sync Comment", options{NoteID: note}),
		rule("menu item", "Sync Comment", options{NoteID: taskNote, TaskID: task}),
		rule("parsed", "Import Attachment", options{AttachmentID: report, Fields: fields{"Attachment Type": "Generic Text", "Parse Indicators": "Yes", "Indicator Status": "Active"}}),
		rule("of a task", "Import Attachment", options{AttachmentID: sample, TaskID: task, Fields: fields{"Attachment Type": "Malware Sample"}}),
		rule("automatic", "Sync Task", options{TaskID: task}),
		rule("menu item", "Set Task Status", options{TaskID: task, Fields: fields{"Task Status": "In Progress"}}),
		rule("with tasks", "Historical Sync", options{Fields: fields{"Created After Date": since, "Historically Sync Tasks": "Yes"}}),
		function("threatq_add_indicator", fields{"indicator_value": "added[.]example[.]org", "indicator_status": "Active", "indicator_confidence": "Low"}),
		function("threatq_find_related_indicators", fields{"incident_id": incident, "indicator_value": "known.example.com"}),
		function("threatq_mark_as_false_positive", fields{"incident_id": incident, "artifact_id": known, "indicator_value": "fp.example.org"}),
		function("threatq_mark_as_true_positive", fields{"indicator_value": "tp.example.org"}),
	}
}

// atNoon makes times the same in each run.
func atNoon() time.Time { return time.Date(2020, 2, 1, 12, 0, 0, 0, time.UTC) }

// everything is a world with all modules, in which each test adds to what the
// ones before it left.
type everything struct {
	*world
	deeds   []deed
	secrets *collector
}

// TestEveryRuleAndFunction holds for all of them what they have in common, under
// both numberings (contract: test list, 2, 3, 5, 18, 19 and 20).
func TestEveryRuleAndFunction(t *testing.T) {
	var mu sync.Mutex
	var left []string
	t.Cleanup(func() {
		if len(left) == len(numberings) { // unless one of them was picked
			assert.Equal(t, left[0], left[1], "both numberings lead to the same")
		}
	})
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		o.Now, o.Password, o.ClientID = atNoon, canaryPassword, canaryCID
		w := newWorld(t, setup{
			modules: []string{}, odd: true, soar: resilienttest.Options{Now: atNoon}, tq: o,
			threatq: keys{"password": canaryPassword, "cid": canaryCID, "max_parallel": "16",
				"custom_attributes": "internal_confidence=Confidence", "custom_objects": "internal_severity=Malware"},
		})
		w.soar.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_severity": "Emotet", "internal_confidence": "High"}})
		p := w.start()
		all := everything{w, w.deeds(), newCanaries()}
		w.part("done twice changes nothing", func(t *testing.T) {
			state := all.doneTwice(t)
			mu.Lock()
			defer mu.Unlock()
			left = append(left, state)
		})
		w.part("one event when the answer is lost", all.answersLost)
		w.part("refusals reach the user", all.refused)
		w.part("no secret in any line", all.discreet)
		p.settled()
	})
}

// part runs a subtest in the world of its parent.
func (w *world) part(name string, f func(t *testing.T)) {
	outer := w.t
	outer.Run(name, func(t *testing.T) {
		w.reportTo(t)
		defer w.reportTo(outer)
		f(t)
	})
}

func (w *world) reportTo(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t, w.player.t = t, t
}

// doneTwice does all deeds twice and says what is there then (contract: test
// list, 2, 3 and 19).
func (w everything) doneTwice(t *testing.T) string {
	for _, d := range w.deeds {
		_, second := w.twice(d.message())
		require.False(t, second.Type != 0 || len(second.Results) > 0 && !results(t, second).Success, "%s: %s", d.name, second.text)
	}
	require.Len(t, w.tq.Events(), 1)
	require.Len(t, w.tq.Tasks(), 1)
	require.Len(t, w.tq.Files(), 2)
	require.Len(t, w.tq.Objects("malware"), 1)
	requireNothingMadeTwice(t, w.tq.Requests())
	requireNoUnderscoreInWith(t, w.tq.Requests())
	for _, r := range w.tq.Requests() {
		assert.Less(t, r.Status, 400, "ThreatQ: %s %s", r.Method, r.Path)
	}
	for _, r := range w.soar.Requests() {
		assert.Less(t, r.Status, 400, "SOAR: %s %s", r.Method, r.Path)
	}
	urls := strings.NewReplacer(w.soar.URL(), "https://soar", "orgId="+strconv.FormatInt(w.soar.OrgID(), 10), "orgId=N")
	return urls.Replace(w.tq.Snapshot())
}

// requireNothingMadeTwice holds that each object is asked for once, and an
// indicator once among all calls (contract: test list, 3).
func requireNothingMadeTwice(t *testing.T, requests []threatqtest.Request) {
	t.Helper()
	made := map[string]int{}
	for _, r := range requests {
		comment := strings.HasSuffix(r.Path, "/comments")
		if r.Method != "POST" || !comment && !creating[r.Path] {
			continue
		}
		for _, name := range namesIn(r.Body) {
			path := strings.TrimSuffix(r.Path, "/consume")
			made[path+" "+name]++
		}
	}
	for what, times := range made {
		assert.Equal(t, 1, times, what)
	}
	assert.GreaterOrEqual(t, len(made), 15, "the test saw too little: %v", made)
}

// creating are the calls that make objects; links and attributes may be made again.
var creating = map[string]bool{
	"/api/events": true, "/api/events/consume": true, "/api/tasks": true, "/api/attachments": true, "/api/attachments/upload": true,
	"/api/indicators": true, "/api/indicators/consume": true, "/api/malware": true,
}

// namesIn are the objects that a body makes. A form is one object.
func namesIn(body string) (names []string) {
	var list []map[string]any
	if json.Unmarshal([]byte(body), &list) != nil {
		var one map[string]any
		if json.Unmarshal([]byte(body), &one) != nil {
			return []string{body}
		}
		list = append(list, one)
	}
	for _, o := range list {
		for _, key := range []string{"title", "value", "name"} {
			if name, ok := o[key].(string); ok {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// requireNoUnderscoreInWith is for servers that refuse such names (contract: test list, 19).
func requireNoUnderscoreInWith(t *testing.T, requests []threatqtest.Request) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range requests {
		with := r.Query.Get("with")
		assert.NotContains(t, with, "_", "%s %s", r.Method, r.Path)
		seen[with] = true
	}
	assert.GreaterOrEqual(t, len(seen), 5, "the test saw too little: %v", seen)
}
