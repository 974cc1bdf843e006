package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

// TestAWatchBuildsAndPlaysAgain changes the rule of a plugin so that a scenario
// fails, breaks it, and mends it.
func TestAWatchBuildsAndPlaysAgain(t *testing.T) {
	alone(t)
	t.Setenv("GOPROXY", "off")
	code, _, stderr := call(t, "plugin", "new", "look-up")
	require.Equal(t, host.ExitOK, code, stderr)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var out buffer
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"plugin", "test", "--watch", "look-up"}, Streams{Stdout: &out, Stderr: &out, Environ: os.Environ()})
	}()
	file := filepath.Join("look-up", "rule.go")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	// said waits until a text was said for the n-th time.
	said := func(n int, want string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Count(out.String(), want) == n }, patience, 20*time.Millisecond, "%q: %s", want, &out)
	}
	said(1, "3 passed, 0 failed, 0 could not be run\n")
	said(1, "Waiting for a change; Ctrl-C ends.")
	change := func(old, new string) {
		t.Helper()
		require.Contains(t, string(whole), old)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(whole), old, new, 1)), 0o644))
	}
	change("is not known to ThreatQ.", "is unheard of.")
	said(1, "2 passed, 1 failed, 0 could not be run\n")
	said(2, "Waiting for a change; Ctrl-C ends.")
	change("return", "retrun")
	said(1, "rule.go:16:9: syntax error")
	require.NoError(t, os.WriteFile(file, whole, 0o644))
	said(2, "3 passed, 0 failed, 0 could not be run\n")
	end()
	assert.Equal(t, host.ExitOK, <-ended, "it is meant to end so")
}
