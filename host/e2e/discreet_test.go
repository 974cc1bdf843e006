package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// No rule and no function lets a secret into the log, a reply or a dead letter:
// when all is well, when the servers repeat what they were sent, and when they
// refuse the login (contract: test list, 20).
func TestNoSecretInAnyLogLineOfAnyRule(t *testing.T) {
	const password, cid, artifact = "threatq-canary-passw0rd", "threatq-canary-cid-0123456789", "canary-of-an-artifact-hunter2"
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		o.Password, o.ClientID = password, cid
		w := newWorld(t, setup{modules: []string{}, odd: true, tq: o, threatq: keys{"password": password, "cid": cid, "max_parallel": "8"}})
		secrets := &collector{known: map[string]string{}}
		secrets.add("ThreatQ's password", password)
		secrets.add("ThreatQ's client id", cid)
		secrets.add("SOAR's password", oddPasscode)
		secrets.add("the value of an artifact of type Password", artifact)
		tokens := make(chan string, 1) // the latest
		w.tq.Inject(threatqtest.Fault{Times: -1, PathPrefix: "/api/", Match: func(r *http.Request) bool {
			if token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); token != "" {
				secrets.add("a token of ThreatQ", token)
				select {
				case <-tokens:
				default:
				}
				tokens <- token
			}
			return false
		}})
		p := w.start()
		deeds := w.deeds()
		useful := len(deeds)
		secretArtifact := w.soar.AddArtifact(incident, "Password", artifact)
		for _, title := range []string{"ThreatQ: Sync Indicator", "ThreatQ: Mark as True Positive", "ThreatQ: Find Related Indicators"} {
			deeds = append(deeds, deed{title, func() resilienttest.Message {
				return w.soar.ActionMessage(title, resilienttest.ActionOptions{ArtifactID: secretArtifact})
			}})
		}
		// all does every deed; those of one incident go one after another.
		all := func() (replies []reply) {
			var sent []string
			for _, d := range deeds {
				m := d.message()
				secrets.add("a context token", m.Headers["Co3ContextToken"])
				sent = append(sent, w.send(m))
			}
			for _, correlation := range sent {
				replies = append(replies, w.final(correlation))
			}
			return replies
		}

		all()
		w.soar.ExpireSessions()
		w.tq.RevokeTokens()
		all()

		token := <-tokens
		echo, err := json.Marshal(map[string]any{"errors": []string{"no such user: " + password + ", " + cid + ", Bearer " + token}})
		require.NoError(t, err)
		w.tq.Inject(threatqtest.Fault{Times: -1, PathPrefix: "/api/", Status: http.StatusUnprocessableEntity, Body: string(echo),
			Match: func(r *http.Request) bool { return r.URL.Path != "/api/token" }})
		w.unchanged(func() {
			for i, r := range all()[:useful] {
				assert.True(t, r.Type == 1 || len(r.Results) > 0 && !results(t, r).Success, "%s: %s", deeds[i].name, r.text)
			}
		})
		w.tq.ClearFaults()

		requests := w.soar.Requests()
		session := requests[len(requests)-1].Header.Get("X-Sess-Id")
		require.NotEmpty(t, session)
		echo, err = json.Marshal(map[string]any{"success": false, "message": "the session " + session + " of " + oddPasscode + " is odd"})
		require.NoError(t, err)
		forget := w.soar.Inject(resilienttest.Fault{PathPrefix: "/rest/orgs/", Status: http.StatusBadRequest, Body: string(echo)})
		all()
		forget()

		w.tq.SetPassword("changed meanwhile")
		w.tq.RevokeTokens()
		all()
		p.settled()

		for _, r := range w.soar.Requests() {
			secrets.add("the id of a session's form", r.Header.Get("X-Sess-Id"))
			for _, cookie := range (&http.Request{Header: r.Header}).Cookies() {
				secrets.add("a session of SOAR", cookie.Value)
			}
		}
		kinds := map[string]bool{}
		for _, what := range secrets.known {
			kinds[what] = true
		}
		require.Len(t, kinds, 8, "the test did not see each kind of secret: %v", kinds)
		rules := map[any]bool{}
		for _, line := range w.logs.lines("action") {
			rules[line["module"]] = true
		}
		require.Len(t, rules, 11, "modules that logged an action")
		require.Contains(t, w.logs.text(), `"level":"DEBUG"`)
		require.Contains(t, w.logs.text(), "no such user: ***, ***, Bearer ***", "ThreatQ's words are shown, without the secrets")
		secrets.requireNone(t, "the log", w.logs.text())
		for _, text := range w.texts() {
			secrets.requireNone(t, "a reply", text)
		}
		for _, text := range w.deadLetters() {
			secrets.requireNone(t, "a dead letter", text)
		}
	})
}
