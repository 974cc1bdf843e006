package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
)

// These tests play the broker byte by byte, on a clock of their own.

const subscribedReceipt = "RECEIPT\nreceipt-id:1\n\n\x00"

// script is a Broker in a synctest bubble whose connections come to the test.
type script struct {
	*broker.Broker
	t          *testing.T
	peers      chan *peer
	deliveries chan *broker.Delivery
	states     chan broker.State
	result     chan error
	logged     *bytes.Buffer
	cancel     context.CancelFunc
}

type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func scripted(t *testing.T, change func(*broker.Options), handle func(*broker.Delivery)) *script {
	s := &script{
		t:          t,
		peers:      make(chan *peer, 100),
		deliveries: make(chan *broker.Delivery, 1000),
		states:     make(chan broker.State, 1000),
		result:     make(chan error, 1),
		logged:     &bytes.Buffer{},
	}
	o := broker.Options{
		Addr:        "soar.example.com:65001",
		Destination: "actions.201.fn_threatq",
		Credentials: login("key", "hush"),
		Backoff:     func(int) time.Duration { return time.Second },
		Logger:      slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnState:     func(state broker.State) { s.states <- state },
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			s.peers <- &peer{t, theirs, bufio.NewReader(theirs)}
			return ours, nil
		},
	}
	if change != nil {
		change(&o)
	}
	if handle == nil {
		handle = func(d *broker.Delivery) { s.deliveries <- d }
	}
	var err error
	s.Broker, err = broker.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { s.result <- s.Run(ctx, handle) }()
	return s
}

// finish ends Run and every pipe, so that the bubble can close.
func (s *script) finish() {
	s.cancel()
	select {
	case err := <-s.result:
		assert.NoError(s.t, err)
	case <-time.After(time.Minute):
		assert.Fail(s.t, "Run did not return")
	}
	for {
		select {
		case p := <-s.peers:
			p.conn.Close()
		default:
			return
		}
	}
}

func (p *peer) read() string {
	text, err := p.in.ReadString(0)
	assert.NoError(p.t, err)
	return text
}

func (p *peer) write(text string) {
	_, err := p.conn.Write([]byte(text))
	assert.NoError(p.t, err)
}

// accept logs the next connection in and confirms its subscription.
func (s *script) accept(heartBeat string) *peer {
	p := <-s.peers
	p.read()
	p.write("CONNECTED\nversion:1.2\nheart-beat:" + heartBeat + "\n\n\x00")
	p.read()
	p.write(subscribedReceipt)
	assert.True(s.t, (<-s.states).Connected)
	return p
}

// refuse answers the next CONNECT with an ERROR frame.
func (s *script) refuse(text string) {
	p := <-s.peers
	p.read()
	p.write("ERROR\nmessage:" + text + "\n\n\x00")
	p.conn.Close()
}

func message(id string) string {
	return "MESSAGE\nmessage-id:" + id + "\nack:a" + id + "\n\n{}\x00"
}

func TestFirstFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, func(o *broker.Options) {
			o.Credentials = login(`key:1\n`, `p:w\d ü`)
			o.Prefetch = 7
		}, nil)
		defer s.finish()
		p := <-s.peers
		assert.Equal(t, "CONNECT\naccept-version:1.2\nhost:soar.example.com\nlogin:key:1\\n\n"+
			"passcode:p:w\\d ü\nheart-beat:30000,15000\n\n\x00", p.read(), "CONNECT is not escaped")
		p.write("CONNECTED\nversion:1.2\nserver:x\\c1\n\n\x00")
		assert.Equal(t, "SUBSCRIBE\nid:actions.201.fn_threatq\ndestination:actions.201.fn_threatq\n"+
			"ack:client-individual\nactivemq.prefetchSize:7\nreceipt:1\n\n\x00", p.read())
		p.write(subscribedReceipt)
		assert.Equal(t, broker.State{Connected: true, Server: `x\c1`}, <-s.states, "nor is CONNECTED")

		p.write("MESSAGE\nmessage-id:ID\\c1\nack:ID\\c2\nreply-to:/queue/acks\ncorrelation-id:invid\\c80\n\n{}\x00")
		d := <-s.deliveries
		go func() {
			assert.NoError(t, d.Reply(t.Context(), []byte(`{"a":"b:c"}`)))
			assert.NoError(t, d.Ack(t.Context()))
			assert.NoError(t, d.Ack(t.Context()), "not sent again")
			assert.NoError(t, s.Send(t.Context(), "last", nil, nil))
		}()
		reply := p.read()
		assert.True(t, strings.HasPrefix(reply, "SEND\ndestination:/queue/acks\n"), reply)
		assert.Contains(t, reply, "\ncorrelation-id:invid\\c80\n")
		assert.Contains(t, reply, "\npersistent:true\n", "outlives a restart of the broker")
		assert.NotContains(t, reply, "content-length", "a text message for ActiveMQ")
		assert.True(t, strings.HasSuffix(reply, "\n\n{\"a\":\"b:c\"}\x00"), reply)
		assert.Equal(t, "ACK\nid:ID\\c2\n\n\x00", p.read())
		assert.Equal(t, "SEND\ndestination:last\n\n\x00", p.read())
		assert.NotContains(t, s.logged.String(), "p:w")
	})
}

func TestOddMessagesAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		p := s.accept("0,0")
		long := strings.Repeat("x", 100_000)

		// Repeated headers, CRLF, a long header, an undefined escape, no
		// subscription, and a heart-beat between frames.
		p.write("MESSAGE\r\nmessage-id:one\r\nmessage-id:two\r\nack:1\r\ntoken:" + long +
			"\r\nodd:a\\tb\\\\c\r\ntimestamp:1580479200000\r\nredelivered:true\r\n\r\n{}\x00\n\r\n\n")
		d := <-s.deliveries
		assert.Equal(t, "one", d.MessageID)
		assert.Equal(t, long, d.Headers["token"])
		assert.Equal(t, `a\tb\c`, d.Headers["odd"])
		assert.Equal(t, time.UnixMilli(1580479200000), d.Timestamp)
		assert.True(t, d.Redelivered)

		// Neither ids nor body: handed on, told, and impossible to answer.
		p.write("MESSAGE\ntimestamp:soon\nCo3ContextToken:tok.en\ncontent-length:0\n\n\x00")
		d = <-s.deliveries
		assert.Empty(t, d.MessageID)
		assert.Empty(t, d.Body)
		assert.True(t, d.Timestamp.IsZero())
		assert.ErrorIs(t, d.Ack(t.Context()), broker.ErrNoAck)
		assert.ErrorIs(t, d.Reply(t.Context(), nil), broker.ErrNoReplyTo)
		assert.Contains(t, s.logged.String(), "without message-id")
		assert.NotContains(t, s.logged.String(), "tok.en")

		// Receipts nobody waits for block nobody, and neither do refusals of a SEND.
		for range 50 {
			p.write("RECEIPT\nreceipt-id:late\n\n\x00" + subscribedReceipt +
				"ERROR\nmessage:Unexpected ACK received\n\n\x00")
		}
		p.write(message("after"))
		assert.Equal(t, "after", (<-s.deliveries).MessageID)
	})
}

// A broker that closes after an ERROR, as STOMP has it, is understood.
func TestErrorThenClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		for _, follows := range []string{"", message("1")} {
			p := s.accept("0,0")
			p.write("ERROR\nmessage:out of space\n\n\x00" + follows)
			p.conn.Close()
			reason := (<-s.states).Reason
			var refused *broker.RefusedError
			assert.Equal(t, follows == "", errors.As(reason, &refused), "%v", reason)
		}
		p := s.accept("0,0") // and one that means the subscription ends it at once
		p.write("ERROR\nmessage:User key is not authorized to read from x\n\n\x00")
		assert.Equal(t, time.Minute, (<-s.states).RetryIn)
		p.conn.Close()
	})
}

func TestBrokenFramesEndTheSession(t *testing.T) {
	for name, text := range map[string]string{
		"garbage":                 "\x16\x03\x01 no stomp at all\n",
		"HTTP":                    "HTTP/1.1 400 Bad Request\r\n\r\n",
		"client command":          "SEND\ndestination:x\n\n\x00",
		"second CONNECTED":        "CONNECTED\nversion:1.2\n\n\x00",
		"header without colon":    "MESSAGE\nmessage-id\n\n\x00",
		"header without name":     "MESSAGE\n:x\n\n\x00",
		"negative content-length": "MESSAGE\ncontent-length:-1\n\nx\x00",
		"padded content-length":   "MESSAGE\ncontent-length: 1\n\nx\x00",
		"short content-length":    "MESSAGE\ncontent-length:1\n\nxyz\x00",
		"absurd content-length":   "MESSAGE\ncontent-length:99999999999999999999\n\n",
		"too large by its length": "MESSAGE\ncontent-length:1001\n\n",
		"too large without":       "MESSAGE\n\n" + strings.Repeat("x", 70_000),
		"endless header":          "MESSAGE\nname:" + strings.Repeat("x", 70_000),
		"endless first line":      strings.Repeat("M", 70_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted(t, func(o *broker.Options) { o.MaxFrame = 1000 }, nil)
				defer s.finish()
				p := s.accept("0,0")
				_, _ = p.conn.Write([]byte(text)) // cut off by the other side
				state := <-s.states
				assert.False(t, state.Connected)
				assert.Error(t, state.Reason)
				assert.Empty(t, s.deliveries)
				s.accept("0,0").write(message("next"))
				assert.Equal(t, "next", (<-s.deliveries).MessageID, "the next session works")
			})
		})
	}
}

func TestSilentBroker(t *testing.T) {
	for name, c := range map[string]struct {
		promised string
		after    time.Duration // 0: never
	}{
		"what we asked for":  {"15000,0", 30 * time.Second},
		"slower than wished": {"20000,0", 40 * time.Second},
		"faster than wished": {"1000,0", 30 * time.Second},
		"no promise":         {"0,0", 0},
		"absurd promise":     {"9223372036854,0", 48 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted(t, nil, nil)
				defer s.finish()
				p := s.accept(c.promised)
				for range 5 { // beats come late, and each begins the wait anew
					time.Sleep(29 * time.Second)
					p.write("\n")
				}
				start := time.Now()
				if c.after == 0 {
					time.Sleep(100 * time.Hour)
					p.write(message("alive"))
					assert.Equal(t, "alive", (<-s.deliveries).MessageID)
					return
				}
				state := <-s.states
				assert.ErrorContains(t, state.Reason, "silent")
				assert.Equal(t, c.after, time.Since(start))
			})
		})
	}
}

// A peer that takes nothing is noticed by whoever writes.
func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, func(o *broker.Options) { o.WriteTimeout = 10 * time.Second }, nil)
		defer s.finish()
		p := s.accept("0,0")
		p.write(message("1"))
		d := <-s.deliveries

		// Whoever waits behind the stuck writer can give up alone.
		stuck := make(chan error, 1)
		go func() { stuck <- d.Ack(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, s.Send(ctx, "/queue/acks", nil, nil), context.DeadlineExceeded)
		start := time.Now()
		assert.ErrorIs(t, <-stuck, broker.ErrStale)
		assert.Equal(t, 9*time.Second, time.Since(start))
		assert.ErrorContains(t, (<-s.states).Reason, "stood still")
	})
}

// A handler that does not return costs nothing but throughput.
func TestBlockedHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var handed []string
		s := scripted(t, func(o *broker.Options) { o.Prefetch = 20 }, func(d *broker.Delivery) {
			handed = append(handed, d.MessageID)
			<-release
		})
		defer s.finish()
		p := s.accept("15000,0")
		for i := range 20 {
			p.write(message(string(rune('a' + i))))
		}
		for range 20 {
			time.Sleep(20 * time.Second)
			p.write("\n")
		}
		go func() { assert.NoError(t, s.Send(t.Context(), "/queue/acks", nil, []byte("x"))) }()
		assert.Contains(t, p.read(), "SEND\n", "replies go out meanwhile")
		assert.Empty(t, s.states)

		// What is still queued when the session is lost is not handed out.
		p.conn.Close()
		synctest.Wait()
		close(release)
		p = s.acceptAfterLoss()
		p.write(message("again"))
		synctest.Wait()
		assert.Equal(t, []string{"a", "again"}, handed)
	})
}

func (s *script) acceptAfterLoss() *peer {
	assert.False(s.t, (<-s.states).Connected)
	return s.accept("0,0")
}
