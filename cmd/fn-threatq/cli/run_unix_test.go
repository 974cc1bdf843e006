//go:build unix

package cli

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

// running is a host in this process.
type running struct {
	t      *testing.T
	path   string
	stderr *buffer
	stop   context.CancelFunc
	code   chan int
}

// start runs a host until it is ready.
func start(t *testing.T, terminal bool) *running {
	t.Helper()
	alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	r := &running{t: t, path: services(t, nil, ""), stderr: &buffer{}, code: make(chan int, 1)}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	t.Cleanup(r.stop)
	go func() {
		s := streams(&buffer{}, r.stderr)
		s.Terminal = terminal
		r.code <- Run(ctx, []string{"run", "--config", r.path}, s)
	}()
	r.says(`"msg":"ready"`)
	return r
}

func (r *running) says(text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return strings.Contains(r.stderr.String(), text) || len(r.code) > 0
	}, patience, time.Millisecond, "it did not say %s", text)
	require.Contains(r.t, r.stderr.String(), text)
}

func (r *running) end() {
	r.t.Helper()
	select {
	case code := <-r.code:
		assert.Equal(r.t, host.ExitOK, code, r.stderr.String())
	case <-time.After(patience):
		require.Fail(r.t, "it did not end", r.stderr.String())
	}
}

func hangUp(t *testing.T) { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) }

func TestSecondHostEndsWithAClearWord(t *testing.T) {
	r := start(t, false)
	code, stdout, stderr := call(t, "run", "--config", r.path)
	assert.Equal(t, host.ExitLocked, code)
	assert.Empty(t, stdout)
	entries := logLines(t, stderr)
	last := entries[len(entries)-1]
	assert.Contains(t, last["error"], "holds the lock file")
	assert.Contains(t, last["error"], "APP_LOCK_FILE")
	assert.EqualValues(t, host.ExitLocked, last["exit_code"])

	code, stdout, stderr = call(t, "run", "--check", "--config", r.path)
	assert.Zero(t, code, "a changed configuration is checked while the host runs: %s", stderr)
	assert.Contains(t, stdout, "modules can be used")
	r.stop()
	r.end()
}

func TestHangupReloads(t *testing.T) {
	r := start(t, false)
	good, err := os.ReadFile(r.path)
	require.NoError(t, err)
	rewrite := func(text string) { require.NoError(t, os.WriteFile(r.path, []byte(text), 0o600)) }

	rewrite(strings.Replace(string(good), "password=c4nary-tq", "password=c4nary-wrong", 1))
	hangUp(t)
	r.says(`"error":"ThreatQ: `)
	rewrite("[resilient]\nport=many\n")
	hangUp(t)
	r.says("not reloaded: port in [resilient]")
	rewrite(strings.Replace(string(good), "[fn_threatq]", "loglevel=DEBUG\nlogfile=other.log\n[fn_threatq]\nmax_related=7", 1))
	hangUp(t)
	r.says("configuration reloaded")
	r.says(`"key":"resilient.logfile"`)
	r.says(`"level":"DEBUG"`) // the level of the log follows
	r.stop()
	r.end()
	assert.NotContains(t, r.stderr.String(), "c4nary")
}

func TestHangupOfATerminalEndsInOrder(t *testing.T) {
	r := start(t, true)
	hangUp(t)
	r.end()
	assert.Contains(t, r.stderr.String(), "has ended in order")
}
