package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/admin"
	"fn-threatq/host/catalog"
	"fn-threatq/host/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// letters are dead letters in memory; retry stands for the flow.
type letters struct {
	all       []ledger.Letter
	err       error
	discarded []uint64
	retry     func(ctx context.Context, number uint64) (admin.Ended, error)
}

func (l *letters) Letters() ([]ledger.Letter, error) { return l.all, l.err }

func (l *letters) Letter(number uint64) (ledger.Letter, error) {
	for _, letter := range l.all {
		if letter.Number == number {
			return letter, l.err
		}
	}
	return ledger.Letter{}, &ledger.NoLetterError{Number: number}
}

func (l *letters) Discard(number uint64) error {
	if _, err := l.Letter(number); err != nil {
		return err
	}
	l.discarded = append(l.discarded, number)
	return nil
}

func (l *letters) Retry(ctx context.Context, number uint64) (admin.Ended, error) {
	return l.retry(ctx, number)
}

type noModules struct{}

func (noModules) Modules(context.Context) ([]catalog.Status, error) {
	return nil, errors.New("the catalog is closed")
}
func (noModules) ReloadModules(context.Context) (admin.Reloaded, error) {
	return admin.Reloaded{}, nil
}

func noStatus() (admin.Status, error) { return admin.Status{}, nil }

// serve serves letters until the test ends.
func serve(t *testing.T, l *letters) (path string, server *admin.Server, client *admin.Client) {
	t.Helper()
	path = filepath.Join(t.TempDir(), admin.SocketName)
	server, err := admin.Serve(path, l, noModules{}, noStatus, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	client, err = admin.Dial(path)
	require.NoError(t, err)
	return path, server, client
}

func TestLettersThroughTheSocket(t *testing.T) {
	l := &letters{all: []ledger.Letter{{Number: 3, MessageID: "m3", Body: []byte("{}"), Kept: time.Unix(1, 0).UTC()}, {Number: 7}}}
	_, _, c := serve(t, l)
	all, err := c.Letters()
	require.NoError(t, err)
	assert.Equal(t, l.all, all)
	one, err := c.Letter(3)
	require.NoError(t, err)
	assert.Equal(t, l.all[0], one)
	require.NoError(t, c.Discard(7))
	assert.Equal(t, []uint64{7}, l.discarded)
	assert.EqualError(t, c.Discard(8), "there is no dead letter 8")
	_, err = c.Letter(8)
	assert.EqualError(t, err, "there is no dead letter 8")

	l.err = errors.New("a checksum does not fit")
	_, err = c.Letters()
	require.NoError(t, err, "one that cannot be read does not hide the others")
	_, err = c.Letter(3)
	assert.EqualError(t, err, "a checksum does not fit")
	l.all = nil
	_, err = c.Letters()
	assert.EqualError(t, err, "a checksum does not fit")
	_, err = c.Modules(t.Context())
	assert.EqualError(t, err, "the catalog is closed")
}

func TestErrorsHaveAStatus(t *testing.T) {
	path, _, _ := serve(t, &letters{all: []ledger.Letter{{Number: 1}}, err: errors.New("no")})
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	for request, want := range map[string]int{
		"GET /v1/letters/2": 404, "GET /v1/letters/x": 404, "GET /v1/letters/1": 409, "GET /v2/letters": 404, "POST /v1/letters/1": 405,
	} {
		method, where, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://host"+where, http.NoBody)
		require.NoError(t, err)
		answer, err := transport.RoundTrip(r)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, want, answer.StatusCode, request)
		if want == 409 {
			var told map[string]string
			require.NoError(t, json.Unmarshal(text, &told))
			assert.Equal(t, map[string]string{"error": "no"}, told)
		}
	}
}

func TestSocketIsTheOwnersAndReplacesThatOfAHostThatWasKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), admin.SocketName)
	_, err := admin.Dial(path)
	assert.ErrorIs(t, err, admin.ErrNoHost)
	killed, err := net.Listen("unix", path)
	require.NoError(t, err)
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, killed.Close())
	_, err = admin.Dial(path)
	assert.ErrorIs(t, err, admin.ErrNoHost)

	server, err := admin.Serve(path, &letters{}, noModules{}, noStatus, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	_, err = admin.Dial(path)
	require.NoError(t, err)
	require.NoError(t, server.Close())
	_, err = os.Stat(path)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = admin.Serve(filepath.Join(path, "x"), &letters{}, noModules{}, noStatus, slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "control socket")
}

// Whoever asked goes away: the retry goes on, and so it does while the host stops.
func TestRetryOutlivesWhoAskedAndTheServer(t *testing.T) {
	begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	l := &letters{retry: func(ctx context.Context, number uint64) (admin.Ended, error) {
		begun <- struct{}{}
		<-goOn
		ended <- ctx.Err()
		return admin.Ended{Success: true, Message: "Synced."}, nil
	}}
	path, server, c := serve(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = c.Retry(ctx, 1) }()
	<-begun
	cancel()
	answer := make(chan admin.Ended, 1)
	go func() {
		e, err := c.Retry(context.Background(), 2)
		assert.NoError(t, err)
		answer <- e
	}()
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- server.Close() }()
	require.Eventually(t, func() bool { // the first thing that Close does
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	}, time.Minute, time.Millisecond)
	close(goOn)
	assert.NoError(t, <-ended)
	assert.NoError(t, <-ended)
	assert.Equal(t, admin.Ended{Success: true, Message: "Synced."}, <-answer)
	assert.NoError(t, <-closed)
}
