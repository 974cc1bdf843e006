package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/secret"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestMain(m *testing.M) { testrun.Main(m) }

// parsed is a configuration without mistakes.
func parsed(t *testing.T, text string, environ ...string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.config")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	c, err := config.Load(config.Options{Path: path, Environ: append([]string{}, environ...), Home: dir})
	require.NoError(t, err)
	return c
}

func TestSiteURL(t *testing.T) {
	for _, test := range []struct {
		name string
		port int
		want string
	}{
		{"soar.example.com", 443, "https://soar.example.com"},
		{"soar.example.com", 8443, "https://soar.example.com:8443"},
		{"192.0.2.7", 443, "https://192.0.2.7"},
		{"2001:db8::7", 443, "https://[2001:db8::7]"},
		{"2001:db8::7", 8443, "https://[2001:db8::7]:8443"},
	} {
		u := siteURL(test.name, test.port)
		assert.Equal(t, test.want, u.String())
		assert.Equal(t, test.name, u.Hostname())
		assert.Equal(t, test.want+"/api/soar/rest", u.JoinPath("/api/soar", "rest").String())
	}
}

func TestMaxBlob(t *testing.T) {
	assert.EqualValues(t, 100<<20, maxBlob(map[string]string{"max_attachment_mb": "100"}))
	assert.Zero(t, maxBlob(map[string]string{}))
}

// modules is one rule that nobody calls.
func modules(t *testing.T) fs.FS {
	return fstest.MapFS{"tiny.wasm": {Data: guestbuild.Tiny{}.File(t)}}
}

// site is a SOAR, its broker, and a ThreatQ.
type site struct {
	authority *testcert.Authority
	soar      *resilienttest.Server
	broker    *brokertest.Server
	tq        *threatqtest.Server
	keys      map[string]string // of [resilient]
	logs      logBook
	// stateDir of the apps; empty: one of its own for each.
	stateDir string
}

const (
	email    = "integration@example.com"
	password = "s0ar-c4nary-pw"
)

func newSite(t *testing.T, o resilienttest.Options, b brokertest.Options) *site {
	t.Helper()
	s := &site{authority: testcert.New()}
	o.Authority, o.Email, o.Password = s.authority, email, password
	s.soar = resilienttest.New(o)
	t.Cleanup(s.soar.Close)
	s.tq = threatqtest.New(threatqtest.Options{Authority: s.authority, Password: "tq-c4nary-pw", ClientID: "tq-c4nary-cid"})
	t.Cleanup(s.tq.Close)
	if b.TLS == nil {
		b.TLS = s.authority.ServerConfig()
	}
	var err error
	s.broker, err = brokertest.Start(b)
	require.NoError(t, err)
	t.Cleanup(s.broker.Stop)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, s.authority.CAPEM(), 0o600))
	_, soarPort, _ := net.SplitHostPort(s.soar.Addr())
	_, stompPort, _ := net.SplitHostPort(s.broker.Addr())
	s.keys = map[string]string{
		"host": "127.0.0.1", "port": soarPort, "stomp_port": stompPort, "org": resilienttest.DefaultOrg,
		"email": email, "password": password, "cafile": ca,
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.logs.text())
		}
		for _, canary := range []string{password, "tq-c4nary-pw", "tq-c4nary-cid"} {
			assert.NotContains(t, s.logs.text(), canary, "a secret in the log")
		}
	})
	return s
}

func (s *site) config(t *testing.T) *config.Config {
	t.Helper()
	text := "[resilient]\n"
	for key, value := range s.keys {
		text += key + "=" + value + "\n"
	}
	return parsed(t, text+"[fn_threatq]\nhost="+s.tq.URL()+"\nusername="+threatqtest.DefaultEmail+
		"\npassword=tq-c4nary-pw\ncid=tq-c4nary-cid\ncafile="+s.keys["cafile"]+"\n")
}

// run starts an app; its outcome comes by the channel.
func (s *site) run(t *testing.T) (app *App, stop context.CancelFunc, ended chan error) {
	t.Helper()
	app, err := New(within(t), Options{
		Config: s.config(t), Modules: modules(t), CacheDir: testrun.Cache(), StateDir: cmp.Or(s.stateDir, t.TempDir()),
		Logger: slog.New(slog.NewTextHandler(&s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended = make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	return app, cancel, ended
}

func outcome(t *testing.T, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-within(t).Done():
		require.Fail(t, "the app did not end")
		return nil
	}
}

func awaitReady(t *testing.T, app *App, ended chan error) {
	t.Helper()
	select {
	case <-app.Ready():
	case err := <-ended:
		require.Fail(t, "the app ended before it was ready", "%v", err)
	case <-within(t).Done():
		require.Fail(t, "the app did not become ready")
	}
}

func TestRunsUntilItsContextEnds(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	assert.Contains(t, s.logs.text(), fmt.Sprintf("destination=actions.%d.fn_threatq", s.soar.OrgID()))
	stop()
	require.NoError(t, outcome(t, ended))
	// The broker sees the end of the connection when it gets to it.
	require.Eventually(t, func() bool { return s.broker.Connections() == 0 }, patience, time.Millisecond, "a connection is left open")
	assert.Zero(t, s.soar.OpenSessions(), "it logs out")
}

func TestSecretsOfTheConfigurationAreMaskedInTheLog(t *testing.T) {
	// Somebody has called the organization by the password of ThreatQ.
	s := newSite(t, resilienttest.Options{Orgs: []resilienttest.Org{{ID: 202, Name: "Org of tq-c4nary-pw"}}}, brokertest.Options{})
	s.keys["org"] = "Org of tq-c4nary-pw"
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	assert.Contains(t, s.logs.text(), `organization="Org of `+secret.Mask+`"`)
	stop()
	require.NoError(t, outcome(t, ended))
}

func TestThreatQMayBeDownAtTheStart(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	s.tq.Close()
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	assert.Contains(t, s.logs.text(), "ThreatQ does not answer as it should")
	stop()
	require.NoError(t, outcome(t, ended))
}

func TestWhatOnlyAPersonCanMendEndsTheApp(t *testing.T) {
	stranger := map[string]brokertest.User{"somebody": {Passcode: "else"}}
	forbidden := map[string]brokertest.User{email: {Passcode: password, Read: []string{}, Write: []string{}}}
	other := testcert.New()
	for name, test := range map[string]struct {
		soar   resilienttest.Options
		broker brokertest.Options
		keys   map[string]string
		want   int
		text   string
	}{
		"SOAR refuses the login":       {keys: map[string]string{"password": "wr0ng-c4nary"}, want: ExitUnauthorized},
		"no such organization":         {keys: map[string]string{"org": "Elsewhere"}, want: ExitOrganization, text: "Elsewhere"},
		"actions are disabled":         {soar: resilienttest.Options{ActionsFrameworkDisabled: true}, want: ExitOrganization},
		"the broker refuses the login": {broker: brokertest.Options{Users: stranger}, want: ExitStompLogin, text: "check the API key"},
		"the destination is forbidden": {broker: brokertest.Options{Users: forbidden}, want: ExitStompForbidden, text: "message destination"},
		"the broker's certificate":     {broker: brokertest.Options{TLS: other.ServerConfig()}, want: ExitTLS, text: "stomp_cafile"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.soar, test.broker)
			for key, value := range test.keys {
				s.keys[key] = value
			}
			_, _, ended := s.run(t)
			err := outcome(t, ended)
			require.ErrorContains(t, err, test.text)
			assert.Equal(t, test.want, ExitCode(err), "%v", err)
			assert.NotContains(t, err.Error(), "c4nary")
			assert.NotContains(t, s.logs.text(), "c4nary")
		})
	}
}

func TestSOARsCertificateEndsTheApp(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	require.NoError(t, os.WriteFile(s.keys["cafile"], testcert.New().CAPEM(), 0o600))
	_, _, ended := s.run(t)
	err := outcome(t, ended)
	assert.Equal(t, ExitTLS, ExitCode(err), "%v", err)
	require.ErrorContains(t, err, "set cafile in [resilient]")
}

func TestStopsWhileSOARIsNotReachable(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	s.soar.Close()
	app, stop, ended := s.run(t)
	require.Eventually(t, func() bool { return strings.Contains(s.logs.text(), "SOAR is not reachable; trying again") }, patience, 5*time.Millisecond)
	stop()
	require.NoError(t, outcome(t, ended))
	select {
	case <-app.Ready():
		assert.Fail(t, "it was never subscribed")
	default:
	}
}

func TestStopsWhileTheBrokerIsNotReachable(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	s.broker.Stop()
	_, stop, ended := s.run(t)
	require.Eventually(t, func() bool { return strings.Contains(s.logs.text(), "no message broker session") }, patience, 5*time.Millisecond)
	stop()
	require.NoError(t, outcome(t, ended))
}

const minimal = "[resilient]\nhost=soar.test\norg=o\napi_key_id=k\napi_key_secret=s\n%s\n[fn_threatq]\nhost=threatq.test\nusername=u\npassword=p\ncid=c\n"

func TestNewRefuses(t *testing.T) {
	o := Options{Modules: fstest.MapFS{}, CacheDir: t.TempDir(), StateDir: t.TempDir()}
	o.Config = parsed(t, fmt.Sprintf(minimal, "stomp=0"))
	_, err := New(within(t), o)
	require.ErrorIs(t, err, ErrStompOff)

	o.Config = parsed(t, fmt.Sprintf(minimal, ""))
	_, err = New(within(t), o)
	require.ErrorIs(t, err, catalog.ErrNoModules)

	o.Modules = fstest.MapFS{"broken.wasm": {Data: []byte("no module")}}
	_, err = New(within(t), o)
	require.ErrorContains(t, err, "module file broken.wasm")
	assert.Equal(t, ExitModules, ExitCode(err))
}

func TestFolders(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/var/cache/x")
	t.Setenv("XDG_STATE_HOME", "/var/lib/x")
	a := &App{}
	require.NoError(t, a.folders())
	assert.Equal(t, "/var/cache/x/fn-threatq", a.o.CacheDir)
	assert.Equal(t, "/var/lib/x/fn-threatq", a.o.StateDir)

	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/soc")
	a = &App{}
	require.NoError(t, a.folders())
	assert.Equal(t, "/home/soc/.cache/fn-threatq", a.o.CacheDir)
	assert.Equal(t, "/home/soc/.local/state/fn-threatq", a.o.StateDir)

	a = &App{o: Options{CacheDir: "/c", StateDir: "/s"}}
	require.NoError(t, a.folders())
	assert.Equal(t, "/c", a.o.CacheDir)
	assert.Equal(t, "/s", a.o.StateDir)

	t.Setenv("HOME", "")
	a = &App{}
	require.ErrorContains(t, a.folders(), "XDG_CACHE_HOME")
	a = &App{o: Options{CacheDir: "/c"}}
	require.ErrorContains(t, a.folders(), "XDG_STATE_HOME")
}

// logBook keeps a log.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

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
