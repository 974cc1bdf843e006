package broker

import (
	"context"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// Browse shows see what is in the message destination of options and takes
// nothing: by a queue browser of ActiveMQ, over a session of its own. The
// messages come in the order in which they wait, also those that a consumer has
// and did not acknowledge yet; nothing is marked as redelivered. A queue that
// does not exist is empty.
//
// The deliveries can be neither answered nor acknowledged. Browse ends early
// when see returns false. It makes one attempt; its errors are *ConnectError,
// which wrap *RefusedError where the broker refused, or that of ctx.
func Browse(ctx context.Context, options Options, see func(*Delivery) bool) error {
	b, s, err := openOnce(ctx, options)
	if err != nil {
		return err
	}
	defer s.leave()
	// The prefetch is not honoured for ack:auto: the connection is what holds the
	// broker back when see is slow.
	if err := s.confirmWithin(ctx, frame.New(frame.SUBSCRIBE,
		frame.Id, b.options.Destination+browserSuffix,
		frame.Destination, b.options.Destination,
		frame.Ack, "auto",
		"browser", "true",
	)); err != nil {
		return connectError(StageSubscribe, b.options.Addr, b.options.ConnectTimeout, err)
	}
	for {
		// A broker that stops in the middle must not be waited for without an end.
		silence := time.NewTimer(b.options.ConnectTimeout)
		select {
		case d := <-s.queue:
			silence.Stop()
			if d.Headers["browser"] == "end" || !see(d) {
				return nil
			}
		case <-s.done:
			silence.Stop()
			return connectError(StageBrowse, b.options.Addr, b.options.ConnectTimeout, s.reason())
		case <-silence.C:
			return connectError(StageBrowse, b.options.Addr, b.options.ConnectTimeout, context.DeadlineExceeded)
		case <-ctx.Done():
			silence.Stop()
			return ctx.Err()
		}
	}
}

// The subscriptions of Browse and Probe have ids of their own, so that nobody
// takes them for the one of a running host.
const (
	browserSuffix = ".browse"
	probeSuffix   = ".probe"
)

// Probed is what Probe found.
type Probed struct {
	// Server is what the broker calls itself.
	Server string
	// Login is the time to connect and log in, Subscribe that to subscribe.
	Login, Subscribe time.Duration
}

// Probe makes one attempt to log in and to subscribe to the message destination,
// and ends the subscription again. No message is taken and none is marked as
// redelivered: see takingNothing. Its errors are those of Browse; Stage says how far it came, and
// Probed holds the times so far.
func Probe(ctx context.Context, options Options) (Probed, error) {
	var p Probed
	begin := time.Now()
	b, s, err := openOnce(ctx, options)
	p.Login = time.Since(begin)
	if err != nil {
		return p, err
	}
	defer s.leave()
	p.Server = s.server
	begin = time.Now()
	id := b.options.Destination + probeSuffix
	err = s.confirmWithin(ctx, takingNothing(id, b.options.Destination))
	if err == nil {
		err = s.confirmWithin(ctx, frame.New(frame.UNSUBSCRIBE, frame.Id, id))
	}
	p.Subscribe = time.Since(begin)
	if err != nil {
		return p, connectError(StageSubscribe, b.options.Addr, b.options.ConnectTimeout, err)
	}
	return p, nil
}

// openOnce opens a session that is not subscribed and that no Run supervises.
func openOnce(ctx context.Context, options Options) (*Broker, *session, error) {
	b, err := New(options)
	if err != nil {
		return nil, nil, err
	}
	b.passing = true
	b.publish(nil, true) // a Reply fails at once
	s, err := b.open(ctx, false)
	return b, s, err
}

// confirmWithin is confirm with a limit of its own.
func (s *session) confirmWithin(ctx context.Context, f *frame.Frame) error {
	ctx, cancel := context.WithTimeout(ctx, s.broker.options.ConnectTimeout)
	defer cancel()
	return s.confirm(ctx, f)
}

// leave ends a session in which nothing is to be confirmed.
func (s *session) leave() {
	s.end(ErrClosed)
	<-s.readerDone
}
