package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// Secrets that are easy to find again.
const (
	canaryPassword = "threatq-canary-passw0rd"
	canaryCID      = "threatq-canary-cid-0123456789"
	canaryArtifact = "canary-of-an-artifact-hunter2"
)

func newCanaries() *collector {
	secrets := &collector{known: map[string]string{}}
	secrets.add("ThreatQ's password", canaryPassword)
	secrets.add("ThreatQ's client id", canaryCID)
	secrets.add("SOAR's password", oddPasscode)
	secrets.add("the value of an artifact of type Password", canaryArtifact)
	return secrets
}

// all does every deed, those of one incident one after another.
func (w everything) all() (replies []reply) {
	w.t.Helper()
	var sent []string
	for _, d := range w.deeds {
		m := d.message()
		w.secrets.add("a context token", m.Headers["Co3ContextToken"])
		sent = append(sent, w.send(m))
	}
	for _, correlation := range sent {
		replies = append(replies, w.final(correlation))
	}
	return replies
}

// discreet holds that no rule and no function lets a secret into the log, a reply
// or a dead letter: when all is well, when the servers repeat what they were sent,
// and when they refuse the login (contract: test list, 20).
func (w everything) discreet(t *testing.T) {
	useful := len(w.deeds)
	artifact := w.soar.AddArtifact(incident, "Password", canaryArtifact)
	for _, title := range []string{"ThreatQ: Sync Indicator", "ThreatQ: Mark as True Positive", "ThreatQ: Find Related Indicators"} {
		w.deeds = append(w.deeds, deed{title, func() resilienttest.Message {
			return w.soar.ActionMessage(title, resilienttest.ActionOptions{ArtifactID: artifact})
		}})
	}
	w.secrets.add("a token of ThreatQ", w.tq.Tokens()...)
	w.soar.ExpireSessions()
	w.tq.RevokeTokens()
	w.all()

	tokens := w.tq.Tokens()
	require.NotEmpty(t, tokens)
	w.secrets.add("a token of ThreatQ", tokens...)
	echo, err := json.Marshal(map[string]any{"errors": append([]string{canaryPassword, canaryCID}, tokens...)})
	require.NoError(t, err)
	w.tq.Inject(threatqtest.Fault{Times: -1, PathPrefix: "/api/", Status: http.StatusUnprocessableEntity, Body: string(echo)})
	w.unchanged(func() {
		for i, r := range w.all()[:useful] {
			assert.True(t, r.Type == 1 || len(r.Results) > 0 && !results(t, r).Success, "%s: %s", w.deeds[i].name, r.text)
		}
	})
	w.tq.ClearFaults()

	requests := w.soar.Requests()
	session := requests[len(requests)-1].Header.Get("X-Sess-Id")
	require.NotEmpty(t, session)
	echo, err = json.Marshal(map[string]any{"success": false, "message": "the session " + session + " of " + oddPasscode + " is odd"})
	require.NoError(t, err)
	forget := w.soar.Inject(resilienttest.Fault{PathPrefix: "/rest/orgs/", Status: http.StatusBadRequest, Body: string(echo)})
	w.all()
	forget()

	w.tq.SetPassword("changed meanwhile")
	w.tq.RevokeTokens()
	w.all()
	w.requireDiscretion(t)
}

func (w everything) requireDiscretion(t *testing.T) {
	t.Helper()
	for _, r := range w.soar.Requests() {
		w.secrets.add("the id of a session's form", r.Header.Get("X-Sess-Id"))
		for _, cookie := range (&http.Request{Header: r.Header}).Cookies() {
			w.secrets.add("a session of SOAR", cookie.Value)
		}
	}
	kinds, modules := map[string]bool{}, map[any]bool{}
	for _, what := range w.secrets.known {
		kinds[what] = true
	}
	require.Len(t, kinds, 8, "the test did not see each kind of secret: %v", kinds)
	for _, line := range w.logs.lines("action") {
		modules[line["module"]] = true
	}
	require.Len(t, modules, 11, "modules that logged an action")
	text := w.logs.text()
	require.Contains(t, text, `"level":"DEBUG"`)
	require.Contains(t, text, "***; ***; ***", "ThreatQ's words are shown, without the secrets")
	require.Contains(t, text, "the session *** of *** is odd")
	w.secrets.requireNone(t, "the log", text)
	for _, text := range w.texts() {
		w.secrets.requireNone(t, "a reply", text)
	}
	for _, text := range w.deadLetters() {
		w.secrets.requireNone(t, "a dead letter", text)
	}
}
