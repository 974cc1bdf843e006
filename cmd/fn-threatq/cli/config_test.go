package cli

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

// TestInterruptedAtTheQuestion presses Ctrl-C when the question is there.
func TestInterruptedAtTheQuestion(t *testing.T) {
	alone(t)
	path := write(t, complete)
	stdin, never := io.Pipe()
	defer never.Close()
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	stderr := &asked{interrupt: interrupt}
	code := Run(ctx, []string{"config", "create", path}, Streams{Stdin: stdin, Stdout: io.Discard, Stderr: stderr, Environ: os.Environ(), Terminal: true})
	assert.Equal(t, host.ExitInterrupted, code)
	assert.Contains(t, stderr.text.String(), "fn-threatq config create: interrupted: nothing was changed\n")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, complete, string(text))
}

// asked interrupts when it is written a question.
type asked struct {
	text      strings.Builder
	interrupt func()
}

func (a *asked) Write(text []byte) (int, error) {
	if strings.Contains(string(text), "[y/n]") {
		a.interrupt()
	}
	return a.text.Write(text)
}

// TestConfigExitCodes holds the codes that the help of the commands names.
func TestConfigExitCodes(t *testing.T) {
	alone(t)
	good, bad := write(t, complete), write(t, complete+"port=many\n[resilent]\n")
	noCertificate := write(t, complete+"cafile=/nowhere/ca.pem\n")
	for _, test := range []struct {
		code int
		args []string
	}{
		{host.ExitOK, []string{"config", "check", good}},
		{host.ExitFailure, []string{"config", "check", write(t, "no section")}},
		{host.ExitFailure, []string{"config", "check", noCertificate}},
		{host.ExitConfig, []string{"config", "check", "/nowhere/app.config"}},
		{host.ExitConfig, []string{"config", "check"}},
		{host.ExitOK, []string{"config", "show", "--config", bad, "resilient.org"}},
		{host.ExitConfig, []string{"config", "show", "--config", write(t, "no section")}},
		{host.ExitNoCertificate, []string{"config", "show", "--config", noCertificate}},
		{host.ExitConfig, []string{"config", "update", "/nowhere/app.config"}},
		{host.ExitConfig, []string{"config", "update", write(t, "no section")}},
		{host.ExitDeclined, []string{"config", "create", good}},
		{host.ExitOK, []string{"config", "create", "--yes", good}},
		{host.ExitUsage, []string{"config", "create", "a", "b"}},
		{host.ExitFailure, []string{"config", "create", "/proc/app.config"}},
	} {
		code, _, stderr := call(t, test.args...)
		assert.Equal(t, test.code, code, "%v: %s", test.args, stderr)
	}
}
