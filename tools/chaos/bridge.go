package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/tools/activemq"
)

// bridge is SOAR's side of the message broker: an outbox that loses nothing, and
// a reader of all replies. It does not go through a fault proxy.
type bridge struct {
	addr  string
	tls   *tls.Config
	queue func(kind string) string
	// up is locked while the broker is down: nothing is published then, so that
	// each message is either in the broker or not.
	up sync.RWMutex

	mu      sync.Mutex
	changed *sync.Cond // outbox, records or closed changed
	outbox  []resilienttest.Message
	sending bool
	closed  bool
	records map[string]*record // by correlation-id
	order   []*record
	seen    map[string]bool // message ids of replies
	strays  []string
	// finals counts records with a final reply, interim the replies before those.
	finals, interim, again int
	// onFinal is called with each first final reply.
	onFinal func()

	// forgetful drops the bodies of what is answered: 100,000 of them are a gigabyte.
	forgetful bool

	running sync.WaitGroup
	cancel  context.CancelFunc
}

// record is one message and all final replies to it.
type record struct {
	message resilienttest.Message
	finals  []reply
	// mended says that it failed and was looked at, again that it repeats one that failed.
	mended, again bool
}

// reply is what the host answers (contract: replies).
type reply struct {
	Type     int    `json:"message_type"`
	Message  string `json:"message"`
	Complete bool   `json:"complete"`
	Results  *struct {
		Success bool `json:"success"`
	} `json:"results"`
	body string
}

// failed says that the action did not do what was asked.
func (r reply) failed() bool { return r.Type != 0 || r.Results != nil && !r.Results.Success }

// standing is how far the messages are.
type standing struct{ published, answered, unsent int }

func startBridge(addr string, config *tls.Config, queue func(string) string) *bridge {
	ctx, cancel := context.WithCancel(context.Background())
	b := &bridge{addr: addr, tls: config, queue: queue, records: map[string]*record{}, seen: map[string]bool{}, cancel: cancel}
	b.changed = sync.NewCond(&b.mu)
	b.running.Go(func() { b.send(ctx) })
	b.running.Go(func() { b.read(ctx) })
	return b
}

func (b *bridge) close() {
	b.mu.Lock()
	b.closed = true
	b.changed.Broadcast()
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}

// publish puts a message into the outbox and returns at once.
func (b *bridge) publish(m resilienttest.Message) { b.put(&record{message: m}) }

func (b *bridge) put(r *record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := r.message
	b.records[m.Headers["correlation-id"]] = r
	b.order = append(b.order, r)
	b.outbox = append(b.outbox, m)
	b.changed.Broadcast()
}

// dial connects, as often as it takes.
func (b *bridge) dial(ctx context.Context) *brokertest.Client {
	for ctx.Err() == nil {
		client, err := brokertest.Dial(b.addr, b.tls, activemq.SOARUser, activemq.SOARPasscode)
		if err == nil {
			return client
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

func (b *bridge) send(ctx context.Context) {
	var client *brokertest.Client
	defer func() {
		if client != nil {
			client.Close()
		}
	}()
	for {
		b.mu.Lock()
		for len(b.outbox) == 0 && !b.closed {
			b.changed.Wait()
		}
		if b.closed {
			b.mu.Unlock()
			return
		}
		m := b.outbox[0]
		b.outbox, b.sending = b.outbox[1:], true
		b.mu.Unlock()
		b.up.RLock()
		for sent := false; !sent && ctx.Err() == nil; {
			if client == nil {
				if client = b.dial(ctx); client == nil {
					break
				}
			}
			// An error comes only of a connection that a restart of the broker has ended
			// before: nothing was under way then.
			if sent = client.Send(ctx, m.Queue, m.Headers, m.Body) == nil; !sent {
				client.Close()
				client = nil
			}
		}
		b.up.RUnlock()
		b.mu.Lock()
		b.sending = false
		b.changed.Broadcast()
		b.mu.Unlock()
	}
}

func (b *bridge) read(ctx context.Context) {
	for ctx.Err() == nil {
		client := b.dial(ctx)
		if client == nil {
			return
		}
		b.readFrom(ctx, client)
		client.Close()
	}
}

// readAhead is less than what the client buffers: an acknowledgement waits for a
// receipt, which comes behind the messages.
const readAhead = 10

func (b *bridge) readFrom(ctx context.Context, client *brokertest.Client) {
	// An acknowledgement is for all messages up to its own: the broker syncs its disk
	// for each.
	if err := client.Subscribe(ctx, b.queue("acks"), "client", readAhead); err != nil {
		return
	}
	for {
		m, err := client.Receive(ctx)
		if err != nil {
			return
		}
		b.take(m)
		for range readAhead / 2 {
			next, more := b.receiveSoon(ctx, client)
			if !more {
				break
			}
			m = next
			b.take(m)
		}
		if err := client.Ack(ctx, m); err != nil {
			return // they come again, and are known by their ids
		}
	}
}

// receiveSoon takes a message that is there already.
func (b *bridge) receiveSoon(ctx context.Context, client *brokertest.Client) (brokertest.Message, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
	defer cancel()
	m, err := client.Receive(ctx)
	return m, err == nil
}

func (b *bridge) take(m brokertest.Message) {
	correlation := m.Headers["correlation-id"]
	r := reply{body: string(m.Body)}
	err := json.Unmarshal(m.Body, &r)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[m.ID] {
		b.again++
		return
	}
	b.seen[m.ID] = true
	known := b.records[correlation]
	switch {
	case err != nil:
		b.strays = append(b.strays, fmt.Sprintf("a reply to %s is not JSON: %v: %.200s", correlation, err, m.Body))
	case known == nil:
		b.strays = append(b.strays, fmt.Sprintf("a reply to %s, which nobody sent: %.200s", correlation, m.Body))
	case !r.Complete:
		b.interim++
	default:
		if b.forgetful {
			sum := sha256.Sum256(m.Body)
			known.message.Body, r.body, r.Message = nil, string(sum[:]), ""
		}
		if known.finals = append(known.finals, r); len(known.finals) == 1 {
			b.finals++
			if b.onFinal != nil {
				b.onFinal()
			}
		}
		b.changed.Broadcast()
	}
}

// atNextFinal calls do once, when the next first final reply has come; nil disarms.
func (b *bridge) atNextFinal(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onFinal = nil
	if do != nil {
		b.onFinal = func() {
			b.onFinal = nil
			go do()
		}
	}
}

// progress is how many messages were published and answered.
func (b *bridge) progress() (published, answered int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.order), b.finals
}

// errStuck says that the host answers nothing any more.
var errStuck = errors.New("no final reply for too long")

// await waits until done says so, as long as final replies come within the limit.
func (b *bridge) await(ctx context.Context, limit time.Duration, done func(standing) bool) error {
	stop := context.AfterFunc(ctx, b.wake)
	defer stop()
	last, since := -1, time.Now()
	tick := time.AfterFunc(limit, b.wake)
	defer tick.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		unsent := len(b.outbox)
		if b.sending {
			unsent++
		}
		if done(standing{published: len(b.order), answered: b.finals, unsent: unsent}) {
			return nil
		}
		if b.finals != last {
			last, since = b.finals, time.Now()
			tick.Reset(limit)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(since) >= limit:
			return fmt.Errorf("%w: %d of %d messages are answered, none within %s", errStuck, b.finals, len(b.order), limit)
		}
		b.changed.Wait()
	}
}

func (b *bridge) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed.Broadcast()
}

// all are the records, oldest first.
func (b *bridge) all() []*record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*record(nil), b.order...)
}

// leftovers takes everything out of a queue. What lies before a message that is put
// in last was there: no waiting is needed to know that nothing more comes.
func (b *bridge) leftovers(ctx context.Context, queue string) (left []brokertest.Message, err error) {
	client := b.dial(ctx)
	if client == nil {
		return nil, ctx.Err()
	}
	defer client.Close()
	const last = "chaos-last"
	if err := client.Send(ctx, queue, map[string]string{"correlation-id": last}, []byte("{}")); err != nil {
		return nil, err
	}
	if err := client.Subscribe(ctx, queue, "client-individual", readAhead); err != nil {
		return nil, err
	}
	for {
		m, err := client.Receive(ctx)
		if err != nil {
			return nil, fmt.Errorf("queue %s: %w", queue, err)
		}
		if err := client.Ack(ctx, m); err != nil {
			return nil, err
		}
		if m.Headers["correlation-id"] == last {
			return left, nil
		}
		left = append(left, m)
	}
}
