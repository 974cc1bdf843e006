package sandbox_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestThereIsNoNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	m := load(t, "network")
	answer := mustTurn(t, m, listener.Addr().String())
	assert.Contains(t, answer, "failed: ")
	require.NoError(t, listener.(*net.TCPListener).SetDeadline(time.Now()))
	_, err = listener.Accept()
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout(), "nobody knocked")
}

// TestManyTurnsOfManyModulesSideBySide mixes good and hostile modules, hot
// unloading included. Every good turn must give what it gives alone.
func TestManyTurnsOfManyModulesSideBySide(t *testing.T) {
	s := newSandbox(t)
	limits := sandbox.Limits{MemoryBytes: 16 << 20}
	get := func(name string, l sandbox.Limits) *sandbox.Module {
		m, err := s.Load(t.Context(), guestbuild.Module(t, name), l)
		require.NoError(t, err)
		return m
	}
	short := limits
	short.TurnFuel = 200e6
	count, echo := get("keepstate", limits), get("echo", limits)
	hostile := map[sandbox.Kind]*sandbox.Module{
		sandbox.KindFuel:   get("spin", short),
		sandbox.KindTrap:   get("panic", limits),
		sandbox.KindMemory: get("oom", limits),
		sandbox.KindExit:   get("exit", limits),
	}

	want := mustTurn(t, count, "x")
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 100 {
				out, err := turn(t.Context(), count, "x")
				if !assert.NoError(t, err) || !assert.Equal(t, want, string(out.Answer)) {
					return
				}
				text := strings.Repeat(fmt.Sprintf("%d.%d ", n, i), i*10+1)
				out, err = turn(t.Context(), echo, text)
				if !assert.NoError(t, err) || !assert.Equal(t, text, string(out.Answer)) {
					return
				}
			}
		})
	}
	for kind, m := range hostile {
		wg.Go(func() {
			for i := range 10 {
				input := "misbehave"
				if i%2 == 1 {
					input = "be good"
				}
				_, err := turn(t.Context(), m, input)
				if input == "be good" {
					assert.NoError(t, err)
					continue
				}
				var e *sandbox.Error
				if assert.ErrorAs(t, err, &e) {
					assert.Equal(t, kind, e.Kind, e.Error())
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			m, err := s.Load(t.Context(), guestbuild.Module(t, "keepstate"), limits)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, want, mustTurn(t, m, "x"))
			assert.NoError(t, m.Close(t.Context()))
		}
	})
	wg.Wait()
	assert.EqualValues(t, 401, count.Stats().Turns)
	assert.Zero(t, count.Stats().Failed)
	assert.LessOrEqual(t, count.Stats().Idle, 2, "MaxIdle")
	assert.EqualValues(t, 5, hostile[sandbox.KindTrap].Stats().Failed)
}

func TestTheSameInputGivesTheSameAnswerInEveryInstance(t *testing.T) {
	file := guestbuild.Module(t, "random")
	var answers []string
	for range 2 {
		m, err := newSandbox(t).Load(t.Context(), file, sandbox.Limits{})
		require.NoError(t, err)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					out, err := turn(t.Context(), m, "x")
					if assert.NoError(t, err) {
						mu.Lock()
						answers = append(answers, string(out.Answer))
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
	}
	require.Len(t, answers, 40)
	for _, a := range answers {
		require.Equal(t, answers[0], a)
	}
}
