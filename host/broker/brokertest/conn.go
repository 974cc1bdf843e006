package brokertest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// conn is one client. readLoop takes its frames, writeLoop sends what is in
// outbox, so that a client that does not read blocks nobody else.
type conn struct {
	server *Server
	raw    net.Conn
	// watched ends the connection of a client that promised to beat and does not.
	watched *watched
	buf     *bufio.Reader
	user    string
	closed  chan struct{}

	// guarded by Server.mu
	subscriptions []*subscription
	orphaned      map[string]bool // ack ids of ended subscriptions
	transactions  map[string]*transaction

	outMu   sync.Mutex
	outbox  []*frame.Frame
	wake    chan struct{}
	beats   time.Duration
	closing bool // close when the outbox is empty
}

func newConn(s *Server, raw net.Conn) *conn {
	watched := &watched{Conn: raw}
	return &conn{
		server:   s,
		raw:      raw,
		watched:  watched,
		buf:      bufio.NewReaderSize(watched, 64<<10),
		closed:   make(chan struct{}),
		orphaned: map[string]bool{}, transactions: map[string]*transaction{},
		wake: make(chan struct{}, 1),
	}
}

// watched is a connection on which silence is bounded.
type watched struct {
	net.Conn
	silence atomic.Int64 // in nanoseconds, 0 is without limit
}

func (w *watched) Read(p []byte) (int, error) {
	if silence := time.Duration(w.silence.Load()); silence > 0 {
		if err := w.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return 0, err
		}
	}
	return w.Conn.Read(p)
}

// send queues a frame for the client.
func (c *conn) send(f *frame.Frame) {
	c.outMu.Lock()
	if !c.closing {
		c.outbox = append(c.outbox, f)
	}
	c.outMu.Unlock()
	c.poke()
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// sendLast queues a frame and then closes the connection.
func (c *conn) sendLast(f *frame.Frame) {
	c.send(f)
	c.outMu.Lock()
	c.closing = true
	c.outMu.Unlock()
	c.poke()
}

// hold waits out the faults; false means that the connection is gone.
func (c *conn) hold() bool {
	for {
		c.server.mu.Lock()
		silent, delay, changed := c.server.faults.silent, c.server.faults.delay, c.server.changed
		c.server.mu.Unlock()
		if !silent {
			if delay > 0 {
				select {
				case <-time.After(delay):
				case <-c.closed:
				}
			}
			break
		}
		select {
		case <-changed:
		case <-c.closed:
			return false
		}
	}
	select {
	case <-c.closed:
		return false
	default:
		return true
	}
}

func (c *conn) readLoop() {
	defer func() {
		// A last frame may still be on its way out.
		c.outMu.Lock()
		closing := c.closing
		c.outMu.Unlock()
		if !closing {
			c.server.drop(c)
		}
	}()
	if !c.hold() {
		return
	}
	f, err := readUnescaped(c.buf)
	if err != nil || !c.hold() || !c.login(f) {
		return
	}
	reader := frame.NewReaderSize(c.buf, 4096) // keeps buf, as it is larger
	for {
		f, err := reader.Read()
		if err != nil {
			return
		}
		if !c.hold() {
			return
		}
		if f != nil && !c.handle(f) {
			return
		}
	}
}

// readUnescaped reads CONNECT or CONNECTED, alone of all frames not escaped,
// which go-stomp's reader would unescape.
func readUnescaped(r *bufio.Reader) (*frame.Frame, error) {
	text, err := r.ReadString(0)
	if err != nil {
		return nil, err
	}
	text = strings.TrimLeft(strings.TrimSuffix(text, "\x00"), "\r\n")
	lines := strings.Split(text, "\n")
	f := frame.New(strings.TrimSuffix(lines[0], "\r"))
	for i, line := range lines[1:] {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			f.Body = []byte(strings.Join(lines[i+2:], "\n"))
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%s with a header without colon", f.Command)
		}
		f.Header.Add(name, value)
	}
	return f, nil
}

func (c *conn) login(f *frame.Frame) bool {
	s := c.server
	if f.Command != frame.CONNECT && f.Command != frame.STOMP {
		c.fail(f, "Not yet connected.", true)
		return false
	}
	c.user = f.Header.Get(frame.Login)
	s.mu.Lock()
	c.recordLocked("C", f)
	refusal := s.faults.refusal
	s.mu.Unlock()
	if user, known := s.options.Users[c.user]; s.options.Users != nil && (!known || user.Passcode != f.Header.Get(frame.Passcode)) {
		refusal = fmt.Sprintf("User name [%s] or password is invalid.", c.user)
	}
	if refusal == "" && !slices.Contains(strings.Split(f.Header.Get(frame.AcceptVersion), ","), "1.2") {
		refusal = "Invalid version"
	}
	if refusal != "" {
		c.fail(f, refusal, true)
		return false
	}
	promised := time.Duration(0)
	clients, wanted, err := frame.ParseHeartBeat(f.Header.Get(frame.HeartBeat))
	if err == nil && wanted > 0 && s.options.HeartBeat >= 0 {
		promised = max(wanted, s.options.HeartBeat, time.Millisecond)
	}
	if err == nil {
		c.watched.silence.Store(int64(clients + clients/10))
	}
	c.outMu.Lock()
	c.beats = promised
	c.outMu.Unlock()
	c.send(frame.New(frame.CONNECTED,
		frame.Server, "ActiveMQ/5.17.2",
		frame.HeartBeat, fmt.Sprintf("%d,%d", promised.Milliseconds(), clients.Milliseconds()),
		frame.Session, s.id,
		frame.Version, "1.2"))
	return true
}

// fail sends an ERROR as ActiveMQ words it.
func (c *conn) fail(about *frame.Frame, text string, last bool) {
	f := frame.New(frame.ERROR, frame.ContentType, "text/plain", frame.Message, text)
	if receipt := about.Header.Get(frame.Receipt); receipt != "" {
		f.Header.Add(frame.ReceiptId, receipt)
	}
	f.Body = []byte(text)
	if last {
		c.sendLast(f)
	} else {
		c.send(f)
	}
}

// handle takes one frame; false ends the connection.
func (c *conn) handle(f *frame.Frame) bool {
	s := c.server
	user := s.options.Users[c.user]
	name := queueName(f.Header.Get(frame.Destination))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.conns[c] {
		return false
	}
	c.recordLocked("C", f)
	if cut := s.faults.cut; cut != nil && cut.command == f.Command {
		s.faults.cut = nil
		if !cut.done {
			s.dropLocked(c)
			return false
		}
		c.outMu.Lock()
		c.closing = true // no answer goes out any more
		c.outMu.Unlock()
		defer s.dropLocked(c)
	}
	var in *transaction
	if id := f.Header.Get(frame.Transaction); id != "" {
		var refused string
		if in, refused = c.transactionLocked(f.Command, id); refused != "" {
			c.fail(f, refused, false)
			return true
		}
	}
	switch f.Command {
	case frame.SEND:
		refusal := s.faults.refusedSend
		if !allowed(user.Write, name) {
			refusal = fmt.Sprintf("User %s is not authorized to write to: queue://%s", c.user, name)
		}
		if refusal != "" {
			if in != nil && f.Header.Get(frame.Receipt) == "" {
				in.spoiled = true
			}
			c.fail(f, refusal, false)
			return true
		}
		if in != nil {
			in.sends = append(in.sends, f)
			break
		}
		s.putLocked(name, headerMap(f), f.Body)
	case frame.BEGIN:
	case frame.ABORT:
		s.abortLocked(in)
	case frame.COMMIT:
		if !s.commitLocked(in) {
			c.fail(f, "COMMIT FAILED: Transaction marked rollback only xaErrorCode:100", false)
			return true
		}
	case frame.SUBSCRIBE:
		if !allowed(user.Read, name) || user.MayRead != nil && !user.MayRead(name) {
			c.fail(f, fmt.Sprintf("User %s is not authorized to read from: queue://%s", c.user, name), false)
			return true
		}
		if f.Header.Get("browser") != "true" {
			s.subscribeLocked(c, f)
		}
	case frame.UNSUBSCRIBE:
		for _, sub := range c.subscriptions {
			if sub.id == f.Header.Get(frame.Id) {
				s.endSubscriptionLocked(sub)
				break
			}
		}
	case frame.ACK, frame.NACK:
		if !s.settleLocked(c, f.Header.Get(frame.Id), f.Command == frame.NACK, in) {
			c.fail(f, fmt.Sprintf("Unexpected %s received for message-id [null]", f.Command), false)
			return true
		}
	case frame.DISCONNECT:
		c.sendLast(frame.New(frame.RECEIPT, frame.ReceiptId, f.Header.Get(frame.Receipt)))
		return false
	default:
		c.fail(f, "Unknown STOMP action: "+f.Command, false)
		return true
	}
	if receipt := f.Header.Get(frame.Receipt); receipt != "" {
		c.send(frame.New(frame.RECEIPT, frame.ReceiptId, receipt))
	}
	if f.Command == frame.SUBSCRIBE { // the receipt comes before the first message
		if f.Header.Get("browser") == "true" {
			s.browseLocked(c, f)
		}
		s.dispatchLocked(s.queueLocked(name))
	}
	return true
}

func (c *conn) recordLocked(from string, f *frame.Frame) {
	c.server.recordLocked(Frame{From: from, Command: f.Command, Headers: headerMap(f), Bytes: len(f.Body)})
}

// headerMap has the first value of each repeated header.
func headerMap(f *frame.Frame) map[string]string {
	headers := make(map[string]string, f.Header.Len())
	for i := f.Header.Len() - 1; i >= 0; i-- {
		name, value := f.Header.GetAt(i)
		headers[name] = value
	}
	return headers
}

var errConnClosed = errors.New("connection closed")

func (c *conn) writeLoop() {
	defer c.server.drop(c)
	writer := frame.NewWriterSize(c.raw, 32<<10)
	for {
		batch, closing, err := c.nextBatch()
		if err != nil {
			return
		}
		for _, f := range batch {
			if !c.hold() {
				return
			}
			c.server.mu.Lock()
			if f != nil {
				c.recordLocked("S", f)
			}
			quiet := f == nil && c.server.faults.noHeartBeats
			c.server.mu.Unlock()
			switch {
			case quiet:
				continue
			case f != nil && f.Command == frame.CONNECTED:
				_, err = c.raw.Write(unescapedFrame(f))
			default:
				err = writer.Write(f)
			}
			if err != nil {
				return
			}
		}
		if closing {
			return
		}
	}
}

// nextBatch waits for frames to send; a nil frame is a heart-beat.
func (c *conn) nextBatch() (batch []*frame.Frame, closing bool, err error) {
	var beat <-chan time.Time
	for {
		c.outMu.Lock()
		batch, c.outbox = c.outbox, nil
		closing, beats := c.closing, c.beats
		c.outMu.Unlock()
		if len(batch) > 0 || closing {
			return batch, closing, nil
		}
		if beat == nil && beats > 0 {
			beat = time.After(beats + beats/10) // ActiveMQ's come a little late
		}
		select {
		case <-c.wake:
		case <-beat:
			return []*frame.Frame{nil}, false, nil
		case <-c.closed:
			return nil, false, errConnClosed
		}
	}
}

func unescapedFrame(f *frame.Frame) []byte {
	var b bytes.Buffer
	b.WriteString(f.Command + "\n")
	headers := headerMap(f)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		b.WriteString(name + ":" + headers[name] + "\n")
	}
	b.WriteString("\n")
	b.Write(f.Body)
	b.WriteByte(0)
	return b.Bytes()
}
