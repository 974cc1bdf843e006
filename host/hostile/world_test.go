package hostile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/catalog"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/ledger"
	"fn-threatq/host/rest"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestMain(m *testing.M) { testrun.Main(m) }

// manifest of a guest that may call much of both services.
func manifest(name, limits string) string {
	return `{"abi":1,"name":"` + name + `","version":"1.2.3","description":"a guest for tests",` +
		`"rules":[{"title":"` + title(name) + `","description":"","object":"incident","automatic":true}],` +
		`"calls":["threatq GET /api/{rest...}","threatq POST /api/attachments","resilient GET /incidents/{rest...}"],"limits":` + limits + `}`
}

func title(name string) string { return "Test: " + name }

// program is one of the Go guests, which misbehaves when the incident is named so.
func program(t testing.TB, name, limits string) []byte {
	return guestbuild.WithManifest(t, guestbuild.Code(t, name), manifest(name, limits))
}

// code is a guest with this code of a turn.
func code(t testing.TB, limits string, g guestbuild.Tiny) []byte {
	g.Manifest = manifest("hostile", limits)
	return g.File(t)
}

// says is a guest that gives this answer to every turn.
func says(t testing.TB, answer string) []byte { return saysWith(t, `{}`, answer) }

func saysWith(t testing.TB, limits, answer string) []byte {
	// The input goes behind the answer, however long that is.
	return code(t, limits, guestbuild.Tiny{Data: answer, Input: i32(1 << 20), Pages: []byte{0, 20}})
}

// good behaves well.
func good(t testing.TB) []byte {
	return guestbuild.WithManifest(t, guestbuild.Tiny{Data: `{"reply":{"success":true,"message":"All is well."}}`}.Code(), manifest("good", `{}`))
}

// world is a host with some modules, and services that note what reaches them.
type world struct {
	t       testing.TB
	catalog *catalog.Catalog
	flow    *flow.Flow
	log     *lockedBuffer
	sent    atomic.Int64
	// soar takes the place of the stub, when there is one.
	soar effect.Client

	mu       sync.Mutex
	requests []rest.Request
}

// open makes the world; an error is a module that was refused.
func open(t testing.TB, files map[string][]byte) (*world, error) {
	t.Helper()
	w := &world{t: t, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	box, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules(), Logger: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close(context.Background())) })
	folder, titles := fstest.MapFS{}, titles{}
	for name, file := range files {
		folder[name+".wasm"] = &fstest.MapFile{Data: file}
	}
	if w.catalog, err = catalog.Open(t.Context(), catalog.Options{Box: box, Builtin: folder, Logger: log}); err != nil {
		return nil, err
	}
	for n, m := range w.catalog.Modules() {
		titles[int64(n)] = m.Manifest().Rules[0].Title
		if _, err := m.Loaded(t.Context()); err != nil {
			return nil, err
		}
	}
	w.flow = flow.New(flow.Options{
		Modules: w.catalog, Directory: titles, Ledger: ledger.NewMemory(), Site: abi.Site{OrgID: 201, OrgName: "Example Org"},
		Performer: effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: w, abi.Resilient: toSOAR{w}}, TempDir: t.TempDir()}),
		Logger:    log,
	})
	t.Cleanup(func() { require.NoError(t, w.flow.Drain(context.Background())) })
	return w, nil
}

// Do is a service that answers everything.
func (w *world) Do(_ context.Context, r rest.Request) (*rest.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r)
	if r.Save != nil {
		if _, err := io.WriteString(r.Save, "the file of this action"); err != nil {
			return nil, err
		}
		return &rest.Response{Status: 200}, nil
	}
	return &rest.Response{Status: 200, Body: []byte(`{"data":[]}`)}, nil
}

// toSOAR is the client for calls to SOAR.
type toSOAR struct{ *world }

func (s toSOAR) Do(ctx context.Context, r rest.Request) (*rest.Response, error) {
	if s.soar == nil {
		return s.world.Do(ctx, r)
	}
	return s.soar.Do(ctx, r)
}

// reached are the requests so far.
func (w *world) reached() []rest.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

// reply is what SOAR is told at the end of an action.
type reply struct {
	Type    int            `json:"message_type"`
	Message string         `json:"message"`
	Results map[string]any `json:"results"`
}

// play takes an action of a module from its message to its acknowledgement.
func (w *world) play(module string) reply {
	rule := -1
	for n, m := range w.catalog.Modules() {
		if m.Manifest().Name == module {
			rule = n
		}
	}
	n := w.sent.Add(1)
	d := &delivery{done: make(chan struct{}), message: flow.Message{
		ID: fmt.Sprintf("ID:hostile:%d", n), ReplyTo: "acks", CorrelationID: "c", Payload: "ActionDataDTO", Timestamp: time.UnixMilli(1580479200000),
		Body: fmt.Appendf(nil, `{"action_id":%d,"object_type":0,"incident":{"id":%d,"name":"misbehave","org_id":201}}`, rule, n),
	}}
	w.flow.Handle(d)
	<-d.done
	var r reply
	if err := json.Unmarshal(d.body, &r); err != nil {
		panic(err)
	}
	return r
}

type titles map[int64]string

func (t titles) RuleName(_ context.Context, id int64) (string, error) { return t[id], nil }
func (titles) FieldLabels(context.Context, int64) (map[string]string, error) {
	return map[string]string{}, nil
}
func (titles) FieldOption(context.Context, string, int64) (string, error) { return "", nil }

type delivery struct {
	message flow.Message
	body    []byte
	done    chan struct{}
}

func (d *delivery) Message() flow.Message               { return d.message }
func (d *delivery) Reply(context.Context, []byte) error { return nil }
func (d *delivery) Ack(context.Context) error           { close(d.done); return nil }

func (d *delivery) Finish(_ context.Context, body []byte) error {
	d.body = body
	close(d.done)
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
