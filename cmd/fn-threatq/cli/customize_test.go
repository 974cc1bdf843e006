package cli

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/resilient/resilienttest"
)

// asking is a terminal at which somebody thinks for a long time.
type asking struct{ asked chan struct{} }

func (a asking) Read([]byte) (int, error) {
	close(a.asked)
	select {}
}

func TestCtrlCHasACodeOfItsOwn(t *testing.T) {
	alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	w, err := startWorldOf(nil, resilienttest.Options{Installed: resilienttest.InstalledNothing})
	require.NoError(t, err)
	t.Cleanup(w.stop)
	path := w.file(t)

	t.Run("at the question", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		var stdout, stderr buffer
		s := streams(&stdout, &stderr)
		terminal := asking{make(chan struct{})}
		s.Stdin, s.Terminal = terminal, true
		go func() { <-terminal.asked; interrupt() }()
		assert.Equal(t, host.ExitInterrupted, Run(ctx, []string{"customize", "--config", path}, s))
		assert.Contains(t, stderr.String(), "[y/n] \nfn-threatq customize: interrupted: nothing was changed\n")
	})
	t.Run("in the import", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		mend := w.soar.Inject(resilienttest.Fault{Method: "POST", PathSuffix: "/configurations/imports", Delay: time.Hour})
		defer mend()
		var stdout, stderr buffer
		code := make(chan int)
		go func() { code <- Run(ctx, []string{"customize", "--yes", "--config", path}, streams(&stdout, &stderr)) }()
		require.Eventually(t, func() bool { return stdout.String() != "" }, patience, 5*time.Millisecond)
		interrupt()
		assert.Equal(t, host.ExitInterrupted, <-code)
		assert.Contains(t, stderr.String(), "interrupted: run it again")
	})
	assert.Empty(t, w.soar.Rules())
	assert.Zero(t, w.soar.OpenSessions(), "the session is closed all the same")
}
