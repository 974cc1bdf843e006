package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// Delivery is one message as one session brought it (contract: headers of a
// delivered message). Any field may be empty when the broker left its header out.
type Delivery struct {
	// MessageID is the same in each delivery of one message.
	MessageID string
	// ReplyTo is the destination of replies.
	ReplyTo string
	// CorrelationID is repeated in each reply.
	CorrelationID string
	// Payload is Co3MessagePayload: ActionDataDTO or FunctionDataDTO.
	Payload string
	// ContextToken is Co3ContextToken, for the X-Co3ContextToken header of REST
	// requests. It is a secret.
	ContextToken string
	// Timestamp is when SOAR sent the message; zero when it does not say.
	Timestamp time.Time
	// Redelivered is true when an earlier session had the message already.
	Redelivered bool
	// Destination is as the broker spells it: /queue/actions.<org id>.<name>.
	Destination string
	// Headers has all of them, the first of each name. It holds the context token.
	Headers map[string]string
	// Body is the message, UTF-8 JSON by contract, not checked here.
	Body []byte

	broker  *Broker
	session *session
	ackID   string
	acked   atomic.Bool
}

func newDelivery(b *Broker, s *session, f *frame.Frame) *Delivery {
	headers := make(map[string]string, f.Header.Len())
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		if _, repeated := headers[name]; !repeated {
			headers[name] = value
		}
	}
	d := &Delivery{
		MessageID:     headers[frame.MessageId],
		ReplyTo:       headers["reply-to"],
		CorrelationID: headers["correlation-id"],
		Payload:       headers["Co3MessagePayload"],
		ContextToken:  headers["Co3ContextToken"],
		Redelivered:   headers["redelivered"] == "true",
		Destination:   headers[frame.Destination],
		Headers:       headers,
		Body:          f.Body,
		broker:        b,
		session:       s,
		ackID:         headers[frame.Ack],
	}
	if ms, err := strconv.ParseInt(headers["timestamp"], 10, 64); err == nil {
		d.Timestamp = time.UnixMilli(ms)
	}
	return d
}

// Reply sends body (JSON) to ReplyTo by whatever session is current, and waits
// for one until ctx ends. It is for what may be lost or come twice: see Send; the
// final reply goes by Finish.
func (d *Delivery) Reply(ctx context.Context, body []byte) error {
	destination, headers, err := d.address()
	if err == nil {
		err = d.broker.Send(ctx, destination, headers, body)
	}
	if err != nil {
		return fmt.Errorf("reply to message %q: %w", d.MessageID, err)
	}
	return nil
}

// address is where a reply goes, and its headers: persistent, so that a restart of
// the broker does not lose it.
func (d *Delivery) address() (destination string, headers map[string]string, err error) {
	if d.ReplyTo == "" {
		return "", nil, ErrNoReplyTo
	}
	headers = map[string]string{"content-type": "application/json", "persistent": "true"}
	if d.CorrelationID != "" {
		headers["correlation-id"] = d.CorrelationID
	}
	return d.ReplyTo, headers, nil
}

// Finish sends body (JSON) to ReplyTo and acknowledges the message, in one
// transaction on the session that the delivery came by: both happen or neither. nil
// means that the broker has confirmed it. An error that wraps ErrUnconfirmed says
// that it is not known; after any other but a *ReplyRefusedError the message is
// neither answered nor acknowledged. The message comes again, by a later session, if
// and only if it was not answered. A second call for one delivery does nothing.
//
// A reply that the broker refuses, since this account may not send to ReplyTo or no
// destination has such a name, is left out, and the message is acknowledged: it
// would come again for ever. Refusals of other reasons have a few tries before.
func (d *Delivery) Finish(ctx context.Context, body []byte) error {
	fail := func(err error) error {
		if d.session != nil && d.session.ended() {
			err = fmt.Errorf("%w (%w)", ErrStale, err)
		}
		return fmt.Errorf("finish message %q: %w", d.MessageID, err)
	}
	destination, headers, err := d.address()
	if err != nil {
		return fail(err)
	}
	if d.ackID == "" {
		return fail(ErrNoAck)
	}
	reply, err := sendFrame(destination, headers, body)
	if err != nil {
		return fail(err)
	}
	if !d.acked.CompareAndSwap(false, true) {
		return nil
	}
	for attempt := 0; ; attempt++ {
		err = d.session.transact(ctx, reply, d.ackID)
		var refused *ReplyRefusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused) && (refused.Reason.Kind == RefusedSend || attempt == refusedTries-1):
			d.acked.Store(false)
			if acked := d.Ack(ctx); acked != nil {
				return acked
			}
			return fail(err)
		case refused != nil && pause(ctx, d.broker.options.Backoff(attempt)):
			continue
		case refused != nil:
			err = refused.Reason // not acknowledged
		}
		if !errors.Is(err, ErrUnconfirmed) {
			d.acked.Store(false)
		}
		return fail(err)
	}
}

// refusedTries is how often a reply is tried that the broker refuses.
const refusedTries = 5

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// Ack acknowledges the message on the session it came by, unanswered, once; further
// calls do nothing. nil is no proof: a dead connection accepts bytes for a while. It returns an error that wraps ErrStale when that session is gone.
func (d *Delivery) Ack(ctx context.Context) error {
	if d.ackID == "" {
		return fmt.Errorf("acknowledge message %q: %w", d.MessageID, ErrNoAck)
	}
	// ActiveMQ answers a second ACK with an ERROR frame.
	if !d.acked.CompareAndSwap(false, true) {
		return nil
	}
	err := d.session.write(ctx, frame.New(frame.ACK, frame.Id, d.ackID))
	if err == nil {
		d.session.prompter.acknowledged(1)
		return nil
	}
	d.acked.Store(false)
	if d.session.ended() {
		return fmt.Errorf("acknowledge message %q: %w (%w)", d.MessageID, ErrStale, err)
	}
	return fmt.Errorf("acknowledge message %q: %w", d.MessageID, err)
}

// Stale tells whether the session the delivery came by is gone: the message
// will come again, and work not yet begun is better left to that delivery.
func (d *Delivery) Stale() bool { return d.session.ended() }

// LogValue shows what identifies the message, never its body or token.
func (d *Delivery) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("message_id", d.MessageID),
		slog.String("correlation_id", d.CorrelationID),
		slog.String("payload", d.Payload),
		slog.Bool("redelivered", d.Redelivered),
		slog.Int("bytes", len(d.Body)),
	)
}
