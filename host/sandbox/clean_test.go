package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox/internal/wasmbin"
	"fn-threatq/testdata/guests/guestbuild"
)

func openBox(t testing.TB, o Options) *Sandbox {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := New(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// TestAPoisonedInstanceIsCleanForTheNextTurn writes to every page and every
// global of an instance, and moves its clock; what the next turn gets must be
// the image, byte for byte.
func TestAPoisonedInstanceIsCleanForTheNextTurn(t *testing.T) {
	s := openBox(t, Options{MaxIdle: 1, CacheDir: testrun.Modules()})
	m, err := s.Load(t.Context(), guestbuild.Module(t, "keepstate"), Limits{})
	require.NoError(t, err)
	require.NotEmpty(t, m.image.globals)
	for name, poison := range map[string]func(memory []byte){
		"every byte":          func(b []byte) { fill(b, 0xa5) },
		"one byte a page":     func(b []byte) { each(b, os.Getpagesize(), 1) },
		"the last of each":    func(b []byte) { each(b, os.Getpagesize(), os.Getpagesize()-1) },
		"every seventh page":  func(b []byte) { each(b, 7*os.Getpagesize(), 0) },
		"zeros, as if unused": func(b []byte) { clear(b) },
	} {
		t.Run(name, func(t *testing.T) {
			i, e := m.take(t.Context())
			require.Nil(t, e)
			poison(i.linear.region[:i.linear.size])
			for _, g := range i.globals {
				g.Set(^g.Get())
			}
			i.env.monotonic += int64(time.Hour)
			m.giveBack(i)
			again, e := m.take(t.Context())
			require.Nil(t, e)
			require.Same(t, i, again, "the same instance")
			require.True(t, bytes.Equal(m.image.memory.content, again.linear.region[:again.linear.size]), "memory")
			for n, g := range again.globals {
				require.Equal(t, m.image.globals[n], g.Get(), "global %d", n)
			}
			require.Equal(t, m.image.monotonic, again.env.monotonic)
			m.giveBack(again)
		})
	}
}

func fill(b []byte, value byte) {
	for n := range b {
		b[n] = value
	}
}

// each turns one byte in so many.
func each(b []byte, size, at int) {
	for ; at < len(b); at += size {
		b[at] ^= 0xff
	}
}

// TestTheSameTurnUsesTheSameFuel: over turns, instances, and hosts, which
// compile and warm up each for itself; with whatever was played before.
func TestTheSameTurnUsesTheSameFuel(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "catalog", "builtin", "*.wasm"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, "no modules are built in: run `make plugins`")
	file, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join("..", "..", "plugins", filepath.Base(paths[0][:len(paths[0])-len(".wasm")]), "warmup.json"))
	require.NoError(t, err)
	var inputs []json.RawMessage
	require.NoError(t, json.Unmarshal(text, &inputs))
	var first []int64
	for range 2 {
		s := openBox(t, Options{MaxIdle: 2, CacheDir: testrun.Modules()})
		m, err := s.Load(t.Context(), file, Limits{})
		require.NoError(t, err)
		for round := range 6 {
			if round == 3 { // others go on in a new instance
				i, e := m.take(t.Context())
				require.Nil(t, e)
				defer i.close()
			}
			used := make([]int64, len(inputs))
			for n := range inputs {
				n = (n + round) % len(inputs) // each round in another order
				out, err := m.Turn(t.Context(), TurnInput{Input: inputs[n], Now: zeroTime, Seed: 1})
				require.NoError(t, err)
				used[n] = out.Fuel
			}
			if first == nil {
				first = used
			}
			assert.Equal(t, first, used, "round %d", round)
			assert.Positive(t, used[0])
		}
	}
}

// TestAGuestComesBackAfterEachSlice holds the bound on how long a guest can keep
// the collector waiting, by what can be counted.
func TestAGuestComesBackAfterEachSlice(t *testing.T) {
	s := openBox(t, Options{CacheDir: testrun.Modules()})
	m, err := s.Load(t.Context(), guestbuild.Module(t, "spin"), Limits{TurnFuel: 100 << 18})
	require.NoError(t, err)
	i, e := m.take(t.Context())
	require.Nil(t, e)
	i.env.set(zeroTime, i.env.monotonic, 1, 1000)
	_, e = i.turn(t.Context(), []byte("misbehave"))
	require.Equal(t, KindFuel, e.Kind)
	assert.InDelta(t, 100, i.slices, 2, "once for each 262,144 units")
	assert.InDelta(t, 100<<18, i.used, 1000, "and no charge is so large that it runs far over")
	i.close()
}

// BenchmarkRewrite measures what the meter does to a module when it is loaded,
// and the same from what was kept.
func BenchmarkRewrite(b *testing.B) {
	paths, err := filepath.Glob(filepath.Join("..", "catalog", "builtin", "*.wasm"))
	require.NoError(b, err)
	require.NotEmpty(b, paths, "no modules are built in: run `make plugins`")
	file, err := os.ReadFile(paths[0])
	require.NoError(b, err)
	var parsed *wasmbin.Module
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			parsed, err = wasmbin.Parse(file)
			require.NoError(b, err)
		}
	})
	var out []byte
	b.Run("rewrite", func(b *testing.B) {
		for b.Loop() {
			out, err = fuelMeter{}.rewrite(parsed, nil)
			require.NoError(b, err)
		}
	})
	plain, err := parsed.Rewrite(nil)
	require.NoError(b, err)
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(out)
		}
		b.ReportMetric(float64(len(out))/float64(len(plain)), "size-ratio")
	})
}
