package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// collector gathers what must not be seen anywhere.
type collector struct {
	mu    sync.Mutex
	known map[string]string // secret to what it is
}

func (c *collector) add(what string, secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			c.known[s] = what
		}
	}
}

// requireNone fails when a secret stands in a text, be it as JSON.
func (c *collector) requireNone(t *testing.T, where, text string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, what := range c.known {
		quoted, err := json.Marshal(s)
		require.NoError(t, err)
		if strings.Contains(text, s) || strings.Contains(text, strings.Trim(string(quoted), `"`)) {
			assert.Fail(t, "a secret is seen", "%s in %s", what, where)
		}
	}
}

func TestNoSecretLeavesTheHost(t *testing.T) {
	t.Parallel()
	const password, cid = "threatq-canary-passw0rd", "threatq-canary-cid-0123456789"
	w := newWorld(t, setup{modules: []string{"sync-incident", "add-indicator"}, odd: true, tq: threatqtest.Options{Password: password, ClientID: cid},
		threatq: keys{"password": password, "cid": cid}})
	secrets := &collector{known: map[string]string{}}
	secrets.add("ThreatQ's password", password)
	secrets.add("ThreatQ's client id", cid)
	secrets.add("SOAR's password", oddPasscode)
	w.tq.Inject(threatqtest.Fault{Times: -1, Match: func(r *http.Request) bool {
		secrets.add("a token of ThreatQ", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return false
	}})
	p := w.start()

	// A good action, with a token of its own, and one after new logins.
	for range 2 {
		m := w.incidentMessage(incident, "created")
		secrets.add("a context token", m.Headers["Co3ContextToken"])
		w.do(m)
		w.soar.ExpireSessions()
		w.tq.RevokeTokens()
	}
	// A server that repeats what it was sent.
	echo := `{"errors":["no such user with ` + password + ` and ` + cid + ` and p:w\\d"]}`
	w.tq.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Status: 422, Body: echo, Times: -1})
	r := w.final(w.send(w.incidentMessage(incident, "modified")))
	assert.Equal(t, 1, r.Type)
	assert.Contains(t, r.Message, "no such user with *** and *** and ***")
	w.tq.ClearFaults()
	// The same of SOAR, with a session that came after the start.
	requests := w.soar.Requests()
	session := requests[len(requests)-1].Header.Get("X-Sess-Id")
	require.NotEmpty(t, session)
	forget := w.soar.Inject(resilienttest.Fault{Method: "GET", PathSuffix: fmt.Sprint("/incidents/", incident), Status: 400,
		Body: `{"success":false,"message":"the session ` + session + ` is odd"}`})
	r = w.final(w.send(w.incidentMessage(incident, "modified")))
	assert.Contains(t, r.Message, "the session *** is odd")
	forget()
	// A function whose input holds a secret: what the workflow gave comes back to it as inputs, masked.
	w.final(w.send(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "about " + password})))
	// An unreadable message with a token, and with a password in its body.
	m := w.incidentMessage(incident, "modified")
	m.Body = []byte(`{"password": "` + password + `", `)
	secrets.add("a context token", m.Headers["Co3ContextToken"])
	w.final(w.send(m))
	require.Equal(t, 1, w.unreadable())
	// A login that is refused.
	w.tq.SetPassword("changed meanwhile")
	w.tq.RevokeTokens()
	assert.Equal(t, 1, w.final(w.send(w.incidentMessage(incident, "modified"))).Type)
	p.settled()

	for _, r := range w.soar.Requests() {
		secrets.add("the id of a session's form", r.Header.Get("X-Sess-Id"))
		for _, cookie := range (&http.Request{Header: r.Header}).Cookies() {
			secrets.add("a session of SOAR", cookie.Value)
		}
	}
	require.GreaterOrEqual(t, len(secrets.known), 10, "the test found no tokens: %v", secrets.known)
	require.Contains(t, w.logs.text(), `"level":"DEBUG"`)
	secrets.requireNone(t, "the log", w.logs.text())
	for _, text := range w.texts() {
		secrets.requireNone(t, "a reply", text)
	}
	for _, text := range w.deadLetters() {
		secrets.requireNone(t, "a dead letter", text)
	}
	file, err := os.ReadFile(filepath.Join(w.state, "ledger.db"))
	require.NoError(t, err)
	secrets.requireNone(t, "the ledger", string(file))
}
