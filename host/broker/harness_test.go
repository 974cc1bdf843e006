package broker_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
)

const patience = 20 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func queueOf(t testing.TB) string {
	return "actions.201." + strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
}
func acksOf(t testing.TB) string { return strings.Replace(queueOf(t), "actions.", "acks.", 1) }

func soar(t testing.TB, w world) *brokertest.Client {
	c, err := brokertest.Dial(w.Addr(), w.ClientTLS(), "soar", "soar")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// publish sends an action as SOAR does; number becomes the correlation id.
func publish(t testing.TB, c *brokertest.Client, number int, body []byte) {
	require.NoError(t, c.Send(within(t), queueOf(t), map[string]string{
		"correlation-id":    "invid:" + strconv.Itoa(number),
		"reply-to":          "/queue/" + acksOf(t),
		"Co3MessagePayload": "ActionDataDTO",
		"Co3ContextToken":   "token." + strconv.Itoa(number),
		"persistent":        "true",
	}, body))
}

// host is a running Broker whose deliveries a test takes from a channel.
type host struct {
	*broker.Broker
	deliveries chan *broker.Delivery
	states     chan broker.State
	result     chan error
	cancel     context.CancelFunc

	mu    sync.Mutex
	conns []net.Conn
}

func options(t testing.TB, w world) broker.Options {
	return broker.Options{
		Addr:        w.Addr(),
		TLS:         w.ClientTLS(),
		Destination: queueOf(t),
		Credentials: login("integration", "secret"),
		Backoff:     func(int) time.Duration { return 20 * time.Millisecond },
		Logger:      slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func login(user, passcode string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) { return user, passcode, nil }
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func run(t testing.TB, o broker.Options) *host {
	h := &host{
		deliveries: make(chan *broker.Delivery, 10_000),
		states:     make(chan broker.State, 1000),
		result:     make(chan error, 1),
	}
	o.OnState = func(s broker.State) { h.states <- s }
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				h.mu.Lock()
				h.conns = append(h.conns, conn)
				h.mu.Unlock()
			}
			return conn, err
		}
	}
	var err error
	h.Broker, err = broker.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.result <- h.Run(ctx, func(d *broker.Delivery) { h.deliveries <- d }) }()
	t.Cleanup(func() { h.end(t) })
	return h
}

// end cancels Run and waits for it.
func (h *host) end(t testing.TB) error {
	h.cancel()
	select {
	case err := <-h.result:
		h.result <- err
		return err
	case <-time.After(patience):
		t.Error("Run did not return")
		return nil
	}
}

// cut breaks the newest connection as a network would.
func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[len(h.conns)-1].Close()
}

func (h *host) next(t testing.TB) *broker.Delivery {
	t.Helper()
	select {
	case d := <-h.deliveries:
		return d
	case <-time.After(patience):
		require.Fail(t, "no delivery came")
		return nil
	}
}

// nothingMore gives the broker time to do wrong.
func (h *host) nothingMore(t testing.TB) {
	t.Helper()
	select {
	case d := <-h.deliveries:
		require.Fail(t, "a delivery too many", "%v", d.CorrelationID)
	case <-time.After(300 * time.Millisecond):
	}
}

func (h *host) state(t testing.TB, connected bool) broker.State {
	t.Helper()
	for {
		select {
		case s := <-h.states:
			if s.Connected == connected {
				return s
			}
		case <-time.After(patience):
			require.Fail(t, "no such state", "connected=%v", connected)
		}
	}
}
