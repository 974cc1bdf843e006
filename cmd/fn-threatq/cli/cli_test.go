package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/secret"
	"fn-threatq/host/threatq/threatqtest"
)

const patience = 3 * time.Minute

// cache keeps compiled modules for all tests: compiling is slow.
var cache string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "fn-threatq" {
		// A script runs this test program as the command.
		testscript.Main(m, map[string]func(){"fn-threatq": programMain})
	}
	own, err := os.MkdirTemp("", "fn-threatq-cmd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cache = cmp.Or(os.Getenv("FN_THREATQ_TEST_CACHE"), own)
	if goCache, err := exec.Command("go", "env", "GOCACHE").Output(); err == nil {
		// Tests have another home, and some build plugins in it.
		os.Setenv("GOCACHE", strings.TrimSpace(string(goCache)))
	}
	testscript.Main(cleaning{m, own}, map[string]func(){"fn-threatq": programMain})
}

// cleaning removes the cache after the tests.
type cleaning struct {
	m   *testing.M
	own string
}

func (c cleaning) Run() int {
	defer os.RemoveAll(c.own)
	return c.m.Run()
}

// buffer is a stderr that is read while it is written.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// alone keeps the environment of whoever runs the tests out of them, and gives
// the process a home of its own.
func alone(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		upper := strings.ToUpper(name)
		if strings.HasPrefix(upper, "RESILIENT_") || strings.HasPrefix(upper, "FN_THREATQ_") || strings.HasPrefix(upper, "APP_") ||
			strings.HasSuffix(upper, "_PROXY") || upper == "LOGLEVEL" || upper == "RESOURCE_PREFIX" {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Chdir(dir)
	return dir
}

func streams(stdout, stderr io.Writer) Streams {
	return Streams{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Environ: os.Environ()}
}

func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs buffer
	code = Run(ctx, args, streams(&out, &errs))
	return code, out.String(), errs.String()
}

const complete = "[resilient]\nhost=soar.test\norg=o\napi_key_id=k\napi_key_secret=s\nstomp=0\n" +
	"[fn_threatq]\nhost=threatq.test\nusername=u\npassword=p\ncid=c\n"

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.config")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestCommands(t *testing.T) {
	alone(t)
	const help = "Run 'fn-threatq --help' for how it is used.\n"
	const runHelp = "Run 'fn-threatq run --help' for how it is used.\n"
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string // the beginnings; empty: nothing at all
	}{
		{nil, host.ExitUsage, "", "fn-threatq: a command is missing\n" + help},
		{[]string{"ran"}, host.ExitUsage, "", `fn-threatq: there is no command "ran"` + "\n" + help},
		{[]string{"--fast"}, host.ExitUsage, "", "fn-threatq: unknown flag: --fast\n" + help},
		{[]string{"version"}, 0, "fn-threatq " + host.Version + "\n", ""},
		{[]string{"version", "x"}, host.ExitUsage, "", "fn-threatq version: unexpected argument \"x\"\n"},
		{[]string{"--version"}, 0, "fn-threatq " + host.Version + "\n", ""},
		{[]string{"help"}, 0, "The bridge between", ""},
		{[]string{"--help"}, 0, "The bridge between", ""},
		{[]string{"-h"}, 0, "The bridge between", ""},
		{[]string{"run", "--help"}, 0, "Work on actions", ""},
		{[]string{"run", "--confg", "x"}, host.ExitUsage, "", "fn-threatq run: unknown flag: --confg\n" + runHelp},
		{[]string{"run", "--config"}, host.ExitUsage, "", "fn-threatq run: flag needs an argument: --config\n" + runHelp},
		{[]string{"run", "app.config"}, host.ExitUsage, "", `fn-threatq run: unexpected argument "app.config"` + "\n" + runHelp},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			code, stdout, stderr := call(t, test.args...)
			assert.Equal(t, test.code, code)
			beginsWith(t, test.stdout, stdout)
			beginsWith(t, test.stderr, stderr)
		})
	}
}

func beginsWith(t *testing.T, want, got string) {
	t.Helper()
	if want == "" {
		assert.Empty(t, got)
		return
	}
	assert.Equal(t, want, got[:min(len(want), len(got))])
}

func TestWrongLogFlags(t *testing.T) {
	alone(t)
	code, _, stderr := call(t, "run", "--config", write(t, complete), "--log-level", "loud")
	assert.Equal(t, host.ExitUsage, code)
	assert.Equal(t, "fn-threatq run: --log-level \"loud\" is none of debug, info, warn, error\nRun 'fn-threatq run --help' for how it is used.\n", stderr)

	code, _, stderr = call(t, "run", "--config", write(t, complete), "--log-format", "xml")
	assert.Equal(t, host.ExitUsage, code)
	assert.Equal(t, "fn-threatq run: --log-format \"xml\" is none of auto, text, json\nRun 'fn-threatq run --help' for how it is used.\n", stderr)
}

func TestNoConfiguration(t *testing.T) {
	dir := alone(t)
	code, _, stderr := call(t, "run")
	assert.Equal(t, host.ExitConfig, code)
	assert.Contains(t, stderr, "there is no configuration file")
	assert.Contains(t, stderr, filepath.Join(dir, ".resilient", "app.config"))

	code, _, stderr = call(t, "run", "--config-file", "/nowhere/app.config")
	assert.Equal(t, host.ExitConfig, code)
	assert.Contains(t, stderr, "/nowhere/app.config: the configuration file named by the command line cannot be read")
}

func TestEachMistakeOnALineOfItsOwn(t *testing.T) {
	alone(t)
	path := write(t, "[resilient]\nhost=https://soar.test\norg=o\napi_key_id=k\napi_key_secret=c4nary-soar\nport=many\n"+
		"[fn_threatq]\nhots=threatq.test\nusername=u\npassword=c4nary-tq\ncid=c4nary-cid\n")
	code, stdout, stderr := call(t, "run", "--config", path)
	assert.Equal(t, host.ExitConfig, code)
	assert.Empty(t, stdout)
	assert.NotContains(t, stderr, "c4nary")
	assert.NotContains(t, stderr, "--help", "the usage would hide the mistakes")
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	require.GreaterOrEqual(t, len(lines), 4, stderr)
	assert.Equal(t, "fn-threatq run: the configuration has mistakes:", lines[0])
	for i, want := range []string{path + ":2: host in [resilient]", path + ":6: port in [resilient]", path + ":8: missing key host in [fn_threatq]"} {
		assert.True(t, strings.HasPrefix(lines[i+1], "  "+want), "%q begins with %q", lines[i+1], want)
	}
	assert.Contains(t, lines[3], "did you mean host?")
}

func TestUnusableCertificateFileHasACodeOfItsOwn(t *testing.T) {
	alone(t)
	code, _, stderr := call(t, "run", "--config", write(t, complete+"cafile=/nowhere/ca.pem\n"))
	assert.Equal(t, host.ExitNoCertificate, code)
	assert.Contains(t, stderr, "/nowhere/ca.pem")
}

func TestWithoutTheBrokerThereIsNothingToDo(t *testing.T) {
	alone(t)
	code, _, stderr := call(t, "run", "--config", write(t, complete))
	assert.Equal(t, host.ExitConfig, code)
	entries := logLines(t, stderr)
	last := entries[len(entries)-1]
	assert.Equal(t, "fn-threatq ends", last["msg"])
	assert.Equal(t, "ERROR", last["level"])
	assert.EqualValues(t, host.ExitConfig, last["exit_code"])
	assert.Contains(t, last["error"], "stomp=0")
}

func TestWarningsSayWhereAndWhat(t *testing.T) {
	alone(t)
	path := write(t, complete+"cafile=false\n")
	_, _, stderr := call(t, "run", "--config", path)
	for _, entry := range logLines(t, stderr) {
		if entry["level"] == "WARN" {
			assert.Contains(t, entry["msg"], "cafile")
			assert.Equal(t, path+":12", entry["at"])
			assert.NotEmpty(t, entry["advice"])
			return
		}
	}
	assert.Fail(t, "no warning", stderr)
}

// logLines are the lines of a log in JSON; anything else fails the test.
func logLines(t *testing.T, text string) (entries []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		entries = append(entries, entry)
	}
	require.NotEmpty(t, entries)
	return entries
}

func TestLogFormats(t *testing.T) {
	for format, json := range map[string]bool{"auto": true, "json": true, "text": false} {
		var out buffer
		handler, err := logHandler(&out, format, slog.LevelInfo)
		require.NoError(t, err)
		log := slog.New(handler)
		log.Debug("hidden")
		log.Info("shown", "key", "value")
		assert.Equal(t, json, strings.HasPrefix(out.String(), "{"), out.String())
		assert.Contains(t, out.String(), "shown")
		assert.NotContains(t, out.String(), "hidden")
		assert.NotContains(t, out.String(), "\x1b", "no colours where there is no terminal")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer file.Close()
	handler, err := logHandler(file, "auto", slog.LevelInfo)
	require.NoError(t, err)
	assert.IsType(t, &slog.JSONHandler{}, handler, "a file is no terminal")
}

func TestLevels(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "warn": slog.LevelWarn, "WARNING": slog.LevelWarn, "warning": slog.LevelWarn,
		"error": slog.LevelError, "CRITICAL": slog.LevelError, "critical": slog.LevelError,
	} {
		got, err := level(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	_, err := level("loud")
	assert.Error(t, err)
}

// world is a SOAR with its broker, and a ThreatQ.
type world struct {
	ca      []byte // PEM
	soar    *resilienttest.Server
	threatq *threatqtest.Server
	broker  *brokertest.Server
	// hangs is closed when the call has come that soar-hangs names.
	hangs chan struct{}
}

func startWorld(users map[string]brokertest.User) (*world, error) {
	return startWorldOf(users, resilienttest.Options{})
}

func startWorldOf(users map[string]brokertest.User, soar resilienttest.Options) (*world, error) {
	authority := brokertest.NewAuthority()
	w := &world{ca: authority.CAPEM()}
	soar.Authority, soar.Email, soar.Password = authority, "integration@example.com", "c4nary-soar"
	w.soar = resilienttest.New(soar)
	w.threatq = threatqtest.New(threatqtest.Options{Authority: authority, Password: "c4nary-tq", ClientID: "c4nary-cid"})
	var err error
	if w.broker, err = brokertest.Start(brokertest.Options{TLS: authority.ServerConfig(), Users: users}); err != nil {
		w.soar.Close()
		w.threatq.Close()
		return nil, err
	}
	return w, nil
}

func (w *world) stop() {
	w.broker.Stop()
	w.threatq.Close()
	w.soar.Close()
}

// config is the app.config for this world; more goes into [resilient].
func (w *world) config(ca, more string) string {
	_, soarPort, _ := net.SplitHostPort(w.soar.Addr())
	_, stompPort, _ := net.SplitHostPort(w.broker.Addr())
	return fmt.Sprintf("[resilient]\nhost=127.0.0.1\nport=%s\nstomp_port=%s\norg=%s\nemail=integration@example.com\n"+
		"password=$SOAR_PASSWORD\ncafile=%s\n%s\n[fn_threatq]\nhost=%s\nusername=%s\npassword=c4nary-tq\ncid=c4nary-cid\ncafile=%s\n",
		soarPort, stompPort, resilienttest.DefaultOrg, ca, more, w.threatq.URL(), threatqtest.DefaultEmail, ca)
}

// services are a world, and a configuration for it.
func services(t *testing.T, users map[string]brokertest.User, more string) (path string) {
	t.Helper()
	w, err := startWorld(users)
	require.NoError(t, err)
	t.Cleanup(w.stop)
	return w.file(t, more)
}

// file writes the configuration for this world.
func (w *world) file(t *testing.T, more ...string) (path string) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, w.ca, 0o600))
	return write(t, w.config(ca, strings.Join(more, "\n")))
}

func TestRunUntilItIsStopped(t *testing.T) {
	dir := alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	logs := filepath.Join(dir, "logs")
	require.NoError(t, os.Mkdir(logs, 0o700))
	path := services(t, nil, "logdir="+logs)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var stdout, stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"run", "--config", path, "--log-level", "debug"}, streams(&stdout, &stderr))
	}()
	require.Eventually(t, func() bool {
		return strings.Contains(stderr.String(), `"msg":"ready"`) || len(code) > 0
	}, patience, 5*time.Millisecond, "it did not become ready")
	require.Empty(t, code, "it ended: %s", stderr.String())
	stop()
	select {
	case got := <-code:
		assert.Equal(t, host.ExitOK, got, stderr.String())
	case <-time.After(patience):
		require.Fail(t, "it did not stop", stderr.String())
	}

	assert.Empty(t, stdout.String(), "stdout is for programs")
	entries := logLines(t, stderr.String())
	assert.Equal(t, "fn-threatq starts", entries[0]["msg"])
	assert.Equal(t, path, entries[0]["config"])
	assert.Equal(t, "fn-threatq has ended in order", entries[len(entries)-1]["msg"])
	said := map[string]map[string]any{}
	for _, entry := range entries {
		said[entry["msg"].(string)] = entry
	}
	require.Contains(t, said, "ready")
	assert.Equal(t, "actions.201.fn_threatq", said["ready"]["destination"])
	assert.Contains(t, said, "module installed", "the level of the command line counts")

	file, err := os.ReadFile(filepath.Join(logs, "app.log"))
	require.NoError(t, err)
	assert.Contains(t, string(file), `"msg":"ready"`)
	for _, text := range []string{stderr.String(), string(file)} {
		assert.NotContains(t, text, "c4nary", "a secret")
	}
	info, err := os.Stat(filepath.Join(cache, "fn-threatq"))
	require.NoError(t, err)
	assert.True(t, info.IsDir())
}

func TestRefusedLoginEndsWithItsCode(t *testing.T) {
	alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-wrong")
	code, _, stderr := call(t, "run", "--config", services(t, nil, ""))
	assert.Equal(t, host.ExitUnauthorized, code, stderr)
	assert.NotContains(t, stderr, "c4nary")
	entries := logLines(t, stderr)
	assert.EqualValues(t, host.ExitUnauthorized, entries[len(entries)-1]["exit_code"])
}

func TestRefusedBrokerLoginEndsWithItsCode(t *testing.T) {
	alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	code, _, stderr := call(t, "run", "--config", services(t, map[string]brokertest.User{"somebody": {Passcode: "else"}}, ""))
	assert.Equal(t, host.ExitStompLogin, code, stderr)
	assert.NotContains(t, stderr, "c4nary")
}

func TestErrorThatQuotesASecretIsMasked(t *testing.T) {
	alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	t.Setenv("RESILIENT_ORG", "c4nary-cid")
	code, _, stderr := call(t, "run", "--config", services(t, nil, ""))
	assert.Equal(t, host.ExitOrganization, code, stderr)
	entries := logLines(t, stderr)
	assert.Contains(t, entries[len(entries)-1]["error"], secret.Mask)
	assert.NotContains(t, stderr, "c4nary")
}
