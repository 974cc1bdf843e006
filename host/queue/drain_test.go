package queue_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// world is a broker with the accounts integration/secret (read actions.>, write
// acks.>) and soar/soar, and one queue for the test.
type world struct {
	addr string
	tls  *tls.Config
	kick func() // cuts all connections; nil where that cannot be done
	stop func() // likewise, for good
	soar *brokertest.Client

	queue, acks string
}

func (w *world) open(t *testing.T) *world {
	own := *w
	own.queue = "actions.201." + strings.ReplaceAll(t.Name(), "/", "_")
	own.acks = strings.Replace(own.queue, "actions.", "acks.", 1)
	var err error
	own.soar, err = brokertest.Dial(w.addr, w.tls, "soar", "soar")
	require.NoError(t, err)
	t.Cleanup(own.soar.Close)
	require.NoError(t, own.soar.Subscribe(within(t), own.acks, "auto", 0))
	return &own
}

func (w *world) options() broker.Options {
	return broker.Options{
		Addr: w.addr, TLS: w.tls, Destination: w.queue, ConnectTimeout: patience,
		Credentials: func(context.Context) (string, string, error) { return "integration", "secret", nil },
	}
}

func (w *world) publish(t *testing.T, number int, headers map[string]string, body string) {
	t.Helper()
	all := map[string]string{
		"correlation-id": "invid:" + strconv.Itoa(number), "reply-to": "/queue/" + w.acks, "persistent": "true",
		"Co3MessagePayload": "ActionDataDTO", "Co3ContextToken": "c4nary.token",
	}
	for name, value := range headers {
		all[name] = value
	}
	if all["reply-to"] == "" {
		delete(all, "reply-to")
	}
	require.NoError(t, w.soar.Send(within(t), w.queue, all, []byte(body)))
}

func action(rule, incident int) string {
	return fmt.Sprintf(`{"action_id":%d,"object_type":0,"incident":{"id":%d},"text":"c4nary-password"}`, rule, incident)
}

func names(_ context.Context, rule int64) string {
	return map[int64]string{41: "ThreatQ: Sync Incident"}[rule]
}

func (w *world) peek(t *testing.T, matches ...string) queue.View {
	t.Helper()
	filter, err := queue.NewFilter(matches, time.Time{})
	require.NoError(t, err)
	v, err := queue.Peek(within(t), w.options(), names, filter, 0)
	require.NoError(t, err)
	return v
}

func (w *world) drain(v queue.View, kept *[]queue.Record) queue.Drain {
	return queue.Drain{
		Broker: w.options(), View: v, Reply: queue.DefaultReply, Quiet: 2 * time.Second, Progress: func(int) {},
		Redact: func(s string) string { return strings.ReplaceAll(s, "c4nary-password", "***") },
		Keep: func(records []queue.Record) error {
			*kept = append(*kept, records...)
			return nil
		},
	}
}

// waiting are the correlation ids of what is in the queue, by a browser.
func (w *world) waiting(t *testing.T) (ids []string) {
	t.Helper()
	require.NoError(t, broker.Browse(within(t), w.options(), func(d *broker.Delivery) bool {
		ids = append(ids, d.CorrelationID)
		return true
	}))
	return ids
}

func embedded(t *testing.T) *world {
	authority := brokertest.NewAuthority()
	server, err := brokertest.Start(brokertest.Options{TLS: authority.ServerConfig(), Users: map[string]brokertest.User{
		"integration": {Passcode: "secret", Read: []string{"actions.>"}, Write: []string{"acks.>"}}, "soar": {Passcode: "soar"},
	}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return &world{addr: server.Addr(), tls: authority.ClientConfig(), kick: server.KickAll, stop: server.Stop}
}

func TestOnBrokertest(t *testing.T) { contract(t, embedded(t)) }

// contract holds on the embedded broker and on ActiveMQ alike.
func contract(t *testing.T, w *world) {
	t.Run("DrainsWhatMatches", func(t *testing.T) { drainsWhatMatches(t, w.open(t)) })
	t.Run("LeavesWhatArrivesMeanwhile", func(t *testing.T) { leavesWhatArrives(t, w.open(t)) })
	t.Run("Interrupted", func(t *testing.T) { interrupted(t, w.open(t)) })
	t.Run("MissingMessages", func(t *testing.T) { missing(t, w.open(t)) })
	t.Run("NotKeptNotAcknowledged", func(t *testing.T) { notKept(t, w.open(t)) })
	t.Run("Unreadable", func(t *testing.T) { unreadable(t, w.open(t)) })
}

func drainsWhatMatches(t *testing.T, w *world) {
	const total = 300
	var stay []string
	for i := range total {
		rule := 41
		if i%3 == 0 { // more than the broker hands out to a host at once
			rule = 42
			stay = append(stay, "invid:"+strconv.Itoa(i))
		}
		w.publish(t, i, nil, action(rule, 2000+i%2))
	}
	v := w.peek(t, "rule=ThreatQ: Sync Incident")
	require.Equal(t, total, v.Waiting)
	require.Equal(t, total-len(stay), v.Matching)

	var kept []queue.Record
	d := w.drain(v, &kept)
	var progress []int
	d.Progress = func(done int) { progress = append(progress, done) }
	drained, err := d.Run(within(t))
	require.NoError(t, err)
	assert.Equal(t, queue.Drained{Done: v.Matching}, drained)
	assert.True(t, slices.IsSorted(progress))
	assert.Equal(t, v.Matching, progress[len(progress)-1])

	for range v.Matching {
		m, err := w.soar.Receive(within(t))
		require.NoError(t, err)
		assert.NotContains(t, stay, m.Headers["correlation-id"])
		assert.JSONEq(t, `{"message_type":0,"message":"Processing complete","complete":true}`, string(m.Body))
	}
	assert.Equal(t, stay, w.waiting(t), "the rest stays in its order")
	assert.Len(t, kept, v.Matching)
	text, err := json.Marshal(kept)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "c4nary")
	first := kept[0]
	assert.Equal(t, "invid:1", first.CorrelationID)
	assert.Equal(t, "/queue/"+w.acks, first.ReplyTo)
	assert.Equal(t, "ActionDataDTO", first.Payload)
	assert.EqualValues(t, 2001, first.Incident)
	assert.Contains(t, first.Body, `"action_id":41`)
}

func leavesWhatArrives(t *testing.T, w *world) {
	for i := range 5 {
		w.publish(t, i, nil, action(41, 2000))
	}
	v := w.peek(t)
	w.publish(t, 5, nil, action(41, 2000))
	drained, err := w.drain(v, new([]queue.Record)).Run(within(t))
	require.NoError(t, err)
	assert.Equal(t, queue.Drained{Done: 5}, drained)
	assert.Equal(t, []string{"invid:5"}, w.waiting(t))
}

func interrupted(t *testing.T, w *world) {
	const total = 500
	for i := range total {
		w.publish(t, i, nil, action(41, 2000))
	}
	ctx, cancel := context.WithCancel(within(t))
	d := w.drain(w.peek(t), new([]queue.Record))
	d.Progress = func(int) { cancel() }
	drained, err := d.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Positive(t, drained.Done)
	assert.Equal(t, total, drained.Done+drained.Missing)
	assert.Len(t, w.waiting(t), total-drained.Done, "what was not acknowledged is still there")
}

func missing(t *testing.T, w *world) {
	for i := range 4 {
		w.publish(t, i, nil, action(41, 2000))
	}
	v := w.peek(t)
	other, err := brokertest.Dial(w.addr, w.tls, "soar", "soar")
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Subscribe(within(t), w.queue, "client-individual", 1))
	_, err = other.Receive(within(t))
	require.NoError(t, err)
	drained, err := w.drain(v, new([]queue.Record)).Run(within(t))
	require.NoError(t, err)
	assert.Equal(t, queue.Drained{Done: 3, Missing: 1}, drained)
}

func notKept(t *testing.T, w *world) {
	w.publish(t, 0, nil, action(41, 2000))
	d := w.drain(w.peek(t), new([]queue.Record))
	full := errors.New("no space left on device")
	d.Keep = func([]queue.Record) error { return full }
	drained, err := d.Run(within(t))
	require.ErrorIs(t, err, full)
	assert.Equal(t, queue.Drained{Missing: 1}, drained)
	assert.Len(t, w.waiting(t), 1)
	w.publish(t, 1, nil, action(41, 2000))
	require.NoError(t, w.soar.Send(within(t), w.acks, nil, []byte("marker")))
	m, err := w.soar.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "marker", string(m.Body), "nobody was answered")
}

func unreadable(t *testing.T, w *world) {
	w.publish(t, 0, nil, "not JSON")
	w.publish(t, 1, map[string]string{"reply-to": ""}, "a\xff")
	w.publish(t, 2, nil, action(41, 2000))
	v := w.peek(t, "kind=unreadable")
	require.Equal(t, 2, v.Matching)
	var kept []queue.Record
	drained, err := w.drain(v, &kept).Run(within(t))
	require.NoError(t, err)
	assert.Equal(t, 2, drained.Done, "also what names nobody to answer")
	assert.Equal(t, []string{"invid:2"}, w.waiting(t))
	require.Len(t, kept, 2)
	assert.Equal(t, "not JSON", kept[0].Body)
	assert.Equal(t, []byte("a\xff"), kept[1].Raw)
}

func TestDrainSaysThatTheSessionWasLost(t *testing.T) {
	w := embedded(t).open(t)
	const total = 200
	for i := range total {
		w.publish(t, i, nil, action(41, 2000))
	}
	v := w.peek(t)
	d := w.drain(v, new([]queue.Record))
	var once sync.Once
	d.Progress = func(int) { once.Do(w.kick) }
	drained, err := d.Run(within(t))
	require.ErrorIs(t, err, queue.ErrSessionLost)
	assert.Less(t, drained.Done, total)

	// The same command mends it.
	drained, err = w.drain(w.peek(t), new([]queue.Record)).Run(within(t))
	require.NoError(t, err)
	assert.Positive(t, drained.Done)
	assert.Empty(t, w.waiting(t))
}

// TestSlowConnectIsNotSilence has a network on which connecting takes longer
// than a drain waits for messages.
func TestSlowConnectIsNotSilence(t *testing.T) {
	w := embedded(t).open(t)
	w.publish(t, 0, nil, action(41, 2000))
	d := w.drain(w.peek(t), new([]queue.Record))
	d.Quiet = 500 * time.Millisecond
	d.Broker.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		time.Sleep(2 * d.Quiet)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	drained, err := d.Run(within(t))
	require.NoError(t, err)
	assert.Equal(t, queue.Drained{Done: 1}, drained)
}

// TestBrokerThatStaysAwayIsNotWaitedFor: nothing could be answered any more.
func TestBrokerThatStaysAwayIsNotWaitedFor(t *testing.T) {
	w := embedded(t).open(t)
	for i := range 200 {
		w.publish(t, i, nil, action(41, 2000))
	}
	d := w.drain(w.peek(t), new([]queue.Record))
	keep := d.Keep
	d.Keep = func(records []queue.Record) error {
		w.stop()
		return keep(records)
	}
	_, err := d.Run(within(t))
	require.ErrorIs(t, err, queue.ErrSessionLost)
}

func TestDrainRefused(t *testing.T) {
	w := embedded(t).open(t)
	o := w.options()
	o.Destination = "forbidden"
	d := w.drain(queue.View{Messages: []queue.Message{{ID: "1"}}, Waiting: 1}, new([]queue.Record))
	d.Broker = o
	_, err := d.Run(within(t))
	var refused *broker.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, broker.RefusedDestination, refused.Kind)
}
