package rest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is an authenticator whose logins the test decides.
type account struct {
	logins atomic.Int32
	login  func(n int) (rest.Session, error)
}

func (a *account) Login(context.Context, *http.Client) (rest.Session, error) {
	return a.login(int(a.logins.Add(1)))
}

// token is a session that sends its own text.
type token string

func (t token) Authorize(r *http.Request) { r.Header.Set("Authorization", string(t)) }
func (t token) ExpiresAt() time.Time      { return time.Time{} }

func accept() *account {
	return &account{login: func(n int) (rest.Session, error) { return token("token-" + string(rune('0'+n))), nil }}
}

func client(t *testing.T, a *account, handler http.HandlerFunc) *rest.Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	base, err := url.Parse(server.URL + "/prefix")
	require.NoError(t, err)
	c := rest.New(rest.Options{
		Service: "ThreatQ", Base: base, Authenticator: a,
		TLS: server.Client().Transport.(*http.Transport).TLSClientConfig,
		Describe: func(_ int, _ string, body []byte) (string, bool) {
			return strings.TrimSpace(string(body)), bytes.Contains(body, []byte(`"errors"`))
		},
	})
	t.Cleanup(func() { c.Close(); server.Close() })
	return c
}

func TestDoSendsWhatTheRequestSays(t *testing.T) {
	c := client(t, accept(), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Equal(t, "/prefix/api/a b/ü", r.URL.Path)
		assert.Equal(t, "Resilient #1: %", r.URL.Query().Get("title"))
		assert.Equal(t, `{"x":1}`, string(body))
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		assert.Equal(t, "token-1", r.Header.Get("Authorization"))
		w.WriteHeader(201)
		_, _ = io.WriteString(w, `{"data":{}}`)
	})
	got, err := c.Do(t.Context(), rest.Request{Method: "POST", Path: "/api/a b/ü", Query: url.Values{"title": {"Resilient #1: %"}}, Body: []byte(`{"x":1}`)})
	require.NoError(t, err)
	assert.Equal(t, 201, got.Status)
	assert.JSONEq(t, `{"data":{}}`, string(got.Body))
}

func TestEndedSessionIsRenewedOnceForAllWhoMeetIt(t *testing.T) {
	a := accept()
	var arrived sync.WaitGroup
	arrived.Add(10)
	c := client(t, a, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "token-1" {
			arrived.Done()
			arrived.Wait()
			w.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/"})
			assert.NoError(t, err)
		})
	}
	workers.Wait()
	assert.EqualValues(t, 2, a.logins.Load(), "one first login, one renewal")
}

func TestSecond401IsFinal(t *testing.T) {
	calls := 0
	c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) { calls++; w.WriteHeader(401) })
	_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/x"})
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 401, e.Status)
	assert.Equal(t, 2, calls)
}

func TestRefusedLoginIsNotRepeatedBeforeItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &account{login: func(n int) (rest.Session, error) {
			if n <= 2 {
				return nil, &rest.RefusedError{Service: "ThreatQ", Status: 400, Text: "the user credentials were incorrect"}
			}
			return token("ok"), nil
		}}
		c := rest.New(rest.Options{Service: "ThreatQ", Base: &url.URL{Scheme: "https", Host: "localhost"}, Authenticator: a})
		login := func() error { _, err := c.Session(t.Context()); return err }

		err := login()
		var e *rest.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, abi.CodeLogin, e.Code)
		for range 50 {
			err = login()
			assert.ErrorContains(t, err, "no login is tried before")
		}
		assert.EqualValues(t, 1, a.logins.Load())

		time.Sleep(time.Minute)
		assert.Error(t, login())
		assert.EqualValues(t, 2, a.logins.Load())
		time.Sleep(time.Minute)
		assert.Error(t, login())
		assert.EqualValues(t, 2, a.logins.Load(), "the second pause is longer")

		time.Sleep(4 * time.Minute)
		assert.NoError(t, login())
		assert.EqualValues(t, 3, a.logins.Load())
	})
}

// The account was refused by another way in, such as STOMP: no login is added to
// that, and a session in force goes on.
func TestRefusalByAnotherWayPausesLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept()
		c := rest.New(rest.Options{Service: "Resilient", Base: &url.URL{Scheme: "https", Host: "localhost"}, Authenticator: a})
		assert.NoError(t, c.Paused())
		elsewhere := &rest.RefusedError{Service: "the message broker", Text: "password is invalid"}
		c.PauseLogin(5*time.Minute, elsewhere)
		c.PauseLogin(time.Minute, elsewhere) // the longer one counts
		var paused *rest.PausedError
		require.ErrorAs(t, c.Paused(), &paused)
		assert.ErrorContains(t, paused, "the message broker refused the login: password is invalid")
		_, err := c.Session(t.Context())
		assert.ErrorContains(t, err, "no login is tried before")
		time.Sleep(5 * time.Minute)
		assert.NoError(t, c.Paused())
		_, err = c.Session(t.Context())
		assert.NoError(t, err)

		c.PauseLogin(time.Hour, elsewhere)
		_, err = c.Session(t.Context())
		assert.NoError(t, err)
		assert.EqualValues(t, 1, a.logins.Load())
	})
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	inAMinute := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "99999999999": 24 * time.Hour, inAMinute: time.Minute,
		"Fri, 31 Dec 1999 23:59:59 GMT": 0, "-5": 0, "0": 0, "soon": 0, "": 0,
	} {
		c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/x"})
		var e *rest.Error
		require.ErrorAs(t, err, &e, header)
		if header == inAMinute {
			assert.Greater(t, e.RetryAfter, 20*time.Second)
			assert.LessOrEqual(t, e.RetryAfter, want)
			continue
		}
		assert.Equal(t, want, e.RetryAfter, header)
	}
}

func TestErrorsSayHowFarTheRequestCame(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/prefix/forbidden":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "no right to read")
		case "/prefix/two-hundred":
			_, _ = io.WriteString(w, `{"errors":["bad"]}`)
		case "/prefix/html":
			_, _ = io.WriteString(w, `<html>login</html>`)
		case "/prefix/redirect":
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		case "/prefix/cut":
			panic(http.ErrAbortHandler)
		case "/prefix/half":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"data":`)
		}
	}
	c := client(t, accept(), handler)
	for path, want := range map[string]struct {
		code   abi.ErrorCode
		status int
		text   string
	}{
		"/forbidden":   {abi.CodeHTTP, 403, "ThreatQ answered 403 to GET /forbidden: no right to read"},
		"/two-hundred": {abi.CodeHTTP, 200, "bad"},
		"/html":        {abi.CodeHTTP, 200, "not JSON"},
		"/redirect":    {abi.CodeHTTP, 302, "redirects"},
		"/cut":         {abi.CodeUnknown, 0, "ThreatQ gave no answer to GET /cut"},
		"/half":        {abi.CodeUnknown, 0, "broke off"},
	} {
		_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: path, Query: url.Values{"title": {"private words"}}})
		var e *rest.Error
		require.ErrorAs(t, err, &e, path)
		assert.Equal(t, want.code, e.Code, path)
		assert.Equal(t, want.status, e.Status, path)
		assert.Contains(t, err.Error(), want.text, path)
		assert.NotContains(t, err.Error(), "private words")
		assert.NotContains(t, err.Error(), "token-1")
	}

	nobody := rest.New(rest.Options{Service: "ThreatQ", Base: &url.URL{Scheme: "https", Host: "127.0.0.1:1"}, Authenticator: accept()})
	_, err := nobody.Do(t.Context(), rest.Request{Method: "POST", Path: "/x"})
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeUnreachable, e.Code)
}

// A server that is none: its first line is in the transport's error, and that is
// logged and shown to users.
func TestTextOfAnAbsurdAnswerIsBounded(t *testing.T) {
	c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		_, _ = out.WriteString(strings.Repeat("é", 50_000) + "\r\n\r\n")
		_ = out.Flush()
	})
	_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/x"})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "malformed")
	assert.Less(t, len(err.Error()), 1200)
	assert.True(t, utf8.ValidString(err.Error()))
}

// signed is a session whose secrets are in several headers.
type signed struct{}

func (signed) Authorize(r *http.Request) {
	r.Header.Set("Authorization", "Bearer secret-bearer")
	r.Header.Set("Cookie", "JSESSIONID=secret-cookie; lang=en")
	r.Header.Set("X-sess-id", "secret-csrf")
}
func (signed) ExpiresAt() time.Time { return time.Time{} }

// A server or a proxy that fails may repeat what it was sent.
func TestAnswerThatRepeatsTheRequestGivesNoSecretAway(t *testing.T) {
	for status, body := range map[int]string{500: "crashed on ", 200: `"errors": `, 403: ""} {
		c := client(t, &account{login: func(int) (rest.Session, error) { return signed{}, nil }}, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			_ = r.Header.Write(w)
			_, _ = io.WriteString(w, "the token secret-bearer is not known")
		})
		_, err := c.Do(t.Context(), rest.Request{Method: "POST", Path: "/x", Header: http.Header{"X-Co3ContextToken": {"secret-context"}}})
		var e *rest.Error
		require.ErrorAs(t, err, &e)
		assert.NotContains(t, err.Error()+e.Text, "secret-")
		assert.Contains(t, e.Text, "lang=en", "what is none stays")
		assert.Contains(t, e.Text, "Authorization: ***")
	}
}

func TestUploadStreamsAndDownloadIsBounded(t *testing.T) {
	content := strings.Repeat("malware ", 1000)
	c := client(t, accept(), func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			_, _ = io.WriteString(w, content)
			return
		}
		file, header, err := r.FormFile("file")
		if assert.NoError(t, err) {
			got, _ := io.ReadAll(file)
			assert.Equal(t, content, string(got))
			assert.Equal(t, `a"b.bin`, header.Filename)
			assert.Equal(t, "1", r.FormValue("resumableTotalChunks"))
			assert.Positive(t, r.ContentLength, "not every server takes a body of unknown length")
		}
	})
	_, err := c.Do(t.Context(), rest.Request{Method: "POST", Path: "/up", Upload: &rest.Upload{
		Fields: map[string]string{"resumableTotalChunks": "1"}, Part: "file", FileName: "a\"b.bin", Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}})
	require.NoError(t, err)

	var saved bytes.Buffer
	got, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/down", Save: &saved, SaveLimit: 8000})
	require.NoError(t, err)
	assert.EqualValues(t, 8000, got.Saved)
	_, err = c.Do(t.Context(), rest.Request{Method: "GET", Path: "/down", Save: io.Discard, SaveLimit: 7999})
	var e *rest.Error
	require.True(t, errors.As(err, &e))
	assert.Equal(t, abi.CodeTooLarge, e.Code)
}

func TestLoginFailureNamesTheCallThatNeededIt(t *testing.T) {
	refused := &rest.RefusedError{Service: "ThreatQ", Status: 400, Text: "the user credentials were incorrect"}
	a := &account{login: func(n int) (rest.Session, error) {
		if n == 1 {
			return token("ended"), nil
		}
		return nil, refused
	}}
	c := client(t, a, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/events"})
	assert.EqualError(t, err, "ThreatQ: not logged in for GET /api/events: ThreatQ refused the login (400): the user credentials were incorrect")
	_, paused := c.Do(t.Context(), rest.Request{Method: "POST", Path: "/api/indicators"})
	assert.ErrorContains(t, paused, "ThreatQ: not logged in for POST /api/indicators: no login is tried before ")
	assert.ErrorContains(t, err, "GET /api/events", "the error of one request is not changed by another")
	for _, err := range []error{err, paused} {
		var e *rest.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, abi.CodeLogin, e.Code)
		assert.ErrorIs(t, err, refused)
	}
}

// A GET that writes must not arrive twice, and Go's transport repeats a GET
// whose kept connection breaks.
func TestOnceIsSentOnce(t *testing.T) {
	for name, want := range map[string]struct {
		once     bool
		arrivals int32
	}{
		"a GET that writes":                  {true, 1},
		"an ordinary GET, by Go's transport": {false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var arrivals atomic.Int32
			c := client(t, accept(), func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/prefix/api/imports/33/commit" {
					_, _ = io.WriteString(w, "{}")
					return
				}
				arrivals.Add(1)
				connection, _, err := http.NewResponseController(w).Hijack()
				if assert.NoError(t, err) {
					_ = connection.Close()
				}
			})
			_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/imports"})
			require.NoError(t, err, "leaves a connection that is kept")
			_, err = c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/imports/33/commit", Once: want.once})
			var e *rest.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, abi.CodeUnknown, e.Code)
			assert.Equal(t, want.arrivals, arrivals.Load())
		})
	}
}

// What is no list must not be taken for an empty one, which would make rules create
// what is there. Writes, and a GET that writes, may be answered with anything.
func TestReadIsAnsweredByAnObjectOrAList(t *testing.T) {
	body := ""
	c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	for text, good := range map[string]bool{`{"data":[]}`: true, ` [1]`: true, "": false, " ": false, "null": false, "42": false, `"ok"`: false, "true": false} {
		body = text
		_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/events"})
		if good {
			require.NoError(t, err, text)
		} else {
			require.EqualError(t, err, "ThreatQ answered 200 to GET /api/events: the answer is neither an object nor a list", text)
		}
		_, err = c.Do(t.Context(), rest.Request{Method: "POST", Path: "/api/events"})
		require.NoError(t, err, text)
		_, err = c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/imports/33/commit", Once: true})
		require.NoError(t, err, text)
	}
}

// A 401 says that the server did not work on the call.
func TestOnceIsRepeatedAfterEndedSession(t *testing.T) {
	var arrivals atomic.Int32
	c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) {
		if arrivals.Add(1) == 1 {
			w.WriteHeader(401)
		}
	})
	_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/api/imports/33/commit", Once: true})
	require.NoError(t, err)
	assert.EqualValues(t, 2, arrivals.Load())
}

func TestAnnouncedLengthOverTheLimitEndsTheDownload(t *testing.T) {
	c := client(t, accept(), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000001")
		_, _ = w.Write(make([]byte, 1000))
	})
	var saved bytes.Buffer
	_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/down", Save: &saved, SaveLimit: 1_000_000})
	var e *rest.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abi.CodeTooLarge, e.Code)
	assert.Zero(t, saved.Len())
}

// counted is a content of zeros that knows how much of it was asked for.
type counted struct{ left, read int64 }

func (c *counted) Close() error { return nil }

func (c *counted) Read(p []byte) (int, error) {
	n := min(int64(len(p)), c.left)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	c.left, c.read = c.left-n, c.read+n
	return int(n), nil
}

func TestRefusedLargeUploadIsAnAnswer(t *testing.T) {
	const size = 20 << 20
	for name, status := range map[string]int{"too large": http.StatusRequestEntityTooLarge, "no right": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			c := client(t, accept(), func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					assert.Equal(t, "100-continue", r.Header.Get("Expect"))
					w.WriteHeader(status)
					return
				}
				_, _ = io.WriteString(w, "{}")
			})
			_, err := c.Do(t.Context(), rest.Request{Method: "GET", Path: "/"})
			require.NoError(t, err)
			content := &counted{left: size}
			_, err = c.Do(t.Context(), rest.Request{Method: "POST", Path: "/up", Upload: &rest.Upload{
				Part: "file", FileName: "blob", Size: size, Open: func() (io.ReadCloser, error) { return content, nil },
			}})
			var e *rest.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, status, e.Status)
			assert.Less(t, content.read, int64(size), "the content is not sent to a server that refuses it")
		})
	}
}
