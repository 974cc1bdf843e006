package broker_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
)

// browsed are the correlation ids of what Browse shows.
func browsed(t *testing.T, o broker.Options) (ids []string) {
	t.Helper()
	require.NoError(t, broker.Browse(within(t), o, func(d *broker.Delivery) bool {
		ids = append(ids, d.CorrelationID)
		return true
	}))
	return ids
}

func numbered(n int) (ids []string) {
	for i := range n {
		ids = append(ids, "invid:"+strconv.Itoa(i))
	}
	return ids
}

func contractBrowse(t *testing.T, w world) {
	o := options(t, w)
	assert.Empty(t, browsed(t, o), "a queue that does not exist is empty")
	server := soar(t, w)
	const total = 600 // more than a page of the broker (200), and than its limit for other browsers (400)
	for i := range total {
		publish(t, server, i, []byte(`{"number":`+strconv.Itoa(i)+`}`))
	}
	require.Equal(t, numbered(total), browsed(t, o))

	// What a consumer holds is shown too.
	o.Prefetch = 3
	h := run(t, o)
	held := []*broker.Delivery{h.next(t), h.next(t), h.next(t)}
	require.Equal(t, numbered(total), browsed(t, o))
	require.NoError(t, held[1].Ack(within(t)))
	h.next(t) // the ACK has arrived
	assert.Equal(t, slices.Delete(numbered(total), 1, 2), browsed(t, o))
	h.end(t)

	// Nothing was taken, and what nobody held is not marked.
	o.Prefetch = total
	h = run(t, o)
	for range total - 1 {
		d := h.next(t)
		number, err := strconv.Atoi(strings.TrimPrefix(d.CorrelationID, "invid:"))
		require.NoError(t, err)
		require.Equal(t, number < 4, d.Redelivered, "%d", number)
	}
	h.nothingMore(t)

	// It can be left in the middle, and its deliveries are only to look at.
	var seen []*broker.Delivery
	require.NoError(t, broker.Browse(within(t), o, func(d *broker.Delivery) bool {
		seen = append(seen, d)
		return len(seen) < 2
	}))
	require.Len(t, seen, 2)
	assert.ErrorIs(t, seen[0].Ack(within(t)), broker.ErrNoAck)
	assert.ErrorIs(t, seen[0].Reply(within(t), nil), broker.ErrClosed)
}

func contractBrowseRefused(t *testing.T, w world) {
	o := options(t, w)
	o.Destination = "forbidden.201.queue"
	err := broker.Browse(within(t), o, func(*broker.Delivery) bool { return true })
	var refused *broker.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, broker.RefusedDestination, refused.Kind)

	p, err := broker.Probe(within(t), o)
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, broker.RefusedDestination, refused.Kind)
	var failed *broker.ConnectError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, broker.StageSubscribe, failed.Stage)
	assert.Contains(t, p.Server, "ActiveMQ", "the login worked")
}

func contractProbe(t *testing.T, w world) {
	server := soar(t, w)
	for i := range 3 {
		publish(t, server, i, []byte("{}"))
	}
	for range 2 {
		p, err := broker.Probe(within(t), options(t, w))
		require.NoError(t, err)
		assert.Contains(t, p.Server, "ActiveMQ")
	}
	h := run(t, options(t, w))
	for i := range 3 {
		d := h.next(t)
		assert.Equal(t, "invid:"+strconv.Itoa(i), d.CorrelationID)
		assert.False(t, d.Redelivered, "the probe had it")
	}
	// Beside a host that runs it takes nothing either.
	_, err := broker.Probe(within(t), options(t, w))
	require.NoError(t, err)
	publish(t, server, 3, []byte("{}"))
	assert.Equal(t, "invid:3", h.next(t).CorrelationID)
}

func TestProbeSaysHowFarItCame(t *testing.T) {
	w := startEmbedded(t)
	o := options(t, w)
	o.Credentials = login("integration", "wrong")
	_, err := broker.Probe(within(t), o)
	var failed *broker.ConnectError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, broker.StageConnect, failed.Stage)
	connects := 0
	for _, f := range w.Frames() {
		if f.Command == "CONNECT" {
			connects++
		}
	}
	assert.Equal(t, 1, connects, "a refused login is not tried again")
}

func TestBrowseEnds(t *testing.T) {
	w := startEmbedded(t)
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(within(t))
		o := options(t, w)
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			cancel()
			return new(net.Dialer).DialContext(context.WithoutCancel(ctx), network, addr)
		}
		err := broker.Browse(ctx, o, func(*broker.Delivery) bool { return true })
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("when the broker falls silent", func(t *testing.T) {
		o := options(t, w)
		o.ConnectTimeout = 200 * time.Millisecond
		w.Silent(true)
		defer w.Silent(false)
		err := broker.Browse(within(t), o, func(*broker.Delivery) bool { return true })
		assert.ErrorContains(t, err, "no answer within 200ms")
	})
	t.Run("when the connection is cut", func(t *testing.T) {
		server := soar(t, w)
		const total = 400
		for i := range total { // 40 MB: more than waits in any buffer
			publish(t, server, i, bytes.Repeat([]byte(" "), 100_000))
		}
		seen := 0
		err := broker.Browse(within(t), options(t, w), func(*broker.Delivery) bool {
			if seen++; seen == 1 {
				w.KickAll()
			}
			return true
		})
		var failed *broker.ConnectError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, broker.StageBrowse, failed.Stage)
		assert.Less(t, seen, total)
	})
}
