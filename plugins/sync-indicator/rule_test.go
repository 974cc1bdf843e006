package syncindicator_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	syncindicator "fn-threatq/plugins/sync-indicator"
)

const incident = resilienttest.DefaultIncident

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, syncindicator.Rules(), "manifest.json", resilienttest.Options{}, tq)
}

func action(artifact int64, fields ...string) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_indicator", Title: "ThreatQ: Sync Indicator",
		Operation: "created", Object: "artifact", IncidentID: incident, ArtifactID: artifact}
	for i := 0; i < len(fields); i += 2 {
		if a.Fields == nil {
			a.Fields = map[string]abi.JSON{}
		}
		a.Fields[fields[i]] = abi.JSON(`"` + fields[i+1] + `"`)
	}
	return a
}

// sync adds an artifact and runs the rule for it.
func sync(t *testing.T, w *kittest.World, kind, value string, fields ...string) *abi.Reply {
	t.Helper()
	out := w.Run(action(w.SOAR.AddArtifact(incident, kind, value), fields...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

func indicator(t *testing.T, w *kittest.World, value string) threatqtest.Object {
	t.Helper()
	for _, o := range w.ThreatQ.Indicators() {
		if o.Name == value {
			return o
		}
	}
	require.Fail(t, "no such indicator", "%s in %v", value, w.ThreatQ.Indicators())
	return threatqtest.Object{}
}

func TestNewIndicatorIsCreatedForReviewAndLinkedToANewEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply := sync(t, w, "DNS Name", "Bad.Example.com.")
	require.True(t, reply.Success, reply.Message)
	require.Len(t, w.ThreatQ.Events(), 1)
	event := w.ThreatQ.Events()[0]
	assert.Equal(t, "Resilient #2095: Phishing mail to finance", event.Name)
	i := indicator(t, w, "bad.example.com")
	assert.Equal(t, "FQDN", i.Type)
	assert.Equal(t, "Review", i.Status)
	assert.Equal(t, []string{"Resilient"}, i.Sources)
	assert.Equal(t, []int{i.ID}, w.ThreatQ.Links("events", event.ID, "indicators"))
	assert.Contains(t, reply.Message, "FQDN bad.example.com: created (Review), linked to event 55")
	assert.Contains(t, reply.Message, "https://threatq.example.com/events/55/details")
	assert.LessOrEqual(t, len(w.Last.Turns), 6, "turns for a new event")
}

func TestExistingEventTakesAtMostFiveTurns(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	sync(t, w, "DNS Name", "first.example.com")
	reply := sync(t, w, "IP Address", "198.51.100.7")
	require.True(t, reply.Success, reply.Message)
	assert.Len(t, w.ThreatQ.Events(), 1)
	assert.LessOrEqual(t, len(w.Last.Turns), 5)
	reply = sync(t, w, "IP Address", "198.51.100.7")
	assert.Contains(t, reply.Message, "existing (Review)")
	assert.LessOrEqual(t, len(w.Last.Turns), 4)
}

func TestSecondRunOnlyLinksAgain(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "URL", "http://bad.example.com/a?b=c,d%20e")
	require.True(t, w.Run(action(id)).Reply.Success)
	before := w.ThreatQ.Snapshot()
	require.True(t, w.Run(action(id)).Reply.Success)
	assert.Equal(t, before, w.ThreatQ.Snapshot())
	assert.Equal(t, []string{"POST /api/events/55/indicators"}, w.Writes())
}

func TestBothNumberingsOfTypesGiveTheSameNames(t *testing.T) {
	for _, numbering := range []threatqtest.Numbering{threatqtest.NumberingA, threatqtest.NumberingB} {
		w := newWorld(t, threatqtest.Options{Numbering: numbering})
		sync(t, w, "URL", "https://bad.example.com/x")
		assert.Equal(t, "URL", indicator(t, w, "https://bad.example.com/x").Type)
	}
}

func TestEverySizeOfAnswerIsUnderstood(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"lists of one":  {ListOfOne: true},
		"objects":       {ObjectOfOne: true},
		"ids as text":   {NumericStrings: true},
		"no totals":     {OmitTotal: true},
		"old rows":      {OldAttributeRows: true},
		"no attributes": {IgnoreAttributesOnCreate: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
			for range 2 {
				out := w.Run(action(id, "threatq_indicator_confidence", "High"))
				require.NotNil(t, out.Reply, "%+v", out.Fail)
				require.True(t, out.Reply.Success, out.Reply.Message)
			}
			require.Len(t, w.ThreatQ.Events(), 1)
			require.Len(t, w.ThreatQ.Indicators(), 1)
			assert.Len(t, w.ThreatQ.Attributes("indicators", indicator(t, w, "bad.example.com").ID), 1)
			assert.NotEmpty(t, w.ThreatQ.Attributes("events", w.ThreatQ.Events()[0].ID))
		})
	}
}

func TestChosenStatusIsSetOnNewAndExistingIndicators(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	sync(t, w, "DNS Name", "new.example.com", "threatq_indicator_status", "Active")
	assert.Equal(t, "Active", indicator(t, w, "new.example.com").Status)

	id := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Whitelisted", "Feed")
	reply := sync(t, w, "DNS Name", "known.example.com", "threatq_indicator_status", "Active")
	assert.Equal(t, "Active", indicator(t, w, "known.example.com").Status)
	assert.Contains(t, reply.Message, "existing (Active)")
	assert.Contains(t, w.Writes(), "PUT /api/indicators/"+itoa(id))
}

func TestWhitelistedIndicatorKeepsItsStatusAndGetsOurSource(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Whitelisted", "Feed")
	reply := sync(t, w, "DNS Name", "known.example.com")
	assert.Contains(t, reply.Message, "existing (Whitelisted)")
	i := indicator(t, w, "known.example.com")
	assert.Equal(t, "Whitelisted", i.Status)
	assert.ElementsMatch(t, []string{"Feed", "Resilient"}, i.Sources)
}

func TestUnknownStatusFailsBeforeAnythingIsWritten(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	out := w.Run(action(w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"), "threatq_indicator_status", "Dubious"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeInput, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, `no indicator status "Dubious"; it has Active, Expired, Indirect, Review, Whitelisted`)
	assert.Empty(t, w.Writes())
	assert.Empty(t, w.ThreatQ.Events())

	w.Settings["default_indicator_status"] = "Unreviewed"
	out = w.Run(action(w.SOAR.AddArtifact(incident, "DNS Name", "bad2.example.com")))
	require.NotNil(t, out.Fail)
	assert.Contains(t, out.Fail.Message, "Unreviewed")
	assert.Empty(t, w.ThreatQ.Events(), "refused before the event is made")
	assert.Len(t, w.Last.Turns, 3)
}

func TestConfidenceReplacesOurOwnAndLeavesThatOfAFeed(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	own := w.ThreatQ.AddIndicator("FQDN", "own.example.com", "Review", "Resilient")
	w.ThreatQ.AddAttribute("indicators", own, "Confidence", "Low", "Resilient")
	sync(t, w, "DNS Name", "own.example.com", "threatq_indicator_confidence", "High")
	assert.Equal(t, []string{"High"}, values(w, own))

	feed := w.ThreatQ.AddIndicator("FQDN", "feed.example.com", "Review", "Feed")
	w.ThreatQ.AddAttribute("indicators", feed, "Confidence", "Low", "Feed")
	sync(t, w, "DNS Name", "feed.example.com", "threatq_indicator_confidence", "High")
	assert.Equal(t, []string{"Low", "High"}, values(w, feed))

	shared := w.ThreatQ.AddIndicator("FQDN", "shared.example.com", "Review", "Feed")
	w.ThreatQ.AddAttribute("indicators", shared, "Confidence", "Low", "Resilient", "Feed")
	sync(t, w, "DNS Name", "shared.example.com", "threatq_indicator_confidence", "High")
	assert.Equal(t, []string{"Low", "High"}, values(w, shared))

	w.Run(action(w.SOAR.AddArtifact(incident, "DNS Name", "own.example.com"), "threatq_indicator_confidence", "High"))
	assert.Equal(t, []string{"POST /api/events/55/indicators"}, w.Writes(), "the value is there already")
}

func values(w *kittest.World, id int) []string {
	var list []string
	for _, a := range w.ThreatQ.Attributes("indicators", id) {
		list = append(list, a.Value)
	}
	return list
}

func TestServerWithoutAttributeChangeAddsAndDeletes(t *testing.T) {
	w := newWorld(t, threatqtest.Options{NoAttributePut: true})
	own := w.ThreatQ.AddIndicator("FQDN", "own.example.com", "Review", "Resilient")
	w.ThreatQ.AddAttribute("indicators", own, "Confidence", "Low", "Resilient")
	reply := sync(t, w, "DNS Name", "own.example.com", "threatq_indicator_confidence", "High")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, []string{"High"}, values(w, own))
}

func TestArtifactWithoutCounterpartDoesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply := sync(t, w, "Port", "443")
	assert.True(t, reply.Success)
	assert.Equal(t, `Artifact type "Port" has no ThreatQ counterpart; nothing done.`, reply.Message)
	assert.Empty(t, w.Writes())
}

func TestSeveralValuesWithAPartialFailureListBoth(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators", Times: 1, Status: 422,
		Body: `{"data":{"errors":{"value":["The value is invalid."]}}}`})
	reply := sync(t, w, "String", "from 198.51.100.7 to 198.51.100.8 via bad.example.com")
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "Failed: IP Address 198.51.100.7: ThreatQ refused it")
	assert.Contains(t, reply.Message, ". Done: ")
	assert.Contains(t, reply.Message, "The value is invalid.")
	assert.Len(t, w.ThreatQ.Links("events", 55, "indicators"), 2)
}

func TestOldInstanceWithoutATypeFallsBack(t *testing.T) {
	w := newWorld(t, threatqtest.Options{MissingIndicatorTypes: []string{"IPv6 Address", "CVE"}})
	reply := sync(t, w, "IP Address", "2001:db8::1")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, "String", indicator(t, w, "2001:db8::1").Type)
	assert.Contains(t, reply.Message, "this ThreatQ has no type IPv6 Address")
}

func TestWeakRoleSendsNamesAndSaysSo(t *testing.T) {
	w := newWorld(t, threatqtest.Options{WeakRole: true})
	reply := sync(t, w, "DNS Name", "bad.example.com", "threatq_indicator_status", "Active")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, "Active", indicator(t, w, "bad.example.com").Status)
	assert.Contains(t, reply.Message, "the role of the integration's account is too weak")
	var body string
	for _, call := range w.Last.Calls {
		if call.Method == "POST" && call.Path == "/api/indicators" {
			body = string(call.Body)
		}
	}
	assert.Contains(t, body, `"type":"FQDN","status":"Active"`)
}

func TestWeakRoleUsesTheIDsThatAreTheSameEverywhere(t *testing.T) {
	w := newWorld(t, threatqtest.Options{WeakRole: true})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Review", "Feed")
	sync(t, w, "DNS Name", "known.example.com", "threatq_indicator_status", "Expired")
	assert.Equal(t, "Expired", indicator(t, w, "known.example.com").Status)
	for _, call := range w.Last.Calls {
		if call.Method == "PUT" && call.Path == "/api/indicators/"+itoa(known) {
			assert.JSONEq(t, `{"status_id":2}`, string(call.Body))
		}
	}
}

func TestOwnArtifactIsOnlyLinked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.ThreatQ.AddIndicator("SHA-384", strings.Repeat("ab", 48), "Indirect", "Feed")
	artifact := w.SOAR.AddArtifact(incident, "String", strings.Repeat("ab", 48), map[string]any{
		"description": "Imported from ThreatQ event 9. Type: SHA-384."})
	out := w.Run(action(artifact))
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	require.True(t, out.Reply.Success, out.Reply.Message)
	i := w.ThreatQ.Indicators()
	require.Len(t, i, 1)
	assert.Equal(t, []string{"Feed"}, i[0].Sources)
	assert.Equal(t, "Indirect", i[0].Status)
	assert.Equal(t, []int{id}, w.ThreatQ.Links("events", 55, "indicators"))
}

func TestOwnArtifactUnknownToThreatQIsNotCreated(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	artifact := w.SOAR.AddArtifact(incident, "DNS Name", "gone.example.com", map[string]any{"description": "Imported from ThreatQ. Related to x."})
	out := w.Run(action(artifact))
	assert.Contains(t, out.Reply.Message, "not known in ThreatQ")
	assert.Empty(t, w.ThreatQ.Indicators())
}

func TestDescriptionAloneDoesNotMakeAnArtifactOurs(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	artifact := w.SOAR.AddArtifact(incident, "DNS Name", "theirs.example.com", map[string]any{
		"description":       "Imported from ThreatQ by hand",
		"creator_principal": map[string]any{"id": 99, "type": "user", "name": "other@example.com", "display_name": "Other"}})
	w.Run(action(artifact))
	assert.Equal(t, "Review", indicator(t, w, "theirs.example.com").Status)
}

func TestDeletedArtifactDoesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.DeleteArtifact(incident, id)
	for _, operation := range []string{"deleted", "modified"} {
		a := action(id)
		a.Operation = operation
		out := w.Run(a)
		require.NotNil(t, out.Reply, "%+v", out.Fail)
		assert.True(t, out.Reply.Success)
		assert.Equal(t, "The artifact was deleted in SOAR; nothing done in ThreatQ.", out.Reply.Message)
		assert.Empty(t, w.Writes())
	}
}

func TestArtifactOfAnIncidentThatIsGoneDoesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.DeleteIncident(incident)
	out := w.Run(action(id))
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	assert.True(t, out.Reply.Success)
	assert.Contains(t, out.Reply.Message, "The incident no longer exists in SOAR")
	out = w.Run(action(id, "threatq_indicator_status", "Active"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeNotFound, out.Fail.Code)
	assert.Empty(t, w.Writes())
}

func TestForbiddenIncidentIsAnErrorAndNoDeletion(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.Forbid(incident)
	out := w.Run(action(id))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	assert.Empty(t, w.Writes())
}

func TestReadOnlyRoleFailsWithTheServersWords(t *testing.T) {
	w := newWorld(t, threatqtest.Options{ReadOnly: true})
	out := w.Run(action(w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeForbidden, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, "account the right to do this")
}

func TestNormalisedAnswerIsWhatIsLinkedAndReported(t *testing.T) {
	w := newWorld(t, threatqtest.Options{Normalize: true})
	reply := sync(t, w, "URL", "http://Bad.Example.com")
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "bad.example.com: created")
	assert.NotEmpty(t, w.ThreatQ.Links("events", 55, "indicators"))

	sync(t, w, "URL", "http://bad.example.com/path")
	n := len(w.ThreatQ.Indicators())
	reply = sync(t, w, "URL", "http://bad.example.com/path")
	assert.Len(t, w.ThreatQ.Indicators(), n)
	assert.Contains(t, reply.Message, "existing")
	assert.NotContains(t, w.Writes(), "POST /api/indicators", "the stored spelling without scheme is found")
}

func TestValueThatBeginsWithACommaIsAskedByQuery(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "Mutex", ",odd%mutex")
	for range 2 {
		require.True(t, w.Run(action(id)).Reply.Success)
	}
	assert.Len(t, w.ThreatQ.Indicators(), 1)
	var asked bool
	for _, call := range w.Last.Calls {
		asked = asked || call.Path == "/api/indicators/query"
	}
	assert.True(t, asked)
}

func TestRefusedValueIsTypedByItsShapeOnce(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators", Times: 1, Status: http.StatusBadRequest,
		Body: `{"errors":["The value is not a valid User-agent."]}`})
	reply := sync(t, w, "User Agent", "evil.example.com")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, "FQDN", indicator(t, w, "evil.example.com").Type)
}

func TestLostAnswerOfTheEventLeavesOneEvent(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events", Times: 1, LoseAnswer: true})
	reply := sync(t, w, "DNS Name", "bad.example.com")
	require.True(t, reply.Success, reply.Message)
	require.Len(t, w.ThreatQ.Events(), 1)
	assert.Len(t, w.ThreatQ.Links("events", 55, "indicators"), 1)
}

func TestArtifactDescriptionGoesWithANewIndicatorOnly(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com", map[string]any{"description": "<div>seen in <b>mail</b></div>"})
	w.Run(action(id))
	assert.Equal(t, "seen in mail", indicator(t, w, "bad.example.com").Description)
}

// TestIndicatorMadeMeanwhileIsTreatedAsExisting: between our look and our create
// a feed brings the same indicator.
func TestIndicatorMadeMeanwhileIsTreatedAsExisting(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.Before = func(call abi.Call) {
		if call.Method == "POST" && call.Path == "/api/indicators" {
			w.ThreatQ.AddIndicator("FQDN", "raced.example.com", "Whitelisted", "Feed")
			w.Before = nil
		}
	}
	reply := sync(t, w, "DNS Name", "raced.example.com", "threatq_indicator_status", "Active")
	require.True(t, reply.Success, reply.Message)
	i := indicator(t, w, "raced.example.com")
	assert.Equal(t, "Active", i.Status, "the chosen status is set by a call of its own")
	assert.ElementsMatch(t, []string{"Feed", "Resilient"}, i.Sources)
	assert.Contains(t, reply.Message, "existing (Active)")
}

func TestOneTypeIsLookedUpByName(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	sync(t, w, "DNS Name", "bad.example.com")
	var asked []string
	for _, call := range w.Last.Calls {
		if call.Path == "/api/indicator/types" {
			asked = append(asked, call.Query["name"])
		}
	}
	assert.Equal(t, []string{"FQDN"}, asked)
}

func TestSiteMadeArtifactTypeMeetsTheInstancesTypes(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.SOAR.SetField("artifact", withValue(t, w, "X-Mailer"))
	reply := sync(t, w, "X-Mailer", "Evil Mailer 1.0")
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, "X-Mailer", indicator(t, w, "Evil Mailer 1.0").Type)
}

func withValue(t *testing.T, w *kittest.World, label string) resilienttest.Field {
	t.Helper()
	field, ok := w.SOAR.Field("artifact", "type")
	require.True(t, ok)
	field.Values = append(field.Values, resilienttest.Value{Value: 1001, Label: label})
	return field
}

func itoa(n int) string { return strconv.Itoa(n) }
