package broker

import (
	"context"
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
// for one until ctx ends. It is marked persistent, so that a restart of the
// broker does not lose it. See Send for what a broken connection means.
func (d *Delivery) Reply(ctx context.Context, body []byte) error {
	if d.ReplyTo == "" {
		return fmt.Errorf("reply to message %q: %w", d.MessageID, ErrNoReplyTo)
	}
	if err := d.broker.Send(ctx, d.ReplyTo, d.replyHeaders(), body); err != nil {
		return fmt.Errorf("reply to message %q: %w", d.MessageID, err)
	}
	return nil
}

// Ack acknowledges the message on the session it came by, once; further calls
// do nothing. It returns an error that wraps ErrStale when that session is gone.
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
		return nil
	}
	d.acked.Store(false)
	if d.session.ended() {
		return fmt.Errorf("acknowledge message %q: %w (%w)", d.MessageID, ErrStale, err)
	}
	return fmt.Errorf("acknowledge message %q: %w", d.MessageID, err)
}

// Finish sends body (JSON) to ReplyTo and acknowledges the message, as one
// transaction: the broker does both or neither, so that a message that comes again
// has not been answered yet. It needs the session that the message came by, and
// returns an error that wraps ErrStale when that one is gone. Without an error the
// frames are written; when the connection breaks just then, neither may have come
// about, and the message comes again.
func (d *Delivery) Finish(ctx context.Context, body []byte) error {
	switch {
	case d.ReplyTo == "":
		return fmt.Errorf("finish message %q: %w", d.MessageID, ErrNoReplyTo)
	case d.ackID == "":
		return fmt.Errorf("finish message %q: %w", d.MessageID, ErrNoAck)
	}
	send, err := sendFrame(d.ReplyTo, d.replyHeaders(), body)
	if err != nil {
		return fmt.Errorf("finish message %q: %w", d.MessageID, err)
	}
	if !d.acked.CompareAndSwap(false, true) {
		return nil
	}
	// The ack id is the broker's and unique.
	send.Header.Add(frame.Transaction, d.ackID)
	err = d.session.writeAll(ctx, []*frame.Frame{
		frame.New(frame.BEGIN, frame.Transaction, d.ackID),
		send,
		frame.New(frame.ACK, frame.Id, d.ackID, frame.Transaction, d.ackID),
		frame.New(frame.COMMIT, frame.Transaction, d.ackID),
	})
	if err == nil {
		return nil
	}
	d.acked.Store(false)
	if d.session.ended() {
		return fmt.Errorf("finish message %q: %w (%w)", d.MessageID, ErrStale, err)
	}
	return fmt.Errorf("finish message %q: %w", d.MessageID, err)
}

func (d *Delivery) replyHeaders() map[string]string {
	headers := map[string]string{"content-type": "application/json", "persistent": "true"}
	if d.CorrelationID != "" {
		headers["correlation-id"] = d.CorrelationID
	}
	return headers
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
