package brokertest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// DeadLetterQueue is where NACKed messages go.
const DeadLetterQueue = "ActiveMQ.DLQ"

const defaultPrefetch = 1000

// Message is one message of a queue.
type Message struct {
	// ID is the message-id: the same in each delivery.
	ID string
	// Destination is as ActiveMQ reports it, /queue/NAME.
	Destination string
	// Headers are all headers; for a Client also those of the delivery (ack, subscription).
	Headers map[string]string
	Body    []byte
	// Redelivered is true when a consumer had it before and did not acknowledge it.
	Redelivered bool

	sequence int
}

// queue holds what waits; what is with a consumer is in subscription.unacked.
type queue struct {
	name      string
	ready     []*Message // by sequence
	consumers []*subscription
	next      int // whose turn it is
}

type subscription struct {
	conn     *conn
	id       string
	queue    *queue
	auto     bool
	prefetch int
	// exclusive consumers leave all messages to the first of them.
	exclusive bool
	none      bool                // its selector matches nothing
	unacked   map[string]*Message // by ack header
	// acking are those that a transaction has acknowledged: they make room for
	// others, and come back with the end of the subscription if it was not committed.
	acking map[string]*Message
}

// queueName makes one name of both spellings.
func queueName(destination string) string { return strings.TrimPrefix(destination, "/queue/") }

// reported is how ActiveMQ spells a destination.
func reported(name string) string {
	if strings.HasPrefix(name, "/") {
		return name // temporary queues keep their prefix
	}
	return "/queue/" + name
}

func (s *Server) queueLocked(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{name: name}
		s.queues[name] = q
	}
	return q
}

// putLocked makes a message of a SEND and hands it out when somebody wants it.
func (s *Server) putLocked(name string, headers map[string]string, body []byte) *Message {
	s.sequence++
	m := &Message{
		ID:          s.id + ":-1:1:" + strconv.Itoa(s.sequence),
		Destination: reported(name),
		Headers:     map[string]string{},
		Body:        body,
		sequence:    s.sequence,
	}
	maps.Copy(m.Headers, headers)
	for _, own := range []string{frame.ContentLength, frame.Receipt, frame.Transaction, frame.Ack, frame.Subscription, "redelivered"} {
		delete(m.Headers, own)
	}
	setDefault(m.Headers, "timestamp", strconv.FormatInt(time.Now().UnixMilli(), 10))
	setDefault(m.Headers, "priority", "4")
	setDefault(m.Headers, "expires", "0")
	m.Headers[frame.Destination] = m.Destination
	m.Headers[frame.MessageId] = m.ID
	q := s.queueLocked(name)
	q.ready = append(q.ready, m)
	s.dispatchLocked(q)
	return m
}

func setDefault(headers map[string]string, name, value string) {
	if headers[name] == "" {
		headers[name] = value
	}
}

// returnLocked puts messages back where they were, to be delivered again.
func (s *Server) returnLocked(q *queue, messages map[string]*Message) {
	for _, m := range messages {
		m.Redelivered = true
		q.ready = append(q.ready, m)
	}
	slices.SortFunc(q.ready, func(a, b *Message) int { return a.sequence - b.sequence })
}

// dispatchLocked hands out in turn what consumers have room for.
func (s *Server) dispatchLocked(q *queue) {
	consumers := q.consumers
	if first := slices.IndexFunc(consumers, func(sub *subscription) bool { return sub.exclusive }); first >= 0 {
		consumers = consumers[first : first+1]
	}
	for idle := 0; len(q.ready) > 0 && idle < len(consumers); {
		q.next++
		sub := consumers[q.next%len(consumers)]
		if sub.none || len(sub.unacked) >= sub.prefetch {
			idle++
			continue
		}
		idle = 0
		m := q.ready[0]
		q.ready = q.ready[1:]
		s.sequence++
		ack := s.id + ":" + strconv.Itoa(s.sequence)
		if !sub.auto {
			sub.unacked[ack] = m
		}
		sub.conn.send(s.deliveryFrame(sub, m, ack))
	}
	if len(q.ready) > 0 {
		s.broadcastLocked()
	}
}

func (s *Server) deliveryFrame(sub *subscription, m *Message, ack string) *frame.Frame {
	f := frame.New(frame.MESSAGE, frame.Subscription, sub.id)
	if !sub.auto {
		f.Header.Add(frame.Ack, ack)
	}
	for name, value := range m.Headers {
		f.Header.Add(name, value)
	}
	if m.Redelivered {
		f.Header.Add("redelivered", "true")
	}
	if s.options.ContentLength || slices.Contains(m.Body, 0) {
		f.Header.Add(frame.ContentLength, strconv.Itoa(len(m.Body)))
	}
	f.Body = m.Body
	return f
}

func (s *Server) subscribeLocked(c *conn, f *frame.Frame) {
	prefetch, err := strconv.Atoi(f.Header.Get("activemq.prefetchSize"))
	if err != nil || prefetch < 0 {
		prefetch = defaultPrefetch
	}
	sub := &subscription{
		conn:      c,
		id:        f.Header.Get(frame.Id),
		queue:     s.queueLocked(queueName(f.Header.Get(frame.Destination))),
		auto:      !strings.HasPrefix(f.Header.Get(frame.Ack), "client"),
		prefetch:  prefetch,
		exclusive: f.Header.Get("activemq.exclusive") == "true",
		none:      f.Header.Get("selector") == "FALSE",
		unacked:   map[string]*Message{},
		acking:    map[string]*Message{},
	}
	c.subscriptions = append(c.subscriptions, sub)
	sub.queue.consumers = append(sub.queue.consumers, sub)
}

// browseLocked is a SUBSCRIBE with browser:true: copies of all messages, those
// that consumers hold too, and an empty MESSAGE that says browser:end. The
// prefetch is not honoured, as on ActiveMQ with ack:auto.
func (s *Server) browseLocked(c *conn, f *frame.Frame) {
	q := s.queueLocked(queueName(f.Header.Get(frame.Destination)))
	all := slices.Clone(q.ready)
	for _, sub := range q.consumers {
		all = slices.AppendSeq(all, maps.Values(sub.unacked))
		all = slices.AppendSeq(all, maps.Values(sub.acking))
	}
	slices.SortFunc(all, func(a, b *Message) int { return a.sequence - b.sequence })
	sub := &subscription{conn: c, id: f.Header.Get(frame.Id), queue: q, auto: true}
	for _, m := range all {
		c.send(s.deliveryFrame(sub, m, ""))
	}
	c.send(frame.New(frame.MESSAGE, frame.Subscription, sub.id, frame.Destination, reported(q.name), frame.MessageId, "0", "browser", "end"))
}

func (s *Server) endSubscriptionLocked(sub *subscription) {
	q := sub.queue
	q.consumers = slices.DeleteFunc(q.consumers, func(other *subscription) bool { return other == sub })
	sub.conn.subscriptions = slices.DeleteFunc(sub.conn.subscriptions, func(other *subscription) bool { return other == sub })
	for ack := range sub.unacked {
		sub.conn.orphaned[ack] = true
	}
	s.returnLocked(q, sub.unacked)
	s.returnLocked(q, sub.acking)
	clear(sub.acking)
	s.dispatchLocked(q)
}

// settleLocked is ACK and NACK. It tells whether the ack id is known.
func (s *Server) settleLocked(c *conn, ack string, nack bool, in *transaction) bool {
	for _, sub := range c.subscriptions {
		m := sub.unacked[ack]
		if m == nil {
			continue
		}
		delete(sub.unacked, ack)
		switch {
		case in != nil:
			sub.acking[ack] = m
			in.acks = append(in.acks, acked{sub, ack})
		case nack:
			s.putLocked(DeadLetterQueue, m.Headers, m.Body)
		}
		s.dispatchLocked(sub.queue)
		return true
	}
	if c.orphaned[ack] { // the subscription has ended: accepted, without effect
		delete(c.orphaned, ack)
		return true
	}
	return false
}
