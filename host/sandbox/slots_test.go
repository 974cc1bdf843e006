package sandbox_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestTurnsShareTheSlots(t *testing.T) {
	s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules(), Logger: slog.New(slog.DiscardHandler), MaxIdle: 8, MaxRunning: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	m, err := s.Load(t.Context(), guestbuild.Module(t, "echo"), sandbox.DefaultCeiling)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			_, err := turn(t.Context(), m, "x")
			assert.NoError(t, err)
		})
	}
	group.Wait()
	assert.EqualValues(t, 60, m.Stats().Turns)
	assert.LessOrEqual(t, m.Stats().Instances, int64(2), "no more run than there are slots")
}

func TestATurnThatWaitsForASlotMayBeGivenUp(t *testing.T) {
	s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules(), Logger: slog.New(slog.DiscardHandler), MaxRunning: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	spin, err := s.Load(t.Context(), guestbuild.Module(t, "spin"), sandbox.DefaultCeiling)
	require.NoError(t, err)
	echo, err := s.Load(t.Context(), guestbuild.Module(t, "echo"), sandbox.DefaultCeiling)
	require.NoError(t, err)
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { _, err := turn(running, spin, "misbehave"); ended <- err }()
	require.Eventually(t, func() bool { return spin.Stats().Turns == 1 }, time.Minute, time.Millisecond, "it has the slot")
	waiting, giveUp := context.WithCancel(t.Context())
	giveUp()
	_, err = turn(waiting, echo, "x")
	var refused *sandbox.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, sandbox.KindCanceled, refused.Kind)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, echo.Stats().Turns)
	stop()
	require.Error(t, <-ended)
	_, err = turn(t.Context(), echo, "x")
	require.NoError(t, err, "the slot is free again")
}
