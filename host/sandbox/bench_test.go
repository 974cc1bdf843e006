package sandbox_test

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func benchSandbox(b *testing.B, dir string) *sandbox.Sandbox {
	b.Helper()
	s, err := sandbox.New(b.Context(), sandbox.Options{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	return s
}

// BenchmarkLoad measures verify, compile, instantiate, warm-up and image.
func BenchmarkLoad(b *testing.B) {
	file := guestbuild.Module(b, "echo")
	warm := b.TempDir()
	s := benchSandbox(b, warm)
	_, err := s.Load(b.Context(), file, sandbox.Limits{})
	require.NoError(b, err)
	require.NoError(b, s.Close(context.Background()))
	for name, dir := range map[string]func() string{
		"cold": func() string { return "" },
		"warm": func() string { return warm },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := benchSandbox(b, dir())
				_, err := s.Load(b.Context(), file, sandbox.Limits{})
				require.NoError(b, err)
				require.NoError(b, s.Close(context.Background()))
			}
		})
	}
}

// BenchmarkTurn measures a whole turn of a guest that does nothing but copy:
// handing over, two calls, the answer, and the reset to the image.
func BenchmarkTurn(b *testing.B) {
	s := benchSandbox(b, testrun.Modules())
	defer s.Close(context.Background())
	m, err := s.Load(b.Context(), guestbuild.Module(b, "echo"), sandbox.Limits{})
	require.NoError(b, err)
	for _, kb := range []int{1, 4, 20} {
		in := sandbox.TurnInput{Input: bytes.Repeat([]byte("x"), kb<<10), Now: someTime, Seed: 1}
		b.Run(strconv.Itoa(kb)+"KB", func(b *testing.B) {
			for b.Loop() {
				_, err := m.Turn(b.Context(), in)
				require.NoError(b, err)
			}
		})
	}
	b.ReportMetric(float64(m.Stats().ImageBytes), "image-bytes")
}

// BenchmarkFresh measures a turn that needs a new instance from the image.
func BenchmarkFresh(b *testing.B) {
	s := benchSandbox(b, testrun.Modules())
	defer s.Close(context.Background())
	m, err := s.Load(b.Context(), guestbuild.Module(b, "growmemory"), sandbox.Limits{})
	require.NoError(b, err)
	in := sandbox.TurnInput{Input: []byte("misbehave"), Now: someTime}
	for b.Loop() {
		_, err := m.Turn(b.Context(), in)
		require.NoError(b, err)
	}
	require.GreaterOrEqual(b, m.Stats().Instances, int64(b.N))
}
