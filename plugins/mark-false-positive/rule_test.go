package markfalsepositive_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/plugins/kit/kittest"
	markfalsepositive "fn-threatq/plugins/mark-false-positive"
)

const (
	incident = resilienttest.DefaultIncident
	fp, tp   = "False Positive", "True Positive"
)

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, markfalsepositive.Rules(), "manifest.json", resilienttest.Options{}, tq)
}

func action(artifact int64, remove ...string) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_mark_as_false_positive", Title: "ThreatQ: Mark as False Positive",
		Operation: "modified", Object: "artifact", IncidentID: incident, ArtifactID: artifact}
	for _, value := range remove {
		a.Fields = map[string]abi.JSON{"threatq_remove_artifact": abi.JSON(value)}
	}
	return a
}

func mark(t *testing.T, w *kittest.World, artifact int64, remove ...string) *abi.Reply {
	t.Helper()
	out := w.Run(action(artifact, remove...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

func artifacts(w *kittest.World) []string {
	var values []string
	for _, a := range w.SOAR.Artifacts(incident) {
		values = append(values, fmt.Sprint(a["value"]))
	}
	return values
}

// verdicts are the attributes of an indicator, as name=value (sources).
func verdicts(w *kittest.World, indicator int) []string {
	list := []string{}
	for _, a := range w.ThreatQ.Attributes("indicators", indicator) {
		list = append(list, fmt.Sprint(a.Name, "=", a.Value, " ", a.Sources))
	}
	return list
}

func TestKnownIndicatorIsMarkedInThreeTurnsOfCalls(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "Known.example.com.")
	reply := mark(t, w, id)
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, []string{"False Positive=Yes [Resilient]"}, verdicts(w, known))
	assert.Equal(t, fmt.Sprintf("FQDN known.example.com: existing (Active), marked as False Positive; https://threatq.example.com/indicators/%d/details", known), reply.Message)
	assert.Equal(t, []string{fmt.Sprintf("POST /api/indicators/%d/attributes", known)}, w.Writes(), "neither status nor source nor event")
	assert.Len(t, w.Last.Turns, 4, "artifact, look-up, attribute, reply")
	assert.Len(t, w.Last.Calls, 3)
	assert.Contains(t, artifacts(w), "Known.example.com.", "removed only when asked for")
}

func TestSecondRunWritesNothing(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"new server":     {},
		"old rows":       {OldAttributeRows: true},
		"no totals":      {OmitTotal: true},
		"objects":        {ObjectOfOne: true},
		"ids as text":    {NumericStrings: true},
		"other ids":      {Numbering: threatqtest.NumberingB},
		"without a type": {MissingIndicatorTypes: []string{"IPv6 Address"}},
		"weak role":      {WeakRole: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			id := w.SOAR.AddArtifact(incident, "IP Address", "2001:db8::1")
			require.True(t, mark(t, w, id).Success)
			require.Len(t, w.ThreatQ.Indicators(), 1)
			assert.Len(t, verdicts(w, w.ThreatQ.Indicators()[0].ID), 1)
			reply := mark(t, w, id)
			require.True(t, reply.Success, reply.Message)
			assert.Contains(t, reply.Message, "marked as False Positive already")
			assert.Empty(t, w.Writes())
		})
	}
}

func TestUnknownIndicatorIsMadeLinkedAndMarked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "new.example.com", map[string]any{"description": "<div>seen in <b>mail</b></div>"})
	reply := mark(t, w, id)
	require.True(t, reply.Success, reply.Message)
	require.Len(t, w.ThreatQ.Events(), 1)
	require.Len(t, w.ThreatQ.Indicators(), 1)
	i := w.ThreatQ.Indicators()[0]
	assert.Equal(t, "Review", i.Status)
	assert.Equal(t, []string{"Resilient"}, i.Sources)
	assert.Equal(t, "seen in mail", i.Description)
	assert.Equal(t, []string{"False Positive=Yes [Resilient]"}, verdicts(w, i.ID))
	assert.Equal(t, []int{i.ID}, w.ThreatQ.Links("events", w.ThreatQ.Events()[0].ID, "indicators"))
	assert.Contains(t, reply.Message, "FQDN new.example.com: created (Review), marked as False Positive, linked to event 55")

	mark(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "second.example.com"))
	assert.Len(t, w.ThreatQ.Events(), 1)
	assert.Len(t, w.Last.Turns, 6, "artifact, look-up, tables and event, creation, attribute and link, reply")
}

func TestOppositeVerdictOfOursIsTakenBack(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, tp, "Yes", "Resilient")
	w.ThreatQ.AddAttribute("indicators", known, "Confidence", "Low", "Resilient")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	require.True(t, mark(t, w, id).Success)
	assert.Equal(t, []string{"Confidence=Low [Resilient]", "False Positive=Yes [Resilient]"}, verdicts(w, known))
	assert.Len(t, w.Last.Turns, 5, "artifact, look-up, attribute and details, removal, reply")
}

func TestOppositeVerdictThatOthersShareStays(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, tp, "Yes", "Resilient", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	require.True(t, mark(t, w, id).Success)
	assert.Equal(t, []string{"True Positive=Yes [Resilient Feed]", "False Positive=Yes [Resilient]"}, verdicts(w, known))
}

func TestVerdictOfAnotherSourceGetsOurs(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, fp, "Yes", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	reply := mark(t, w, id)
	assert.Equal(t, []string{"False Positive=Yes [Feed Resilient]"}, verdicts(w, known))
	assert.NotContains(t, reply.Message, "already")
}

func TestFailedRemovalOfTheOppositeIsOnlyTold(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, tp, "Yes", "Resilient")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "DELETE", Times: -1, Status: http.StatusForbidden})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	reply := mark(t, w, id, `"Yes"`)
	assert.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "its attribute True Positive could not be removed")
	assert.NotContains(t, artifacts(w), "known.example.com", "it does not hold up the rest")
}

func TestUnreadableSourcesTakeNothingBack(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	w.ThreatQ.AddAttribute("indicators", known, tp, "Yes", "Resilient")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "GET", PathPrefix: fmt.Sprintf("/api/indicators/%d/details", known), Times: -1, Status: http.StatusNotFound})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	require.True(t, mark(t, w, id).Success)
	assert.Len(t, verdicts(w, known), 2)
}

func TestArtifactIsRemovedWhenAllOfItIsMarked(t *testing.T) {
	for _, yes := range []string{`"Yes"`, `true`, `"yes"`} {
		w := newWorld(t, threatqtest.Options{})
		id := w.SOAR.AddArtifact(incident, "String", "198.51.100.7 and bad.example.com")
		reply := mark(t, w, id, yes)
		require.True(t, reply.Success, reply.Message)
		assert.Contains(t, reply.Message, ". The artifact was removed from the incident; https://threatq.example.com/indicators/")
		assert.NotContains(t, artifacts(w), "198.51.100.7 and bad.example.com")
		assert.Len(t, w.ThreatQ.Indicators(), 2)
		assert.True(t, slices.Index(w.Writes(), fmt.Sprintf("DELETE /incidents/2095/artifacts/%d", id)) == len(w.Writes())-1, "last of all: %v", w.Writes())
	}
	w := newWorld(t, threatqtest.Options{})
	mark(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "kept.example.com"), `"No"`)
	assert.Contains(t, artifacts(w), "kept.example.com")
}

func TestPartialFailureListsBothAndRemovesNothing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	good := w.ThreatQ.AddIndicator("IP Address", "198.51.100.7", "Active", "Feed")
	bad := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: fmt.Sprintf("/api/indicators/%d/attributes", bad), Times: -1, Status: 422,
		Body: `{"errors":["not today"]}`})
	id := w.SOAR.AddArtifact(incident, "String", "198.51.100.7 and bad.example.com")
	reply := mark(t, w, id, `"Yes"`)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "Failed: FQDN bad.example.com: existing (Active), not marked as False Positive: ")
	assert.Contains(t, reply.Message, "not today")
	assert.Contains(t, reply.Message, ". Done: IP Address 198.51.100.7: existing (Active), marked as False Positive")
	assert.Contains(t, reply.Message, ". The artifact was not removed; https://threatq.example.com/indicators/")
	assert.Contains(t, artifacts(w), "198.51.100.7 and bad.example.com")
	assert.Len(t, verdicts(w, good), 1)
	assert.Empty(t, verdicts(w, bad))
}

func TestIndicatorThatCannotBeMadeKeepsTheArtifact(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("IP Address", "198.51.100.7", "Active", "Feed")
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators", Times: -1, Status: 400, Body: `{"errors":["no good"]}`,
		Match: func(r *http.Request) bool { return r.URL.Path == "/api/indicators" }})
	id := w.SOAR.AddArtifact(incident, "String", "198.51.100.7 and bad.example.com")
	reply := mark(t, w, id, `"Yes"`)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "Failed: FQDN bad.example.com: ThreatQ refused it")
	assert.Len(t, verdicts(w, known), 1, "the other one is marked")
	assert.Contains(t, artifacts(w), "198.51.100.7 and bad.example.com")
}

func TestUnlinkedIndicatorIsAFailureButMarked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/events/55/indicators", Times: -1, Status: 422})
	reply := mark(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"), `"Yes"`)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "marked as False Positive, not linked to event 55: ")
	assert.NotContains(t, reply.Message, ", linked to event")
	assert.Len(t, verdicts(w, w.ThreatQ.Indicators()[0].ID), 1)
	assert.Contains(t, artifacts(w), "bad.example.com")
}

func TestThreatQThatIsDownKeepsTheArtifact(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	w.Answer = unanswered(abi.ThreatQ, "POST", abi.CodeUnreachable)
	out := w.Run(action(id, `"Yes"`))
	require.NotNil(t, out.Fail)
	assert.True(t, out.Fail.Retry)
	assert.Contains(t, artifacts(w), "known.example.com")
}

func unanswered(service, method string, code abi.ErrorCode) func(abi.Call) *abi.Result {
	return func(call abi.Call) *abi.Result {
		if call.Service != service || call.Method != method {
			return nil
		}
		result := guesttest.Error(code, 0, "no luck")
		return &result
	}
}

func TestFailedRemovalSaysThatTheMarkingWorked(t *testing.T) {
	for _, c := range []struct {
		code  abi.ErrorCode
		fails bool
	}{{abi.CodeHTTP, false}, {abi.CodeUnreachable, true}, {abi.CodeUnknown, true}, {abi.CodeLogin, true}} {
		w := newWorld(t, threatqtest.Options{})
		known := w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
		id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
		if c.code == abi.CodeHTTP {
			w.SOAR.Inject(resilienttest.Fault{Method: "DELETE", Status: http.StatusForbidden})
		} else {
			w.Answer = unanswered(abi.Resilient, "DELETE", c.code)
		}
		out := w.Run(action(id, `"Yes"`))
		message := ""
		if c.fails {
			require.NotNil(t, out.Fail, c.code)
			assert.Equal(t, c.code, out.Fail.Code)
			assert.Equal(t, c.code != abi.CodeLogin, out.Fail.Retry)
			message = out.Fail.Message
		} else {
			require.NotNil(t, out.Reply)
			assert.False(t, out.Reply.Success)
			message = out.Reply.Message
			assert.Contains(t, message, "Give the integration's SOAR account the right")
		}
		assert.Contains(t, message, "FQDN known.example.com: existing (Active), marked as False Positive")
		assert.Contains(t, message, "But the artifact could not be removed from the incident: ")
		assert.Len(t, verdicts(w, known), 1)
	}
}

func TestArtifactThatGoesMeanwhileCountsAsRemoved(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.AddIndicator("FQDN", "known.example.com", "Active", "Feed")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "known.example.com")
	w.Before = func(call abi.Call) {
		if call.Method == "DELETE" {
			w.SOAR.DeleteArtifact(incident, id)
			w.Before = nil
		}
	}
	reply := mark(t, w, id, `"Yes"`)
	assert.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "The artifact was removed")
}

func TestArtifactThatIsGoneIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.DeleteArtifact(incident, id)
	out := w.Run(action(id))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeNotFound, out.Fail.Code)
	assert.Equal(t, fmt.Sprintf("Artifact %d no longer exists in SOAR; nothing done in ThreatQ.", id), out.Fail.Message)
	w.SOAR.DeleteIncident(incident)
	out = w.Run(action(id))
	require.NotNil(t, out.Fail)
	assert.Contains(t, out.Fail.Message, "The incident no longer exists in SOAR")
	assert.Empty(t, w.Writes())
}

func TestArtifactWithoutCounterpartIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	for kind, reason := range map[string]string{
		"Port":     `Artifact type "Port" has no ThreatQ counterpart; nothing done.`,
		"Password": "Passwords are not synced (setting sync_passwords is off); nothing done.",
	} {
		reply := mark(t, w, w.SOAR.AddArtifact(incident, kind, "443"))
		assert.False(t, reply.Success)
		assert.Equal(t, reason, reply.Message)
		assert.Empty(t, w.Writes())
	}
}

func TestOtherTypesOfTheSameValueAreLeftAlone(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	other := w.ThreatQ.AddIndicator("Mutex", "bad.example.com", "Active", "Feed")
	require.True(t, mark(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")).Success)
	assert.Empty(t, verdicts(w, other))
	assert.Len(t, w.ThreatQ.Indicators(), 2)
}

func TestBothSpellingsOfAURLAreMarked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	with := w.ThreatQ.AddIndicator("URL", "http://bad.example.com/x", "Active", "Feed")
	without := w.ThreatQ.AddIndicator("URL", "bad.example.com/x", "Active", "Feed")
	require.True(t, mark(t, w, w.SOAR.AddArtifact(incident, "URL", "http://bad.example.com/x")).Success)
	assert.Len(t, verdicts(w, with), 1)
	assert.Len(t, verdicts(w, without), 1)
}

// TestURLThatTheServerMadeAHostOf: it is found again, by its host too.
func TestURLThatTheServerMadeAHostOf(t *testing.T) {
	w := newWorld(t, threatqtest.Options{Normalize: true})
	id := w.SOAR.AddArtifact(incident, "URL", "http://bad.example.com")
	require.True(t, mark(t, w, id).Success)
	require.Len(t, w.ThreatQ.Indicators(), 1)
	assert.Equal(t, "FQDN", w.ThreatQ.Indicators()[0].Type)
	require.True(t, mark(t, w, id).Success)
	assert.Empty(t, w.Writes())

	w = newWorld(t, threatqtest.Options{})
	known := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
	reply := mark(t, w, w.SOAR.AddArtifact(incident, "String", "http://bad.example.com and bad.example.com"))
	require.True(t, reply.Success, reply.Message)
	assert.Len(t, w.Writes(), 1, "one indicator is marked once")
	assert.Len(t, verdicts(w, known), 1)
}

// TestOldInstanceTypesOnlyWhatIsMissing: a second typing leaves alone what the
// first one found.
func TestOldInstanceTypesOnlyWhatIsMissing(t *testing.T) {
	w := newWorld(t, threatqtest.Options{MissingIndicatorTypes: []string{"IPv6 Address"}})
	known := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
	reply := mark(t, w, w.SOAR.AddArtifact(incident, "String", "bad.example.com at 2001:db8::1"))
	require.True(t, reply.Success, reply.Message)
	o, _ := w.ThreatQ.Object("indicators", known)
	assert.Equal(t, []string{"Feed"}, o.Sources)
	assert.Equal(t, 1, strings.Count(reply.Message, "FQDN bad.example.com"))
	assert.Contains(t, reply.Message, "String 2001:db8::1: created (Review)")
}

// TestOwnArtifactMarksWhatItWasMadeFrom: SOAR has no type for an X-Mailer, and the
// text looks like something else.
func TestOwnArtifactMarksWhatItWasMadeFrom(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	mailer := w.ThreatQ.AddIndicator("X-Mailer", "Mailer of evil.example.com", "Indirect", "Feed")
	id := w.SOAR.AddArtifact(incident, "String", "Mailer of evil.example.com", map[string]any{
		"description": "Imported from ThreatQ. Related to bad.example.com. Type: X-Mailer."})
	require.True(t, mark(t, w, id).Success)
	assert.Equal(t, []string{"False Positive=Yes [Resilient]"}, verdicts(w, mailer))
	assert.Len(t, w.ThreatQ.Indicators(), 1)
}
