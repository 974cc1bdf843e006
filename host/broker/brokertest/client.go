package brokertest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// Client is a plain STOMP 1.2 client that plays the SOAR server: it publishes
// actions and reads replies, on this package's broker or on ActiveMQ. It does
// not reconnect.
type Client struct {
	conn     net.Conn
	writeMu  sync.Mutex
	writer   *frame.Writer
	messages chan Message
	done     chan struct{}
	read     chan struct{}

	mu       sync.Mutex
	cause    error
	sequence int
	receipts map[string]chan error
}

// Dial connects and logs in; tlsConfig nil is plain TCP. It takes at most 30 s.
func Dial(addr string, tlsConfig *tls.Config, user, passcode string) (*Client, error) {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	var raw net.Conn
	var err error
	if tlsConfig != nil {
		raw, err = tls.DialWithDialer(dialer, "tcp", addr, tlsConfig)
	} else {
		raw, err = dialer.Dial("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("dial test client: %w", err)
	}
	buf := bufio.NewReaderSize(raw, 64<<10)
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = raw.Write(unescapedFrame(frame.New(frame.CONNECT,
		frame.AcceptVersion, "1.2", frame.Host, "test", frame.HeartBeat, "0,0",
		frame.Login, user, frame.Passcode, passcode)))
	if err == nil {
		var f *frame.Frame
		if f, err = readUnescaped(buf); err == nil && f.Command != frame.CONNECTED {
			err = errors.New(f.Header.Get(frame.Message))
		}
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("log in test client %s: %w", user, err)
	}
	_ = raw.SetDeadline(time.Time{})
	c := &Client{
		conn:     raw,
		writer:   frame.NewWriterSize(raw, 32<<10),
		messages: make(chan Message, 16),
		done:     make(chan struct{}),
		read:     make(chan struct{}),
		receipts: map[string]chan error{},
	}
	go c.readLoop(frame.NewReaderSize(buf, 4096))
	return c, nil
}

// Send publishes body and waits for the receipt. Pass persistent:true in headers
// for a message that must survive a restart of ActiveMQ.
func (c *Client) Send(ctx context.Context, destination string, headers map[string]string, body []byte) error {
	f := frame.New(frame.SEND, frame.Destination, destination)
	for name, value := range headers {
		f.Header.Add(name, value)
	}
	f.Body = body
	return c.confirm(ctx, f)
}

// Subscribe starts messages flowing to Receive; ack is auto or
// client-individual, prefetch 0 is the broker's default.
func (c *Client) Subscribe(ctx context.Context, destination, ack string, prefetch int) error {
	f := frame.New(frame.SUBSCRIBE, frame.Id, destination, frame.Destination, destination, frame.Ack, ack)
	if prefetch > 0 {
		f.Header.Add("activemq.prefetchSize", strconv.Itoa(prefetch))
	}
	return c.confirm(ctx, f)
}

// Unsubscribe ends what Subscribe began.
func (c *Client) Unsubscribe(ctx context.Context, destination string) error {
	return c.confirm(ctx, frame.New(frame.UNSUBSCRIBE, frame.Id, destination))
}

// Receive returns the next message of any subscription.
func (c *Client) Receive(ctx context.Context) (Message, error) {
	select {
	case m := <-c.messages:
		return m, nil
	case <-c.done:
		return Message{}, c.reason()
	case <-ctx.Done():
		return Message{}, fmt.Errorf("no message came: %w", ctx.Err())
	}
}

// Ack acknowledges a message of a client-individual subscription.
func (c *Client) Ack(ctx context.Context, m Message) error {
	return c.confirm(ctx, frame.New(frame.ACK, frame.Id, m.Headers[frame.Ack]))
}

// Nack refuses a message, which moves it to the dead-letter queue.
func (c *Client) Nack(ctx context.Context, m Message) error {
	return c.confirm(ctx, frame.New(frame.NACK, frame.Id, m.Headers[frame.Ack]))
}

// Do sends a frame of these headers, as name and value by turns, and waits for the
// receipt. The error is the text of an ERROR frame.
func (c *Client) Do(ctx context.Context, command string, headers ...string) error {
	return c.confirm(ctx, frame.New(command, headers...))
}

// Post is Do without a receipt.
func (c *Client) Post(command string, headers ...string) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.writer.Write(frame.New(command, headers...))
}

// Close cuts the connection without DISCONNECT.
func (c *Client) Close() {
	c.end(net.ErrClosed)
	<-c.read
}

func (c *Client) confirm(ctx context.Context, f *frame.Frame) error {
	got := make(chan error, 1)
	c.mu.Lock()
	c.sequence++
	receipt := "r" + strconv.Itoa(c.sequence)
	c.receipts[receipt] = got
	c.mu.Unlock()
	f.Header.Add(frame.Receipt, receipt)
	c.writeMu.Lock()
	err := c.writer.Write(f)
	c.writeMu.Unlock()
	if err != nil {
		c.end(err)
		return fmt.Errorf("test client: %s: %w", f.Command, c.reason())
	}
	select {
	case err = <-got:
	case <-c.done:
		err = c.reason()
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("test client: %s: %w", f.Command, err)
	}
	return nil
}

func (c *Client) readLoop(reader *frame.Reader) {
	defer close(c.read)
	for {
		f, err := reader.Read()
		if err != nil {
			c.end(err)
			return
		}
		switch {
		case f == nil:
		case f.Command == frame.MESSAGE:
			headers := headerMap(f)
			m := Message{
				ID:          headers[frame.MessageId],
				Destination: headers[frame.Destination],
				Headers:     headers,
				Body:        f.Body,
				Redelivered: headers["redelivered"] == "true",
			}
			select {
			case c.messages <- m:
			case <-c.done:
				return
			}
		case f.Command == frame.RECEIPT:
			c.resolve(f, nil)
		case f.Command == frame.ERROR:
			c.resolve(f, errors.New(f.Header.Get(frame.Message)))
		}
	}
}

func (c *Client) resolve(f *frame.Frame, err error) {
	receipt := f.Header.Get(frame.ReceiptId)
	c.mu.Lock()
	got := c.receipts[receipt]
	delete(c.receipts, receipt)
	c.mu.Unlock()
	if got != nil {
		got <- err
	}
}

func (c *Client) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
		close(c.done)
		c.conn.Close()
	}
}

func (c *Client) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}
