package hostile_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/rest"
	"fn-threatq/testdata/guests/guestbuild"
)

// counting is a guest whose replies hold a digit that it raises, by these
// instructions on the address of the digit.
func counting(t testing.TB, g guestbuild.Tiny) []byte {
	g.Data = counted
	g.Turn = append(g.Turn, guestbuild.Answer(0, uint32(len(g.Data)))...)
	return code(t, `{}`, g)
}

const counted = `{"reply":{"success":true,"message":"0"}}`

// digit is where the digit stands.
var digit = byte(strings.Index(counted, `0"`))

// TestNothingStaysBetweenActions plays guests that keep a count in each place
// that outlives a call.
func TestNothingStaysBetweenActions(t *testing.T) {
	at := []byte{0x41, digit}
	add := append(append(append([]byte{}, at...), at...), 0x2d, 0, 0, 0x41, 1, 0x6a, 0x3a, 0, 0)
	byGlobal := append(append([]byte{0x23, 0, 0x41, 1, 0x6a, 0x24, 0}, at...), 0x23, 0, 0x3a, 0, 0)
	// The table begins with null; it is the digit 0 or 1.
	byTable := append(append([]byte{}, at...), 0x41, 0, 0x25, 0, 0xd1, 0x41, 0x31, 0x6a, 0x3a, 0, 0, 0x41, 0, 0xd2, 0, 0x26, 0)
	bySize := append(append([]byte{}, at...), 0x3f, 0, 0x41, 0x30, 0x6a, 0x3a, 0, 0, 0x41, 1, 0x40, 0, 0x1a)
	w, err := open(t, map[string][]byte{
		"memory": named(t, "memory", guestbuild.Tiny{Turn: add}),
		"global": named(t, "global", guestbuild.Tiny{Turn: byGlobal, Globals: [][]byte{{0x7f, 1, 0x41, 0x30, 0x0b}}}),
		"table":  named(t, "table", guestbuild.Tiny{Turn: byTable, Tables: []byte{1, 0x70, 0, 1}, Elements: []byte{1, 3, 0, 1, 0}}),
		"size":   named(t, "size", guestbuild.Tiny{Turn: bySize}),
	})
	require.NoError(t, err)
	for _, m := range w.catalog.Modules() {
		name := m.Manifest().Name
		first := w.play(name)
		require.Zero(t, first.Type, first.Message)
		for range 5 {
			assert.Equal(t, first.Message, w.play(name).Message, name)
		}
	}
}

func named(t testing.TB, name string, g guestbuild.Tiny) []byte {
	return guestbuild.WithManifest(t, counting(t, g), manifest(name, `{}`))
}

// TestMemoryDoesNotGrowFromActionToAction: what a turn took is given back.
func TestMemoryDoesNotGrowFromActionToAction(t *testing.T) {
	w, err := open(t, map[string][]byte{"growmemory": program(t, "growmemory", `{}`)})
	require.NoError(t, err)
	module, err := w.catalog.Modules()[0].Loaded(t.Context())
	require.NoError(t, err)
	image := module.Stats().ImageBytes
	for n := range 10 {
		require.Zero(t, w.play("growmemory").Type)
		s := module.Stats()
		assert.EqualValues(t, n+1, s.Outgrown)
		assert.Zero(t, s.Idle, "the instance that grew is thrown away")
		assert.Equal(t, image, s.ImageBytes)
	}
}

// TestTimeCannotBeGuessed: the clocks stand still however long a guest computes
// between two looks, so it can time nothing: not the host, not other actions.
func TestTimeCannotBeGuessed(t *testing.T) {
	// A million rounds between two readings of the clock, to 64 and to 72; the
	// digit is how many bits of the two differ.
	read := func(clock byte, at int64) []byte {
		return append(append([]byte{0x41, clock, 0x42, 1, 0x41}, guestbuild.Signed(at)...), 0x10, 0, 0x1a)
	}
	for clock, name := range []string{"wall", "monotonic"} {
		spin := append([]byte{0x03, 0x40, 0x41, 0x80, 0x02, 0x41, 0x80, 0x02, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, 0x41, 0x80, 0x02, 0x28, 2, 0, 0x41},
			append(guestbuild.Signed(1_000_000), 0x49, 0x0d, 0, 0x0b)...)
		turn := append(read(byte(clock), 64), spin...)
		turn = append(append(turn, read(byte(clock), 72)...), 0x41, digit,
			0x41, 0xc8, 0, 0x29, 3, 0, 0x41, 0xc0, 0, 0x29, 3, 0, 0x85, 0x7b, 0xa7, 0x41, 0x30, 0x6a, 0x3a, 0, 0)
		file := named(t, "clock", guestbuild.Tiny{Turn: turn, Types: map[int][]byte{3: {0x60, 3, 0x7f, 0x7e, 0x7f, 1, 0x7f}},
			Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "clock_time_get", 3)}, Imported: 1})
		w, err := open(t, map[string][]byte{"clock": file})
		require.NoError(t, err)
		assert.Equal(t, "0", w.play("clock").Message, name)
	}
}

func TestAFloodOfLogLinesIsCutAndCounted(t *testing.T) {
	w, err := open(t, map[string][]byte{"floodlog": program(t, "floodlog", `{"log_kb":1}`)})
	require.NoError(t, err)
	require.Zero(t, w.play("floodlog").Type, "it harms nobody")
	assert.Less(t, len(w.log.String()), 20_000)
	assert.Contains(t, w.log.String(), "more bytes)")
}

// TestNoCallLeavesTheOrganization gives guests all of SOAR that a manifest can
// name, and the host's own client: whatever they ask for is asked of their
// organization, or of nobody.
func TestNoCallLeavesTheOrganization(t *testing.T) {
	server := resilienttest.New(resilienttest.Options{})
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL())
	require.NoError(t, err)
	client := resilient.New(resilient.Options{Base: base, TLS: server.Authority().ClientConfig(), Org: resilienttest.DefaultOrg,
		APIKeyID: resilienttest.DefaultAPIKeyID, APIKeySecret: func() string { return resilienttest.DefaultAPIKeySecret }})
	t.Cleanup(func() { require.NoError(t, client.Close(context.Background())) })
	_, err = client.Connect(t.Context())
	require.NoError(t, err)
	logins := len(server.Requests())

	paths := []string{"/rest/orgs/202/incidents/1", "/orgs/202/incidents/1", "/rest/session", "/rest/orgs", "/../202/incidents/1", "/incidents/../../202/incidents/1",
		"/incidents/../../../session", "/%2e%2e/202/incidents/1", "/..%2f202/incidents/1", `/..\202/incidents/1`, "/..;/202/incidents/1", "//202/incidents/1", "/.", "/"}
	files := map[string][]byte{}
	for n, path := range paths {
		name := fmt.Sprintf("broad-%d", n)
		broad := strings.Replace(manifest(name, `{}`), "/incidents/{rest...}", "/{rest...}", 1)
		files[name] = guestbuild.WithManifest(t, guestbuild.Tiny{Data: call("resilient", "GET", path, ""), Input: i32(1 << 20), Pages: []byte{0, 20}}.Code(), broad)
	}
	w, err := open(t, files)
	require.NoError(t, err)
	w.soar = client
	for name := range files {
		assert.Equal(t, 1, w.play(name).Type)
	}
	assert.Len(t, server.Requests()[logins:], 4, "those that are plain names in the organization; the others were refused")
	for _, path := range paths {
		// The client does not hang on what was checked before.
		_, err = client.Do(t.Context(), rest.Request{Method: "PATCH", Path: path})
		assert.Error(t, err, path)
	}
	for _, r := range server.Requests()[logins:] {
		assert.Regexp(t, `^/rest/orgs/201/`, r.Path)
		assert.Regexp(t, `^/rest/orgs/201/`, path.Clean(r.Path)+"/", r.Path)
	}
}

// evil is a text that would end a header, where a header is written.
const evil = "x\r\nX-Evil: 1\r\n\r\nGET /api/token HTTP/1.1\r\n"

// session is a login of the host.
type session struct{}

func (session) Login(context.Context, *http.Client) (rest.Session, error) { return session{}, nil }
func (session) Authorize(r *http.Request)                                 { r.Header.Set("Authorization", "Bearer the-host") }
func (session) ExpiresAt() time.Time                                      { return time.Time{} }

// TestNoHeaderCanBeWritten sends all texts that a module can fill in to a real
// server, with what ends a header in each.
func TestNoHeaderCanBeWritten(t *testing.T) {
	requests := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		requests++
		assert.Empty(t, r.Header.Get("X-Evil"))
		assert.Equal(t, "Bearer the-host", r.Header.Get("Authorization"))
		assert.NotContains(t, r.URL.Path, "token")
		if reader, err := r.MultipartReader(); err == nil {
			for part, err := reader.NextPart(); err == nil; part, err = reader.NextPart() {
				assert.Empty(t, part.Header.Get("X-Evil"))
			}
		} else {
			assert.Equal(t, evil, r.URL.Query().Get(evil), "a query may hold anything")
		}
		_, _ = io.WriteString(answer, `{"data":[]}`)
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	require.NoError(t, err)
	client := rest.New(rest.Options{Service: "ThreatQ", Base: base, Authenticator: session{}, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	defer client.Close()
	owner, _ := scopes(t, client)
	_, err = owner.Perform(t.Context(), []abi.Call{{ID: "q", Service: abi.ThreatQ, Method: "GET", Path: "/api/events", Query: map[string]string{evil: evil}}})
	require.NoError(t, err)
	send := upload("s", download(t, owner))
	u := send[0].Upload
	u.Part, u.FileName, u.ContentType, u.Fields = evil, evil, evil, map[string]string{evil: evil}
	results, err := owner.Perform(t.Context(), send)
	require.NoError(t, err)
	assert.Nil(t, results[0].Error)
	assert.Equal(t, 2, requests)
	// The keys of a call that are not the contract's go nowhere.
	w, err := open(t, map[string][]byte{"hostile": says(t, `{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events","headers":{"X-Evil":"1"},"header":{"Host":"evil.example"},"host":"evil.example","url":"https://evil.example"}]}`)})
	require.NoError(t, err)
	assert.Contains(t, w.play("hostile").Message, `two calls of the action have the id "a"`, "its one answer comes twice")
	assert.Equal(t, []rest.Request{{Method: "GET", Path: "/api/events", Once: true}}, w.reached())
}

// scopes are two actions of one host.
func scopes(t *testing.T, threatq effect.Client) (one, other *effect.Scope) {
	t.Helper()
	w, err := open(t, map[string][]byte{"good": good(t)})
	require.NoError(t, err)
	performer := effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: threatq, abi.Resilient: w}, TempDir: t.TempDir()})
	options := effect.ScopeOptions{Action: "a", Permits: w.catalog.Modules()[0].Permits(), MaxCalls: 9, MaxTurnCalls: 9}
	one, other = performer.Open(options), performer.Open(options)
	t.Cleanup(func() {
		require.NoError(t, one.Close())
		require.NoError(t, other.Close())
	})
	return one, other
}

// download makes a blob of an action.
func download(t *testing.T, s *effect.Scope) (handle string) {
	t.Helper()
	results, err := s.Perform(t.Context(), []abi.Call{{ID: "d", Service: abi.Resilient, Method: "GET", Path: "/incidents/1/attachments/2/contents", Download: true}})
	require.NoError(t, err)
	require.NotNil(t, results[0].Blob)
	return results[0].Blob.Handle
}

func upload(id, blob string) []abi.Call {
	return []abi.Call{{ID: id, Service: abi.ThreatQ, Method: "POST", Path: "/api/attachments", Upload: &abi.Upload{Part: "file", FileName: "f", Blob: blob}}}
}

// service answers everything.
type service struct{}

func (service) Do(context.Context, rest.Request) (*rest.Response, error) {
	return &rest.Response{Status: 200, Body: []byte(`{}`)}, nil
}

// TestABlobIsOfOneAction: an action that downloaded a file can send it; the
// next one, which knows its name, cannot.
func TestABlobIsOfOneAction(t *testing.T) {
	owner, other := scopes(t, service{})
	handle := download(t, owner)
	_, err := other.Perform(t.Context(), upload("s", handle))
	require.ErrorContains(t, err, fmt.Sprintf("this action has no blob %q", handle))
	_, err = owner.Perform(t.Context(), upload("s", handle))
	require.NoError(t, err)
}

func TestAModuleThatKeepsFailingIsPutAsideWhileOthersWork(t *testing.T) {
	w, err := open(t, map[string][]byte{"panic": program(t, "panic", `{}`), "good": good(t)})
	require.NoError(t, err)
	for range 5 {
		require.Contains(t, w.play("panic").Message, "the guest gave up")
		require.Equal(t, "All is well.", w.play("good").Message)
	}
	got := w.play("panic")
	assert.Equal(t, 1, got.Type)
	assert.Contains(t, got.Message, "module panic 1.2.3 failed 5 times in a row by its own fault and is not used until")
	assert.Contains(t, got.Message, "the guest gave up", "and says by what")
	assert.Equal(t, "All is well.", w.play("good").Message)
	assert.Equal(t, 1, strings.Count(w.log.String(), "a module keeps failing"), "reported once")
	assert.Regexp(t, `level=ERROR msg="a module keeps failing[^"]*" module="panic 1.2.3" digest=[0-9a-f]{64}`, w.log.String())
}

// TestStallOfTheHost plays what spins, beside collections of garbage, and tells
// how long the collector had to wait for the guests to stop: the longest, from
// the runtime's own histogram. What bounds it is held by the number of slices,
// in package sandbox.
func TestStallOfTheHost(t *testing.T) {
	w, err := open(t, map[string][]byte{"spin": program(t, "spin", `{"turn_fuel":500,"turn_ms":60000}`), "good": good(t)})
	require.NoError(t, err)
	before := stops()
	ended := make(chan reply)
	go func() { ended <- w.play("spin") }()
	collections := 0
	for done := false; !done; collections++ {
		runtime.GC()
		require.Equal(t, "All is well.", w.play("good").Message)
		select {
		case got := <-ended:
			done = true
			assert.Contains(t, got.Message, "used 500.0 million units of fuel")
		default:
		}
	}
	after := stops()
	longest := 0.0
	for n, count := range after.Counts {
		if count > before.Counts[n] {
			longest = after.Buckets[n+1]
		}
	}
	if math.IsInf(longest, 1) {
		longest = after.Buckets[len(after.Buckets)-2]
	}
	t.Logf("%d collections beside a guest that spins; stopping the world for one took %v at most",
		collections, time.Duration(longest*float64(time.Second)).Round(time.Microsecond))
}

// stops is how long it took until all that runs stood still for the collector.
func stops() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}
