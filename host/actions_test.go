package host

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/admin"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/flow"
	"fn-threatq/host/ledger"
	"fn-threatq/host/resilient/resilienttest"
)

func TestDeadLettersOfARunningHost(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	actions, err := OpenActions(app.o.StateDir)
	require.NoError(t, err)
	letters, err := actions.Letters()
	require.NoError(t, err)
	assert.Empty(t, letters)
	info, err := os.Stat(filepath.Join(app.o.StateDir, admin.SocketName))
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())

	s.broker.Publish(fmt.Sprintf("actions.%d.fn_threatq", s.soar.OrgID()), nil, []byte("{not json "+password))
	require.Eventually(t, func() bool {
		letters, err = actions.Letters()
		return err == nil && len(letters) == 1
	}, patience, 5*time.Millisecond)
	letter, err := actions.Letter(letters[0].Number)
	require.NoError(t, err)
	assert.True(t, letter.Unreadable)
	assert.Equal(t, "{not json ***", string(letter.Body), "secrets are masked")

	// The reply to the message may still be on its way.
	var retried Retried
	require.Eventually(t, func() bool {
		retried, err = actions.Retry(within(t), letter.Number)
		return err == nil
	}, patience, 5*time.Millisecond)
	assert.Equal(t, []bool{false, true}, []bool{retried.Success, retried.Kept})
	assert.Contains(t, retried.Message, "the message is not the JSON that is wanted")
	letter, err = actions.Letter(letter.Number)
	require.NoError(t, err)
	assert.Equal(t, 2, letter.Tries)

	require.NoError(t, actions.Discard(letter.Number))
	for _, err := range []error{actions.Discard(letter.Number), func() error { _, err := actions.Letter(7); return err }()} {
		assert.ErrorContains(t, err, "there is no dead letter")
	}
	stop()
	require.NoError(t, outcome(t, ended))
	require.NoError(t, actions.Close())
	_, err = os.Stat(filepath.Join(app.o.StateDir, admin.SocketName))
	assert.ErrorIs(t, err, os.ErrNotExist, "the socket goes with the host")
}

func TestDeadLettersOfAStoppedHost(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenActions(dir)
	assert.ErrorContains(t, err, "a host has not run there yet")

	l, err := ledger.Open(ledger.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, l.Keep(ledger.Letter{MessageID: "m1", Reason: "no"}))
	require.NoError(t, l.Keep(ledger.Letter{MessageID: "m2", Body: make([]byte, ledger.MaxBody+1)}))
	_, err = OpenActions(dir)
	assert.ErrorContains(t, err, "its control socket does not answer")
	require.NoError(t, l.Close())

	actions, err := OpenActions(dir)
	require.NoError(t, err)
	retried, err := actions.Retry(within(t), 1)
	require.NoError(t, err)
	assert.True(t, retried.Later)
	letter, err := actions.Letter(1)
	require.NoError(t, err)
	assert.True(t, letter.Retry)
	_, err = actions.Retry(within(t), 2)
	assert.ErrorContains(t, err, "too large to be kept whole")
	letter, err = actions.Letter(2)
	require.NoError(t, err)
	assert.False(t, letter.Retry, "no start is to try what cannot be done")
	require.NoError(t, actions.Discard(2))
	require.NoError(t, actions.Close())
}

func TestLetterThatWasMarkedIsTriedWhenTheHostStarts(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	s.stateDir = t.TempDir()
	l, err := ledger.Open(ledger.Options{Dir: s.stateDir})
	require.NoError(t, err)
	require.NoError(t, l.Keep(ledger.Letter{MessageID: "m1", Body: []byte("{"), Retry: true, Tries: 1}))
	require.NoError(t, l.Close())
	app, _, ended := s.run(t)
	awaitReady(t, app, ended)
	actions, err := OpenActions(s.stateDir)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		letter, err := actions.Letter(1)
		return err == nil && letter.Tries == 2 && !letter.Retry
	}, patience, 5*time.Millisecond)
}

// The host stops while a letter is tried again: its end is not lost, or the next
// start would do it once more.
func TestRetryThatIsUnderWayWhenTheHostStopsIsNoted(t *testing.T) {
	l, err := ledger.Open(ledger.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	defer l.Close()
	for range 2 {
		require.NoError(t, l.Keep(ledger.Letter{MessageID: "m1", Body: []byte("{"), Retry: true, Tries: 1}))
	}
	ctx, stop := context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(writer(func(text []byte) {
		if bytes.Contains(text, []byte("msg=action")) {
			stop() // just before its end is told
		}
	}), nil))
	a := &App{log: slog.New(slog.DiscardHandler)}
	a.retryMarked(ctx, online{l, flow.New(flow.Options{Ledger: l, Logger: log})})
	for number, want := range map[uint64]int{1: 2, 2: 1} {
		letter, err := l.Letter(number)
		require.NoError(t, err)
		assert.Equal(t, want, letter.Tries)
		assert.Equal(t, want == 1, letter.Retry)
	}
}

type writer func(text []byte)

func (w writer) Write(text []byte) (int, error) { w(text); return len(text), nil }

func TestSecondHostOnAStateFolderEnds(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	s.stateDir = t.TempDir()
	app, _, ended := s.run(t)
	awaitReady(t, app, ended)
	_, _, second := s.run(t)
	err := outcome(t, second)
	assert.ErrorContains(t, err, "in use by another process")
	assert.Equal(t, ExitLocked, ExitCode(err))
}
