package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
)

// reply is what the host sent for a message (contract: replies).
type reply struct {
	Type     int             `json:"message_type"`
	Message  string          `json:"message"`
	Complete bool            `json:"complete"`
	Results  json.RawMessage `json:"results"`

	text string
}

// player is SOAR's side of the broker. It outlives restarts of the broker.
type player struct {
	t       testing.TB
	broker  messageBroker
	acks    string
	cancel  context.CancelFunc
	stopped sync.WaitGroup

	mu       sync.Mutex
	client   *brokertest.Client
	marks    int
	replies  map[string][]reply // by correlation-id
	marked   map[string]bool
	received map[string]bool // message-ids, as a reply may be delivered twice
	all      []string
}

func startPlayer(t testing.TB, b messageBroker, org int64) *player {
	ctx, cancel := context.WithCancel(context.Background())
	p := &player{
		t: t, broker: b, acks: fmt.Sprintf("acks.%d.%s", org, resilienttest.Destination), cancel: cancel,
		replies: map[string][]reply{}, marked: map[string]bool{}, received: map[string]bool{},
	}
	client, err := p.connect(ctx)
	require.NoError(t, err)
	p.client = client
	p.stopped.Go(func() { p.collect(ctx, client) })
	t.Cleanup(func() {
		cancel()
		p.stopped.Wait()
	})
	return p
}

func (p *player) connect(ctx context.Context) (*brokertest.Client, error) {
	client, err := brokertest.Dial(p.broker.Addr(), p.broker.ClientTLS(), soarUser, soarPasscode)
	if err != nil {
		return nil, err
	}
	// Acknowledged one by one, so that no reply gets lost with a connection; few
	// at a time, since the client reads its receipts behind the messages.
	if err := client.Subscribe(ctx, p.acks, "client-individual", 8); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// collect takes replies until the end, by a new connection after each loss.
func (p *player) collect(ctx context.Context, client *brokertest.Client) {
	for {
		for {
			m, err := client.Receive(ctx)
			if err != nil {
				break
			}
			// First: an acknowledgement that fails may have arrived all the same.
			p.take(m)
			if client.Ack(ctx, m) != nil {
				break
			}
		}
		client.Close()
		p.use(nil)
		for {
			if ctx.Err() != nil {
				return
			}
			var err error
			if client, err = p.connect(ctx); err == nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		p.use(client)
	}
}

func (p *player) use(client *brokertest.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client = client
}

// connected tells whether the player can send; it cannot while the broker is down.
func (p *player) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client != nil
}

func (p *player) take(m brokertest.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.received[m.ID] {
		return
	}
	p.received[m.ID] = true
	if mark := m.Headers["mark"]; mark != "" {
		p.marked[mark] = true
		return
	}
	p.all = append(p.all, string(m.Body))
	r := reply{text: string(m.Body)}
	if err := json.Unmarshal(m.Body, &r); err != nil {
		p.t.Errorf("a reply that is no JSON: %s", m.Body)
	}
	if m.Headers["content-type"] != "application/json" || m.Headers["persistent"] != "true" {
		p.t.Errorf("a reply with the headers %v", m.Headers)
	}
	correlation := m.Headers["correlation-id"]
	p.replies[correlation] = append(p.replies[correlation], r)
}

// send publishes what SOAR would and returns the correlation-id.
func (p *player) send(m resilienttest.Message) string {
	p.t.Helper()
	eventually(p.t, p.connected, "the player has lost the broker")
	p.mu.Lock()
	client := p.client
	p.mu.Unlock()
	require.NoError(p.t, client.Send(within(p.t), m.Queue, maps.Clone(m.Headers), m.Body))
	return m.Headers["correlation-id"]
}

// finals are the final replies to a message so far.
func (p *player) finals(correlation string) (list []reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.replies[correlation] {
		if r.Complete {
			list = append(list, r)
		}
	}
	return list
}

// answered counts the messages that have a final reply.
func (p *player) answered() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, replies := range p.replies {
		for _, r := range replies {
			if r.Complete {
				n++
				break
			}
		}
	}
	return n
}

// texts are all replies as they were sent.
func (p *player) texts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.all...)
}

// final waits for the final reply to a message.
func (p *player) final(correlation string) reply {
	p.t.Helper()
	eventually(p.t, func() bool { return len(p.finals(correlation)) > 0 }, "no final reply to %s", correlation)
	return p.finals(correlation)[0]
}

// catchUp returns when every reply that was sent before has been taken.
func (p *player) catchUp() {
	p.t.Helper()
	p.mu.Lock()
	p.marks++
	mark := fmt.Sprint("mark-", p.marks)
	p.mu.Unlock()
	p.send(resilienttest.Message{Queue: p.acks, Headers: map[string]string{"mark": mark, "persistent": "true"}})
	eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.marked[mark]
	}, "the replies did not come through")
}

// leftover counts the messages that a queue without a consumer still holds, and
// takes them out: all that comes before a message which is sent now.
func (p *player) leftover(queue string) int {
	p.t.Helper()
	client, err := brokertest.Dial(p.broker.Addr(), p.broker.ClientTLS(), soarUser, soarPasscode)
	require.NoError(p.t, err)
	defer client.Close()
	require.NoError(p.t, client.Send(within(p.t), queue, map[string]string{"mark": "last", "persistent": "true"}, nil))
	require.NoError(p.t, client.Subscribe(within(p.t), queue, "auto", 1))
	for n := 0; ; n++ {
		m, err := client.Receive(within(p.t))
		require.NoError(p.t, err)
		if m.Headers["mark"] == "last" {
			return n
		}
	}
}
