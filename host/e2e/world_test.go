package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// patience is how long a test waits for what must come. The first actions of a
// host wait for their modules, for long under the race detector on a busy machine.
const patience = 3 * time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t testing.TB, condition func() bool, format string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, append([]any{format}, args...)...)
}

// keys are keys of one section of app.config. An empty text leaves the key out,
// "blank" writes it without a value.
type keys map[string]string

// setup says how a world differs from the usual one.
type setup struct {
	// modules that the host has; nil for Sync Incident alone.
	modules []string
	// files are module files that are used instead, by a catalog of this host's
	// own with a store in its state folder.
	files     fs.FS
	soar      resilienttest.Options
	tq        threatqtest.Options
	resilient keys
	threatq   keys
	apiKey    bool // log in by API key rather than by e-mail
	odd       bool // the account with odd characters
	ownBroker bool // the test stops the broker
	// broker is the way to start one, when not the usual.
	broker func(t *testing.T) messageBroker
}

type world struct {
	t      *testing.T
	broker messageBroker
	relay  *relay
	soar   *resilienttest.Server
	tq     *threatqtest.Server
	*player
	logs  *logBook
	state string
	dir   string
	// drain is host.Options.DrainTime.
	drain time.Duration
	// trial is host.Options.TrialDelay; an hour when 0, as it costs time.
	trial time.Duration
	setup setup
	// rules makes SOAR send the messages of automatic rules.
	rules atomic.Bool
	queue string

	sentMu sync.Mutex
	sent   []string // correlation ids of automatic messages
}

// organizations gives each test queues of its own on a shared broker.
var organizations atomic.Int64

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	if s.modules == nil {
		s.modules = []string{"sync-incident"}
	}
	w := &world{t: t, setup: s, logs: &logBook{}, dir: t.TempDir()}
	w.state = filepath.Join(w.dir, "state")
	start := startBroker
	if s.ownBroker {
		start = startOwnBroker
	}
	if s.broker != nil {
		start = s.broker
	}
	w.broker = start(t)
	w.relay = startRelay(t, w.broker.Addr())

	org := 201 + organizations.Add(1)
	s.soar.Authority, s.tq.Authority = shared.authority, shared.authority
	if len(s.soar.Orgs) == 0 {
		s.soar.Orgs = []resilienttest.Org{{ID: org, Name: resilienttest.DefaultOrg}}
	}
	user, passcode := w.account()
	if s.soar.Email == "" {
		s.soar.Email, s.soar.Password = user, passcode
	}
	s.soar.APIKeyID, s.soar.APIKeySecret = user, passcode
	s.soar.OnMessage = func(m resilienttest.Message) {
		if w.rules.Load() {
			correlation := w.send(m)
			w.sentMu.Lock()
			w.sent = append(w.sent, correlation)
			w.sentMu.Unlock()
		}
	}
	w.soar = resilienttest.New(s.soar)
	t.Cleanup(w.soar.Close)
	w.tq = threatqtest.New(s.tq)
	t.Cleanup(w.tq.Close)
	w.queue = fmt.Sprintf("actions.%d.%s", w.soar.OrgID(), resilienttest.Destination)
	w.player = startPlayer(t, w.broker, w.soar.OrgID())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.logs.text())
		}
	})
	return w
}

func (w *world) account() (user, passcode string) {
	if w.setup.odd {
		return oddUser, oddPasscode
	}
	return integrationUser, integrationPasscode
}

// configuration writes app.config and loads it, as the program does.
func (w *world) configuration() (*config.Config, error) {
	_, soarPort, _ := strings.Cut(w.soar.Addr(), ":")
	user, passcode := w.account()
	resilient := keys{
		"host": "127.0.0.1", "port": soarPort, "org": resilienttest.DefaultOrg, "cafile": shared.caFile,
		"stomp_port": fmt.Sprint(w.relay.port()), "stomp_cafile": w.broker.CAFile(),
	}
	if w.setup.apiKey {
		resilient["api_key_id"], resilient["api_key_secret"] = user, passcode
	} else {
		resilient["email"], resilient["password"] = user, passcode
	}
	threatq := keys{
		"host": w.tq.URL(), "username": threatqtest.DefaultEmail, "password": threatqtest.DefaultPassword,
		"cid": threatqtest.DefaultClientID, "cafile": shared.caFile,
	}
	maps.Copy(resilient, w.setup.resilient)
	maps.Copy(threatq, w.setup.threatq)
	var text strings.Builder
	section := func(name string, k keys) {
		fmt.Fprintf(&text, "[%s]\n", name)
		for _, key := range slices.Sorted(maps.Keys(k)) {
			switch k[key] {
			case "":
			case "blank":
				fmt.Fprintf(&text, "%s=\n", key)
			default:
				fmt.Fprintf(&text, "%s=%s\n", key, k[key])
			}
		}
	}
	section("resilient", resilient)
	section("fn_threatq", threatq)
	path := filepath.Join(w.dir, "app.config")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return config.Load(config.Options{Path: path, Environ: []string{}, Home: w.dir})
}

// process is a running host.
type process struct {
	w      *world
	app    *host.App
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// launch runs a host without waiting for it.
func (w *world) launch() *process {
	w.t.Helper()
	c, err := w.configuration()
	require.NoError(w.t, err)
	p := &process{w: w, done: make(chan struct{})}
	installed := (*catalog.Catalog)(nil)
	if w.setup.files == nil {
		installed = install(w.setup.modules...)
	}
	p.app, err = host.New(within(w.t), host.Options{
		Config: c, Logger: slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Catalog: installed, Modules: w.setup.files, CacheDir: shared.cacheDir, StateDir: w.state, DrainTime: w.drain, TrialDelay: cmp.Or(w.trial, time.Hour),
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		p.err = p.app.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		select {
		case <-p.done:
		case <-time.After(patience):
			w.t.Error("the host did not end")
		}
	})
	return p
}

// start runs a host and waits until it is subscribed.
func (w *world) start() *process {
	w.t.Helper()
	p := w.launch()
	p.ready()
	return p
}

// ready waits until the host is subscribed.
func (p *process) ready() {
	p.w.t.Helper()
	select {
	case <-p.app.Ready():
	case <-p.done:
		require.Fail(p.w.t, "the host ended before it was ready", "%v", p.err)
	case <-time.After(patience):
		require.Fail(p.w.t, "the host did not become ready")
	}
}

// stop ends the host in order.
func (p *process) stop() {
	p.w.t.Helper()
	p.cancel()
	require.NoError(p.w.t, p.wait())
}

// wait is the outcome of Run.
func (p *process) wait() error {
	p.w.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		require.Fail(p.w.t, "the host did not end")
		return nil
	}
}

// settled ends the host and holds that the broker has no message any more.
func (p *process) settled() {
	p.w.t.Helper()
	p.stop()
	p.w.catchUp()
	assert.Zero(p.w.t, p.w.leftover(p.w.queue), "messages that were not acknowledged")
}

// once is the one final reply to a message; call it after settled.
func (w *world) once(correlation string) reply {
	w.t.Helper()
	finals := w.finals(correlation)
	require.Len(w.t, finals, 1, "final replies to %s", correlation)
	return finals[0]
}

// do publishes a message and waits for its successful reply.
func (w *world) do(m resilienttest.Message) reply {
	w.t.Helper()
	r := w.final(w.send(m))
	require.Zero(w.t, r.Type, r.Message)
	return r
}

// automatic are the correlation ids of the messages of automatic rules so far.
func (w *world) automatic() []string {
	w.sentMu.Lock()
	defer w.sentMu.Unlock()
	return slices.Clone(w.sent)
}

func (w *world) incidentMessage(incident int64, operation string) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{IncidentID: incident, Operation: operation})
}

func (w *world) artifactMessage(artifact int64) resilienttest.Message {
	return w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact})
}

// event is the one event that ThreatQ has.
func (w *world) event() threatqtest.Object {
	w.t.Helper()
	events := w.tq.Events()
	require.Len(w.t, events, 1)
	return events[0]
}

// attribute are the values of an attribute, joined.
func attribute(o threatqtest.Object, name string) string {
	var values []string
	for _, a := range o.Attributes {
		if a.Name == name {
			values = append(values, a.Value)
		}
	}
	return strings.Join(values, "|")
}

// eventURL is the address of an event's page.
func (w *world) eventURL(id int) string { return fmt.Sprintf("%s/events/%d/details", w.tq.URL(), id) }

// edit changes the body of a message.
func edit(t testing.TB, m resilienttest.Message, change func(body map[string]any)) resilienttest.Message {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(m.Body))
	decoder.UseNumber()
	var body map[string]any
	require.NoError(t, decoder.Decode(&body))
	change(body)
	text, err := json.Marshal(body)
	require.NoError(t, err)
	m.Body = text
	return m
}

// without is a message without some of its headers.
func without(m resilienttest.Message, headers ...string) resilienttest.Message {
	m.Headers = maps.Clone(m.Headers)
	for _, h := range headers {
		delete(m.Headers, h)
	}
	return m
}

// logBook keeps the lines of a log.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*logBook)(nil)

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines are the log lines with a message; all of them when it is empty.
func (l *logBook) lines(msg string) (out []map[string]any) {
	for line := range strings.Lines(l.text()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && (msg == "" || entry["msg"] == msg) {
			out = append(out, entry)
		}
	}
	return out
}

// said tells whether a line of the log holds all the words.
func (l *logBook) said(words ...string) bool {
	for line := range strings.Lines(l.text()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return true
		}
	}
	return false
}

// deadLetters are those of the host, as JSON texts.
func (w *world) deadLetters() (out []string) {
	w.t.Helper()
	actions, err := host.OpenActions(w.state)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, actions.Close()) }()
	letters, err := actions.Letters()
	require.NoError(w.t, err)
	for _, letter := range letters {
		text, err := json.Marshal(letter)
		require.NoError(w.t, err)
		out = append(out, string(text)+string(letter.Body))
	}
	return out
}

// unreadable counts the dead letters of messages that could not be read.
func (w *world) unreadable() (n int) {
	for _, text := range w.deadLetters() {
		if strings.Contains(text, `"unreadable":true`) {
			n++
		}
	}
	return n
}
