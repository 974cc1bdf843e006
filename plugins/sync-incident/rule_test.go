package syncincident_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	syncincident "fn-threatq/plugins/sync-incident"
)

const incident = resilienttest.DefaultIncident

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, syncincident.Rules(), "manifest.json", resilienttest.Options{Now: func() time.Time { return time.UnixMilli(1580565600000) }}, tq)
}

func action(operation string, fields ...string) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_incident", Title: "ThreatQ: Sync Incident",
		Operation: operation, Object: "incident", IncidentID: incident}
	for _, field := range fields {
		if a.Fields == nil {
			a.Fields = map[string]abi.JSON{}
		}
		a.Fields[field] = abi.JSON(`"Yes"`)
	}
	return a
}

func sync(t *testing.T, w *kittest.World, operation string, fields ...string) *abi.Reply {
	t.Helper()
	out := w.Run(action(operation, fields...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

// done is sync for an action that has to succeed.
func done(t *testing.T, w *kittest.World, operation string, fields ...string) string {
	t.Helper()
	reply := sync(t, w, operation, fields...)
	require.True(t, reply.Success, reply.Message)
	return reply.Message
}

func event(t *testing.T, w *kittest.World) threatqtest.Object {
	t.Helper()
	require.Len(t, w.ThreatQ.Events(), 1)
	return w.ThreatQ.Events()[0]
}

// attribute is the values of one attribute of the event, joined.
func attribute(t *testing.T, w *kittest.World, name string) string {
	t.Helper()
	var values []string
	for _, a := range event(t, w).Attributes {
		if strings.EqualFold(a.Name, name) {
			values = append(values, a.Value)
		}
	}
	slices.Sort(values)
	return strings.Join(values, "|")
}

func TestNewIncidentBecomesAnEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	message := done(t, w, "created")
	e := event(t, w)
	assert.Equal(t, "Resilient #2095: Phishing mail to finance", e.Name)
	assert.Equal(t, "Incident", e.Type)
	assert.Equal(t, "2020-01-31 12:00:00", e.HappenedAt)
	assert.Contains(t, e.Description, "suspicious")
	assert.Equal(t, []string{"Resilient"}, e.Sources)
	for name, want := range map[string]string{
		"Resilient Incident ID":  "2095",
		"Resilient Incident URL": "https://soar.example.com/#incidents/2095?orgId=201",
		"Resilient Organization": "Test Organization",
		"Severity":               "Low",
		"Status":                 "Active",
		"Incident Type":          "Phishing",
		"Phase":                  "Initial",
		"NIST Attack Vectors":    "E-mail",
		"Confirmed":              "No",
		"Simulation":             "",
		"Date Closed":            "",
	} {
		assert.Equal(t, want, attribute(t, w, name), name)
	}
	assert.Contains(t, message, "Synced to ThreatQ event 55 (created), ")
	assert.Contains(t, message, "; https://threatq.example.com/events/55/details")
	assert.LessOrEqual(t, len(w.Last.Turns), 4)
}

func TestUnchangedIncidentWritesNothing(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"well-behaved": {}, "old rows": {OldAttributeRows: true}, "ids as text": {NumericStrings: true}, "objects": {ObjectOfOne: true},
		"no totals": {OmitTotal: true}, "attributes dropped on create": {IgnoreAttributesOnCreate: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.Settings["custom_objects"] = "internal_severity=Malware, internal_severity=Adversary"
			done(t, w, "created")
			before := w.ThreatQ.Snapshot()
			message := done(t, w, "modified")
			assert.Equal(t, before, w.ThreatQ.Snapshot())
			assert.Empty(t, w.Writes())
			assert.Contains(t, message, "(unchanged)")
			assert.Contains(t, message, "2 objects")
			assert.LessOrEqual(t, len(w.Last.Turns), 4)
		})
	}
}

func TestChangesAreCarriedOver(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, "created")
	w.SOAR.UpdateIncident(incident, map[string]any{"name": "Renamed, 100% sure", "severity_code": "High", "description": "<div>new words</div>"})
	message := done(t, w, "modified")
	assert.Contains(t, message, "(updated)")
	e := event(t, w)
	assert.Equal(t, "Resilient #2095: Renamed, 100% sure", e.Name)
	assert.Contains(t, e.Description, "new words")
	assert.Equal(t, "High", attribute(t, w, "Severity"))
	assert.Equal(t, 1, countPrefix(w.Writes(), "PUT /api/events/55/attributes/"))
	assert.Equal(t, 0, countPrefix(w.Writes(), "DELETE"))
	for _, call := range w.Last.Calls {
		if call.Method == "PUT" && call.Path == "/api/events/55" {
			assert.NotContains(t, string(call.Body), "happened_at")
		}
	}
	done(t, w, "modified")
	assert.Empty(t, w.Writes())
}

func countPrefix(list []string, prefix string) int {
	n := 0
	for _, line := range list {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func TestServerWithoutAttributeChangeAddsBeforeItDeletes(t *testing.T) {
	w := newWorld(t, threatqtest.Options{NoAttributePut: true})
	done(t, w, "created")
	w.SOAR.UpdateIncident(incident, map[string]any{"severity_code": "High"})
	done(t, w, "modified")
	assert.Equal(t, "High", attribute(t, w, "Severity"))
	writes := w.Writes()
	add := slices.Index(writes, "POST /api/events/55/attributes")
	remove := slices.IndexFunc(writes, func(s string) bool { return strings.HasPrefix(s, "DELETE ") })
	assert.True(t, add >= 0 && remove > add, "%v", writes)
}

func TestClosingAndReopening(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, "created")
	w.SOAR.UpdateIncident(incident, map[string]any{"plan_status": "C",
		"resolution_id": "Resolved", "resolution_summary": "<div>All <b>clean</b></div>"})
	done(t, w, "modified")
	assert.Equal(t, "Closed", attribute(t, w, "Status"))
	assert.Equal(t, "2020-02-01 14:00:00", attribute(t, w, "Date Closed"))
	assert.Equal(t, "Resolved", attribute(t, w, "Resolution"))
	assert.Equal(t, "All clean", attribute(t, w, "Resolution Summary"))

	w.SOAR.UpdateIncident(incident, map[string]any{"plan_status": "A", "resolution_id": nil, "resolution_summary": nil})
	done(t, w, "modified")
	assert.Equal(t, "Active", attribute(t, w, "Status"))
	for _, gone := range []string{"Date Closed", "Resolution", "Resolution Summary"} {
		assert.Empty(t, attribute(t, w, gone), gone)
	}
}

func TestDeletionOnlyMarksTheEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	message := done(t, w, "deleted")
	assert.Contains(t, message, "has no event in ThreatQ")
	assert.Empty(t, w.ThreatQ.Events())

	done(t, w, "created")
	rows := len(event(t, w).Attributes)
	w.SOAR.DeleteIncident(incident)
	message = done(t, w, "deleted")
	assert.Contains(t, message, "ThreatQ event 55 has the status Deleted now")
	assert.Equal(t, "Deleted", attribute(t, w, "Status"))
	assert.Len(t, event(t, w).Attributes, rows)
}

func TestUnreadableIncidentIsNoDeletion(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, "created")
	w.SOAR.Forbid(incident)
	out := w.Run(action("modified"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	w.SOAR.Allow(incident)
	w.SOAR.DeleteIncident(incident)
	message := done(t, w, "modified")
	assert.Contains(t, message, "no longer exists in SOAR, or its workspace is closed")
	out = w.Run(action("modified", "threatq_import_artifacts"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeNotFound, out.Fail.Code)
	assert.Equal(t, "Active", attribute(t, w, "Status"))
}

func TestIncidentWithoutDescriptionDatesAndSeverity(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.UpdateIncident(incident, map[string]any{"description": nil, "severity_code": nil, "discovered_date": int64(4102444800000)})
	done(t, w, "created")
	e := event(t, w)
	assert.Equal(t, "<p>Created from Resilient incident #2095.</p>", e.Description)
	assert.Equal(t, "2100-01-01 00:00:00", e.HappenedAt, "a time in the future is sent as it is")
	assert.Empty(t, attribute(t, w, "Severity"))
	done(t, w, "modified")
	assert.Empty(t, w.Writes())
}

func TestAwkwardNames(t *testing.T) {
	for name, given := range map[string]string{
		"comma":       "a, b, and c",
		"percent":     "100% _sure_",
		"quotes":      `"quoted" 'name' <b> & co`,
		"300 runes":   strings.Repeat("ö", 300),
		"emoji":       "Alarm 🚨 raised",
		"two lines":   "first\nsecond\tline",
		"only blanks": " x ",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			w.SOAR.UpdateIncident(incident, map[string]any{"name": given})
			done(t, w, "created")
			title := event(t, w).Name
			assert.True(t, strings.HasPrefix(title, "Resilient #2095: "), title)
			assert.LessOrEqual(t, len([]rune(title)), 255)
			assert.NotContains(t, title, "\n")
			done(t, w, "modified")
			assert.Empty(t, w.Writes())
			event(t, w)
		})
	}
}

func TestServerThatCannotStoreEmojiGetsAReplacementOnce(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.UpdateIncident(incident, map[string]any{"name": "Alarm 🚨 raised"})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Status: 400, Body: `{"errors":["Incorrect string value"]}`})
	done(t, w, "created")
	assert.Equal(t, "Resilient #2095: Alarm \uFFFD raised", event(t, w).Name)
	done(t, w, "modified")
	assert.Empty(t, w.Writes(), "the replaced title is not taken for a change")
}

func TestOldestOfSeveralEventsIsTaken(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	first := w.ThreatQ.AddEvent("Incident", "Resilient #2095: older", "Resilient")
	w.ThreatQ.AddEvent("Incident", "Resilient #2095: newer", "Resilient")
	message := done(t, w, "modified")
	assert.Contains(t, message, "event "+strconv.Itoa(first)+" (updated)")
	assert.Len(t, w.ThreatQ.Events(), 2)
}

func TestEventOfAnotherServerIsNotOurs(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	foreign := w.ThreatQ.AddEvent("Incident", "Resilient #2095: theirs", "Resilient")
	w.ThreatQ.AddAttribute("events", foreign, "Resilient Incident URL", "https://other.example.com/#incidents/2095?orgId=201")
	other := w.ThreatQ.AddEvent("Sighting", "Resilient #2095: no incident", "Resilient")
	done(t, w, "modified")
	require.Len(t, w.ThreatQ.Events(), 3)
	for _, id := range []int{foreign, other} {
		o, _ := w.ThreatQ.Object("events", id)
		assert.NotEqual(t, "Resilient #2095: Phishing mail to finance", o.Name)
	}
}

func TestLegacyEventIsAdoptedOnlyWhenAsked(t *testing.T) {
	for _, adopt := range []string{"false", "true"} {
		w := newWorld(t, threatqtest.Options{})
		w.Settings["adopt_legacy_titles"] = adopt
		legacy := w.ThreatQ.AddEvent("Incident", "Phishing mail to finance", "Resilient")
		done(t, w, "modified")
		o, _ := w.ThreatQ.Object("events", legacy)
		if adopt == "true" {
			require.Len(t, w.ThreatQ.Events(), 1)
			assert.Equal(t, "Resilient #2095: Phishing mail to finance", o.Name)
			assert.Equal(t, "2095", attribute(t, w, "Resilient Incident ID"))
			continue
		}
		assert.Len(t, w.ThreatQ.Events(), 2)
		assert.Equal(t, "Phishing mail to finance", o.Name)
	}
}

func TestUnknownOutcomeOfTheCreateLeavesOneEvent(t *testing.T) {
	for name, fault := range map[string]threatqtest.Fault{
		"stored, answer lost":       {LoseAnswer: true},
		"not stored, answer lost":   {CutBefore: true},
		"not stored, server error":  {Status: 500, Body: threatqtest.HTMLError, ContentType: "text/html"},
		"stored, answer lost twice": {LoseAnswer: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			fault.Method, fault.PathPrefix = "POST", "/api/events"
			w.ThreatQ.Inject(fault)
			done(t, w, "created")
			assert.Equal(t, "Low", attribute(t, w, "Severity"))
		})
	}
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", CutBefore: true, Times: -1})
	out := w.Run(action("created"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeUnknown, out.Fail.Code)
	assert.True(t, out.Fail.Retry)
	assert.Len(t, w.Writes(), 2, "tried twice at most")
}

// TestTwoHostsKeepTheOlderEvent lets another host make its event between our
// look and our create.
func TestTwoHostsKeepTheOlderEvent(t *testing.T) {
	for _, linked := range []bool{false, true} {
		w := newWorld(t, threatqtest.Options{})
		once := false
		w.Before = func(call abi.Call) {
			switch {
			case call.Method == "POST" && call.Path == "/api/events" && !once:
				once = true
				w.ThreatQ.AddEvent("Incident", "Resilient #2095: made by the other host", "Resilient")
			case linked && call.Method == "GET" && call.Path == "/api/events/56":
				w.ThreatQ.Link("events", 56, "indicators", w.ThreatQ.AddIndicator("FQDN", "x.example.com", "Review"))
			}
		}
		message := done(t, w, "created")
		assert.Contains(t, message, "event 55 ")
		assert.Len(t, w.ThreatQ.Events(), map[bool]int{false: 1, true: 2}[linked])
	}
}

func TestMissingEventTypeIsMade(t *testing.T) {
	w := newWorld(t, threatqtest.Options{WithoutIncidentType: true})
	done(t, w, "created")
	assert.Equal(t, "Incident", event(t, w).Type)

	w = newWorld(t, threatqtest.Options{WithoutIncidentType: true, RefuseEventTypes: true})
	out := w.Run(action("created"))
	require.NotNil(t, out.Fail)
	assert.Contains(t, out.Fail.Message, "Ask a ThreatQ administrator to add the event type.")
}

func TestCustomAttributes(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_attributes"] = "internal_severity=Severity, properties.internal_confidence = Confidence,, no_such_field=Nothing"
	done(t, w, "created")
	assert.Equal(t, "Sev 2", attribute(t, w, "Severity"), "the custom attribute takes the place of the built-in one")
	assert.Equal(t, "High", attribute(t, w, "Confidence"), "an id that is left is translated")
	assert.Empty(t, attribute(t, w, "Nothing"))
	done(t, w, "modified")
	assert.Empty(t, w.Writes())

	w.SOAR.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_severity": nil}})
	done(t, w, "modified")
	assert.Empty(t, attribute(t, w, "Severity"), "an emptied field takes its attribute along")

	w.Settings["custom_attributes"] = "gone_field=Severity"
	done(t, w, "modified")
	assert.Equal(t, "Low", attribute(t, w, "Severity"), "a field that does not exist replaces nothing")
}

func TestSeveralValuesAreSeveralAttributes(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.UpdateIncident(incident, map[string]any{"incident_type_ids": []any{"Phishing", "Malware"}})
	done(t, w, "created")
	assert.Equal(t, "Malware|Phishing", attribute(t, w, "Incident Type"))
	w.SOAR.UpdateIncident(incident, map[string]any{"incident_type_ids": []any{"Malware", "System Intrusion"}})
	done(t, w, "modified")
	assert.Equal(t, "Malware|System Intrusion", attribute(t, w, "Incident Type"))
	w.SOAR.UpdateIncident(incident, map[string]any{"incident_type_ids": []any{"Malware"}})
	done(t, w, "modified")
	require.Equal(t, "Malware", attribute(t, w, "Incident Type"))
	w.SOAR.UpdateIncident(incident, map[string]any{"incident_type_ids": []any{"Phishing"}})
	done(t, w, "modified")
	assert.Equal(t, "Phishing", attribute(t, w, "Incident Type"))
	assert.Equal(t, 0, countPrefix(w.Writes(), "PUT"), "another type is another attribute, not a changed one")
	w.SOAR.UpdateIncident(incident, map[string]any{"incident_type_ids": []any{}})
	done(t, w, "modified")
	assert.Empty(t, attribute(t, w, "Incident Type"))
}

// TestForeignAttributesStay: an analyst's own attributes are none of ours.
func TestForeignAttributesStay(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, "created")
	w.ThreatQ.AddAttribute("events", 55, "Campaign", "Dragon", "Analyst")
	w.SOAR.UpdateIncident(incident, map[string]any{"severity_code": "High"})
	done(t, w, "modified")
	assert.Equal(t, "Dragon", attribute(t, w, "Campaign"))
}

func TestUnreadableFieldDefinitionRemovesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_attributes"] = "internal_confidence=Confidence"
	done(t, w, "created")
	require.Equal(t, "High", attribute(t, w, "Confidence"))
	w.SOAR.Inject(resilienttest.Fault{PathPrefix: "/rest/orgs/201/types/incident/fields/", Status: 503})
	done(t, w, "modified")
	assert.Equal(t, "High", attribute(t, w, "Confidence"))
}

func TestMisspeltMappingNamesThePair(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_attributes"] = "internal_severity=Severity, oops"
	out := w.Run(action("created"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeInput, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, `Setting custom_attributes: "oops"`)
	assert.Empty(t, w.Writes())
}

func TestSourceAndMarkingGoWithAllThatIsWritten(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_source"] = " ACME, SOC "
	w.Settings["tlp"] = "Amber"
	done(t, w, "created")
	assert.Equal(t, []string{"ACME  SOC"}, event(t, w).Sources)
	for _, call := range w.Last.Calls {
		if call.Method == "POST" && call.Path == "/api/events" {
			assert.Contains(t, string(call.Body), `"sources":[{"name":"ACME  SOC","tlp_id":2}]`)
		}
	}
	w.Settings["tlp"] = "purple"
	assert.Contains(t, w.Run(action("modified")).Fail.Message, "red, amber, green, white")
}

func TestCustomObjects(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_objects"] = "internal_severity=malware, internal_severity=Adversaries, internal_severity=Task, internal_severity=Unheard, internal_campaign=Campaign"
	known := w.ThreatQ.AddObject("malware", "Sev 2", "Feed")
	w.SOAR.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_campaign": "Dragon, the"}})
	message := done(t, w, "created")
	assert.Contains(t, message, `3 objects (setting custom_objects, skipped: fields cannot be mapped to Task; ThreatQ has no object "Unheard")`)
	e := event(t, w).ID
	assert.Equal(t, []int{known}, w.ThreatQ.Links("events", e, "malware"))
	assert.Len(t, w.ThreatQ.Links("events", e, "adversaries"), 1)
	require.Len(t, w.ThreatQ.Objects("campaign"), 1)
	assert.Equal(t, "Dragon, the", w.ThreatQ.Objects("campaign")[0].Name)

	w.Settings["custom_objects"] = "internal_campaign=Campaign"
	w.SOAR.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_campaign": nil}})
	done(t, w, "modified")
	assert.Len(t, w.ThreatQ.Links("events", e, "campaign"), 1, "the link may have been made by hand")
}

func TestLostAnswerOfAnObjectLeavesOneObject(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_objects"] = "internal_severity=malware"
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/malware", LoseAnswer: true})
	done(t, w, "created")
	require.Len(t, w.ThreatQ.Objects("malware"), 1)
	assert.Len(t, w.ThreatQ.Links("events", event(t, w).ID, "malware"), 1)
}

func TestObjectsAreHeldWhileTheyAreFoundOrMade(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_objects"] = "internal_severity=malware"
	done(t, w, "created")
	var held []string
	for _, turn := range w.Last.Turns {
		held = append(held, turn.Output.Hold...)
	}
	assert.Equal(t, []string{"object:malware:sev 2"}, held)
}

func TestFieldMappedToIndicator(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Settings["custom_objects"] = "internal_severity=Indicator"
	w.SOAR.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_severity": "see hxxp://bad.example[.]com/x"}})
	done(t, w, "created")
	require.Len(t, w.ThreatQ.Indicators(), 1)
	assert.Equal(t, "http://bad.example.com/x", w.ThreatQ.Indicators()[0].Name)
	done(t, w, "modified")
	assert.Empty(t, w.Writes())
}
