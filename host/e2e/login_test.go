package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// The login goes out as one JSON body, which keeps the client id out of access
// logs; servers take two other encodings too (contract: test list, 1).
func TestLoginIsOneJSONBody(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{tq: o})
		var mu sync.Mutex
		var logins []*http.Request
		w.tq.Inject(threatqtest.Fault{Times: -1, PathPrefix: "/api/token", Match: func(r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			logins = append(logins, r)
			return false
		}})
		p := w.start()
		w.twice(w.incidentMessage(incident, "created"))
		p.settled()
		require.Len(t, logins, 1)
		assert.Equal(t, "POST", logins[0].Method)
		assert.Empty(t, logins[0].URL.RawQuery)
		assert.Equal(t, "application/json", logins[0].Header.Get("Content-Type"))
		var sent map[string]string
		for _, r := range w.tq.Requests() {
			if r.Path == "/api/token" {
				require.NoError(t, json.Unmarshal([]byte(r.Body), &sent))
			}
		}
		assert.Equal(t, []string{"client_id", "email", "grant_type", "password"}, slices.Sorted(maps.Keys(sent)))
		assert.Equal(t, "password", sent["grant_type"])
		assert.Equal(t, threatqtest.DefaultClientID, sent["client_id"])
		assert.Equal(t, threatqtest.DefaultEmail, sent["email"])

		client := &http.Client{Transport: &http.Transport{TLSClientConfig: shared.authority.ClientConfig()}}
		defer client.CloseIdleConnections()
		all := url.Values{"grant_type": {"password"}, "client_id": {threatqtest.DefaultClientID}, "email": {threatqtest.DefaultEmail}, "password": {threatqtest.DefaultPassword}}
		split := url.Values{"grant_type": all["grant_type"], "client_id": all["client_id"]}
		for name, c := range map[string]struct{ query, contentType, body string }{
			"one JSON body": {"", "application/json", fmt.Sprintf(`{"grant_type":"password","client_id":%q,"email":%q,"password":%q}`,
				threatqtest.DefaultClientID, threatqtest.DefaultEmail, threatqtest.DefaultPassword)},
			"query and JSON": {split.Encode(), "application/json", fmt.Sprintf(`{"email":%q,"password":%q}`, threatqtest.DefaultEmail, threatqtest.DefaultPassword)},
			"form":           {"", "application/x-www-form-urlencoded", all.Encode()},
		} {
			answer, err := client.Post(w.tq.URL()+"/api/token?"+c.query, c.contentType, strings.NewReader(c.body))
			require.NoError(t, err, name)
			assert.NoError(t, answer.Body.Close())
			assert.Equal(t, http.StatusOK, answer.StatusCode, name)
		}
	})
}

// The life of a token may be told as text (contract: test list, 1). The server's
// clock stands, so that a token which is renewed too late would show as none.
func TestLifeOfATokenAsText(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		t.Run("is heeded", func(t *testing.T) {
			o := o
			o.ExpiresInAsText, o.TokenLifetime, o.Now = true, time.Second, atNoon
			w := newWorld(t, setup{tq: o})
			p := w.start()
			eventually(t, func() bool {
				w.do(w.incidentMessage(incident, "modified"))
				return w.tq.Counts().Logins >= 2
			}, "a token of one second was used for longer")
			p.settled()
			assert.Zero(t, w.tq.Counts().Unauthorized, "it was renewed before it was refused")
		})
		t.Run("is not taken for none", func(t *testing.T) {
			o := o
			o.ExpiresInAsText = true
			w := newWorld(t, setup{tq: o})
			p := w.start()
			for range 5 {
				w.twice(w.incidentMessage(incident, "modified"))
			}
			p.settled()
			assert.Equal(t, 1, w.tq.Counts().Logins)
		})
	})
}

// A 400 speaks about the account: no second try, whatever wants to log in
// (contract: test list, 1).
func TestLoginRefusedWith400IsTriedOnce(t *testing.T) {
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		w := newWorld(t, setup{modules: []string{"sync-incident", "sync-indicator", "add-indicator"}, tq: o, threatq: keys{"cid": "wrong-client-id"}})
		p := w.start()
		messages := []resilienttest.Message{
			w.incidentMessage(incident, "created"),
			w.artifactMessage(w.soar.AddArtifact(incident, "DNS Name", "bad.example.com")),
			w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "bad.example.com"}),
		}
		before := w.kept()
		var sent []string
		for _, m := range messages {
			sent = append(sent, w.send(m), w.send(again(m)))
		}
		for _, correlation := range sent {
			r := w.final(correlation)
			assert.Equal(t, 1, r.Type)
			assert.Contains(t, r.Message, "check username, password and cid")
		}
		p.settled()
		var statuses []int
		for _, r := range w.tq.Requests() {
			statuses = append(statuses, r.Status)
		}
		assert.Equal(t, []int{http.StatusBadRequest}, statuses, "one login and nothing else")
		assert.Equal(t, before, w.kept())
	})
}

// Calls side by side whose token ends in mid-run log in once between them, and
// lose nothing (contract: test list, 1).
func TestTokenThatEndsInMidRunMeansOneLogin(t *testing.T) {
	const artifacts = 12
	eachNumbering(t, func(t *testing.T, o threatqtest.Options) {
		o.Latency = 20 * time.Millisecond
		w := newWorld(t, setup{tq: o})
		for i := range artifacts {
			w.soar.AddArtifact(incident, "DNS Name", fmt.Sprintf("host-%d.example.com", i))
		}
		there := len(w.soar.Artifacts(incident))
		p := w.start()
		w.do(w.incidentMessage(incident, "created"))
		require.Equal(t, 1, w.tq.Counts().Logins)
		var once sync.Once
		w.tq.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/indicators", Times: -1, Match: func(*http.Request) bool {
			once.Do(w.tq.RevokeTokens)
			return false
		}})
		// One call comes with the old token when the others have a new one.
		w.tq.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/indicators", Skip: 2, Delay: 300 * time.Millisecond})
		r, _ := w.twice(w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{MenuItem: true,
			Fields: map[string]any{"Import Artifacts into ThreatQ": "Yes"}}))
		p.settled()
		assert.Contains(t, r.Message, fmt.Sprintf("%d of %d artifacts", there, there))
		assert.Equal(t, 2, w.tq.Counts().Logins)
		assert.GreaterOrEqual(t, w.tq.Counts().Unauthorized, 2, "the calls were not side by side")
	})
}
