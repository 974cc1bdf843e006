package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// session is one logged-in connection. Its only goroutine reads; whoever calls
// write writes, one at a time.
type session struct {
	broker   *Broker
	raw      *timedConn
	conn     net.Conn
	reader   *frameReader
	out      *bufio.Writer
	writer   *frame.Writer // into out
	writing  chan struct{} // a lock that a context can stop waiting for
	queue    chan *Delivery
	server   string
	beat     time.Duration // between two beats of ours; 0 is none
	passcode string

	done       chan struct{}
	readerDone chan struct{}
	lastError  *RefusedError // the reader's own; why the broker may be about to close

	numbers  atomic.Int64 // the last number of a transaction or receipt
	prompter prompter

	mu         sync.Mutex
	cause      error
	subscribed bool
	receipts   map[string]chan error
	// pending wait for the next transaction; committing: one is under way.
	pending    []*finishing
	committing bool
}

// open makes a connection, logs in and, when subscribe is set, waits for the
// subscription to be confirmed.
func (b *Broker) open(ctx context.Context, subscribe bool) (*session, error) {
	o := &b.options
	fail := func(stage Stage, err error) (*session, error) {
		return nil, connectError(stage, o.Addr, o.ConnectTimeout, err)
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()

	login, passcode, err := o.Credentials(ctx)
	if err != nil {
		return fail(StageCredentials, err)
	}
	hello, err := connectFrame(
		frame.AcceptVersion, "1.2",
		frame.Host, o.HostHeader,
		frame.Login, login,
		frame.Passcode, passcode,
		frame.HeartBeat, fmt.Sprintf("%d,%d", o.Beat.Milliseconds(), o.HeartBeat.Milliseconds()),
	)
	if err != nil {
		return fail(StageCredentials, &RefusedError{Kind: RefusedCredentials, Text: err.Error()})
	}

	raw, err := o.Dial(ctx, "tcp", o.Addr)
	if err != nil {
		return fail(StageDial, err)
	}
	if tcp, ok := raw.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		// Tells of a dead peer where the broker agreed to no heart-beats.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	}
	s := &session{
		broker:     b,
		raw:        &timedConn{Conn: raw, writeTimeout: o.WriteTimeout},
		writing:    make(chan struct{}, 1),
		queue:      make(chan *Delivery, o.Prefetch),
		passcode:   passcode,
		done:       make(chan struct{}),
		readerDone: make(chan struct{}),
		receipts:   map[string]chan error{},
	}
	s.conn = s.raw
	// Closing is the one thing that ends every kind of waiting on a connection.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	abandon := func(stage Stage, err error) (*session, error) {
		raw.Close()
		switch {
		case parent.Err() != nil:
			err = parent.Err()
		case ctx.Err() != nil:
			err = ctx.Err()
		}
		return fail(stage, err)
	}

	secure := o.TLS
	if o.RenewTLS != nil {
		secure = o.RenewTLS()
	}
	if secure != nil {
		secured := tls.Client(s.raw, secure)
		if err := secured.HandshakeContext(ctx); err != nil {
			return abandon(StageTLS, err)
		}
		s.conn = secured
	}
	s.reader = newFrameReader(s.conn, o.MaxFrame)
	s.out = bufio.NewWriterSize(s.conn, 32<<10)
	// Hidden, or it would be used as the frame writer's own buffer and emptied after
	// each frame: those of one write go out together.
	s.writer = frame.NewWriterSize(struct{ io.Writer }{s.out}, 4<<10)

	if _, err := s.conn.Write(hello); err != nil {
		return abandon(StageConnect, err)
	}
	if err := s.welcome(o); err != nil {
		return abandon(StageConnect, err)
	}
	go s.read()
	if s.beat > 0 {
		go s.beats()
	}
	if subscribe {
		if err := s.subscribe(ctx, o); err != nil {
			s.end(err)
			<-s.readerDone
			return abandon(StageSubscribe, err)
		}
	}
	s.mu.Lock()
	s.subscribed = true
	s.mu.Unlock()
	return s, nil
}

// welcome reads the answer to CONNECT and agrees on the heart-beat.
func (s *session) welcome(o *Options) error {
	var f *frame.Frame
	for f == nil {
		var err error
		if f, err = s.reader.next(); err != nil {
			return err
		}
	}
	switch f.Command {
	case frame.CONNECTED:
	case frame.ERROR:
		return refusal(f, s.passcode)
	default:
		return fmt.Errorf("%w: %s instead of CONNECTED", errProtocol, f.Command)
	}
	if version := f.Header.Get(frame.Version); version != "1.2" {
		return fmt.Errorf("%w: it offers version %.20q", errProtocol, version)
	}
	s.server = f.Header.Get(frame.Server)
	var promised, wished time.Duration
	if text, ok := f.Header.Contains(frame.HeartBeat); ok {
		var err error
		if promised, wished, err = frame.ParseHeartBeat(text); err != nil {
			return fmt.Errorf("%w: heart-beat %.40q", errProtocol, text)
		}
	}
	if wished > 0 && o.Beat > 0 {
		s.beat = max(wished, o.Beat) / beatsPerPromise
	}
	// A broker that promises nothing must not be held to our wish; and one that
	// promises one beat a year must not overflow the deadline.
	if promised > 0 && o.HeartBeat > 0 {
		s.raw.idle.Store(int64(2 * min(max(promised, o.HeartBeat), 24*time.Hour)))
	}
	return nil
}

// beatsPerPromise is for brokers that wait no longer than was promised, as
// ActiveMQ does.
const beatsPerPromise = 3

// beats tells the broker that we are there, until the session ends.
func (s *session) beats() {
	ticker := time.NewTicker(s.beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = s.write(context.Background(), nil) // which ends the session if it fails
		case <-s.done:
			return
		}
	}
}

// subscribe waits for a receipt: only so is a refusal told from a slow answer.
func (s *session) subscribe(ctx context.Context, o *Options) error {
	f := frame.New(frame.SUBSCRIBE,
		frame.Id, o.Destination,
		frame.Destination, o.Destination,
		frame.Ack, "client-individual",
		"activemq.prefetchSize", strconv.Itoa(o.Prefetch),
	)
	if o.Exclusive {
		f.Header.Add("activemq.exclusive", "true")
	}
	return s.confirm(ctx, f)
}

// disconnect says good-bye; the receipt proves that everything written before
// was processed.
func (s *session) disconnect(ctx context.Context) error {
	return s.confirm(ctx, frame.New(frame.DISCONNECT))
}

// number is unique in the session, for a transaction or a receipt.
func (s *session) number() string { return strconv.FormatInt(s.numbers.Add(1), 10) }

// expect asks for a receipt of a frame that is about to be written, and returns how
// to wait for it. A *RefusedError says that the frame was refused; after any other
// error it is not known what became of it.
func (s *session) expect(ctx context.Context, f *frame.Frame) (wait func() error) {
	got := make(chan error, 1) // buffered: a receipt that comes late blocks nobody
	receipt := s.number()
	s.mu.Lock()
	s.receipts[receipt] = got
	s.mu.Unlock()
	f.Header.Add(frame.Receipt, receipt)
	return func() error {
		defer func() {
			s.mu.Lock()
			delete(s.receipts, receipt)
			s.mu.Unlock()
		}()
		select {
		case err := <-got:
			return err
		case <-s.done:
			select { // a receipt followed by the broker's close counts
			case err := <-got:
				return err
			default:
				return s.reason()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// confirm writes frames and waits until the broker has processed the last one.
func (s *session) confirm(ctx context.Context, frames ...*frame.Frame) error {
	wait := s.expect(ctx, frames[len(frames)-1])
	if err := s.write(ctx, frames...); err != nil {
		return err
	}
	return wait()
}

func (s *session) resolve(receipt string, err error) {
	s.mu.Lock()
	got := s.receipts[receipt]
	delete(s.receipts, receipt)
	s.mu.Unlock()
	if got != nil {
		got <- err
	}
}

// write sends frames, with none of others between them; nil is a beat. They are
// never cut short by ctx, only the wait for the connection is; a write that stands
// still ends the session.
func (s *session) write(ctx context.Context, frames ...*frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return &unwrittenError{err}
	}
	select {
	case s.writing <- struct{}{}:
	case <-s.done:
		return &unwrittenError{s.reason()}
	case <-ctx.Done():
		return &unwrittenError{ctx.Err()}
	}
	defer func() { <-s.writing }()
	if s.ended() {
		return &unwrittenError{s.reason()}
	}
	var err error
	for _, f := range frames {
		err = errors.Join(err, s.writer.Write(f))
	}
	if err = errors.Join(err, s.out.Flush()); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: a write stood still for %v", errSilent, s.raw.writeTimeout)
		}
		s.end(fmt.Errorf("write to the broker: %w", err))
		return s.reason()
	}
	return nil
}

// unwrittenError says that nothing was written: the broker knows nothing of it.
type unwrittenError struct{ error }

func (e *unwrittenError) Unwrap() error { return e.error }

// read runs until the session ends. It waits for nothing but the connection and
// a queue that holds the whole prefetch.
func (s *session) read() {
	defer close(s.readerDone)
	for {
		f, err := s.reader.next()
		if err != nil {
			s.end(s.readError(err))
			return
		}
		if f == nil {
			continue
		}
		switch f.Command {
		case frame.MESSAGE:
			s.lastError = nil // it goes on
			d := newDelivery(s.broker, s, f)
			if d.MessageID == "" || d.ackID == "" && !s.broker.passing {
				s.broker.options.Logger.Error("message without message-id or ack header",
					slog.Any("message", d), slog.String("destination", d.Destination))
			}
			select {
			case s.queue <- d:
			case <-s.done:
				return
			}
			if !s.broker.passing && s.prompter.came() {
				go s.prompt()
			}
		case frame.RECEIPT:
			s.resolve(f.Header.Get(frame.ReceiptId), nil)
		case frame.ERROR:
			if err := s.refused(f); err != nil {
				s.end(err)
				return
			}
		default:
			s.end(fmt.Errorf("%w: a second %s", errProtocol, f.Command))
			return
		}
	}
}

// refused returns the error when it ends the session. One that is about a frame
// of ours is only told: ActiveMQ goes on, and a broker that does not closes the
// connection itself. Otherwise one reply that nobody may send would cost the
// session again and again.
func (s *session) refused(f *frame.Frame) error {
	refused := refusal(f, s.passcode)
	s.resolve(f.Header.Get(frame.ReceiptId), refused)
	s.mu.Lock()
	subscribed := s.subscribed
	s.mu.Unlock()
	if !subscribed || refused.endsSession() {
		return refused
	}
	s.lastError = refused
	s.broker.options.Logger.Error("the broker refused a frame", slog.String("reason", refused.Text))
	return nil
}

func (s *session) readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: no byte for %v", errSilent, time.Duration(s.raw.idle.Load()))
	case s.lastError != nil:
		return fmt.Errorf("the broker closed the connection: %w", s.lastError)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the broker closed the connection: %w", err)
	default:
		return fmt.Errorf("read from the broker: %w", err)
	}
}

// end closes the connection; the first cause counts.
func (s *session) end(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = cause
		close(s.done)
	}
	s.mu.Unlock()
	// Not conn.Close: TLS would wait to say good-bye to a peer that is gone.
	s.raw.Close()
}

func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// timedConn gives each read and write a deadline of its own.
type timedConn struct {
	net.Conn
	idle         atomic.Int64 // longest silence in nanoseconds, 0 is without limit
	writeTimeout time.Duration
}

func (c *timedConn) Read(p []byte) (int, error) {
	if idle := c.idle.Load(); idle > 0 {
		if err := c.SetReadDeadline(time.Now().Add(time.Duration(idle))); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func (c *timedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
