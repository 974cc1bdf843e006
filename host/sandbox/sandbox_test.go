package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestMain(m *testing.M) { testrun.Main(m) }

func newSandbox(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules(), Logger: slog.New(slog.DiscardHandler), MaxIdle: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

func load(t testing.TB, name string) *sandbox.Module {
	t.Helper()
	m, err := newSandbox(t).Load(t.Context(), guestbuild.Module(t, name), sandbox.Limits{})
	require.NoError(t, err)
	return m
}

func loadWith(t testing.TB, name string, ceiling sandbox.Limits) *sandbox.Module {
	t.Helper()
	m, err := newSandbox(t).Load(t.Context(), guestbuild.Module(t, name), ceiling)
	require.NoError(t, err)
	return m
}

var someTime = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

func turn(ctx context.Context, m *sandbox.Module, input string) (sandbox.TurnOutput, error) {
	return m.Turn(ctx, sandbox.TurnInput{Input: []byte(input), Now: someTime, Seed: 42})
}

func mustTurn(t testing.TB, m *sandbox.Module, input string) string {
	t.Helper()
	out, err := turn(t.Context(), m, input)
	require.NoError(t, err)
	return string(out.Answer)
}

// wantFault plays a turn that must fail so, and sees that the next one is well.
func wantFault(t *testing.T, m *sandbox.Module, kind sandbox.Kind, message string) *sandbox.Error {
	t.Helper()
	out, err := turn(t.Context(), m, "misbehave")
	require.LessOrEqual(t, out.MemoryBytes, m.Limits().MemoryBytes)
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, e.Error())
	require.Contains(t, e.Message, message)
	require.Equal(t, m.Manifest().Name, e.Module)
	require.Equal(t, "1.2.3", e.Version)
	require.Equal(t, m.Digest(), e.Digest)

	_, err = turn(t.Context(), m, "be good")
	require.NoError(t, err, "the turn after a fault")
	return e
}

func TestAnswerIsWhatTheGuestGave(t *testing.T) {
	m := load(t, "echo")
	for _, size := range []int{2, 1000, 70_000, 3 << 20} {
		input := `"` + strings.Repeat("ü", size/2) + `"`
		require.Equal(t, input, mustTurn(t, m, input))
	}
	require.Equal(t, "sized down again", mustTurn(t, m, "sized down again"))
	out, err := turn(t.Context(), m, "x")
	require.NoError(t, err)
	assert.Positive(t, out.Duration)
	assert.Positive(t, out.MemoryBytes)
	assert.Len(t, m.Digest(), 64)
	assert.Equal(t, sandbox.DefaultLimits, m.Limits())
}

func TestSpinIsStoppedWhenItsFuelIsUsedUp(t *testing.T) {
	m := loadWith(t, "spin", sandbox.Limits{TurnFuel: 50e6})
	e := wantFault(t, m, sandbox.KindFuel, "ftq1_turn used 50.0 million units of fuel, and its limit is 50.0 million (turn_fuel in the manifest)")
	assert.NotErrorIs(t, e, context.DeadlineExceeded)
}

func TestSpinIsStoppedAtTheTimeLimit(t *testing.T) {
	m := loadWith(t, "spin", sandbox.Limits{TurnTime: 500 * time.Millisecond, TurnFuel: 1e15})
	e := wantFault(t, m, sandbox.KindTimeout, "time limit of 500ms")
	assert.ErrorIs(t, e, context.DeadlineExceeded)
}

func TestSpinIsStoppedWhenTheCallerGivesUp(t *testing.T) {
	m := load(t, "spin")
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("shutting down")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	_, err := turn(ctx, m, "misbehave")
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindCanceled, e.Kind)
	assert.ErrorIs(t, err, reason)
}

func TestMemoryIsLimited(t *testing.T) {
	for _, name := range []string{"oom", "recurse"} {
		t.Run(name, func(t *testing.T) {
			// Go takes its time to tell of a deep stack.
			file := guestbuild.WithManifest(t, guestbuild.Code(t, name), guestbuild.Manifest(name, `{"memory_mb":16,"turn_ms":60000}`))
			m, err := newSandbox(t).Load(t.Context(), file, sandbox.Limits{TurnTime: time.Minute})
			require.NoError(t, err)
			e := wantFault(t, m, sandbox.KindMemory, "limit of 16 MB")
			assert.NotEmpty(t, e.Log, "Go says what happened")
		})
	}
}

func TestPanicCarriesTheGuestsOwnWords(t *testing.T) {
	m := load(t, "panic")
	e := wantFault(t, m, sandbox.KindTrap, "ftq1_turn trapped: unreachable")
	assert.EqualValues(t, 2, m.Stats().Instances, "the one that trapped is not used again")
	assert.Contains(t, e.Log, "panic: the guest gave up")
	assert.Contains(t, e.Error(), "module panic 1.2.3 (")
	assert.Contains(t, e.Error(), "it wrote: panic: the guest gave up")
	assert.NotContains(t, e.Error(), "\n")
}

func TestExitIsAnError(t *testing.T) {
	wantFault(t, load(t, "exit"), sandbox.KindExit, "exit code 3")
}

func TestHugeOutputIsRefused(t *testing.T) {
	wantFault(t, load(t, "hugeoutput"), sandbox.KindOutput, "33554432 bytes, the limit is 4194304")
}

func TestHugeInputIsRefused(t *testing.T) {
	m := loadWith(t, "echo", sandbox.Limits{InputBytes: 100})
	require.Len(t, mustTurn(t, m, strings.Repeat("x", 100)), 100)
	_, err := turn(t.Context(), m, strings.Repeat("x", 101))
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindInput, e.Kind)
	assert.Contains(t, e.Message, "101 bytes, the limit is 100")
}

func TestLogIsKeptUpToItsLimit(t *testing.T) {
	m := loadWith(t, "floodlog", sandbox.Limits{LogBytes: 1000})
	out, err := turn(t.Context(), m, "misbehave")
	require.NoError(t, err)
	line := "the same line again and again"
	require.Len(t, out.Log, 1000/(len(line)+1)+1)
	assert.Equal(t, line, out.Log[0])
	assert.Equal(t, 100_000*(len(line)+1)-1000, out.LogDropped)

	out, err = turn(t.Context(), m, "be good")
	require.NoError(t, err)
	assert.Empty(t, out.Log)
	assert.Zero(t, out.LogDropped)
}

func TestBadJSONIsNotTheSandboxesBusiness(t *testing.T) {
	assert.Equal(t, `{"calls":[`, mustTurn(t, load(t, "badjson"), "misbehave"))
}

func TestNoStateLeaksBetweenTurns(t *testing.T) {
	m := load(t, "keepstate")
	// The warm-up counted too, and where it ended every turn begins.
	want := mustTurn(t, m, "x")
	for range 19 {
		require.Equal(t, want, mustTurn(t, m, "x"))
	}
	s := m.Stats()
	assert.Equal(t, sandbox.PolicyImage, s.Policy)
	assert.EqualValues(t, 20, s.Turns)
	assert.EqualValues(t, 1, s.Instances, "one instance served all turns")
	assert.Equal(t, 1, s.Idle)
	assert.Zero(t, s.Running)
}

func TestAnInstanceThatOutgrewTheImageIsReplaced(t *testing.T) {
	m := load(t, "growmemory")
	before, err := turn(t.Context(), m, "be good")
	require.NoError(t, err)
	grown, err := turn(t.Context(), m, "misbehave")
	require.NoError(t, err)
	assert.Greater(t, grown.MemoryBytes, uint64(24<<20))
	after, err := turn(t.Context(), m, "be good")
	require.NoError(t, err)
	assert.Equal(t, before.MemoryBytes, after.MemoryBytes)
	assert.EqualValues(t, 1, m.Stats().Outgrown)
	assert.EqualValues(t, 2, m.Stats().Instances)
}

func TestClockStandsAtTheTimeOfTheTurn(t *testing.T) {
	m := load(t, "clock")
	assert.Equal(t, "[1772600767890,0]", mustTurn(t, m, "x"))
}

func TestSleepTakesNoTimeButMovesTheMonotonicClock(t *testing.T) {
	m := load(t, "sleep")
	began := time.Now()
	want := mustTurn(t, m, "x")
	var slept [2]time.Duration
	require.NoError(t, json.Unmarshal([]byte(want), &slept))
	assert.GreaterOrEqual(t, slept[0], time.Hour+time.Minute)
	assert.Less(t, slept[0], time.Hour+2*time.Minute)
	for range 3 {
		assert.Equal(t, want, mustTurn(t, m, "x"), "the clock goes back between turns")
	}
	assert.Less(t, time.Since(began), time.Minute)
}

func TestRandomFollowsFromTheSeed(t *testing.T) {
	m := load(t, "random")
	draw := func(seed uint64) string {
		out, err := m.Turn(t.Context(), sandbox.TurnInput{Input: []byte("x"), Now: someTime, Seed: seed})
		require.NoError(t, err)
		return string(out.Answer)
	}
	first := draw(1)
	assert.Len(t, first, 66)
	assert.Equal(t, first, draw(1))
	assert.NotEqual(t, first, draw(2))
}

func TestThereIsNoFileNoEnvironmentAndNoNetwork(t *testing.T) {
	t.Setenv("FN_THREATQ_TEST", "secret")
	assert.Equal(t, `"read failed; write failed; list failed; env 0; args 0"`, mustTurn(t, load(t, "files"), "x"))
	_, err := os.Stat("/tmp/fn-threatq-guest")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestClosedStreamsAreOpenInTheNextTurn(t *testing.T) {
	m := load(t, "closefiles")
	for range 3 {
		out, err := turn(t.Context(), m, "x")
		require.NoError(t, err)
		require.Equal(t, []string{"to stdout", "to stderr"}, out.Log)
	}
}

func TestATrapDisturbsNoOtherTurn(t *testing.T) {
	s := newSandbox(t)
	bad, err := s.Load(t.Context(), guestbuild.Module(t, "spin"), sandbox.Limits{TurnFuel: 200e6})
	require.NoError(t, err)
	good, err := s.Load(t.Context(), guestbuild.Module(t, "keepstate"), sandbox.Limits{})
	require.NoError(t, err)

	var wg sync.WaitGroup
	spinning := make(chan struct{})
	wg.Go(func() {
		close(spinning)
		_, err := turn(t.Context(), bad, "misbehave")
		var e *sandbox.Error
		if assert.ErrorAs(t, err, &e) {
			assert.Equal(t, sandbox.KindFuel, e.Kind)
		}
	})
	<-spinning
	want := mustTurn(t, good, "x")
	for range 200 {
		require.Equal(t, want, mustTurn(t, good, "x"))
	}
	wg.Wait()
}

func TestCloseWaitsForTurnsUnderWay(t *testing.T) {
	m := loadWith(t, "spin", sandbox.Limits{TurnFuel: 500e6})
	result := make(chan error, 1)
	go func() {
		_, err := turn(t.Context(), m, "misbehave")
		result <- err
	}()
	require.Eventually(t, func() bool { return m.Stats().Running == 1 }, 5*time.Second, time.Millisecond)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Close(ended), context.Canceled, "the turn is still running")
	require.NoError(t, m.Close(t.Context()))
	select {
	case err := <-result:
		var e *sandbox.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, sandbox.KindFuel, e.Kind)
	default:
		// The gate opens an instant before Turn returns.
		require.Error(t, <-result)
	}
	_, err := turn(t.Context(), m, "x")
	require.ErrorIs(t, err, sandbox.ErrClosed)
	require.NoError(t, m.Close(t.Context()), "closing again does nothing")
}

func TestOneFileLoadedTwiceSurvivesTheCloseOfOne(t *testing.T) {
	s := newSandbox(t)
	file := guestbuild.Module(t, "keepstate")
	first, err := s.Load(t.Context(), file, sandbox.Limits{})
	require.NoError(t, err)
	second, err := s.Load(t.Context(), file, sandbox.Limits{})
	require.NoError(t, err)
	want := mustTurn(t, first, "x")
	require.NoError(t, first.Close(t.Context()))
	require.Equal(t, want, mustTurn(t, second, "x"))
}

func TestAClosedSandboxLoadsNothing(t *testing.T) {
	s, err := sandbox.New(t.Context(), sandbox.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
	require.NoError(t, s.Close(t.Context()))
	_, err = s.Load(t.Context(), nil, sandbox.Limits{})
	require.ErrorIs(t, err, sandbox.ErrClosed)
}
