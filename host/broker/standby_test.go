package broker_test

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two hosts on one queue, on the embedded broker and on ActiveMQ.

// Without Exclusive both get messages, each a different one.
func contractShared(t *testing.T, w world) {
	server := soar(t, w)
	o := options(t, w)
	o.Prefetch = 5
	one, two := run(t, o), run(t, o)
	one.state(t, true)
	two.state(t, true)
	for i := range 10 {
		publish(t, server, i, nil)
	}
	seen := map[string]bool{}
	for range 5 {
		for _, h := range []*host{one, two} {
			d := h.next(t)
			assert.False(t, seen[d.MessageID], "a message came twice")
			seen[d.MessageID] = true
			require.NoError(t, d.Ack(within(t)))
		}
	}
	one.nothingMore(t)
	two.nothingMore(t)
}

// With Exclusive the first gets all, and the next one all that it has not
// acknowledged, in order, once it is gone.
func contractStandby(t *testing.T, w world) {
	server := soar(t, w)
	o := options(t, w)
	o.Exclusive, o.Prefetch = true, 3
	active := run(t, o)
	active.state(t, true)
	standby := run(t, o)
	standby.state(t, true)
	for i := range 8 {
		publish(t, server, i, nil)
	}
	for range 3 {
		require.NotNil(t, active.next(t))
	}
	standby.nothingMore(t)
	active.cancel() // as a crash: nothing was acknowledged
	for i := range 8 {
		d := standby.next(t)
		assert.Equal(t, "invid:"+strconv.Itoa(i), d.CorrelationID)
		assert.Equal(t, i < 3, d.Redelivered)
		require.NoError(t, d.Ack(within(t)))
	}
}

// mute swallows what a host sends and what it is sent, as a network does whose
// cable was pulled.
type mute struct {
	net.Conn
	on *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.on.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// The machine of the active host is gone without a word: the broker notices that
// its beats are missing. The beats of the other keep it on.
func contractStandbyBehindASilentNetwork(t *testing.T, w world) {
	server := soar(t, w)
	o := options(t, w)
	o.Exclusive, o.Beat = true, time.Second
	var silent atomic.Bool
	first := o
	first.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if silent.Load() {
			return nil, net.ErrClosed
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return mute{conn, &silent}, err
	}
	active := run(t, first)
	active.state(t, true)
	standby := run(t, o)
	standby.state(t, true)
	publish(t, server, 1, nil)
	require.Equal(t, "invid:1", active.next(t).CorrelationID)
	silent.Store(true)
	d := standby.next(t)
	assert.Equal(t, "invid:1", d.CorrelationID)
	assert.True(t, d.Redelivered)
	require.NoError(t, d.Ack(within(t)))
	select {
	case s := <-standby.states:
		assert.Fail(t, "the standby lost its session", "%v", s.Reason)
	default:
	}
}
