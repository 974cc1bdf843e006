package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// stableAfter is how long a session must live to count as a success. One that
// ends sooner keeps the pauses growing, so that a broker which takes the login
// and then fails is not hammered.
const stableAfter = 30 * time.Second

// Broker keeps the session with the message broker. Its methods may be called
// from any goroutine.
type Broker struct {
	options Options
	passing bool // it only looks: its deliveries are not acknowledged

	handing sync.Mutex // held while the handler runs
	stopped bool       // guarded by handing

	mu      sync.Mutex
	current *session
	changed chan struct{} // closed and replaced whenever current or over changes
	running bool
	closing bool // Close was called: the end of a session is no failure
	over    bool // there will be no session any more
	cancel  context.CancelFunc
	ended   chan struct{} // closed when Run has returned

	pings chan struct{} // taken by Run's goroutine, wherever it waits
}

// New checks options and fills in the defaults. Nothing is connected yet.
func New(options Options) (*Broker, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Broker{options: options, changed: make(chan struct{}), ended: make(chan struct{}), pings: make(chan struct{})}, nil
}

// Run connects, subscribes and hands each message to handle, and makes a new
// session whenever one is lost, until ctx ends or Close is called; then it
// returns nil. It may be called once.
//
// Until the first success a refused login or message destination is final (and so
// are credentials that STOMP cannot carry): Run
// returns an error that wraps *RefusedError. Anything else (no network, no
// broker, a certificate that is not trusted: see ConnectError, IsCertificate) is
// logged once per attempt with what to check, and tried again, unless
// Options.FailFast. After the first success nothing is final; refusals are tried
// again after 1, 5, 15 and then every 60 minutes.
//
// handle is called for one message at a time and must return at once: put the
// delivery in a queue, and call Reply and Finish elsewhere. A slow handler costs
// throughput and delays the next connect, but not the session's life.
//
// The end of ctx is abrupt: what was not acknowledged comes again. For a
// graceful end keep ctx and use StopReceiving and Close.
func (b *Broker) Run(ctx context.Context, handle func(*Delivery)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return nil
	}
	if b.running {
		b.mu.Unlock()
		return errors.New("broker: Run was called twice")
	}
	b.running, b.cancel = true, cancel
	b.mu.Unlock()
	defer close(b.ended)
	defer b.publish(nil, true)

	var (
		once     bool // there was a session
		failures int
		refusals int
	)
	for {
		started := time.Now()
		s, err := b.connect(ctx)
		if err == nil {
			once, refusals = true, 0
			err = b.serve(ctx, s, handle)
			if time.Since(started) >= stableAfter {
				failures = 0
			}
		}
		if ctx.Err() != nil || b.isClosing() {
			b.options.Logger.Info("message broker session closed")
			b.options.OnState(State{})
			return nil
		}
		refused := isRefused(err)
		if !once && (refused || b.options.FailFast) {
			b.options.OnState(State{Reason: err})
			return err
		}
		pause := b.options.Backoff(failures)
		failures++
		if refused {
			pause = refusalPauses[min(refusals, len(refusalPauses)-1)]
			refusals++
		}
		b.options.Logger.Warn("no message broker session",
			slog.Any("error", err), slog.Int("attempt", failures), slog.Duration("retry_in", pause))
		b.options.OnState(State{Reason: err, RetryIn: pause})
		b.rest(ctx, pause)
	}
}

// connect is open, with pings answered meanwhile: open has a limit of its own.
func (b *Broker) connect(ctx context.Context) (*session, error) {
	pinged, stop := context.WithCancel(ctx)
	var answering sync.WaitGroup
	answering.Go(func() { b.rest(pinged, -1) })
	defer answering.Wait()
	defer stop()
	return b.open(ctx, !b.isStopped())
}

// rest waits and answers pings; a negative pause ends with ctx alone.
func (b *Broker) rest(ctx context.Context, pause time.Duration) {
	var over <-chan time.Time
	if pause >= 0 {
		over = time.After(pause)
	}
	for {
		select {
		case <-b.pings:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Ping returns nil when Run hands out messages, or keeps trying to; at once, as a
// rule. An error is that of ctx: a handler does not return, or something hangs.
func (b *Broker) Ping(ctx context.Context) error {
	select {
	case b.pings <- struct{}{}:
		return nil
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message broker's session does not respond: %w", ctx.Err())
	}
}

// serve hands out what s receives until it ends, and leaves nothing of it behind.
func (b *Broker) serve(ctx context.Context, s *session, handle func(*Delivery)) error {
	b.options.Logger.Info("message broker session opened",
		slog.String("addr", b.options.Addr), slog.String("destination", b.options.Destination),
		slog.String("server", s.server), slog.Int("prefetch", b.options.Prefetch))
	b.publish(s, false)
	b.options.OnState(State{Connected: true, Server: s.server})
	defer func() {
		b.publish(nil, false)
		<-s.readerDone
	}()
	for {
		select {
		case <-ctx.Done():
			s.end(ErrClosed)
			return ErrClosed
		case <-s.done:
			return s.reason()
		case <-b.pings:
		case d := <-s.queue:
			b.hand(d, handle)
		}
	}
}

// hand drops what the broker will deliver again anyway: messages of a session
// that is gone, and those that came after StopReceiving.
func (b *Broker) hand(d *Delivery, handle func(*Delivery)) {
	b.handing.Lock()
	defer b.handing.Unlock()
	if !b.stopped && !d.session.ended() {
		handle(d)
	}
}

func (b *Broker) isStopped() bool {
	b.handing.Lock()
	defer b.handing.Unlock()
	return b.stopped
}

func (b *Broker) isClosing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

// StopReceiving ends the calls of the handler: when it returns, none is running
// and none will follow. The session stays, so that Reply and Finish of deliveries
// handed out before still work; what the broker sent ahead goes back to the
// queue at Close. It must not be called from the handler.
func (b *Broker) StopReceiving() {
	b.handing.Lock()
	b.stopped = true
	b.handing.Unlock()
}

// Close ends the session in order and makes Run return: no more deliveries, a
// DISCONNECT, and the broker's receipt, which proves that all replies and ACKs
// before it were processed. It waits at most until ctx ends, and then cuts the
// connection. The error says that the receipt is missing; what was not
// acknowledged then comes again.
func (b *Broker) Close(ctx context.Context) error {
	b.StopReceiving()
	b.mu.Lock()
	b.closing = true
	s, cancel, running := b.current, b.cancel, b.running
	b.mu.Unlock()
	var err error
	if s != nil {
		if err = s.disconnect(ctx); err != nil {
			err = fmt.Errorf("disconnect from message broker %s: the last replies are not confirmed: %w", b.options.Addr, err)
		}
	}
	b.publish(nil, true)
	if !running {
		return err
	}
	cancel()
	select {
	case <-b.ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// Send sends body to destination by the current session, and waits for one
// until ctx ends. Headers are escaped as STOMP 1.2 has it; destination and
// content-length are set by Send. When the connection breaks while writing, the
// frame is sent again by the next session, so that it can arrive twice; when it
// breaks just after, it may be lost without an error, as no receipt is asked for.
func (b *Broker) Send(ctx context.Context, destination string, headers map[string]string, body []byte) error {
	f, err := sendFrame(destination, headers, body)
	if err != nil {
		return fmt.Errorf("send to %q: %w", destination, err)
	}
	for {
		s, err := b.await(ctx)
		if err != nil {
			return fmt.Errorf("send to %q: %w", destination, err)
		}
		if err = s.write(ctx, f); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("send to %q: %w", destination, err)
		}
	}
}

// await returns a session that is alive.
func (b *Broker) await(ctx context.Context) (*session, error) {
	for {
		b.mu.Lock()
		s, over, changed := b.current, b.over, b.changed
		b.mu.Unlock()
		switch {
		case over:
			return nil, ErrClosed
		case s != nil && !s.ended():
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no message broker session: %w", ctx.Err())
		}
	}
}

// publish makes s the current session; over is never taken back.
func (b *Broker) publish(s *session, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = s
	b.over = b.over || over
	close(b.changed)
	b.changed = make(chan struct{})
}

// isRefused tells the refusals that only a person can lift.
func isRefused(err error) bool {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Kind {
	case RefusedLogin, RefusedCredentials, RefusedDestination:
		return true
	default:
		return false
	}
}
