package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/secret"
	"fn-threatq/host/store"
	"fn-threatq/testdata/guests/guestbuild"
)

// TestActionsDoNotWaitForACandidate: one that is busy takes as many dialogues as its
// queue holds; the others are left out, and the report counts them.
func TestActionsDoNotWaitForACandidate(t *testing.T) {
	const answer = `{"fail":{"code":"input","message":"Not this time."}}`
	file := guestbuild.WithManifest(t, guestbuild.Tiny{Turn: guestbuild.Answer(0, uint32(len(answer))), Data: answer}.Code(),
		`{"abi":1,"name":"sighting","version":"1.1.0","description":"d","functions":[{"name":"sighting","title":"T","description":"d","inputs":[]}]}`)
	a := &App{o: Options{StateDir: t.TempDir(), CacheDir: t.TempDir()}, log: slog.New(slog.DiscardHandler), redact: secret.NewRedactor()}
	require.NoError(t, a.plugins().Change(func(state *store.State) error {
		digest, err := a.plugins().PutModule(file)
		state.Shadows = map[string]*store.Version{"sighting": {Version: "1.1.0", Digest: digest}}
		return err
	}))
	s := newShadows(a)
	require.NoError(t, s.look(t.Context()))
	candidate := (*s.running.Load())["sighting"]
	require.NotNil(t, candidate)
	end := func() { s.end(*s.running.Load()) }
	ended := false
	t.Cleanup(func() {
		if !ended {
			end()
		}
	})

	// The turn of the candidates is taken, as if another one worked: this one has the
	// first dialogue in its hands and cannot go on.
	s.turn.Lock()
	said := func(n int) *dialogue.Dialogue {
		return &dialogue.Dialogue{
			ID: fmt.Sprint("m-", n), Began: time.Now(), Module: "sighting", Version: "1.0.0", Action: abi.Action{ID: fmt.Sprint("m-", n), Kind: abi.KindFunction, Name: "sighting"},
			Fail: &abi.Failure{Code: abi.CodeInput, Message: "Not this time."},
		}
	}
	s.ended(said(0))
	require.Eventually(t, func() bool { return len(candidate.queue) == 0 }, time.Minute, time.Millisecond, "it has taken the first")
	const late = 7
	for n := range shadowQueue + late {
		s.ended(said(n + 1)) // returns, or this test does not end
	}
	s.ended(&dialogue.Dialogue{Module: "another"})
	assert.EqualValues(t, late, candidate.dropped.Load())
	s.turn.Unlock()

	report := func() *ShadowReport {
		r, err := readReport(a.o.StateDir, "sighting")
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
			return &ShadowReport{}
		}
		return r
	}
	require.Eventually(t, func() bool { return report().Summary.Compared == shadowQueue+1 }, time.Minute, 10*time.Millisecond)
	assert.EqualValues(t, late, report().Dropped)
	assert.Equal(t, shadowQueue+1, report().Summary.Same, "the candidate does the same")

	// The next host goes on counting.
	end()
	ended = true
	next := newShadows(a)
	require.NoError(t, next.look(t.Context()))
	t.Cleanup(func() { next.end(*next.running.Load()) })
	assert.EqualValues(t, late, (*next.running.Load())["sighting"].dropped.Load())

	// A candidate that somebody ends takes its report along.
	require.NoError(t, a.plugins().Change(func(state *store.State) error { clear(state.Shadows); return nil }))
	require.NoError(t, next.look(context.WithoutCancel(t.Context())))
	assert.False(t, next.wants("sighting"))
	assert.NoFileExists(t, filepath.Join(a.o.StateDir, shadowFolder, "sighting.json"))
}
