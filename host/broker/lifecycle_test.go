package broker_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
)

// Connecting, being refused, and ending; see script_test.go.

func TestReplyWaitsForTheNextSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		p := s.accept("0,0")
		p.write("MESSAGE\nmessage-id:1\nack:2\nreply-to:/queue/acks\n\n{}\x00")
		d := <-s.deliveries
		p.conn.Close()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, d.Reply(ctx, nil), context.DeadlineExceeded)
		answered := make(chan error, 1)
		go func() { answered <- d.Reply(t.Context(), []byte("late")) }()
		p = s.acceptAfterLoss()
		assert.Contains(t, p.read(), "late")
		assert.NoError(t, <-answered)
		assert.ErrorIs(t, d.Ack(t.Context()), broker.ErrStale)
	})
}

func TestRefusedLoginAfterSuccessIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		s.accept("0,0").conn.Close()
		assert.Equal(t, time.Second, (<-s.states).RetryIn)
		for _, minutes := range []time.Duration{1, 5, 15, 60, 60} {
			s.refuse(`User name [key] or password hush is invalid.`)
			start := time.Now()
			state := <-s.states
			assert.Equal(t, minutes*time.Minute, state.RetryIn)
			assert.NotContains(t, state.Reason.Error(), "hush")
			next := <-s.peers
			assert.Equal(t, minutes*time.Minute, time.Since(start))
			s.peers <- next
		}
		assert.NotContains(t, s.logged.String(), "hush")
		// Once it works again, the pauses begin anew.
		s.accept("0,0").conn.Close()
		<-s.states
		s.refuse("User name [key] or password is invalid.")
		assert.Equal(t, time.Minute, (<-s.states).RetryIn)
	})
}

func TestFirstStart(t *testing.T) {
	for text, kind := range map[string]broker.Refusal{
		"User name [key] or password is invalid.":                         broker.RefusedLogin,
		"User key is not authorized to create queue: queue://actions.201": broker.RefusedDestination,
		"User key is not authorized to read from: queue://actions.201.x":  broker.RefusedDestination,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted(t, nil, nil)
			s.refuse(text)
			var refused *broker.RefusedError
			require.ErrorAs(t, <-s.result, &refused)
			assert.Equal(t, kind, refused.Kind)
			assert.ErrorIs(t, s.Send(t.Context(), "x", nil, nil), broker.ErrClosed)
		})
	}
	for _, text := range []string{
		"Unable to connect to authentication service", "Already subscribed", "java.lang.NullPointerException",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted(t, nil, nil)
			defer s.finish()
			s.refuse(text)
			assert.ErrorContains(t, (<-s.states).Reason, text)
			s.accept("0,0")
		})
	}
}

func TestConnectAttemptsThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string
	}{
		"old version":   {"CONNECTED\nversion:1.1\n\n\x00", `version "1.1"`},
		"no version":    {"CONNECTED\n\n\x00", `version ""`},
		"bad beats":     {"CONNECTED\nversion:1.2\nheart-beat:x\n\n\x00", "heart-beat"},
		"message first": {message("1"), "MESSAGE instead of CONNECTED"},
		"web server":    {"HTTP/1.1 400 Bad Request\r\n\r\n", "check stomp_port"},
		"silence":       {"", "no answer within 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted(t, func(o *broker.Options) { o.FailFast = true }, nil)
				p := <-s.peers
				p.read()
				_, _ = io.WriteString(p.conn, c.answer)
				err := <-s.result
				var failed *broker.ConnectError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, broker.StageConnect, failed.Stage)
				assert.ErrorContains(t, err, c.want)
				assert.ErrorContains(t, err, "soar.example.com:65001")
				p.conn.Close()
			})
		})
	}
}

func TestCredentialsThatCannotBeSent(t *testing.T) {
	for _, c := range [][2]string{{"key", "zq\nxj"}, {"key", "zq\x00xj"}, {"ke\ry", "zqxj"}} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted(t, func(o *broker.Options) { o.Credentials = login(c[0], c[1]) }, nil)
			err := <-s.result
			var refused *broker.RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, broker.RefusedCredentials, refused.Kind)
			assert.NotContains(t, err.Error(), "zq")
			assert.NotContains(t, err.Error(), "xj")
			assert.Empty(t, s.peers, "nothing was dialled")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		locked := errors.New("keyring is locked")
		s := scripted(t, func(o *broker.Options) {
			o.FailFast = true
			o.Credentials = func(context.Context) (string, string, error) { return "", "", locked }
		}, nil)
		assert.ErrorIs(t, <-s.result, locked)
	})
}

// A broker that takes the login and then fails must not be hammered either.
func TestBackoffGrowsOverShortSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, func(o *broker.Options) {
			o.Backoff = func(attempt int) time.Duration { return time.Duration(attempt+1) * time.Second }
		}, nil)
		defer s.finish()
		for want := 1; want <= 4; want++ {
			p := s.accept("0,0")
			time.Sleep(time.Second)
			p.conn.Close()
			assert.Equal(t, time.Duration(want)*time.Second, (<-s.states).RetryIn)
		}
		p := s.accept("0,0")
		time.Sleep(time.Minute)
		p.conn.Close()
		assert.Equal(t, time.Second, (<-s.states).RetryIn)
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		p := s.accept("0,0")
		go p.read()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := s.Close(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "not confirmed")
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.NoError(t, <-s.result)
	})
	synctest.Test(t, func(t *testing.T) { // between two attempts
		s := scripted(t, nil, nil)
		s.refuse("Already subscribed")
		<-s.states
		assert.NoError(t, s.Close(t.Context()))
		assert.NoError(t, <-s.result)
		assert.ErrorIs(t, s.Send(t.Context(), "x", nil, nil), broker.ErrClosed)
	})
}

// The end of the session that Close asked for is no failure: nothing is told or
// tried again, whichever goroutine sees it first.
func TestCloseIsNoFailure(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := scripted(t, nil, nil)
			p := s.accept("0,0")
			closed := make(chan error, 1)
			go func() { closed <- s.Close(t.Context()) }()
			assert.Equal(t, "DISCONNECT\nreceipt:2\n\n\x00", p.read())
			p.write("RECEIPT\nreceipt-id:2\n\n\x00")
			p.conn.Close()
			assert.NoError(t, <-closed)
			assert.NoError(t, <-s.result)
			assert.Equal(t, broker.State{}, <-s.states)
			assert.Empty(t, s.states)
			assert.NotContains(t, s.logged.String(), "WARN")
		})
	}
}

// After StopReceiving a lost session is made again for the replies alone.
func TestReconnectWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, nil, nil)
		defer s.finish()
		p := s.accept("0,0")
		s.StopReceiving()
		p.conn.Close()
		<-s.states
		p = <-s.peers
		p.read()
		p.write("CONNECTED\nversion:1.2\n\n\x00")
		require.True(t, (<-s.states).Connected)
		go func() { assert.NoError(t, s.Send(t.Context(), "/queue/acks", nil, []byte("x"))) }()
		assert.Contains(t, p.read(), "SEND\n", "no SUBSCRIBE before")
	})
}

// Connections lost with unread messages leave nothing behind: the bubble does
// not end while a goroutine of it lives.
func TestManyLostConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := scripted(t, nil, func(*broker.Delivery) { <-release })
		defer s.finish()
		for range 20 {
			p := s.accept("15000,0")
			for range 5 {
				p.write(message("m"))
			}
			synctest.Wait() // the handler has the first
			p.conn.Close()
			synctest.Wait()
			release <- struct{}{}
			assert.Error(t, (<-s.states).Reason)
		}
	})
}

func TestSendRefusesWhatStompCannotCarry(t *testing.T) {
	b, err := broker.New(broker.Options{Addr: "x:1", Destination: "q", Credentials: login("", "")})
	require.NoError(t, err)
	assert.ErrorContains(t, b.Send(t.Context(), "", nil, nil), "no destination")
	assert.ErrorContains(t, b.Send(t.Context(), "q", map[string]string{"a": "\x00"}, nil), "NUL")
	assert.ErrorContains(t, b.Send(t.Context(), "q", map[string]string{"": "a"}, nil), "without name")
	require.NoError(t, b.Close(t.Context()))
	assert.NoError(t, b.Run(t.Context(), nil), "closed before it began")
}

func TestOptionsAreChecked(t *testing.T) {
	good := broker.Options{Addr: "x:1", Destination: "q", Credentials: login("", "")}
	for name, spoil := range map[string]func(*broker.Options){
		"broker address":      func(o *broker.Options) { o.Addr = "soar.example.com" },
		"message destination": func(o *broker.Options) { o.Destination = "a\nb" },
		"Credentials":         func(o *broker.Options) { o.Credentials = nil },
		"host header":         func(o *broker.Options) { o.HostHeader = "a\nb" },
	} {
		o := good
		spoil(&o)
		_, err := broker.New(o)
		assert.ErrorContains(t, err, name)
	}
}
