package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"fn-threatq/host/broker"
)

// DefaultReply is what the guide's script for clearing a message destination answers.
const DefaultReply = "Processing complete"

// Record is one drained message, a line of JSON in the file of a drain. It has
// all that is needed to send the message again, but for its tokens.
type Record struct {
	Message
	// DrainedAt is when it was about to be answered: a drain that is cut off may
	// leave records of messages that are still in the queue, under the same
	// message_id.
	DrainedAt     time.Time         `json:"drained_at"`
	Destination   string            `json:"destination"`
	ReplyTo       string            `json:"reply_to"`
	CorrelationID string            `json:"correlation_id"`
	Payload       string            `json:"payload"`
	Headers       map[string]string `json:"headers"`
	// Body is the message's with known secrets masked; Raw in its place when it is
	// not UTF-8.
	Body string `json:"body,omitempty"`
	Raw  []byte `json:"body_base64,omitempty"`
}

// Drain says what is drained and how. All fields are required.
type Drain struct {
	Broker broker.Options
	// View is what was shown: its messages are drained, and nothing else.
	View View
	// Reply is the text that whoever started the action sees.
	Reply string
	// Keep must have stored the records when it returns; only then are the
	// messages answered and acknowledged. Its error ends the drain.
	Keep func([]Record) error
	// Redact masks the secrets of the configuration in what is kept.
	Redact func(string) string
	// Progress is told how many are done so far.
	Progress func(done int)
	// Quiet is how long nothing may come before the rest is given up.
	Quiet time.Duration
}

// Drained is the outcome.
type Drained struct {
	// Done were answered and acknowledged.
	Done int
	// Missing were shown but did not come: another consumer has them or had them.
	Missing int
}

// ErrSessionLost says that the drain ended early. What was not acknowledged is
// still in the queue; running it again mends it.
var ErrSessionLost = errors.New("the session with the message broker was lost: run the command again for the rest")

// aside is room for messages that arrive while a drain runs.
const aside = 200

// goodbye is how long the broker has to confirm the last replies and ACKs.
const goodbye = 10 * time.Second

// Run drains. The end of ctx ends it in order: what was not acknowledged stays
// with the broker. Drained is true also when there is an error.
func (d Drain) Run(ctx context.Context) (Drained, error) {
	// The last replies and ACKs must go out after ctx has ended.
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{Drain: d, wanted: map[string]Message{}, opened: make(chan struct{})}
	r.session, r.lose = context.WithCancelCause(alive)
	defer r.lose(nil)
	for _, m := range d.View.Messages {
		r.wanted[m.ID] = m
	}
	total := len(r.wanted)
	o := d.Broker
	o.FailFast = true
	// What stays is held until the end, so that it keeps its place in the queue.
	o.Prefetch = d.View.Waiting - total + aside
	o.OnState = r.state
	r.deliveries = make(chan *broker.Delivery, o.Prefetch) // the broker's side is never held up
	b, err := broker.New(o)
	if err != nil {
		return Drained{Missing: total}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(alive, r.take) }()
	if err = r.open(ctx, ended); err == nil {
		err = r.loop(ctx)
	}
	r.lose(nil) // nothing is taken any more
	closing, cancelClosing := context.WithTimeout(alive, goodbye)
	defer cancelClosing()
	if closed := b.Close(closing); err == nil {
		err = closed
	}
	if err == nil {
		err = ctx.Err()
	}
	return Drained{Done: total - len(r.wanted), Missing: len(r.wanted)}, err
}

type run struct {
	Drain
	wanted     map[string]Message // by message-id, what is left to do
	deliveries chan *broker.Delivery
	opened     chan struct{} // closed when the session stands
	// session ends with the session at the broker: a second one would bring again
	// what was answered by the first.
	session context.Context
	lose    context.CancelCauseFunc
}

// state is called by one goroutine.
func (r *run) state(s broker.State) {
	select {
	case <-r.opened:
		if !s.Connected {
			r.lose(fmt.Errorf("%w (%w)", ErrSessionLost, cmp.Or(s.Reason, broker.ErrClosed)))
		}
	default:
		if s.Connected {
			close(r.opened)
		}
	}
}

func (r *run) take(d *broker.Delivery) {
	select {
	case r.deliveries <- d:
	case <-r.session.Done():
	}
}

// open waits for the session; only then silence means something.
func (r *run) open(ctx context.Context, ended <-chan error) error {
	select {
	case <-r.opened:
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) loop(ctx context.Context) error {
	total := len(r.wanted)
	body, err := json.Marshal(map[string]any{"message_type": 0, "message": r.Reply, "complete": true}) // contract: replies
	if err != nil {
		return err
	}
	quiet := time.NewTimer(r.Quiet)
	defer quiet.Stop()
	for len(r.wanted) > 0 {
		select {
		case d := <-r.deliveries:
			if err := r.settle(r.batch(d), body); err != nil {
				return err
			}
			r.Progress(total - len(r.wanted))
			quiet.Reset(r.Quiet)
		case <-quiet.C:
			return nil
		case <-r.session.Done():
			return context.Cause(r.session)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// batchSize bounds what shares one write to the file.
const batchSize = 64

// batch adds to first what has come meanwhile, and leaves out what stays.
func (r *run) batch(first *broker.Delivery) (batch []*broker.Delivery) {
	for d := first; ; {
		if _, wanted := r.wanted[d.MessageID]; wanted {
			batch = append(batch, d)
		}
		if len(batch) == batchSize {
			return batch
		}
		select {
		case d = <-r.deliveries:
		default:
			return batch
		}
	}
}

// settle keeps messages, then answers and acknowledges each in one step.
func (r *run) settle(batch []*broker.Delivery, reply []byte) error {
	if len(batch) == 0 {
		return nil
	}
	records := make([]Record, len(batch))
	for i, d := range batch {
		records[i] = r.record(d)
	}
	if err := r.Keep(records); err != nil {
		return fmt.Errorf("the drained messages could not be kept, so they stay in the queue: %w", err)
	}
	// Side by side, as each waits for the broker's word.
	failed := make([]error, len(batch))
	var group sync.WaitGroup
	for i, d := range batch {
		group.Go(func() {
			err := d.Finish(r.session, reply)
			var refused *broker.ReplyRefusedError
			switch {
			case errors.Is(err, broker.ErrNoReplyTo):
				err = d.Ack(r.session)
			case errors.As(err, &refused):
				err = nil // gone, which is what a drain is for
			}
			failed[i] = err
		})
	}
	group.Wait()
	var first error
	for i, d := range batch {
		if failed[i] == nil {
			delete(r.wanted, d.MessageID)
		} else if first == nil {
			first = fmt.Errorf("%w (%w)", ErrSessionLost, failed[i])
		}
	}
	return first
}

func (r *run) record(d *broker.Delivery) Record {
	record := Record{
		Message: r.wanted[d.MessageID], DrainedAt: time.Now().UTC(), Destination: d.Destination, ReplyTo: d.ReplyTo,
		CorrelationID: d.CorrelationID, Payload: d.Payload, Headers: map[string]string{},
	}
	for name, value := range d.Headers {
		if !strings.Contains(strings.ToLower(name), "token") {
			record.Headers[name] = r.Redact(value)
		}
	}
	if utf8.Valid(d.Body) {
		record.Body = r.Redact(string(d.Body))
	} else {
		record.Raw = []byte(r.Redact(string(d.Body)))
	}
	return record
}
