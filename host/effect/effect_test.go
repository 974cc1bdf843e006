package effect_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a client whose answers the test decides; n counts from 1.
type service struct {
	n      atomic.Int32
	answer func(n int, r rest.Request) (*rest.Response, error)
}

func (s *service) Do(_ context.Context, r rest.Request) (*rest.Response, error) {
	return s.answer(int(s.n.Add(1)), r)
}

func fine(string) (*rest.Response, error) {
	return &rest.Response{Status: 200, Body: []byte(`{}`)}, nil
}

func failing(code abi.ErrorCode, status int) error {
	return &rest.Error{Service: "ThreatQ", Method: "GET", Path: "/api/events", Code: code, Status: status, Text: "said so"}
}

func untrusted() error {
	return &rest.Error{Service: "ThreatQ", Method: "GET", Path: "/api/events", Code: abi.CodeUnreachable,
		Err: &tls.CertificateVerificationError{Err: errors.New("signed by an unknown authority")}}
}

func scope(t *testing.T, tq effect.Client, soar effect.Client) *effect.Scope {
	t.Helper()
	permits, err := manifest.NewPermits([]string{
		"threatq GET /api/events", "threatq POST /api/events", "threatq DELETE /api/events/{id}",
		"threatq POST /api/attachments/upload", "threatq POST /api/{collection}",
		"resilient GET /incidents/{id}", "resilient GET /incidents/{id}/attachments/{a}/contents",
	})
	require.NoError(t, err)
	p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: tq, abi.Resilient: soar}, MaxResult: 1000, MaxBlob: 1000, TempDir: t.TempDir()})
	s := p.Open(effect.ScopeOptions{Action: "a1", Permits: permits, ContextToken: "context", MaxCalls: 30, MaxTurnCalls: 10})
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func get(id string) abi.Call {
	return abi.Call{ID: id, Service: abi.ThreatQ, Method: "GET", Path: "/api/events", Idempotent: true}
}

func TestRefusedCallsAreNeverSent(t *testing.T) {
	tq := &service{answer: func(int, rest.Request) (*rest.Response, error) { return fine("") }}
	for name, c := range map[string]struct {
		change func(*abi.Call)
		code   abi.ErrorCode
		want   string
	}{
		"not in the manifest":  {func(c *abi.Call) { c.Path = "/api/adversaries" }, abi.CodePermit, "not among the calls"},
		"another method":       {func(c *abi.Call) { c.Method = "PUT" }, abi.CodePermit, "not among the calls"},
		"unknown method":       {func(c *abi.Call) { c.Method = "TRACE" }, abi.CodePermit, "method"},
		"the token call":       {func(c *abi.Call) { c.Method, c.Path = "POST", "/api/token" }, abi.CodePermit, "not open to modules"},
		"dot segments":         {func(c *abi.Call) { c.Path = "/api/events/../token" }, abi.CodePermit, "segment"},
		"encoded dots":         {func(c *abi.Call) { c.Path = "/api/%2e%2e/token" }, abi.CodePermit, "character"},
		"empty segment":        {func(c *abi.Call) { c.Path = "//evil.example/api" }, abi.CodePermit, "segment"},
		"foreign host":         {func(c *abi.Call) { c.Path = "https://evil.example/api/events" }, abi.CodePermit, "does not begin with /"},
		"query in the path":    {func(c *abi.Call) { c.Path = "/api/events?x=1" }, abi.CodePermit, "character"},
		"line break":           {func(c *abi.Call) { c.Path = "/api/events\r\nX: y" }, abi.CodePermit, "character"},
		"unknown service":      {func(c *abi.Call) { c.Service = "aws" }, abi.CodePermit, "no service"},
		"another organization": {func(c *abi.Call) { c.Service, c.Path = abi.Resilient, "/orgs/202/incidents/1" }, abi.CodePermit, "not among the calls"},
		"body in a GET":        {func(c *abi.Call) { c.Body = abi.JSON(`{}`) }, abi.CodePermit, "GET cannot"},
		"foreign blob": {func(c *abi.Call) {
			c.Method, c.Path, c.Upload = "POST", "/api/attachments/upload", &abi.Upload{Blob: "blob-1"}
		}, abi.CodePermit, "no blob"},
		"no id":          {func(c *abi.Call) { c.ID = "" }, abi.CodeModule, "id"},
		"id used before": {func(c *abi.Call) { c.ID = "first" }, abi.CodeModule, `id "first"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := scope(t, tq, tq)
			_, err := s.Perform(t.Context(), []abi.Call{get("first")})
			require.NoError(t, err)
			before := tq.n.Load()
			call := get("x")
			c.change(&call)
			_, err = s.Perform(t.Context(), []abi.Call{get("good"), call})
			var refused *effect.RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, c.code, refused.Code)
			assert.Contains(t, err.Error(), c.want)
			assert.Equal(t, before, tq.n.Load(), "nothing of the turn is sent")
		})
	}
}

func TestLimitsOfCalls(t *testing.T) {
	tq := &service{answer: func(int, rest.Request) (*rest.Response, error) { return fine("") }}
	s := scope(t, tq, tq)
	many := func(prefix string, n int) (calls []abi.Call) {
		for i := range n {
			calls = append(calls, get(prefix+string(rune('a'+i))))
		}
		return
	}
	_, err := s.Perform(t.Context(), many("x", 11))
	assert.ErrorContains(t, err, "11 calls in one turn")
	for _, turn := range []string{"1", "2", "3"} {
		_, err = s.Perform(t.Context(), many(turn, 10))
		require.NoError(t, err)
	}
	_, err = s.Perform(t.Context(), many("4", 1))
	assert.ErrorContains(t, err, "more than 30 calls")
	assert.Equal(t, 30, s.Calls())
}

func TestCallsOfATurnRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tq := &service{answer: func(int, rest.Request) (*rest.Response, error) { time.Sleep(time.Second); return fine("") }}
		s := scope(t, tq, tq)
		begin := time.Now()
		results, err := s.Perform(t.Context(), []abi.Call{get("a"), get("b"), get("c")})
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(begin))
		assert.Equal(t, []string{"a", "b", "c"}, []string{results[0].ID, results[1].ID, results[2].ID})
	})
}

func TestOneRuleDecidesWhatIsRepeated(t *testing.T) {
	const never = 99
	for name, c := range map[string]struct {
		err        error
		heals      int // the try that succeeds
		idempotent bool
		tries      int
		code       abi.ErrorCode // "" = success
	}{
		"unreachable, any call":              {failing(abi.CodeUnreachable, 0), 3, false, 3, ""},
		"unreachable for good":               {failing(abi.CodeUnreachable, 0), never, false, 5, abi.CodeUnreachable},
		"a certificate nobody trusts":        {untrusted(), never, true, 1, abi.CodeUnreachable},
		"lost answer, safe":                  {failing(abi.CodeUnknown, 0), 2, true, 2, ""},
		"lost answer, not safe":              {failing(abi.CodeUnknown, 0), 2, false, 1, abi.CodeUnknown},
		"503, safe":                          {failing(abi.CodeHTTP, 503), 4, true, 4, ""},
		"503, not safe: outcome unknown":     {failing(abi.CodeHTTP, 503), 2, false, 1, abi.CodeUnknown},
		"500 is repeated once":               {failing(abi.CodeHTTP, 500), never, true, 2, abi.CodeHTTP},
		"429, safe":                          {failing(abi.CodeHTTP, 429), 2, true, 2, ""},
		"400 is final":                       {failing(abi.CodeHTTP, 400), 2, true, 1, abi.CodeHTTP},
		"403 is final, also when not safe":   {failing(abi.CodeHTTP, 403), 2, false, 1, abi.CodeHTTP},
		"a refused login is never repeated":  {failing(abi.CodeLogin, 0), 2, true, 1, abi.CodeLogin},
		"an answer over the limit, not read": {failing(abi.CodeTooLarge, 0), 2, true, 1, abi.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tq := &service{answer: func(n int, _ rest.Request) (*rest.Response, error) {
					if n < c.heals {
						return nil, c.err
					}
					return fine("")
				}}
				call := get("x")
				call.Method, call.Idempotent = "POST", c.idempotent
				results, err := scope(t, tq, tq).Perform(t.Context(), []abi.Call{call})
				require.NoError(t, err)
				assert.EqualValues(t, c.tries, tq.n.Load())
				if c.code == "" {
					assert.Nil(t, results[0].Error)
				} else if assert.NotNil(t, results[0].Error) {
					assert.Equal(t, c.code, results[0].Error.Code)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tq := &service{answer: func(n int, _ rest.Request) (*rest.Response, error) {
			if n == 1 {
				return nil, &rest.Error{Code: abi.CodeHTTP, Status: 429, RetryAfter: 30 * time.Second}
			}
			return fine("")
		}}
		begin := time.Now()
		_, err := scope(t, tq, tq).Perform(t.Context(), []abi.Call{get("x")})
		require.NoError(t, err)
		assert.Equal(t, 30*time.Second, time.Since(begin))
	})
}

func TestDeletingWhatIsGoneIsDone(t *testing.T) {
	tq := &service{answer: func(int, rest.Request) (*rest.Response, error) { return nil, failing(abi.CodeHTTP, 404) }}
	call := get("x")
	call.Method, call.Path = "DELETE", "/api/events/5"
	results, err := scope(t, tq, tq).Perform(t.Context(), []abi.Call{call})
	require.NoError(t, err)
	assert.Nil(t, results[0].Error)
	assert.Equal(t, 404, results[0].Status)
}

func TestOnlyResilientGetsTheContextToken(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	note := func(_ int, r rest.Request) (*rest.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Path] = r.Header.Get(effect.ContextTokenHeader)
		return fine("")
	}
	s := scope(t, &service{answer: note}, &service{answer: note})
	_, err := s.Perform(t.Context(), []abi.Call{get("a"), {ID: "b", Service: abi.Resilient, Method: "GET", Path: "/incidents/1"}})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"/api/events": "", "/incidents/1": "context"}, seen)
}

func TestBlobStaysWithTheHostAndItsAction(t *testing.T) {
	soar := &service{answer: func(_ int, r rest.Request) (*rest.Response, error) {
		n, err := io.WriteString(r.Save, "EICAR")
		return &rest.Response{Status: 200, ContentType: "text/plain", Saved: int64(n)}, err
	}}
	var uploaded string
	tq := &service{answer: func(_ int, r rest.Request) (*rest.Response, error) {
		file, err := r.Upload.Open()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		content, err := io.ReadAll(file)
		uploaded = string(content)
		return &rest.Response{Status: 200}, err
	}}
	download := abi.Call{ID: "d", Service: abi.Resilient, Method: "GET", Path: "/incidents/1/attachments/2/contents", Download: true}
	s := scope(t, tq, soar)
	results, err := s.Perform(t.Context(), []abi.Call{download})
	require.NoError(t, err)
	blob := results[0].Blob
	require.NotNil(t, blob)
	assert.EqualValues(t, 5, blob.Size)
	assert.Equal(t, "998a38ee3e5d17dd1081fcd96ee81342", blob.MD5)
	assert.Empty(t, results[0].Body)

	upload := abi.Call{ID: "u", Service: abi.ThreatQ, Method: "POST", Path: "/api/attachments/upload", Upload: &abi.Upload{Part: "file", FileName: "x", Blob: blob.Handle}}
	_, err = scope(t, tq, soar).Perform(t.Context(), []abi.Call{upload})
	assert.ErrorContains(t, err, "no blob", "another action cannot name it")
	_, err = s.Perform(t.Context(), []abi.Call{upload})
	require.NoError(t, err)
	assert.Equal(t, "EICAR", uploaded)
}

func TestBlobsAreRemovedWithTheAction(t *testing.T) {
	dir := t.TempDir()
	soar := &service{answer: func(_ int, r rest.Request) (*rest.Response, error) {
		_, err := io.WriteString(r.Save, "x")
		return &rest.Response{Status: 200}, err
	}}
	permits, err := manifest.NewPermits([]string{"resilient GET /incidents/{id}"})
	require.NoError(t, err)
	p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.Resilient: soar}, TempDir: dir})
	s := p.Open(effect.ScopeOptions{Permits: permits, MaxCalls: 1, MaxTurnCalls: 1})
	_, err = s.Perform(t.Context(), []abi.Call{{ID: "d", Service: abi.Resilient, Method: "GET", Path: "/incidents/1", Download: true}})
	require.NoError(t, err)
	entries, _ := os.ReadDir(dir)
	require.Len(t, entries, 1)
	require.NoError(t, s.Close())
	entries, _ = os.ReadDir(dir)
	assert.Empty(t, entries)
}

func TestAnswerOverTheLimitIsNotGivenToTheModule(t *testing.T) {
	tq := &service{answer: func(int, rest.Request) (*rest.Response, error) {
		return &rest.Response{Status: 200, Body: []byte(`"` + strings.Repeat("x", 1000) + `"`)}, nil
	}}
	results, err := scope(t, tq, tq).Perform(t.Context(), []abi.Call{get("x")})
	require.NoError(t, err)
	require.NotNil(t, results[0].Error)
	assert.Equal(t, abi.CodeTooLarge, results[0].Error.Code)
	assert.Empty(t, results[0].Body)
}

func TestWindowHalvesUnderStrainAndOpensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flying, peak atomic.Int32
		var strained atomic.Bool
		tq := &service{answer: func(int, rest.Request) (*rest.Response, error) {
			now := flying.Add(1)
			defer flying.Add(-1)
			for old := peak.Load(); now > old && !peak.CompareAndSwap(old, now); old = peak.Load() {
			}
			time.Sleep(20 * time.Millisecond)
			if strained.Load() {
				return nil, failing(abi.CodeHTTP, 503)
			}
			return fine("")
		}}
		permits, err := manifest.NewPermits([]string{"threatq GET /api/events"})
		require.NoError(t, err)
		p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: tq}})
		burst := func(n int) int32 {
			peak.Store(0)
			var group sync.WaitGroup
			for range n {
				s := p.Open(effect.ScopeOptions{Permits: permits, MaxCalls: 1, MaxTurnCalls: 1})
				group.Go(func() {
					call := get("x")
					call.Idempotent = false
					_, err := s.Perform(t.Context(), []abi.Call{call})
					assert.NoError(t, err)
				})
			}
			group.Wait()
			return peak.Load()
		}
		assert.EqualValues(t, 16, burst(16))
		assert.EqualValues(t, 128, burst(1000), "an unstrained service gets more")
		strained.Store(true)
		burst(200)
		strained.Store(false)
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, burst(1), "one call looks whether the service is back")
		assert.EqualValues(t, 4, burst(4))
		assert.Less(t, burst(200), int32(30), "after strain the window opens slowly")
	})
}

func TestEndedContextEndsTheAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tq := &service{answer: func(int, rest.Request) (*rest.Response, error) {
			cancel()
			return nil, failing(abi.CodeUnreachable, 0)
		}}
		_, err := scope(t, tq, tq).Perform(ctx, []abi.Call{get("x")})
		assert.True(t, errors.Is(err, context.Canceled))
	})
}
