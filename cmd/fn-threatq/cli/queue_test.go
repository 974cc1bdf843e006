package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
)

// queueWorld is a world with n messages that wait, and its configuration.
func queueWorld(t *testing.T, users map[string]brokertest.User, n int) (w *world, config string) {
	t.Helper()
	dir := alone(t)
	t.Setenv("SOAR_PASSWORD", "c4nary-soar")
	t.Setenv("APP_LOCK_FILE", filepath.Join(dir, "lock"))
	w, err := startWorld(users)
	require.NoError(t, err)
	t.Cleanup(w.stop)
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, w.ca, 0o600))
	for range n {
		m := w.soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{IncidentID: resilienttest.DefaultIncident})
		w.broker.Publish(m.Queue, m.Headers, m.Body)
	}
	return w, write(t, w.config(ca, ""))
}

func (w *world) waiting() int {
	ready, unacked := w.broker.Depth("actions.201.fn_threatq")
	return ready + unacked
}

func TestDrainAsks(t *testing.T) {
	w, config := queueWorld(t, nil, 2)
	for _, test := range []struct {
		answer     string
		code, left int
		says       string
	}{
		{"n\n", host.ExitDeclined, 2, "declined: nothing was changed"},
		{"", host.ExitDeclined, 2, "there was no answer"},
		{"what?\ny\n", host.ExitOK, 0, "drained 2 of 2 messages"},
	} {
		var stdout, stderr buffer
		s := streams(&stdout, &stderr)
		s.Stdin, s.Terminal = strings.NewReader(test.answer), true
		code := Run(t.Context(), []string{"queue", "drain", "--config", config}, s)
		assert.Equal(t, test.code, code, stderr.String())
		assert.Contains(t, stderr.String(), `Answer 2 messages with "Processing complete" and acknowledge, without working on them? [y/n]`)
		assert.Contains(t, stderr.String(), test.says)
		assert.Equal(t, test.left, w.waiting())
	}
}

func TestDrainStopsByCtrlC(t *testing.T) {
	w, config := queueWorld(t, nil, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr buffer
	s := streams(&stdout, &stderr)
	s.Terminal = true
	s.Stdin = reader(func([]byte) (int, error) { // at the question
		cancel()
		select {}
	})
	assert.Equal(t, host.ExitInterrupted, Run(ctx, []string{"queue", "drain", "--config", config}, s), stderr.String())
	assert.Equal(t, 1, w.waiting())

	// Before anything was asked.
	assert.Equal(t, host.ExitInterrupted, Run(ctx, []string{"queue", "peek", "--config", config}, streams(&stdout, &stderr)), stderr.String())

	_, held, err := host.LockHolder(os.Getenv("APP_LOCK_FILE"))
	require.NoError(t, err)
	assert.False(t, held, "the lock is free again")
}

// TestCtrlCInTheMiddleOfADrain leaves what was not acknowledged, says counts,
// and the same command mends it.
func TestCtrlCInTheMiddleOfADrain(t *testing.T) {
	const total = 300
	w, config := queueWorld(t, nil, total)
	w.broker.Delay(5 * time.Millisecond) // for each frame: it is not over before it is interrupted
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"queue", "drain", "-y", "--config", config}, streams(&stdout, &stderr))
	}()
	require.Eventually(t, func() bool { return w.waiting() < total }, patience, time.Millisecond)
	cancel()
	assert.Equal(t, host.ExitInterrupted, <-code, stderr.String())
	left := w.waiting()
	assert.Positive(t, left)
	assert.Contains(t, stderr.String(), fmt.Sprintf("drained %d of %d messages; %d others stay in the queue\n", total-left, total, left))
	assert.Contains(t, stderr.String(), "interrupted: what was not acknowledged is still in the queue")

	w.broker.Delay(0)
	again, _, errs := call(t, "queue", "drain", "-y", "--config", config)
	assert.Equal(t, host.ExitOK, again, errs)
	assert.Zero(t, w.waiting())
}

func TestProgressBar(t *testing.T) {
	var out buffer
	bar := progressBar{w: &out, total: 60, visible: true}
	bar.show(30)
	bar.end()
	assert.Equal(t, "\r["+strings.Repeat("#", 15)+strings.Repeat("·", 15)+"] 30 of 60\r\x1b[K", out.String())

	var quiet buffer
	hidden := progressBar{w: &quiet, total: 60}
	hidden.show(30)
	hidden.end()
	assert.Empty(t, quiet.String(), "only on a terminal")
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func TestQueueExitCodes(t *testing.T) {
	t.Run("a host runs", func(t *testing.T) {
		w, config := queueWorld(t, nil, 1)
		lock, err := host.AcquireLock(os.Getenv("APP_LOCK_FILE"))
		require.NoError(t, err)
		code, _, _ := call(t, "queue", "drain", "-y", "--config", config)
		assert.Equal(t, host.ExitLocked, code)
		require.NoError(t, lock.Release())
		assert.Equal(t, 1, w.waiting())
	})
	t.Run("not on the destination", func(t *testing.T) {
		_, config := queueWorld(t, map[string]brokertest.User{"integration@example.com": {Passcode: "c4nary-soar", Read: []string{}}}, 0)
		for _, command := range [][]string{{"queue", "peek"}, {"queue", "drain", "-y"}} {
			code, _, stderr := call(t, append(command, "--config", config)...)
			assert.Equal(t, host.ExitStompForbidden, code, stderr)
		}
	})
	t.Run("a topic", func(t *testing.T) {
		w, config := queueWorld(t, nil, 0)
		w.soar.Inject(resilienttest.Fault{PathSuffix: "/message_destinations", Status: http.StatusOK,
			Body: `{"entities":[{"id":9,"programmatic_name":"fn_threatq","destination_type":1}]}`})
		code, _, stderr := call(t, "queue", "drain", "-y", "--config", config)
		assert.Equal(t, host.ExitStompForbidden, code, stderr)
	})
	t.Run("a narrow account may not read destinations, and drains all the same", func(t *testing.T) {
		w, config := queueWorld(t, nil, 1)
		w.soar.Inject(resilienttest.Fault{PathSuffix: "/message_destinations", Status: http.StatusForbidden})
		code, _, stderr := call(t, "queue", "drain", "-y", "--config", config)
		assert.Equal(t, host.ExitOK, code, stderr)
		assert.Zero(t, w.waiting())
	})
	t.Run("login refused", func(t *testing.T) {
		w, config := queueWorld(t, nil, 0)
		t.Setenv("SOAR_PASSWORD", "c4nary-wrong")
		code, _, stderr := call(t, "queue", "peek", "--config", config)
		assert.Equal(t, host.ExitUnauthorized, code, stderr)
		logins := 0
		for _, r := range w.soar.Requests() {
			if r.Method == http.MethodPost && r.Path == "/rest/session" {
				logins++
			}
		}
		assert.Equal(t, 1, logins, "a refused login is not tried again")
	})
	t.Run("another host has taken one", func(t *testing.T) {
		w, config := queueWorld(t, nil, 2)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(w.ca)
		other, err := brokertest.Dial(w.broker.Addr(), &tls.Config{RootCAs: roots}, "x", "x")
		require.NoError(t, err)
		defer other.Close()
		require.NoError(t, other.Subscribe(t.Context(), "actions.201.fn_threatq", "client-individual", 1))
		_, err = other.Receive(t.Context())
		require.NoError(t, err)
		code, _, stderr := call(t, "queue", "drain", "-y", "--config", config)
		assert.Equal(t, host.ExitFailure, code, stderr)
		assert.Contains(t, stderr, "drained 1 of 2 messages")
		assert.Contains(t, stderr, "1 message did not come: another host has them")
	})
}
