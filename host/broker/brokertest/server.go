package brokertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"fn-threatq/host/internal/testcert"
)

// Options of a Server. The zero value is a broker on a free loopback port,
// without TLS, that takes every login.
type Options struct {
	// Addr is host:port to listen on; the default is 127.0.0.1:0.
	Addr string
	// TLS makes it a TLS server; see NewAuthority.
	TLS *tls.Config
	// Users by login. Nil takes every login and allows everything.
	Users map[string]User
	// HeartBeat is what the broker is ready to send; clients get the longer of
	// this and what they asked for. 0 is one millisecond: whatever they ask for.
	// Negative promises no heart-beats.
	HeartBeat time.Duration
	// ContentLength adds content-length to every MESSAGE. Without it only bodies
	// that hold a NUL have it.
	ContentLength bool
	// Log keeps the last frames for Frames; off by default, as it costs memory.
	Log bool
}

// User is an account of the broker.
type User struct {
	Passcode string
	// Read and Write are queues this user may subscribe and send to, as names or
	// ActiveMQ patterns (actions.>). Nil allows everything.
	Read, Write []string
	// MayRead is asked besides Read; nil allows everything.
	MayRead func(queue string) bool
}

// Frame is an entry of the log: one frame as it was on the wire, unescaped.
type Frame struct {
	// From is "C" for the client or "S" for the server.
	From    string
	Command string
	Headers map[string]string
	// Bytes is the length of the body.
	Bytes int
}

const logLimit = 10_000

// Server is a running broker. Its queues survive Stop and Restart.
type Server struct {
	options Options
	id      string

	mu       sync.Mutex
	addr     string
	listener net.Listener
	conns    map[*conn]bool
	queues   map[string]*queue
	sequence int
	changed  chan struct{} // closed and replaced when a message waits in a queue
	log      []Frame
	faults   faults
	wg       sync.WaitGroup
}

type faults struct {
	silent       bool
	noHeartBeats bool
	refusal      string
	refusedSend  string
	delay        time.Duration
	cut          *cut
}

// cut ends a connection at a frame of this command.
type cut struct {
	command string
	done    bool // when it was acted upon
}

// NewAuthority makes throw-away certificates for Options.TLS and the clients.
func NewAuthority(hosts ...string) *testcert.Authority { return testcert.New(hosts...) }

// Start runs a broker. End it with Stop.
func Start(options Options) (*Server, error) {
	if options.Addr == "" {
		options.Addr = "127.0.0.1:0"
	}
	s := &Server{
		options: options,
		id:      "ID:brokertest-" + strconv.FormatInt(time.Now().UnixMilli(), 10) + "-3:1",
		addr:    options.Addr,
		conns:   map[*conn]bool{},
		queues:  map[string]*queue{},
		changed: make(chan struct{}),
	}
	if err := s.Restart(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is the address it listens on; it stays over Stop and Restart.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Restart listens again after Stop, on the same address and with the queues as
// they were. Faults are forgotten.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return fmt.Errorf("broker on %s is running", s.addr)
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("start the test broker: %w", err)
	}
	s.addr = listener.Addr().String()
	s.faults = faults{}
	if s.options.TLS != nil {
		listener = tls.NewListener(listener, s.options.TLS)
	}
	s.listener = listener
	s.wg.Go(func() { s.accept(listener) })
	return nil
}

// Stop closes the listener and cuts every connection. It waits until nothing
// runs any more, and does nothing when already stopped.
func (s *Server) Stop() {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	s.mu.Unlock()
	s.KickAll()
	s.wg.Wait()
}

// KickAll cuts every connection without a word; unacknowledged messages go back
// to their queues.
func (s *Server) KickAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		s.dropLocked(c)
	}
}

// Connections is how many clients are connected.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Publish puts a message into a queue, as SOAR does, and returns its message-id.
func (s *Server) Publish(queue string, headers map[string]string, body []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.putLocked(queueName(queue), headers, body).ID
}

// Receive takes the next message out of a queue, and waits for one until ctx ends.
func (s *Server) Receive(ctx context.Context, queue string) (Message, error) {
	for {
		s.mu.Lock()
		q, changed := s.queueLocked(queueName(queue)), s.changed
		if len(q.ready) > 0 {
			m := q.ready[0]
			q.ready = q.ready[1:]
			s.mu.Unlock()
			return *m, nil
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, fmt.Errorf("no message in queue %s: %w", queue, ctx.Err())
		}
	}
}

// Depth counts the messages of a queue: those that wait, and those that are with
// a consumer and not acknowledged.
func (s *Server) Depth(queue string) (ready, unacked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueLocked(queueName(queue))
	for _, sub := range q.consumers {
		unacked += len(sub.unacked) + len(sub.acking)
	}
	return len(q.ready), unacked
}

// Frames is the log of frames so far, oldest first; see Options.Log.
func (s *Server) Frames() []Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Frame(nil), s.log...)
}

// Silent makes the broker neither read, answer nor beat, while connections stay
// open: a host that is gone without a FIN. False makes it go on.
func (s *Server) Silent(on bool) { s.fault(func(f *faults) { f.silent = on }) }

// StopHeartBeats makes it answer but not beat.
func (s *Server) StopHeartBeats(on bool) { s.fault(func(f *faults) { f.noHeartBeats = on }) }

// RefuseLogins answers each CONNECT with an ERROR of this text, then closes;
// an empty text ends it.
func (s *Server) RefuseLogins(text string) { s.fault(func(f *faults) { f.refusal = text }) }

// Delay makes the broker wait before it takes each frame.
func (s *Server) Delay(d time.Duration) { s.fault(func(f *faults) { f.delay = d }) }

// RefuseSends answers each SEND with an ERROR of this text; an empty text ends it.
func (s *Server) RefuseSends(text string) { s.fault(func(f *faults) { f.refusedSend = text }) }

// Cut ends the connection that sends the next frame of this command: before the
// broker has acted upon it, or when it has, and without a word of that.
func (s *Server) Cut(command string, done bool) {
	s.fault(func(f *faults) { f.cut = &cut{command, done} })
}

func (s *Server) fault(set func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.faults)
	s.broadcastLocked()
}

func (s *Server) broadcastLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) accept(listener net.Listener) {
	for {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		c := newConn(s, raw)
		s.mu.Lock()
		if s.listener != listener {
			s.mu.Unlock()
			raw.Close()
			return
		}
		s.conns[c] = true
		s.wg.Go(c.readLoop)
		s.wg.Go(c.writeLoop)
		s.mu.Unlock()
	}
}

// dropLocked forgets a connection; its messages go back to their queues.
func (s *Server) dropLocked(c *conn) {
	if !s.conns[c] {
		return
	}
	delete(s.conns, c)
	for len(c.subscriptions) > 0 {
		s.endSubscriptionLocked(c.subscriptions[0])
	}
	close(c.closed)
	raw := c.raw
	if secured, ok := raw.(*tls.Conn); ok {
		raw = secured.NetConn() // no good-bye that could wait for a silent peer
	}
	raw.Close()
}

func (s *Server) drop(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(c)
}

func (s *Server) recordLocked(entry Frame) {
	if !s.options.Log {
		return
	}
	if len(s.log) >= logLimit {
		s.log = append(s.log[:0], s.log[logLimit/2:]...)
	}
	s.log = append(s.log, entry)
}

// allowed matches a queue against ActiveMQ patterns.
func allowed(patterns []string, queue string) bool {
	if patterns == nil {
		return true
	}
	for _, pattern := range patterns {
		prefix, wild := strings.CutSuffix(pattern, ">")
		if pattern == queue || wild && strings.HasPrefix(queue, prefix) {
			return true
		}
	}
	return false
}
