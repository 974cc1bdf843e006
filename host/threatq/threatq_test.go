package threatq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/rest"
	"fn-threatq/host/threatq"
	"fn-threatq/host/threatq/threatqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = `s3cret & "canary"`

// start returns a simulator and a client that is logged in nowhere yet. change may alter the client's options.
func start(t *testing.T, o threatqtest.Options, change ...func(*threatq.Options)) (*threatqtest.Server, *threatq.Client) {
	t.Helper()
	o.Password = password
	s := threatqtest.New(o)
	t.Cleanup(s.Close)
	base, err := url.Parse(s.URL())
	require.NoError(t, err)
	co := threatq.Options{
		Base: base, TLS: s.Authority().ClientConfig(), Username: threatqtest.DefaultEmail,
		Password: func() string { return password }, ClientID: func() string { return threatqtest.DefaultClientID },
	}
	for _, c := range change {
		c(&co)
	}
	c := threatq.New(co)
	t.Cleanup(c.Close)
	return s, c
}

func get(path string) rest.Request { return rest.Request{Method: http.MethodGet, Path: path} }

func TestLoginSendsAllInTheJSONBody(t *testing.T) {
	s, c := start(t, threatqtest.Options{ExpiresInAsText: true})
	_, err := c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)
	_, err = c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)

	requests := s.Requests()
	require.Len(t, requests, 3, "one login for two calls: expires_in as text is understood")
	assert.Equal(t, "/api/token", requests[0].Path)
	assert.Empty(t, requests[0].Query, "nothing that an access log would keep")
	assert.JSONEq(t, `{"grant_type":"password","client_id":"abcdef0123456789","email":"svc-soar@example.com","password":"***"}`, requests[0].Body)
	assert.Equal(t, threatqtest.Counts{Requests: 3, Logins: 1, ByMethod: map[string]int{"GET": 2}}, s.Counts())
}

func TestExpiredTokenIsRenewedOnceForAll(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	_, err := c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)
	s.RevokeTokens()
	s.ResetRequests()

	errs := make([]error, 10)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = c.Do(context.Background(), get("/api/indicator/types")) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	assert.Equal(t, 1, s.Counts().Logins)
}

func TestRefusedLoginIsNotRepeated(t *testing.T) {
	s, c := start(t, threatqtest.Options{}, func(o *threatq.Options) { o.Password = func() string { return "wrong " + password } })
	for range 5 {
		_, err := c.Do(context.Background(), get("/api/objects"))
		var e *rest.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, abi.CodeLogin, e.Code)
		var refused *rest.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, http.StatusBadRequest, refused.Status)
		assert.Contains(t, err.Error(), "The user credentials were incorrect.")
		assert.Contains(t, err.Error(), "check username, password and cid in [fn_threatq]")
	}
	assert.Equal(t, 1, s.Counts().LoginsRefused)
	assert.Equal(t, 1, s.Counts().Requests)
}

// answering is a server of a few lines, for answers that the simulator does not give.
func answering(t *testing.T, handler http.HandlerFunc) *threatq.Client {
	t.Helper()
	authority := testcert.New("127.0.0.1")
	s := httptest.NewUnstartedServer(handler)
	s.TLS = authority.ServerConfig()
	s.StartTLS()
	t.Cleanup(s.Close)
	base, err := url.Parse(s.URL)
	require.NoError(t, err)
	c := threatq.New(threatq.Options{Base: base, TLS: authority.ClientConfig(), Username: "u",
		Password: func() string { return password }, ClientID: func() string { return threatqtest.DefaultClientID }})
	t.Cleanup(c.Close)
	return c
}

func TestAnswersToTheLogin(t *testing.T) {
	cases := map[string]struct {
		status  int
		body    string
		refused bool // which stops further logins
		text    string
	}{
		"wrong credentials as 401":  {401, `{"error":"invalid_credentials"}`, true, "invalid_credentials"},
		"unprocessable":             {422, `{"errors":{"email":["is unknown"]}}`, true, "email: is unknown"},
		"no token":                  {200, `{}`, true, "no token"},
		"empty token":               {200, `{"access_token":""}`, true, "no token"},
		"token is a number":         {200, `{"access_token":7}`, true, "no token"},
		"token with a line break":   {200, `{"access_token":"a\nb"}`, true, "no token"},
		"other token type":          {200, `{"access_token":"aaaa","token_type":"MAC"}`, true, "no token"},
		"errors in 200":             {200, `{"access_token":"aaaa","errors":["locked"]}`, true, "locked"},
		"server in trouble":         {503, `<html><title>Maintenance</title></html>`, false, "503: Maintenance"},
		"redirect":                  {302, ``, false, "redirects"},
		"not ThreatQ":               {404, `not here`, false, "no login at"},
		"repeats what it was given": {400, `{"message":"s3cret & \"canary\" of abcdef0123456789 is wrong"}`, true, "*** of *** is wrong"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var logins, elsewhere atomic.Int32
			c := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/token" {
					elsewhere.Add(1)
					return
				}
				logins.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			var err error
			for range 2 {
				_, err = c.Do(context.Background(), get("/api/objects"))
				require.Error(t, err)
				assert.Contains(t, err.Error(), tc.text)
				assertNoSecret(t, err.Error())
			}
			var refused *rest.RefusedError
			assert.Equal(t, tc.refused, errors.As(err, &refused))
			if tc.refused {
				assert.EqualValues(t, 1, logins.Load(), "a refused login must not be repeated")
			} else {
				assert.EqualValues(t, 2, logins.Load(), "trouble of the server must not lock us out")
			}
			assert.Zero(t, elsewhere.Load(), "no redirect may be followed and no call made without a token")
		})
	}
}

func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{password, url.QueryEscape(password), "canary", threatqtest.DefaultClientID} {
		assert.NotContains(t, text, secret)
	}
}

func TestTokensGoToTheRedactionAndNowhereElse(t *testing.T) {
	var logs bytes.Buffer
	var mu sync.Mutex
	var fresh, former [][]string
	s, c := start(t, threatqtest.Options{}, func(o *threatq.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.OnTokens = func(a, b []string) {
			mu.Lock()
			defer mu.Unlock()
			fresh, former = append(fresh, a), append(former, b)
		}
	})
	_, err := c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)
	require.Len(t, fresh, 1)
	require.Len(t, fresh[0], 2, "access and refresh token")
	assert.Empty(t, former[0])

	// A server that repeats the token in its error.
	s.Inject(threatqtest.Fault{Status: 400, Body: fmt.Sprintf(`{"message":"token %s may not"}`, fresh[0][0])})
	_, err = c.Do(context.Background(), get("/api/objects"))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "token *** may not")

	s.RevokeTokens()
	_, err = c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)
	require.Len(t, fresh, 2)
	assert.Equal(t, fresh[0], former[1])
	assert.Contains(t, logs.String(), "logging in again")
	assertNoSecret(t, logs.String())
	for _, token := range append(fresh[0], fresh[1]...) {
		assert.NotContains(t, logs.String(), token)
	}
}

func TestErrorsOfEveryShape(t *testing.T) {
	cases := map[string]struct {
		status      int
		contentType string
		body        string
		text        string
	}{
		"map of fields":      {400, "application/json", `{"data":{"errors":{"name":["The name has already been taken."],"test":["a","b"]}}}`, "name: The name has already been taken.; test: a; test: b"},
		"nested list":        {400, "application/json", `{"errors":["First Error",["Second error - part 1","Second error - part 2"]]}`, "First Error; Second error - part 1; Second error - part 2"},
		"list as map":        {400, "application/json", `{"errors":{"value":["bad"]}}`, "value: bad"},
		"in a 200 answer":    {200, "application/json", `{"errors":["The value is not valid."]}`, "The value is not valid."},
		"in order":           {400, "application/json", `{"error_description":"e","error":"d","message":"c","errors":["b"],"data":{"errors":{"x":"a"}}}`, "x: a; b; c; d; e"},
		"the same twice":     {400, "application/json", `{"message":"m","error":"m"}`, "m"},
		"numbers":            {400, "application/json", `{"errors":[17,{"code":3}]}`, "17; code: 3"},
		"data is a list":     {400, "application/json", `{"data":[],"message":"m"}`, "m"},
		"html":               {500, "text/html", threatqtest.HTMLError, "Whoops, looks like something went wrong."},
		"html with a script": {502, "text/html", "<html><style>b{}</style><script>var x;</script><h1>Bad &amp; ugly</h1>\n<p>gateway</p>", "Bad & ugly gateway"},
		"text":               {500, "text/plain", "out  of\nmemory", "out of memory"},
		"bytes":              {500, "application/octet-stream", "\x00\xff\xfe", ""},
		"nothing":            {500, "", "", ""},
	}
	s, c := start(t, threatqtest.Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s.Inject(threatqtest.Fault{PathPrefix: "/api/indicators", Status: tc.status, ContentType: tc.contentType, Body: tc.body})
			_, err := c.Do(context.Background(), rest.Request{Method: http.MethodPost, Path: "/api/indicators", Query: url.Values{"with": {"canary"}}, Body: []byte(`{"value":"canary"}`)})
			var e *rest.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, abi.CodeHTTP, e.Code)
			assert.Equal(t, tc.status, e.Status)
			assert.Equal(t, tc.text, e.Text)
			assert.Equal(t, "/api/indicators", e.Path)
			assert.NotContains(t, err.Error(), "canary", "neither query nor body belong in an error")
		})
	}
}

func TestLongErrorsAreCutBetweenRunes(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	s.Inject(threatqtest.Fault{PathPrefix: "/api/objects", Status: 500, ContentType: "text/plain", Body: "x" + strings.Repeat("é", 500)})
	_, err := c.Do(context.Background(), get("/api/objects"))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "x"+strings.Repeat("é", 99)+"…", e.Text)
}

func TestErrorsKeyThatIsEmptyOrDeeperIsNoError(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	for _, body := range []string{`{"data":[],"errors":[]}`, `{"data":[],"errors":null}`, `{"data":[{"name":"errors","errors":["x"]}]}`} {
		s.Inject(threatqtest.Fault{PathPrefix: "/api/objects", Status: 200, Body: body})
		answer, err := c.Do(context.Background(), get("/api/objects"))
		require.NoError(t, err, body)
		assert.JSONEq(t, body, string(answer.Body))
	}
}

func TestRetryAfterIsHandedOn(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	s.Inject(threatqtest.Fault{PathPrefix: "/api/objects", Status: 429, RetryAfter: "5", Body: `{"error":"too many requests"}`})
	_, err := c.Do(context.Background(), get("/api/objects"))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 5*time.Second, e.RetryAfter)
	assert.Equal(t, "too many requests", e.Text)
}

func TestLostAnswerIsAnUnknownOutcome(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	s.Inject(threatqtest.Fault{Method: http.MethodPost, PathPrefix: "/api/events", LoseAnswer: true})
	_, err := c.Do(context.Background(), rest.Request{Method: http.MethodPost, Path: "/api/events",
		Body: []byte(`{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00"}`)})
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeUnknown, e.Code)
	assert.Len(t, s.Events(), 1, "the server had acted, once")
}

func TestRedirectOfACallIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/token":
			_, _ = io.WriteString(w, `{"access_token":"aaaa"}`)
		case "/api/objects":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			followed.Store(true)
		}
	})
	_, err := c.Do(context.Background(), get("/api/objects"))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, http.StatusFound, e.Status)
	assert.False(t, followed.Load())
}

func TestHugeAnswerIsRefused(t *testing.T) {
	block := bytes.Repeat([]byte(" "), 1<<20)
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/token" {
			_, _ = io.WriteString(w, `{"access_token":"aaaa"}`)
			return
		}
		for range rest.MaxBody/len(block) + 1 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	_, err := c.Do(context.Background(), get("/api/objects"))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeTooLarge, e.Code)
}

func TestTheTokenCallIsOutOfReach(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	for _, path := range []string{"/api/token", "/api/token/", "/api/./token", "/API/token", "/api/Token", "/assets/js/config.js", ""} {
		_, err := c.Do(context.Background(), rest.Request{Method: http.MethodPost, Path: path, Body: []byte(`{}`)})
		var e *rest.Error
		require.ErrorAs(t, err, &e, path)
		assert.Equal(t, abi.CodeInternal, e.Code, path)
	}
	assert.Zero(t, s.Counts().Requests)
}

func TestCheck(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	require.NoError(t, c.Check(context.Background()))
	last := s.Requests()[1]
	assert.Equal(t, "/api/indicator/types", last.Path)
	assert.Equal(t, "1", last.Query.Get("limit"))

	_, weak := start(t, threatqtest.Options{WeakRole: true})
	require.ErrorIs(t, weak.Check(context.Background()), threatq.ErrWeakRole)

	s.Inject(threatqtest.Fault{PathPrefix: "/api/indicator", Status: 200, Body: `["not", "ThreatQ"]`})
	var e *rest.Error
	require.ErrorAs(t, c.Check(context.Background()), &e)
	assert.Contains(t, e.Text, "is this the address of ThreatQ?")
}

func TestWhoami(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"numbers": {}, "texts in a list of one": {NumericStrings: true, ListOfOne: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := start(t, o)
			user, err := c.Whoami(context.Background())
			require.NoError(t, err)
			assert.Equal(t, threatq.User{ID: 2, Email: threatqtest.DefaultEmail, DisplayName: "SOAR Integration", SourceID: 8}, user)
		})
	}
	s, c := start(t, threatqtest.Options{})
	for _, body := range []string{`{}`, `{"data":[]}`, `{"data":[{"id":1},{"id":2}]}`, `{"data":{"id":"x"}}`} {
		s.Inject(threatqtest.Fault{PathPrefix: "/api/users", Status: 200, Body: body})
		_, err := c.Whoami(context.Background())
		assert.Error(t, err, body)
	}
}

func TestLink(t *testing.T) {
	for _, base := range []string{"https://tq.example.com:8443", "https://tq.example.com:8443/", "https://tq.example.com:8443/api", "https://tq.example.com:8443/api/"} {
		u, err := url.Parse(base)
		require.NoError(t, err)
		c := threatq.New(threatq.Options{Base: u, Password: func() string { return "" }, ClientID: func() string { return "" }})
		assert.Equal(t, "https://tq.example.com:8443/events/55/details", c.Link("events", 55))
		assert.Equal(t, "https://tq.example.com:8443/files/12/details", c.Link("attachments", 12))
		assert.Equal(t, "https://tq.example.com:8443/malware/9/details", c.Link("malware", 9))
		assert.Equal(t, base, u.String(), "the caller's URL stays as it is")
	}
}

// Both token call and calls must reach a base that was given with a path of its own.
func TestBaseMayEndInAPI(t *testing.T) {
	s, c := start(t, threatqtest.Options{}, func(o *threatq.Options) { o.Base = o.Base.JoinPath("api") })
	_, err := c.Do(context.Background(), get("/api/objects"))
	require.NoError(t, err)
	assert.Equal(t, "/api/objects", s.Requests()[1].Path)
}

func TestCertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	s, c := start(t, threatqtest.Options{}, func(o *threatq.Options) { o.TLS = testcert.New("127.0.0.1").ClientConfig() })
	_, err := c.Do(context.Background(), get("/api/objects"))
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeUnreachable, e.Code)
	assert.Zero(t, s.Counts().Requests, "no password leaves before the certificate is checked")
}

func TestAnswersAreHandedOnAsTheyAre(t *testing.T) {
	s, c := start(t, threatqtest.Options{})
	id := s.AddIndicator("URL", "http://a.example.com/?a=1&b=<ü>", "Active", "Feed")
	answer, err := c.Do(context.Background(), rest.Request{Method: http.MethodGet, Path: fmt.Sprintf("/api/indicators/%d", id), Query: url.Values{"with": {"sources"}}})
	require.NoError(t, err)
	var body struct {
		Data struct{ Value string }
	}
	require.NoError(t, json.Unmarshal(answer.Body, &body))
	assert.Equal(t, "http://a.example.com/?a=1&b=<ü>", body.Data.Value)
}
