package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// world is a message broker with the accounts integration/secret and
// key:id\1/p:w\d (read actions.>, write acks.>) and soar/soar (everything).
type world interface {
	Addr() string
	ClientTLS() *tls.Config
	Stop(t testing.TB)
	Restart(t testing.TB)
}

type embedded struct {
	*brokertest.Server
	tls *tls.Config
}

func (e embedded) ClientTLS() *tls.Config { return e.tls }
func (e embedded) Stop(testing.TB)        { e.Server.Stop() }
func (e embedded) Restart(t testing.TB)   { require.NoError(t, e.Server.Restart()) }

func startEmbedded(t testing.TB) embedded {
	authority := brokertest.NewAuthority()
	integration := brokertest.User{Read: []string{"actions.>"}, Write: []string{"acks.>"}}
	odd := integration
	integration.Passcode, odd.Passcode = "secret", `p:w\d`
	server, err := brokertest.Start(brokertest.Options{
		TLS: authority.ServerConfig(),
		Users: map[string]brokertest.User{
			"integration": integration, `key:id\1`: odd, "soar": {Passcode: "soar"},
		},
		Log: true,
	})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return embedded{server, authority.ClientConfig()}
}

func TestContractOnBrokertest(t *testing.T) { contract(t, startEmbedded(t)) }

// contract is what holds on the embedded broker and on ActiveMQ alike. Each
// part has a message destination of its own.
func contract(t *testing.T, w world) {
	parts := []struct {
		name string
		run  func(*testing.T, world)
	}{
		{"RoundTrip", contractRoundTrip},
		{"Prefetch", contractPrefetch},
		{"BacklogComesWhole", contractBacklogComesWhole},
		{"Redelivery", contractRedelivery},
		{"RefusedLogin", contractRefusedLogin},
		{"RefusedDestination", contractRefusedDestination},
		{"UntrustedCertificate", contractUntrustedCertificate},
		{"OddCredentials", contractOddCredentials},
		{"LargeMessage", contractLargeMessage},
		{"RefusedReply", contractRefusedReply},
		{"Finish", contractFinish},
		{"LostTransaction", contractLostTransaction},
		{"AbortedTransaction", contractAbortedTransaction},
		{"SpoiledTransaction", contractSpoiledTransaction},
		{"OddTransactions", contractOddTransactions},
		{"Cuts", contractCuts},
		{"GracefulEnd", contractGracefulEnd},
		{"EndedSubscription", contractEndedSubscription},
		{"NackMovesAway", contractNackMovesAway},
		{"HeartBeats", contractHeartBeats},
		{"Shared", contractShared},
		{"Standby", contractStandby},
		{"StandbyBehindASilentNetwork", contractStandbyBehindASilentNetwork},
		{"Browse", contractBrowse},
		{"BrowseRefused", contractBrowseRefused},
		{"Probe", contractProbe},
		{"RestartMidStream", contractRestartMidStream}, // last: it ends the others' connections
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

func contractRoundTrip(t *testing.T, w world) {
	server := soar(t, w)
	require.NoError(t, server.Subscribe(within(t), acksOf(t), "auto", 0))
	h := run(t, options(t, w))
	assert.Contains(t, h.state(t, true).Server, "ActiveMQ")

	body := []byte(`{"action_id":42,"text":"ümläut 😀 a:b\\n"}`)
	before := time.Now()
	publish(t, server, 133, body)
	d := h.next(t)
	assert.Equal(t, "invid:133", d.CorrelationID)
	assert.Equal(t, "/queue/"+queueOf(t), d.Destination)
	assert.Equal(t, "/queue/"+acksOf(t), d.ReplyTo)
	assert.Equal(t, "ActionDataDTO", d.Payload)
	assert.Equal(t, "token.133", d.ContextToken)
	assert.Equal(t, queueOf(t), d.Headers["subscription"])
	assert.NotEmpty(t, d.MessageID)
	assert.False(t, d.Redelivered)
	assert.WithinDuration(t, before, d.Timestamp, patience)
	assert.Equal(t, string(body), string(d.Body))

	reply := []byte(`{"message_type":0,"message":"Done: ü","complete":true}`)
	require.NoError(t, d.Reply(within(t), reply))
	require.NoError(t, d.Ack(within(t)))
	m, err := server.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "invid:133", m.Headers["correlation-id"])
	assert.Equal(t, "application/json", m.Headers["content-type"])
	assert.Equal(t, string(reply), string(m.Body))

	// A body with a NUL needs content-length in both directions.
	require.NoError(t, h.Send(within(t), acksOf(t), map[string]string{"note": "a:b\\c\nd\r"}, []byte("a\x00b")))
	m, err = server.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "a:b\\c\nd\r", m.Headers["note"])
	assert.Equal(t, "a\x00b", string(m.Body))
	require.NoError(t, h.Close(within(t)))
	require.NoError(t, h.end(t))
}

func contractPrefetch(t *testing.T, w world) {
	server := soar(t, w)
	for i := range 12 {
		publish(t, server, i, []byte("{}"))
	}
	o := options(t, w)
	o.Prefetch = 5
	h := run(t, o)
	var held []*broker.Delivery
	for range 5 {
		held = append(held, h.next(t))
	}
	h.nothingMore(t)
	// Acknowledged in any order, each lets one more in.
	for _, i := range []int{3, 0, 4, 1, 2} {
		require.NoError(t, held[i].Ack(within(t)))
		held = append(held, h.next(t))
		if i == 3 {
			h.nothingMore(t)
		}
	}
	for i, d := range held {
		assert.Equal(t, "invid:"+strconv.Itoa(i), d.CorrelationID, "order")
	}
	for _, d := range held[5:] {
		require.NoError(t, d.Ack(within(t)))
	}
	h.next(t)
	h.next(t)
	h.nothingMore(t)
}

// A backlog comes as far as the prefetch goes, and no further, before anything is
// acknowledged: ActiveMQ leaves it at a page of 200 messages unless it is prompted.
func contractBacklogComesWhole(t *testing.T, w world) {
	const backlog, prefetch = 1300, 1200
	server := soar(t, w)
	for i := range backlog {
		publish(t, server, i, []byte("{}"))
	}
	o := options(t, w)
	o.Prefetch = prefetch
	h := run(t, o)
	seen := map[string]bool{}
	for range prefetch {
		d := h.next(t)
		assert.False(t, d.Redelivered)
		seen[d.MessageID] = true
	}
	assert.Len(t, seen, prefetch)
	h.nothingMore(t)
}

func contractRedelivery(t *testing.T, w world) {
	server := soar(t, w)
	h := run(t, options(t, w))
	for i := range 3 {
		publish(t, server, i, []byte("{}"))
	}
	first := []*broker.Delivery{h.next(t), h.next(t), h.next(t)}
	require.NoError(t, first[1].Ack(within(t)))
	require.NoError(t, first[1].Ack(within(t)), "a second ACK is not sent")
	// An answered request proves that the ACK before it was processed.
	require.NoError(t, first[0].Reply(within(t), []byte("{}")))
	require.NoError(t, server.Subscribe(within(t), acksOf(t), "auto", 0))
	_, err := server.Receive(within(t))
	require.NoError(t, err)

	h.state(t, true)
	h.cut()
	assert.Error(t, h.state(t, false).Reason)
	for _, i := range []int{0, 2} {
		again := h.next(t)
		assert.Equal(t, first[i].MessageID, again.MessageID)
		assert.Equal(t, first[i].CorrelationID, again.CorrelationID)
		assert.NotEqual(t, first[i].Headers["ack"], again.Headers["ack"])
		assert.True(t, again.Redelivered)
		assert.True(t, first[i].Stale())
		assert.ErrorIs(t, first[i].Ack(within(t)), broker.ErrStale)
		require.NoError(t, first[i].Reply(within(t), []byte("{}")), "a reply goes by the session there is")
		require.NoError(t, again.Ack(within(t)))
	}
	h.nothingMore(t)
}

// refused runs a host that must be turned away at its first start.
func refused(t *testing.T, o broker.Options) *broker.RefusedError {
	h := run(t, o)
	select {
	case err := <-h.result:
		h.result <- err
		var refused *broker.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.NotContains(t, err.Error(), "not-the-passcode")
		return refused
	case <-time.After(patience):
		require.Fail(t, "Run went on after a refusal")
		return nil
	}
}

func contractRefusedLogin(t *testing.T, w world) {
	o := options(t, w)
	o.Credentials = login("integration", "not-the-passcode")
	assert.Equal(t, broker.RefusedLogin, refused(t, o).Kind)
}

func contractRefusedDestination(t *testing.T, w world) {
	o := options(t, w)
	o.Destination = "forbidden.201.queue"
	r := refused(t, o)
	assert.Equal(t, broker.RefusedDestination, r.Kind)
	assert.Contains(t, r.Text, "forbidden.201.queue")
}

func contractUntrustedCertificate(t *testing.T, w world) {
	o := options(t, w)
	o.TLS = &tls.Config{}
	o.FailFast = true
	h := run(t, o)
	err := <-h.result
	h.result <- err
	assert.True(t, broker.IsCertificate(err))
	assert.ErrorContains(t, err, "cafile")
}

func contractOddCredentials(t *testing.T, w world) {
	o := options(t, w)
	o.Credentials = login(`key:id\1`, `p:w\d`)
	h := run(t, o)
	h.state(t, true)
	publish(t, soar(t, w), 1, []byte("{}"))
	require.NoError(t, h.next(t).Ack(within(t)))
}

func contractLargeMessage(t *testing.T, w world) {
	server := soar(t, w)
	require.NoError(t, server.Subscribe(within(t), acksOf(t), "auto", 0))
	h := run(t, options(t, w))
	body := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)
	publish(t, server, 1, body)
	d := h.next(t)
	require.True(t, bytes.Equal(body, d.Body), "%d bytes", len(d.Body))
	require.NoError(t, d.Reply(within(t), body))
	require.NoError(t, d.Ack(within(t)))
	m, err := server.Receive(within(t))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(body, m.Body), "%d bytes", len(m.Body))
}

// One reply that may not be sent costs the session nothing.
func contractRefusedReply(t *testing.T, w world) {
	server := soar(t, w)
	h := run(t, options(t, w))
	require.NoError(t, server.Send(within(t), queueOf(t), map[string]string{
		"correlation-id": "invid:1", "reply-to": "/queue/forbidden.acks",
	}, []byte("{}")))
	d := h.next(t)
	require.NoError(t, d.Reply(within(t), []byte("{}")), "an interim reply is not waited for")
	var refused *broker.ReplyRefusedError
	require.ErrorAs(t, d.Finish(within(t), []byte("{}")), &refused, "it is done with all the same")
	assert.Equal(t, broker.RefusedSend, refused.Reason.Kind)
	publish(t, server, 2, []byte("{}"))
	d = h.next(t)
	assert.Equal(t, "invid:2", d.CorrelationID)
	assert.False(t, d.Redelivered)
	require.NoError(t, d.Ack(within(t)))
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Len(t, h.conns, 1)
}

func contractGracefulEnd(t *testing.T, w world) {
	server := soar(t, w)
	require.NoError(t, server.Subscribe(within(t), acksOf(t), "auto", 0))
	o := options(t, w)
	o.Prefetch = 3
	h := run(t, o)
	for i := range 6 {
		publish(t, server, i, []byte("{}"))
	}
	running := []*broker.Delivery{h.next(t), h.next(t), h.next(t)}
	h.StopReceiving()
	require.NoError(t, running[0].Reply(within(t), []byte(`"0"`)))
	require.NoError(t, running[0].Ack(within(t)))
	h.nothingMore(t)
	require.NoError(t, running[1].Reply(within(t), []byte(`"1"`)))
	require.NoError(t, running[1].Ack(within(t)))
	require.NoError(t, h.Close(within(t)))
	require.NoError(t, h.end(t))
	assert.NoError(t, h.state(t, false).Reason)
	assert.ErrorIs(t, running[2].Reply(within(t), []byte("{}")), broker.ErrClosed)
	assert.ErrorIs(t, running[2].Ack(within(t)), broker.ErrStale)
	for i := range 2 {
		m, err := server.Receive(within(t))
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("%q", strconv.Itoa(i)), string(m.Body))
	}

	// The next host gets what was not acknowledged, and nothing else.
	o.Prefetch = 10
	next := run(t, o)
	for i := 2; i < 6; i++ {
		d := next.next(t)
		assert.Equal(t, "invid:"+strconv.Itoa(i), d.CorrelationID)
		require.NoError(t, d.Ack(within(t)))
	}
	next.nothingMore(t)
}

// contractEndedSubscription is why StopReceiving does not unsubscribe.
func contractEndedSubscription(t *testing.T, w world) {
	server, one, other := soar(t, w), soar(t, w), soar(t, w)
	require.NoError(t, one.Subscribe(within(t), queueOf(t), "client-individual", 5))
	publish(t, server, 1, []byte("{}"))
	first, err := one.Receive(within(t))
	require.NoError(t, err)
	require.NoError(t, one.Unsubscribe(within(t), queueOf(t)))
	require.NoError(t, one.Ack(within(t), first), "accepted")
	require.NoError(t, other.Subscribe(within(t), queueOf(t), "client-individual", 5))
	again, err := other.Receive(within(t))
	require.NoError(t, err, "but without effect")
	assert.Equal(t, first.ID, again.ID)
	assert.True(t, again.Redelivered)
	require.NoError(t, other.Ack(within(t), again))
	assert.ErrorContains(t, other.Ack(within(t), again), "Unexpected ACK")
}

// contractNackMovesAway is why a message is never refused with NACK.
func contractNackMovesAway(t *testing.T, w world) {
	server, dead := soar(t, w), soar(t, w)
	require.NoError(t, dead.Subscribe(within(t), brokertest.DeadLetterQueue, "auto", 0))
	require.NoError(t, server.Subscribe(within(t), queueOf(t), "client-individual", 5))
	publish(t, server, 77, []byte("{}"))
	m, err := server.Receive(within(t))
	require.NoError(t, err)
	require.NoError(t, server.Nack(within(t), m))
	buried, err := dead.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "invid:77", buried.Headers["correlation-id"])
}

// An idle session lives on beats that come late.
func contractHeartBeats(t *testing.T, w world) {
	o := options(t, w)
	o.HeartBeat = 4 * time.Second // ActiveMQ's beats come up to some two seconds late
	if _, ours := w.(embedded); ours {
		o.HeartBeat = 2 * time.Second
	}
	h := run(t, o)
	h.state(t, true)
	select {
	case s := <-h.states:
		require.Fail(t, "idle session lost", "%v", s.Reason)
	case <-time.After(5 * o.HeartBeat / 2):
	}
	publish(t, soar(t, w), 1, []byte("{}"))
	require.NoError(t, h.next(t).Ack(within(t)))
}

func contractRestartMidStream(t *testing.T, w world) { restartMidStream(t, w, w.Stop) }

func restartMidStream(t *testing.T, w world, stop func(testing.TB)) {
	const total, cutAt = 300, 100
	server := soar(t, w)
	for i := range total {
		publish(t, server, i, []byte("{}"))
	}
	h := run(t, options(t, w))
	h.state(t, true)

	// Four workers answer and acknowledge, as the host does.
	done := map[string]int{}
	var mu sync.Mutex
	half := make(chan struct{})
	var reached sync.Once
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case d := <-h.deliveries:
					if err := d.Finish(ctx, []byte(strconv.Quote(d.CorrelationID))); err != nil {
						if !errors.Is(err, broker.ErrStale) && ctx.Err() == nil {
							t.Errorf("Finish: %v", err)
						}
						continue
					}
					mu.Lock()
					done[d.CorrelationID]++
					if len(done) == cutAt {
						reached.Do(func() { close(half) })
					}
					mu.Unlock()
				}
			}
		})
	}
	<-half
	stop(t)
	assert.Error(t, h.state(t, false).Reason)
	w.Restart(t)
	h.state(t, true)

	reader := soar(t, w)
	require.NoError(t, reader.Subscribe(within(t), acksOf(t), "auto", 0))
	answered := map[string]bool{}
	for len(answered) < total {
		m, err := reader.Receive(within(t))
		if !assert.NoError(t, err, "%d of %d answered", len(answered), total) {
			break
		}
		id := m.Headers["correlation-id"]
		assert.False(t, answered[id], "%s was answered twice", id)
		answered[id] = true
	}
	cancel()
	workers.Wait()
	require.NoError(t, h.Close(within(t)))
	if t.Failed() {
		var missing []string
		for i := range total {
			if id := "invid:" + strconv.Itoa(i); !answered[id] {
				missing = append(missing, fmt.Sprintf("%s(acked %d)", id, done[id]))
			}
		}
		slices.Sort(missing)
		t.Log("not answered:", missing)
	}
}
