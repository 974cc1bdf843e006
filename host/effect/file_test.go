package effect_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

// open is a session that needs no login.
type open struct{}

func (open) Login(context.Context, *http.Client) (rest.Session, error) { return open{}, nil }
func (open) Authorize(*http.Request)                                   {}
func (open) ExpiresAt() time.Time                                      { return time.Time{} }

func remote(t *testing.T, service string, handler http.HandlerFunc) *rest.Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	c := rest.New(rest.Options{Service: service, Base: base, Authenticator: open{}, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	t.Cleanup(func() { c.Close(); server.Close() })
	return c
}

// files is an action that may download and upload, and the folder of its files.
func files(t *testing.T, soar, tq effect.Client, limit int64) (s *effect.Scope, dir string) {
	t.Helper()
	permits, err := manifest.NewPermits([]string{
		"resilient GET /incidents/{id}/attachments/{a}/contents", "threatq POST /api/attachments/upload", "threatq POST /api/attachments",
		"threatq GET /api/imports/{id}/commit",
	})
	require.NoError(t, err)
	dir = t.TempDir()
	p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.Resilient: soar, abi.ThreatQ: tq}, MaxBlob: limit, TempDir: dir,
		Retry: map[string]effect.Retry{abi.Resilient: {Attempts: 3, Delay: time.Nanosecond, Factor: 1}, abi.ThreatQ: {Attempts: 3, Delay: time.Nanosecond, Factor: 1}}})
	s = p.Open(effect.ScopeOptions{Action: "a", Permits: permits, MaxCalls: 20, MaxTurnCalls: 5})
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, entries, "nothing of the action stays")
	})
	return s, dir
}

func stored(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(dir + "/*/*")
	require.NoError(t, err)
	return found
}

func contents(id string) abi.Call {
	return abi.Call{ID: id, Service: abi.Resilient, Method: "GET", Path: "/incidents/2095/attachments/27/contents", Download: true, Idempotent: true}
}

// block is what the generated file repeats.
var block = []byte(fmt.Sprintf("%01024d", 7))

// A file of 50 MB goes from SOAR to ThreatQ, by either way, without being in memory.
func TestLargeFileIsStreamed(t *testing.T) {
	const size = 50 << 20
	soar := remote(t, "Resilient", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Header().Set("Content-Type", "application/pdf")
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	type arrival struct {
		fields               map[string]string
		part, fileName, kind string
		size                 int64
		md5                  string
	}
	arrivals := make(chan arrival, 2)
	tq := remote(t, "ThreatQ", func(w http.ResponseWriter, r *http.Request) {
		got := arrival{fields: map[string]string{}}
		form, err := r.MultipartReader()
		if !assert.NoError(t, err) {
			return
		}
		for {
			part, err := form.NextPart()
			if err != nil {
				assert.ErrorIs(t, err, io.EOF)
				break
			}
			if part.FileName() == "" {
				text, err := io.ReadAll(part)
				assert.NoError(t, err)
				got.fields[part.FormName()] = string(text)
				continue
			}
			sum := md5.New()
			got.size, err = io.Copy(sum, part)
			assert.NoError(t, err)
			got.part, got.fileName, got.kind, got.md5 = part.FormName(), part.FileName(), part.Header.Get("Content-Type"), hex.EncodeToString(sum.Sum(nil))
		}
		arrivals <- got
		_, _ = io.WriteString(w, `{"data":[]}`)
	})
	sum := md5.New()
	for range size / len(block) {
		sum.Write(block)
	}
	want := hex.EncodeToString(sum.Sum(nil))
	s, dir := files(t, soar, tq, 100<<20)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	results, err := s.Perform(t.Context(), []abi.Call{contents("d")})
	require.NoError(t, err)
	require.Nil(t, results[0].Error)
	blob := results[0].Blob
	assert.Equal(t, abi.Blob{Handle: "blob-1", Size: size, MD5: want, ContentType: "application/pdf"}, *blob)
	assert.Len(t, stored(t, dir), 1)

	chunk := map[string]string{"resumableIdentifier": "1-reportpdf", "resumableRelativePath": "report.pdf", "resumableTotalChunks": "1", "resumableFilename": "report.pdf"}
	form := map[string]string{"name": "report.pdf", "title": "T", "type": "PDF", "malware_locked": "0"}
	for _, way := range []struct {
		path     string
		fields   map[string]string
		fileName string
	}{{"/api/attachments/upload", chunk, "blob"}, {"/api/attachments", form, "report.pdf"}} {
		results, err := s.Perform(t.Context(), []abi.Call{{ID: way.path, Service: abi.ThreatQ, Method: "POST", Path: way.path,
			Upload: &abi.Upload{Fields: way.fields, Part: "file", FileName: way.fileName, Blob: blob.Handle}}})
		require.NoError(t, err)
		require.Nil(t, results[0].Error)
		assert.Equal(t, arrival{way.fields, "file", way.fileName, "application/octet-stream", size, want}, <-arrivals)
	}
	runtime.ReadMemStats(&after)
	// Under the race detector pools drop buffers; one copy of the file would still show.
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size), "three times 50 MB passed through, both ends counted")
}

func TestBrokenDownloadIsMadeAnew(t *testing.T) {
	var tries atomic.Int32
	soar := remote(t, "Resilient", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "6")
		if tries.Add(1) == 1 {
			_, _ = io.WriteString(w, "EIC")
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "EICAR!")
	})
	s, dir := files(t, soar, soar, 100)
	results, err := s.Perform(t.Context(), []abi.Call{contents("d")})
	require.NoError(t, err)
	require.Nil(t, results[0].Error)
	assert.EqualValues(t, 6, results[0].Blob.Size)
	sum := md5.Sum([]byte("EICAR!"))
	assert.Equal(t, hex.EncodeToString(sum[:]), results[0].Blob.MD5)
	assert.Len(t, stored(t, dir), 1, "the broken part is gone")
}

func TestFailedDownloadLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   abi.ErrorCode
	}{
		"announced too large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 1001))
		}, abi.CodeTooLarge},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(block); err != nil {
					return // the client has gone: it did not wait for the end
				}
			}
		}, abi.CodeTooLarge},
		"is not there": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
		}, abi.CodeHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			soar := remote(t, "Resilient", c.answer)
			s, dir := files(t, soar, soar, 1000)
			results, err := s.Perform(t.Context(), []abi.Call{contents("d")})
			require.NoError(t, err)
			require.NotNil(t, results[0].Error)
			assert.Equal(t, c.code, results[0].Error.Code)
			assert.Nil(t, results[0].Blob)
			assert.Empty(t, stored(t, dir))
		})
	}
}

func TestDownloadThatBreaksOffEachTimeLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soar := &service{answer: func(_ int, r rest.Request) (*rest.Response, error) {
			_, err := io.WriteString(r.Save, "EIC")
			require.NoError(t, err)
			return nil, failing(abi.CodeUnknown, 0)
		}}
		s, dir := files(t, soar, soar, 1000)
		results, err := s.Perform(t.Context(), []abi.Call{contents("d")})
		require.NoError(t, err)
		assert.Equal(t, abi.CodeUnknown, results[0].Error.Code)
		assert.EqualValues(t, 3, soar.n.Load())
		assert.Empty(t, stored(t, dir))
	})
}

func TestCancelledDownloadLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	soar := remote(t, "Resilient", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "6")
		_, _ = io.WriteString(w, "EIC")
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	})
	s, dir := files(t, soar, soar, 1000)
	_, err := s.Perform(ctx, []abi.Call{contents("d")})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, stored(t, dir))
}

// The commit of an import is a GET that writes: it must not be sent twice by anyone.
func TestGetThatWritesIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var once atomic.Bool
		tq := &service{answer: func(_ int, r rest.Request) (*rest.Response, error) {
			once.Store(r.Once)
			return nil, failing(abi.CodeUnknown, 0)
		}}
		s, _ := files(t, tq, tq, 0)
		commit := abi.Call{ID: "c", Service: abi.ThreatQ, Method: "GET", Path: "/api/imports/33/commit"}
		results, err := s.Perform(t.Context(), []abi.Call{commit})
		require.NoError(t, err)
		assert.Equal(t, abi.CodeUnknown, results[0].Error.Code)
		assert.EqualValues(t, 1, tq.n.Load())
		assert.True(t, once.Load(), "nor by Go's transport")

		commit.ID, commit.Idempotent = "d", true
		_, err = s.Perform(t.Context(), []abi.Call{commit})
		require.NoError(t, err)
		assert.False(t, once.Load(), "an ordinary GET shares the connections")
	})
}
