package resilient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o resilienttest.Options) *resilienttest.Server {
	s := resilienttest.New(o)
	t.Cleanup(s.Close)
	return s
}

func text(s string) func() string { return func() string { return s } }

// options are right for the server, with an e-mail account.
func options(t *testing.T, s *resilienttest.Server) resilient.Options {
	base, err := url.Parse(s.URL())
	require.NoError(t, err)
	return resilient.Options{
		Base: base, TLS: s.Authority().ClientConfig(), Org: resilienttest.DefaultOrg,
		Email: resilienttest.DefaultEmail, Password: text(resilienttest.DefaultPassword),
	}
}

func withKey(o resilient.Options) resilient.Options {
	o.APIKeyID, o.APIKeySecret = resilienttest.DefaultAPIKeyID, text(resilienttest.DefaultAPIKeySecret)
	return o
}

func newClient(t *testing.T, o resilient.Options) *resilient.Client {
	c := resilient.New(o)
	// the context of the test has ended when cleaning up
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func get(path string) rest.Request { return rest.Request{Method: http.MethodGet, Path: path} }

func TestConnect(t *testing.T) {
	for name, test := range map[string]struct {
		prefix  string
		account func(resilient.Options) resilient.Options
		want    resilient.Account
	}{
		"e-mail":            {account: func(o resilient.Options) resilient.Options { return o }, want: resilient.Account{Type: "user", ID: 4, Name: "analyst@example.com"}},
		"API key":           {account: withKey, want: resilient.Account{Type: "apikey", ID: 7, Name: "fn_threatq integration"}},
		"a resource prefix": {prefix: "/soar/api", account: withKey, want: resilient.Account{Type: "apikey", ID: 7, Name: "fn_threatq integration"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, resilienttest.Options{Prefix: test.prefix})
			c := newClient(t, test.account(options(t, s)))
			session, err := c.Connect(t.Context())
			require.NoError(t, err)
			require.Equal(t, resilient.Session{OrgID: 201, OrgName: "Test Organization", Account: test.want}, session)

			answer, err := c.Do(t.Context(), rest.Request{Method: http.MethodGet, Path: "/incidents/2095", Query: url.Values{"handle_format": {"names"}}})
			require.NoError(t, err)
			require.Contains(t, string(answer.Body), `"severity_code":"Low"`)
		})
	}
}

func TestAnIncompleteKeyIsNotUsed(t *testing.T) {
	s := start(t, resilienttest.Options{})
	o := options(t, s)
	o.APIKeyID = resilienttest.DefaultAPIKeyID
	session, err := newClient(t, o).Connect(t.Context())
	require.NoError(t, err)
	require.Equal(t, resilient.User, session.Account.Type)
}

func TestAKeySendsNoCookieAndNoContextToken(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, withKey(options(t, s)))
	for range 3 { // the server sets a cookie each time, and refuses a call that brings it back
		_, err := c.Do(t.Context(), rest.Request{Method: http.MethodGet, Path: "/incidents/2095",
			Header: http.Header{"x-co3contexttoken": {"token"}}})
		require.NoError(t, err)
	}
	for _, request := range s.Requests() {
		assert.Empty(t, request.Header.Values("Cookie"))
		assert.Empty(t, request.Header.Values("X-sess-id"))
		assert.Empty(t, request.ContextToken)
		assert.NotEmpty(t, request.Header.Get("Authorization"))
	}
	require.NoError(t, c.Close(t.Context()))
	assert.NotEqual(t, http.MethodDelete, s.Requests()[len(s.Requests())-1].Method, "a key has no session to end")
}

func TestAnEmailAccountSendsTheContextToken(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	header := http.Header{resilient.ContextTokenHeader: {"token"}}
	body := []byte(`{"type":"DNS Name","value":"new.example.com"}`)
	_, err := c.Do(t.Context(), rest.Request{Method: http.MethodPost, Path: "/incidents/2095/artifacts", Header: header, Body: body})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), get("/incidents/2095"))
	require.NoError(t, err)
	requests := s.Requests()
	require.Equal(t, "token", requests[len(requests)-2].ContextToken)
	require.Empty(t, requests[len(requests)-1].ContextToken)
	require.Empty(t, requests[len(requests)-1].Header.Get("Authorization"))
}

func TestOrganizations(t *testing.T) {
	orgs := []resilienttest.Org{
		{ID: 201, Name: "Test Organization", UUID: "8f9f5fd0-6a7d-4c5e-9d6b-2c1a7c0e2f11", CloudAccount: "cloud-1"},
		{ID: 202, Name: "Closed", Disabled: true},
	}
	for wanted := range map[string]bool{"Test Organization": true, orgs[0].UUID: true, "cloud-1": true, "201": true} {
		t.Run(wanted, func(t *testing.T) {
			s := start(t, resilienttest.Options{Orgs: orgs})
			o := options(t, s)
			o.Org = wanted
			session, err := newClient(t, o).Connect(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 201, session.OrgID)
		})
	}
	for name, test := range map[string]struct {
		server  resilienttest.Options
		org     string
		problem resilient.OrgProblem
		text    string
	}{
		"none":           {resilienttest.Options{NoOrgs: true}, "x", resilient.OrgNone, `the Resilient account "analyst@example.com" belongs to no organization`},
		"not configured": {resilienttest.Options{Orgs: orgs}, "", resilient.OrgNotConfigured, `set org in [resilient] to one of: "Test Organization", "Closed"`},
		"no match":       {resilienttest.Options{Orgs: orgs}, "Tset", resilient.OrgNoMatch, `there is no organization "Tset"; set org in [resilient] to one of: "Test Organization", "Closed"`},
		"case":           {resilienttest.Options{Orgs: orgs}, "test organization", resilient.OrgNoMatch, `upper and lower case count: set org in [resilient] to "Test Organization"`},
		"disabled":       {resilienttest.Options{Orgs: orgs}, "Closed", resilient.OrgDisabled, `not in the range`},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, test.server)
			o := options(t, s)
			o.Org = test.org
			c := newClient(t, o)
			_, err := c.Connect(t.Context())
			var problem *resilient.OrgError
			require.ErrorAs(t, err, &problem)
			require.Equal(t, test.problem, problem.Problem)
			require.ErrorContains(t, err, test.text)

			_, err = c.Do(t.Context(), get("/incidents/2095"))
			require.ErrorAs(t, err, &problem, "no call goes out without an organization")
			require.Equal(t, 1, s.Logins(), "the login is kept")
		})
	}
}

func TestDisabledActionsFramework(t *testing.T) {
	s := start(t, resilienttest.Options{ActionsFrameworkDisabled: true})
	_, err := newClient(t, options(t, s)).Connect(t.Context())
	require.ErrorIs(t, err, resilient.ErrActionsDisabled)
	require.ErrorContains(t, err, "Test Organization")
}

func TestExpiredSessionUnderParallelCalls(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	_, err := c.Connect(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, s.Logins())
	for round := range 5 {
		s.ExpireSessions()
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				_, err := c.Do(t.Context(), get("/incidents/2095"))
				assert.NoError(t, err)
			})
		}
		wait.Wait()
		require.Equal(t, round+2, s.Logins(), "one login for all")
	}
}

func TestRefusedLoginIsNotRepeated(t *testing.T) {
	for name, status := range map[string]int{"401": 401, "403 of old servers": 403} {
		t.Run(name, func(t *testing.T) {
			s := start(t, resilienttest.Options{LoginRefusedStatus: status, BanAfter: 3})
			o := options(t, s)
			o.Password = text("wrong-canary-password")
			c := newClient(t, o)
			for range 20 {
				_, err := c.Connect(t.Context())
				var refused *rest.RefusedError
				require.ErrorAs(t, err, &refused)
				require.ErrorContains(t, err, "Invalid user name or password")
				require.ErrorContains(t, err, "check email and password in [resilient]")
				require.NotContains(t, err.Error(), "canary")
			}
			require.Equal(t, 1, s.RefusedLogins())
			require.False(t, s.Banned())
		})
	}
}

func TestBlockedKey(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, withKey(options(t, s)))
	_, err := c.Connect(t.Context())
	require.NoError(t, err)
	s.SetCredentials("", "another-secret")
	for range 10 {
		_, err = c.Do(t.Context(), get("/incidents/2095"))
		require.ErrorContains(t, err, "check api_key_id and api_key_secret in [resilient]")
		var e *rest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, abi.CodeLogin, e.Code)
	}
	require.Equal(t, 2, s.RefusedLogins(), "one call, and one login to find out")
}

func TestErrorsCarryTheServersWords(t *testing.T) {
	s := start(t, resilienttest.Options{})
	s.AddIncident(map[string]any{"id": 3000})
	s.Forbid(3000)
	c := newClient(t, options(t, s))
	for path, want := range map[string]string{
		"/incidents/4711":                  "Resilient answered 404 to GET /rest/orgs/201/incidents/4711: Unable to find object with ID 4711",
		"/incidents/3000":                  "Resilient answered 403 to GET /rest/orgs/201/incidents/3000: Forbidden",
		"/nothing":                         "Resilient answered 500 to GET /rest/orgs/201/nothing: Internal Server Error",
		"/incidents/2095/artifacts/999999": "Resilient answered 404 to GET /rest/orgs/201/incidents/2095/artifacts/999999: Unable to find object with ID 999999",
	} {
		_, err := c.Do(t.Context(), get(path))
		require.EqualError(t, err, want)
	}
	s.Inject(resilienttest.Fault{PathSuffix: "/incidents/2095", Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"})
	_, err := c.Do(t.Context(), get("/incidents/2095"))
	require.ErrorContains(t, err, "a web page")
}

func TestARefusedPatchIsAnAnswer(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	body := []byte(`{"changes":[{"field":"name","old_value":{"text":"x"},"new_value":{"text":"y"}}]}`)
	answer, err := c.Do(t.Context(), rest.Request{Method: http.MethodPatch, Path: "/incidents/2095", Body: body})
	require.NoError(t, err)
	require.Contains(t, string(answer.Body), `"actual_current_value":"Phishing mail to finance"`)
}

func TestPathsStayInTheOrganization(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	for _, path := range []string{"incidents", "/../../session", "/incidents/..", "/./incidents"} {
		_, err := c.Do(t.Context(), get(path))
		require.Error(t, err, path)
	}
	require.Empty(t, s.Requests())
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	away := start(t, resilienttest.Options{})
	for _, path := range []string{"/rest/session", "/rest/orgs/201/incidents/2095"} {
		s := start(t, resilienttest.Options{})
		s.Inject(resilienttest.Fault{PathPrefix: path, Status: 307, Header: http.Header{"Location": {away.URL() + path}}})
		c := newClient(t, options(t, s))
		_, err := c.Do(t.Context(), get("/incidents/2095"))
		require.ErrorContains(t, err, "redirects")
	}
	require.Empty(t, away.Requests())
}

func TestLoginAnswersThatAreNoSession(t *testing.T) {
	for name, fault := range map[string]resilienttest.Fault{
		"not JSON":       {Status: 200, Body: "<html>welcome</html>"},
		"no session":     {Status: 200, Body: `{"orgs":[]}`},
		"back end fails": {Status: 503, Body: `{"success":false,"title":null,"message":"LDAP is not available","hints":["try later"]}`},
		"cut":            {CutBefore: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, resilienttest.Options{})
			fault.PathPrefix, fault.Times = "/rest/session", 1
			s.Inject(fault)
			c := newClient(t, options(t, s))
			_, err := c.Connect(t.Context())
			var e *rest.Error
			require.ErrorAs(t, err, &e)
			if fault.Status == 503 {
				require.ErrorContains(t, err, "LDAP is not available: try later")
			}
			require.NotContains(t, err.Error(), resilienttest.DefaultPassword)
			_, err = c.Connect(t.Context())
			require.NoError(t, err, "what was no refusal may be tried again")
		})
	}
}

func TestSecretsReachRedactionAndNoLog(t *testing.T) {
	s := start(t, resilienttest.Options{})
	var log bytes.Buffer
	o := options(t, s)
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var fresh, former []string
	o.OnTokens = func(f, old []string) { fresh, former = f, old }
	c := newClient(t, o)
	_, err := c.Connect(t.Context())
	require.NoError(t, err)
	first := fresh
	require.Len(t, first, 2, "cookie and X-sess-id")
	last := s.Requests()[len(s.Requests())-1].Header
	require.Contains(t, last.Get("Cookie"), first[0])
	require.Equal(t, last.Get("X-sess-id"), first[1])

	s.ExpireSessions()
	_, err = c.Do(t.Context(), get("/incidents/2095"))
	require.NoError(t, err)
	require.Equal(t, first, former)
	require.NotEqual(t, first, fresh)
	require.Contains(t, log.String(), "session ended")
	for _, secret := range append(append(first, fresh...), resilienttest.DefaultPassword) {
		require.NotContains(t, log.String(), secret)
	}
}

func TestAServerThatRepeatsThePassword(t *testing.T) {
	s := start(t, resilienttest.Options{})
	s.Inject(resilienttest.Fault{PathPrefix: "/rest/session", Status: 401, Body: `{"message":"bad password ` + resilienttest.DefaultPassword + `"}`})
	_, err := newClient(t, options(t, s)).Connect(t.Context())
	require.ErrorContains(t, err, "bad password ***")
	require.NotContains(t, fmt.Sprintf("%+v %#v", err, errors.Unwrap(err)), resilienttest.DefaultPassword)
}

func TestCloseEndsTheSession(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := resilient.New(options(t, s))
	require.NoError(t, c.Close(t.Context()), "nothing to end yet")
	require.Empty(t, s.Requests())
	_, err := c.Connect(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, s.OpenSessions())
	require.NoError(t, c.Close(t.Context()))
	require.Zero(t, s.OpenSessions())
}

func TestUnreachableServer(t *testing.T) {
	s := start(t, resilienttest.Options{})
	o := options(t, s)
	o.Timeout = 2 * time.Second
	s.Close()
	_, err := newClient(t, o).Connect(t.Context())
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, abi.CodeUnreachable, e.Code)
	require.False(t, strings.Contains(err.Error(), resilienttest.DefaultPassword))
}
