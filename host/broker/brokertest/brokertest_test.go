package brokertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o brokertest.Options) *brokertest.Server {
	o.Log = true
	s, err := brokertest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, s *brokertest.Server) *brokertest.Client {
	c, err := brokertest.Dial(s.Addr(), nil, "soar", "soar")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// raw is a connection without any client code of ours.
type raw struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dialRaw(t *testing.T, s *brokertest.Server) raw {
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return raw{t, conn, bufio.NewReader(conn)}
}

func (r raw) write(text string) {
	_, err := io.WriteString(r.conn, text)
	require.NoError(r.t, err)
}

func (r raw) read() string {
	text, err := r.in.ReadString(0)
	require.NoError(r.t, err)
	return text
}

// The session IBM's client has, from a capture, on the wire.
func TestSampleSession(t *testing.T) {
	var sample struct {
		Frames []struct {
			Command string
			Headers map[string]string
		}
	}
	text, err := os.ReadFile("testdata/stomp-session-frames.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &sample))
	published := sample.Frames[3].Headers
	require.Equal(t, "MESSAGE", sample.Frames[3].Command)

	s := start(t, brokertest.Options{Users: map[string]brokertest.User{`a:b\c`: {Passcode: `p:\n`}}})
	r := dialRaw(t, s)
	r.write("CONNECT\naccept-version:1.2\nhost:x\nlogin:a:b\\c\npasscode:p:\\n\nheart-beat:0,15000\n\n\x00")
	assert.Equal(t, "CONNECTED\nheart-beat:15000,0\nserver:ActiveMQ/5.17.2\nsession:",
		r.read()[:len("CONNECTED\nheart-beat:15000,0\nserver:ActiveMQ/5.17.2\nsession:")])
	r.write("SUBSCRIBE\nid:sub\ndestination:actions.201.fn_threatq\nack:client-individual\n" +
		"activemq.prefetchSize:20\nreceipt:r:1\n\n\x00")
	assert.Equal(t, "RECEIPT\nreceipt-id:r\\c1\n\n\x00", r.read())

	send := map[string]string{}
	for name, value := range published {
		if name != "ack" && name != "message-id" && name != "subscription" && name != "destination" {
			send[name] = value
		}
	}
	id := s.Publish("/queue/actions.201.fn_threatq", send, []byte("body"))
	lines := strings.Split(r.read(), "\n")
	assert.Equal(t, "MESSAGE", lines[0])
	got := map[string]string{}
	for _, line := range lines[1 : len(lines)-2] {
		name, value, _ := strings.Cut(line, ":")
		got[name] = strings.ReplaceAll(value, "\\c", ":")
	}
	for name := range published {
		assert.Contains(t, got, name, "every header of the capture is there")
	}
	for name, value := range send {
		assert.Equal(t, value, got[name], name)
	}
	assert.Equal(t, id, got["message-id"])
	assert.Equal(t, "/queue/actions.201.fn_threatq", got["destination"])
	assert.Equal(t, "body\x00", lines[len(lines)-1])

	r.write("ACK\nid:" + strings.ReplaceAll(got["ack"], ":", "\\c") + "\n\n\x00")
	r.write("SEND\ncorrelation-id:invid\\c133\ndestination:/queue/acks.201.fn_threatq\n\n{}\x00")
	m, err := s.Receive(within(t), "acks.201.fn_threatq")
	require.NoError(t, err)
	assert.Equal(t, "invid:133", m.Headers["correlation-id"])
	r.write("DISCONNECT\nreceipt:bye-1\n\n\x00")
	assert.Equal(t, "RECEIPT\nreceipt-id:bye-1\n\n\x00", r.read())
	_, err = r.in.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
	ready, unacked := s.Depth("actions.201.fn_threatq")
	assert.Zero(t, ready+unacked)
	assert.Equal(t, `p:\n`, s.Frames()[0].Headers["passcode"], "not unescaped")
}

func TestConsumersShareAQueue(t *testing.T) {
	s := start(t, brokertest.Options{})
	one, two := dial(t, s), dial(t, s)
	for _, c := range []*brokertest.Client{one, two} {
		require.NoError(t, c.Subscribe(within(t), "q", "client-individual", 3))
	}
	for i := range 10 {
		require.NoError(t, one.Send(within(t), "/queue/q", nil, []byte(strconv.Itoa(i))))
	}
	ready, unacked := s.Depth("q")
	assert.Equal(t, [2]int{4, 6}, [2]int{ready, unacked}, "three each, the rest waits")

	first, err := one.Receive(within(t))
	require.NoError(t, err)
	require.NoError(t, one.Ack(within(t), first))
	one.Close()
	require.Eventually(t, func() bool { ready, unacked := s.Depth("q"); return ready == 6 && unacked == 3 },
		5*time.Second, time.Millisecond)

	// What was with the lost one comes first and in order, then the rest.
	var bodies []string
	for range 9 {
		m, err := two.Receive(within(t))
		require.NoError(t, err)
		require.NoError(t, two.Ack(within(t), m))
		bodies = append(bodies, string(m.Body))
	}
	rest := bodies[3:]
	assert.IsIncreasing(t, rest, "%v", bodies)
	assert.NotContains(t, bodies, string(first.Body))
}

func TestQueuesOutliveRestart(t *testing.T) {
	s := start(t, brokertest.Options{})
	c := dial(t, s)
	require.NoError(t, c.Subscribe(within(t), "q", "client-individual", 1))
	id := s.Publish("q", nil, []byte("kept"))
	m, err := c.Receive(within(t))
	require.NoError(t, err)
	assert.False(t, m.Redelivered)
	addr := s.Addr()
	s.Stop()
	_, err = c.Receive(within(t))
	require.Error(t, err)
	require.NoError(t, s.Restart())
	require.Error(t, s.Restart(), "it is running")
	assert.Equal(t, addr, s.Addr())
	m, err = s.Receive(within(t), "q")
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	assert.True(t, m.Redelivered)
}

func TestHeartBeatsAndFaults(t *testing.T) {
	s := start(t, brokertest.Options{HeartBeat: 20 * time.Millisecond})
	r := dialRaw(t, s)
	r.write("CONNECT\naccept-version:1.1,1.2\nlogin:x\nheart-beat:0,10\n\n\x00")
	assert.Contains(t, r.read(), "heart-beat:20,0\n", "the slower of both")
	for range 3 {
		b, err := r.in.ReadByte()
		require.NoError(t, err)
		assert.Equal(t, byte('\n'), b)
	}
	quiet := func() error {
		for { // beats on their way come first
			if err := r.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				return err
			}
			if _, err := r.in.ReadByte(); err != nil {
				return err
			}
		}
	}
	s.StopHeartBeats(true)
	require.ErrorIs(t, quiet(), os.ErrDeadlineExceeded)
	require.NoError(t, r.conn.SetDeadline(time.Now().Add(10*time.Second)))
	r.write("SEND\ndestination:q\nreceipt:1\n\n\x00")
	assert.Contains(t, r.read(), "RECEIPT", "it answers still")
	s.StopHeartBeats(false)

	s.Silent(true)
	r.write("SEND\ndestination:q\nreceipt:2\n\n\x00")
	require.ErrorIs(t, quiet(), os.ErrDeadlineExceeded)
	require.NoError(t, r.conn.SetDeadline(time.Now().Add(10*time.Second)))
	s.Silent(false)
	assert.Contains(t, r.read(), "receipt-id:2")

	s.Delay(100 * time.Millisecond)
	begin := time.Now()
	r.write("SEND\ndestination:q\nreceipt:3\n\n\x00")
	assert.Contains(t, r.read(), "receipt-id:3")
	assert.GreaterOrEqual(t, time.Since(begin), 100*time.Millisecond)
	s.Delay(0)

	s.RefuseLogins("Unable to connect to authentication service")
	_, err := brokertest.Dial(s.Addr(), nil, "x", "y")
	assert.ErrorContains(t, err, "authentication service")
	s.RefuseLogins("")
	dial(t, s)
	assert.Equal(t, 2, s.Connections())
	s.KickAll()
	assert.Zero(t, s.Connections())
}

func TestPermissions(t *testing.T) {
	s := start(t, brokertest.Options{Users: map[string]brokertest.User{
		"soar": {Passcode: "soar"},
		"integration": {Passcode: "secret", Read: []string{"actions.>"}, Write: []string{"acks.1.q"},
			MayRead: func(queue string) bool { return queue != "actions.2.q" }},
	}})
	_, err := brokertest.Dial(s.Addr(), nil, "integration", "wrong")
	assert.ErrorContains(t, err, "User name [integration] or password is invalid.")
	c, err := brokertest.Dial(s.Addr(), nil, "integration", "secret")
	require.NoError(t, err)
	defer c.Close()
	assert.ErrorContains(t, c.Subscribe(within(t), "acks.1.q", "auto", 0),
		"User integration is not authorized to read from: queue://acks.1.q")
	assert.ErrorContains(t, c.Subscribe(within(t), "actions.2.q", "auto", 0), "not authorized to read from: queue://actions.2.q")
	assert.ErrorContains(t, c.Send(within(t), "acks.1.other", nil, nil),
		"User integration is not authorized to write to: queue://acks.1.other")
	require.NoError(t, c.Subscribe(within(t), "actions.1.q", "auto", 0), "the connection is still good")
	require.NoError(t, c.Send(within(t), "acks.1.q", nil, nil))
}

func TestContentLengthBothWays(t *testing.T) {
	for _, always := range []bool{false, true} {
		s := start(t, brokertest.Options{ContentLength: always})
		c := dial(t, s)
		require.NoError(t, c.Subscribe(within(t), "q", "auto", 0))
		require.NoError(t, c.Send(within(t), "q", nil, []byte("plain")))
		require.NoError(t, c.Send(within(t), "q", map[string]string{"content-length": "3"}, []byte("a\x00b")))
		for _, want := range []string{"plain", "a\x00b"} {
			m, err := c.Receive(within(t))
			require.NoError(t, err)
			assert.Equal(t, want, string(m.Body))
			_, given := m.Headers["content-length"]
			assert.Equal(t, always || want != "plain", given)
		}
	}
}
