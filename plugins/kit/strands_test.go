package kit_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/plugins/kit"
)

// play runs a rule and returns the paths of the calls of each turn.
func play(t *testing.T, rule guest.Rule) (turns []string, last abi.Output) {
	t.Helper()
	d := guesttest.Play(t, map[string]guest.Rule{"r": rule}, abi.Action{ID: "m", Name: "r", Kind: abi.KindRule, IncidentID: 7},
		guesttest.Options{}, func(abi.Call) abi.Result { return guesttest.OK(`{"id":1}`) })
	for _, turn := range d.Turns {
		var paths []string
		for _, call := range turn.Output.Calls {
			paths = append(paths, call.Path)
		}
		if len(paths) > 0 {
			turns = append(turns, strings.Join(paths, " "))
		}
	}
	return turns, d.Last()
}

// fetch makes one call after the other.
func fetch(k *kit.Kit, paths ...string) {
	for _, path := range paths {
		k.Get("/api/" + path)
	}
}

func TestCallsOfStrandsShareTurns(t *testing.T) {
	turns, last := play(t, func(a *guest.Action) guest.Reply {
		k := kit.New(a)
		k.Together(
			func() { fetch(k, "a1", "a2", "a3") },
			func() { fetch(k, "b1") },
			func() {
				k.Together(
					func() { fetch(k, "c1", "c2") },
					func() { fetch(k, "d1", "d2") })
				fetch(k, "e1")
			})
		fetch(k, "z")
		return guest.Done("done")
	})
	require.NotNil(t, last.Reply)
	assert.Equal(t, []string{
		"/api/a1 /api/b1 /api/c1 /api/d1",
		"/api/a2 /api/c2 /api/d2",
		"/api/a3 /api/e1",
		"/api/z",
	}, turns)
}

func TestFailureInAStrandEndsTheActionBeforeTheOthersGoOn(t *testing.T) {
	turns, last := play(t, func(a *guest.Action) guest.Reply {
		k := kit.New(a)
		k.Together(
			func() { fetch(k, "check"); k.Fail(abi.CodeInput, "no") },
			func() { fetch(k, "read", "write") })
		return guest.Done("done")
	})
	require.NotNil(t, last.Fail)
	assert.Equal(t, abi.CodeInput, last.Fail.Code)
	assert.Equal(t, []string{"/api/check /api/read"}, turns)
}

func TestSuspendedStrandsRunTheirDefersAndLeaveNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defers := 0
	play(t, func(a *guest.Action) guest.Reply {
		k := kit.New(a)
		k.Together(
			func() { defer func() { defers++ }(); fetch(k, "a1", "a2") },
			func() { defer func() { defers++ }(); fetch(k, "b1", "b2") })
		return guest.Done("done")
	})
	assert.Equal(t, 2*2*3, defers, "two strands, three turns, each played twice")
}
