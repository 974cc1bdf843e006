package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
)

// finish is Finish of what can be answered.
func finish(t testing.TB, d *broker.Delivery, body string) {
	t.Helper()
	require.NoError(t, d.Finish(within(t), []byte(body)))
}

// replies lists the correlation ids of all replies so far; whoever sent them must
// have been told that the broker has them.
func replies(t testing.TB, w world) []string {
	t.Helper()
	reader := soar(t, w)
	require.NoError(t, reader.Send(within(t), acksOf(t), map[string]string{"correlation-id": "end", "persistent": "true"}, nil))
	require.NoError(t, reader.Subscribe(within(t), acksOf(t), "auto", 0))
	var all []string
	for {
		m, err := reader.Receive(within(t))
		require.NoError(t, err)
		if id := m.Headers["correlation-id"]; id != "end" {
			all = append(all, id)
			continue
		}
		reader.Close()
		return all
	}
}

func contractFinish(t *testing.T, w world) {
	server := soar(t, w)
	h := run(t, options(t, w))
	for i := range 30 {
		publish(t, server, i, []byte("{}"))
	}
	var group sync.WaitGroup
	for range 30 {
		d := h.next(t)
		group.Go(func() {
			assert.NoError(t, d.Finish(within(t), []byte("{}")))
			assert.NoError(t, d.Finish(within(t), []byte("{}")), "a second one is not sent")
		})
	}
	group.Wait()
	h.cut()
	var want []string
	for i := range 30 {
		want = append(want, "invid:"+strconv.Itoa(i))
	}
	assert.ElementsMatch(t, want, replies(t, w), "what was confirmed outlives the connection")
	h.state(t, false)
	h.state(t, true)
	h.nothingMore(t)
}

// taken is the next message of the queue with a client of its own, which has begun
// the transaction tx.
func taken(t *testing.T, w world) (*brokertest.Client, brokertest.Message) {
	c := soar(t, w)
	require.NoError(t, c.Subscribe(within(t), queueOf(t), "client-individual", 1))
	m, err := c.Receive(within(t))
	require.NoError(t, err)
	require.NoError(t, c.Do(within(t), "BEGIN", "transaction", "tx"))
	return c, m
}

func sendIn(t *testing.T, c *brokertest.Client, number string) {
	require.NoError(t, c.Do(within(t), "SEND", "destination", acksOf(t), "transaction", "tx", "persistent", "true", "correlation-id", number))
}

// What was not committed has not happened.
func contractLostTransaction(t *testing.T, w world) {
	publish(t, soar(t, w), 1, []byte("{}"))
	publish(t, soar(t, w), 2, []byte("{}"))
	c, m := taken(t, w)
	sendIn(t, c, "1")
	require.NoError(t, c.Do(within(t), "ACK", "id", m.Headers["ack"], "transaction", "tx"))
	next, err := c.Receive(within(t))
	require.NoError(t, err, "the ACK makes room before the COMMIT")
	assert.Equal(t, "invid:2", next.Headers["correlation-id"])
	c.Close()
	c, again := taken(t, w)
	assert.Equal(t, m.ID, again.ID)
	assert.True(t, again.Redelivered)
	assert.NotEqual(t, m.Headers["ack"], again.Headers["ack"])
	assert.Empty(t, replies(t, w))
	sendIn(t, c, "1")
	require.NoError(t, c.Do(within(t), "ACK", "id", again.Headers["ack"], "transaction", "tx"))
	require.NoError(t, c.Do(within(t), "COMMIT", "transaction", "tx"))
	c.Close()
	_, m = taken(t, w)
	assert.Equal(t, next.ID, m.ID)
	assert.Equal(t, []string{"1"}, replies(t, w))
}

// ABORT leaves the message with the consumer, which can acknowledge it.
func contractAbortedTransaction(t *testing.T, w world) {
	publish(t, soar(t, w), 1, []byte("{}"))
	c, m := taken(t, w)
	sendIn(t, c, "1")
	require.NoError(t, c.Do(within(t), "ACK", "id", m.Headers["ack"], "transaction", "tx"))
	require.NoError(t, c.Do(within(t), "ABORT", "transaction", "tx"))
	assert.Empty(t, replies(t, w))
	require.NoError(t, c.Ack(within(t), m))
	c.Close()
	h := run(t, options(t, w))
	h.state(t, true)
	h.nothingMore(t)
}

// contractSpoiledTransaction is why Finish asks for a receipt of the reply, and why
// it waits for it.
func contractSpoiledTransaction(t *testing.T, w world) {
	publish(t, soar(t, w), 1, []byte("{}"))
	publish(t, soar(t, w), 2, []byte("{}"))
	c, err := brokertest.Dial(w.Addr(), w.ClientTLS(), "integration", "secret")
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Subscribe(within(t), queueOf(t), "client-individual", 5))
	for _, receipt := range []bool{false, true} {
		m, err := c.Receive(within(t))
		require.NoError(t, err)
		require.NoError(t, c.Do(within(t), "BEGIN", "transaction", "tx"))
		if receipt {
			require.ErrorContains(t, c.Do(within(t), "SEND", "destination", "forbidden.acks", "transaction", "tx"), "not authorized to write")
		} else {
			require.NoError(t, c.Post("SEND", "destination", "forbidden.acks", "transaction", "tx"))
		}
		require.NoError(t, c.Do(within(t), "ACK", "id", m.Headers["ack"], "transaction", "tx"))
		err = c.Do(within(t), "COMMIT", "transaction", "tx")
		if receipt {
			require.NoError(t, err, "the ACK is committed without the reply")
		} else {
			require.ErrorContains(t, err, "rollback only")
		}
		require.ErrorContains(t, c.Ack(within(t), m), "Unexpected ACK", "the session has no second one")
	}
	c.Close()
	_, m := taken(t, w)
	assert.Equal(t, "invid:1", m.Headers["correlation-id"], "it comes again by the next")
}

func contractOddTransactions(t *testing.T, w world) {
	publish(t, soar(t, w), 1, []byte("{}"))
	c, m := taken(t, w)
	assert.ErrorContains(t, c.Do(within(t), "BEGIN", "transaction", "tx"), "already started")
	for _, command := range []string{"COMMIT", "ABORT"} {
		assert.ErrorContains(t, c.Do(within(t), command, "transaction", "none"), "Invalid transaction id")
	}
	assert.ErrorContains(t, c.Do(within(t), "SEND", "destination", acksOf(t), "transaction", "none"), "Invalid transaction id")
	require.NoError(t, c.Do(within(t), "ACK", "id", m.Headers["ack"], "transaction", "tx"))
	assert.ErrorContains(t, c.Do(within(t), "ACK", "id", m.Headers["ack"], "transaction", "tx"), "Unexpected ACK")
	require.NoError(t, c.Do(within(t), "COMMIT", "transaction", "tx"))
	assert.ErrorContains(t, c.Do(within(t), "COMMIT", "transaction", "tx"), "Invalid transaction id")
}

// cutting is a connection that ends at a write of its own: before it, in the middle
// of it, after it, or after it with what the broker says being lost.
type cutting struct {
	net.Conn
	mu     sync.Mutex
	writes int // until the one at which it ends
	how    int
	deaf   chan struct{}
}

var errCut = errors.New("the connection was cut")

func (c *cutting) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes--; c.writes != 0 {
		return c.Conn.Write(p)
	}
	switch c.how {
	case 0:
	case 1:
		_, _ = c.Conn.Write(p[:len(p)/2])
	case 2:
		_, _ = c.Conn.Write(p)
	case 3:
		close(c.deaf)
		_, _ = c.Conn.Write(p)
		go func() {
			// Time for the broker to act; how much of it does not matter.
			time.Sleep(30 * time.Millisecond)
			c.Conn.Close()
		}()
		return len(p), nil
	}
	c.Conn.Close()
	return 0, errCut
}

func (c *cutting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.deaf:
		return 0, errCut
	default:
		return n, err
	}
}

// A connection that ends at a frame of a transaction, before or after the broker has
// acted upon it.
func TestCutAtEachFrame(t *testing.T) {
	for _, command := range []string{"BEGIN", "SEND", "ACK", "COMMIT"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %t", command, done), func(t *testing.T) {
				w := startEmbedded(t)
				publish(t, soar(t, w), 1, []byte("{}"))
				h := run(t, options(t, w))
				d := h.next(t)
				w.Cut(command, done)
				err := d.Finish(within(t), []byte("{}"))
				require.ErrorIs(t, err, broker.ErrStale)
				assert.Equal(t, command == "ACK" || command == "COMMIT", errors.Is(err, broker.ErrUnconfirmed), err)
				h.state(t, true)
				h.state(t, true)
				if committed := command == "COMMIT" && done; !committed {
					again := h.next(t)
					assert.Equal(t, d.MessageID, again.MessageID)
					finish(t, again, "{}")
				}
				h.nothingMore(t)
				assert.Equal(t, []string{"invid:1"}, replies(t, w))
			})
		}
	}
}

// A reply that is refused for a while is sent when it is taken; one that is refused
// for good does not come again for ever.
func TestRefusedReplies(t *testing.T) {
	for name, mended := range map[string]bool{"for a while": true, "for good": false} {
		t.Run(name, func(t *testing.T) {
			w := startEmbedded(t)
			publish(t, soar(t, w), 1, []byte("{}"))
			o := options(t, w)
			o.Backoff = func(attempt int) time.Duration {
				if mended && attempt == 2 {
					w.RefuseSends("")
				}
				return time.Millisecond
			}
			h := run(t, o)
			d := h.next(t)
			w.RefuseSends("Usage Manager Store is Full")
			err := d.Finish(within(t), []byte("{}"))
			var refused *broker.ReplyRefusedError
			assert.Equal(t, !mended, errors.As(err, &refused), "%v", err)
			w.RefuseSends("")
			h.nothingMore(t)
			ready, unacked := w.Depth(queueOf(t))
			assert.Zero(t, ready+unacked)
			assert.Len(t, replies(t, w), map[bool]int{true: 1}[mended])
			h.mu.Lock()
			defer h.mu.Unlock()
			assert.Len(t, h.conns, 1)
		})
	}
}

// The frames of transactions, byte for byte: what comes while one is under way
// shares the next, but for a reply that is refused; and after a COMMIT that is refused
// only another session gets the messages.
func TestFramesOfTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		p := s.accept("0,0")
		results := map[string]chan error{}
		finish := func(ctx context.Context, id string) {
			p.write("MESSAGE\nmessage-id:" + id + "\nack:a" + id + "\nreply-to:/queue/" + id + "\n\n{}\x00")
			d := <-s.deliveries
			results[id] = make(chan error, 1)
			go func() { results[id] <- d.Finish(ctx, []byte("{}")) }()
			synctest.Wait()
		}
		send := func(id, transaction, receipt string) {
			f := p.read()
			for _, part := range []string{"SEND\n", "destination:/queue/" + id, "transaction:" + transaction, "receipt:" + receipt} {
				assert.Contains(t, f, part)
			}
		}
		receipt := func(id string) { p.write("RECEIPT\nreceipt-id:" + id + "\n\n\x00") }
		finish(t.Context(), "1")
		finish(t.Context(), "2")
		finish(t.Context(), "3")
		given, cancel := context.WithCancel(t.Context())
		finish(given, "4")
		cancel()
		assert.ErrorIs(t, <-results["4"], context.Canceled)
		assert.Equal(t, "BEGIN\ntransaction:2\n\n\x00", p.read())
		send("1", "2", "3")
		receipt("3")
		assert.Equal(t, "ACK\nid:a1\ntransaction:2\n\n\x00", p.read())
		assert.Equal(t, "COMMIT\ntransaction:2\nreceipt:4\n\n\x00", p.read())
		receipt("4")
		assert.NoError(t, <-results["1"])

		assert.Equal(t, "BEGIN\ntransaction:5\n\n\x00", p.read())
		send("2", "5", "6")
		send("3", "5", "7")
		p.write("ERROR\nreceipt-id:6\nmessage:User x is not authorized to write to\\c y\n\n\x00")
		receipt("7")
		var rest []string
		for range 3 {
			rest = append(rest, p.read())
		}
		assert.ElementsMatch(t, []string{
			"ACK\nid:a2\n\n\x00", "ACK\nid:a3\ntransaction:5\n\n\x00", "COMMIT\ntransaction:5\nreceipt:8\n\n\x00",
		}, rest)
		var refused *broker.ReplyRefusedError
		assert.ErrorAs(t, <-results["2"], &refused)
		p.write("ERROR\nreceipt-id:8\nmessage:COMMIT FAILED\n\n\x00")
		err := <-results["3"]
		assert.ErrorIs(t, err, broker.ErrStale)
		assert.NotErrorIs(t, err, broker.ErrUnconfirmed, "the broker has said it")
		assert.ErrorContains(t, (<-s.states).Reason, "COMMIT FAILED")
	})
}

// A broker that beats and takes replies, and never says what became of them, has the
// messages of a session that is of no use.
func TestBrokerThatDoesNotCommit(t *testing.T) {
	for name, receipts := range map[string]bool{"no word on the reply": false, "none on the commit": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted(t, nil, nil)
				defer s.finish()
				p := s.accept("0,0")
				p.write("MESSAGE\nmessage-id:1\nack:a1\nreply-to:/queue/1\n\n{}\x00")
				d := <-s.deliveries
				result := make(chan error, 1)
				begin := time.Now()
				go func() { result <- d.Finish(t.Context(), []byte("{}")) }()
				p.read() // BEGIN
				p.read()
				if receipts {
					p.write("RECEIPT\nreceipt-id:3\n\n\x00")
					p.read() // ACK
					p.read()
				}
				err := <-result
				assert.Equal(t, 2*time.Minute, time.Since(begin))
				assert.ErrorIs(t, err, broker.ErrStale)
				assert.Equal(t, receipts, errors.Is(err, broker.ErrUnconfirmed))
				assert.ErrorContains(t, (<-s.states).Reason, "a transaction took more than 2m0s")
				s.accept("0,0") // another session gets the message again
			})
		})
	}
}

// contractCuts has connections end anywhere: each message has one reply.
func contractCuts(t *testing.T, w world) {
	const total, cuts = 400, 60
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	server := soar(t, w)
	for i := range total {
		publish(t, server, i, []byte("{}"))
	}
	o := options(t, w)
	made := 0
	o.Backoff = func(int) time.Duration { return time.Millisecond }
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) { // by one goroutine
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if made++; err != nil || made > cuts {
			return conn, err
		}
		return &cutting{Conn: conn, writes: 4 + random.IntN(12), how: random.IntN(4), deaf: make(chan struct{})}, nil
	}
	h := run(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	var mu sync.Mutex
	confirmed, unknown := map[string]bool{}, 0
	for range 6 {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case d := <-h.deliveries:
					err := d.Finish(ctx, []byte("{}"))
					mu.Lock()
					if errors.Is(err, broker.ErrUnconfirmed) {
						unknown++
					} else if err == nil {
						assert.False(t, confirmed[d.CorrelationID], "confirmed twice")
						confirmed[d.CorrelationID] = true
					}
					mu.Unlock()
				}
			}
		})
	}
	seen := map[string]int{}
	reader := soar(t, w)
	require.NoError(t, reader.Subscribe(within(t), acksOf(t), "auto", 0))
	for len(seen) < total {
		m, err := reader.Receive(within(t))
		require.NoError(t, err, "%d of %d answered", len(seen), total)
		seen[m.Headers["correlation-id"]]++
	}
	cancel()
	workers.Wait()
	if err := h.Close(within(t)); err != nil {
		// The last connection may be one that is cut.
		assert.LessOrEqual(t, made, cuts, "%s", err)
	}
	reader.Close()
	for _, id := range replies(t, w) {
		seen[id]++
	}
	for id, n := range seen {
		assert.Equal(t, 1, n, "replies to %s", id)
	}
	t.Logf("%d connections, %d transactions of unknown end", made, unknown)
}
