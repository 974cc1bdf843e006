package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/config"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/resilient/resilienttest"
)

// manager is a service manager that takes what it is told.
type manager struct {
	socket string
	told   chan string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	// A path of a socket has 108 bytes at most.
	dir, err := os.MkdirTemp("", "sd")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &manager{socket: filepath.Join(dir, "notify"), told: make(chan string, 10_000)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: m.socket})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			m.told <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return m
}

// next is what it is told next, without the beats of the watchdog.
func (m *manager) next(t *testing.T) string {
	t.Helper()
	for {
		select {
		case text := <-m.told:
			if text != "WATCHDOG=1" {
				return text
			}
		case <-within(t).Done():
			require.Fail(t, "nothing was told")
		}
	}
}

func (m *manager) beat(t *testing.T) {
	t.Helper()
	for {
		select {
		case text := <-m.told:
			if text == "WATCHDOG=1" {
				return
			}
		case <-within(t).Done():
			require.Fail(t, "the watchdog was not fed")
		}
	}
}

func TestServiceManagerIsToldOfTheState(t *testing.T) {
	s, m := newSite(t, resilienttest.Options{}, brokertest.Options{}), newManager(t)
	app, err := New(within(t), Options{
		Config: s.config(t), Modules: modules(t), CacheDir: testrun.Cache(), StateDir: t.TempDir(),
		Logger:   slog.New(slog.NewTextHandler(&s.logs, nil)),
		Notifier: NewNotifier([]string{"NOTIFY_SOCKET=" + m.socket, "WATCHDOG_USEC=60000", "WATCHDOG_PID=" + fmt.Sprint(os.Getpid())}),
	})
	require.NoError(t, err)
	load := func() (*config.Config, error) { return s.config(t), nil }
	assert.ErrorIs(t, app.Reload(t.Context(), load), ErrNotReady)
	assert.Empty(t, m.told, "ready must not be said by a reload")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	assert.Equal(t, "READY=1", m.next(t))
	assert.Equal(t, fmt.Sprintf("STATUS=working on actions.%d.fn_threatq", s.soar.OrgID()), m.next(t))
	m.beat(t)
	m.beat(t)

	require.NoError(t, app.Reload(t.Context(), load))
	assert.Regexp(t, regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=reloading the configuration$`), m.next(t))
	assert.Regexp(t, regexp.MustCompile(`^READY=1\nSTATUS=working; configuration of 2[^\n]*$`), m.next(t))

	failed := app.Reload(t.Context(), func() (*config.Config, error) {
		return nil, errors.New("line 3\nis " + password)
	})
	require.Error(t, failed)
	assert.True(t, strings.HasPrefix(m.next(t), "RELOADING=1\n"))
	assert.Equal(t, "READY=1\nSTATUS=working with the former configuration; the reload failed: line 3 is ***", m.next(t))

	stop()
	assert.Equal(t, "STOPPING=1\nSTATUS=stopping: running actions finish", m.next(t))
	require.NoError(t, outcome(t, ended))
	assert.ErrorIs(t, app.Reload(t.Context(), load), ErrNotReady, "after the end")
}

func TestServiceManagerIsToldWhyTheStartTakesLong(t *testing.T) {
	s, m := newSite(t, resilienttest.Options{}, brokertest.Options{}), newManager(t)
	s.soar.Close()
	app, err := New(within(t), Options{Config: s.config(t), Modules: modules(t), CacheDir: testrun.Cache(), StateDir: t.TempDir(),
		Notifier: NewNotifier([]string{"NOTIFY_SOCKET=" + m.socket})})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	assert.Contains(t, m.next(t), "STATUS=SOAR is not reachable, trying again: ")
	stop()
	require.NoError(t, outcome(t, ended))
}

func TestNotifierReadsTheEnvironment(t *testing.T) {
	assert.Nil(t, NewNotifier([]string{"WATCHDOG_USEC=1000"}), "nobody listens")
	require.NoError(t, (*Notifier)(nil).send("READY=1"))
	for environ, want := range map[string]time.Duration{
		"WATCHDOG_USEC=3000000":                 3 * time.Second,
		"WATCHDOG_USEC=3000000\nWATCHDOG_PID=1": 0,
		"WATCHDOG_USEC=soon":                    0,
		"WATCHDOG_USEC=-5":                      0,
		"":                                      0,
	} {
		n := NewNotifier(append(strings.Split(environ, "\n"), "NOTIFY_SOCKET=/run/x"))
		assert.Equal(t, want, n.watchdog, environ)
	}
	n := NewNotifier([]string{"NOTIFY_SOCKET=/nowhere/notify"})
	assert.ErrorContains(t, n.send("READY=1"), "tell the service manager")
}

func TestBeatStopsWhileNothingResponds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		hang := make(chan struct{})
		questions, beats, late := 0, 0, 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			beat(ctx, time.Second, func(context.Context) error {
				if questions++; questions == 3 {
					<-hang
				}
				if questions == 5 {
					return errors.New("refused")
				}
				return nil
			}, func() { beats++ }, func(error) { late++ })
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, []int{3, 2, 1}, []int{questions, beats, late}, "one question is open, and told of once")
		close(hang)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, []int{5, 3, 2}, []int{questions, beats, late}, "it goes on when there is a response, and an error is none")
		stop()
		<-done
	})
}
