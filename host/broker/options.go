package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// Defaults of Options.
const (
	DefaultPrefetch       = 25
	DefaultConnectTimeout = 60 * time.Second
	DefaultHeartBeat      = 15 * time.Second
	DefaultBeat           = 30 * time.Second
	DefaultWriteTimeout   = 30 * time.Second
	DefaultMaxFrame       = 64 << 20
)

// Options says which broker to use and how. Addr, Credentials and Destination
// are required.
type Options struct {
	// Addr is host:port of the broker; SOAR listens on port 65001.
	Addr string
	// TLS is the client's configuration; nil means plain TCP, for tests only.
	// An empty ServerName becomes the host of Addr.
	TLS *tls.Config
	// RenewTLS, when set, is asked for TLS at each connect, so that renewed
	// certificates are used without a new Broker. It must name the server itself.
	RenewTLS func() *tls.Config
	// Dial opens the TCP connection, for instance through a proxy. The default
	// is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// HostHeader is the host header of CONNECT; the default is the host of Addr.
	HostHeader string
	// Credentials is asked at each connect. The values go out as they are
	// (contract: CONNECT is not escaped), so that they may hold : and \, but no
	// line break and no NUL.
	Credentials func(ctx context.Context) (login, passcode string, err error)
	// Destination is actions.<org id>.<programmatic name> without prefix, and
	// also the id of the subscription.
	Destination string
	// Prefetch is how many unacknowledged messages the broker may leave with us.
	Prefetch int
	// ConnectTimeout bounds everything from dialling to the confirmed subscription.
	ConnectTimeout time.Duration
	// Exclusive asks the broker to give all messages to one of the sessions that ask
	// so, and to the next one when that is gone (ActiveMQ's exclusive consumer).
	Exclusive bool
	// Beat is the longest silence of ours that we promise; we beat three times as
	// often. Without it a broker does not notice for a quarter of an hour that our
	// machine is gone, and keeps our messages for so long. Negative promises nothing.
	Beat time.Duration
	// HeartBeat is the interval asked of the broker; the session ends after
	// twice the agreed one without a byte. Negative asks for no heart-beats.
	HeartBeat time.Duration
	// WriteTimeout is how long one write may stand still before the session is
	// given up.
	WriteTimeout time.Duration
	// MaxFrame bounds one frame in bytes; a larger one ends the session.
	MaxFrame int
	// Backoff is the pause before attempt+1 (attempt counts failures from 0).
	// The default is DefaultBackoff. A refused login after the first success has
	// pauses of its own: 1, 5, 15, then 60 minutes.
	Backoff func(attempt int) time.Duration
	// FailFast makes Run return the first failure to connect, of any class,
	// instead of trying again. It matters until the first success only.
	FailFast bool
	// Logger gets the session's life; never a body, a token or a passcode.
	Logger *slog.Logger
	// OnState is told each change, from Run's goroutine. It must return at once.
	OnState func(State)
}

// State is what became of the session.
type State struct {
	// Connected is true when the session is logged in and subscribed.
	Connected bool
	// Server is what the broker calls itself, when connected.
	Server string
	// Reason is why there is no session; nil after an orderly end.
	Reason error
	// RetryIn is the pause before the next attempt; 0 when there will be none.
	RetryIn time.Duration
}

// DefaultBackoff doubles from one second to one minute and takes up to a
// quarter off at random, so that several hosts do not come back in step.
func DefaultBackoff(attempt int) time.Duration {
	pause := time.Minute
	if attempt < 6 {
		pause = time.Second << max(attempt, 0)
	}
	return pause - time.Duration(rand.Int64N(int64(pause)/4))
}

// refusalPauses keep a refused login from getting the address banned by SOAR.
var refusalPauses = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

func (o Options) withDefaults() (Options, error) {
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return o, fmt.Errorf("broker address %q is not host:port: %w", o.Addr, err)
	}
	if o.Credentials == nil {
		return o, errors.New("broker options: Credentials is missing")
	}
	if o.Destination == "" || strings.ContainsAny(o.Destination, lineBreaking) {
		return o, fmt.Errorf("broker options: message destination %q is not a queue name like actions.201.fn_threatq", o.Destination)
	}
	if o.HostHeader == "" {
		o.HostHeader = host
	}
	if strings.ContainsAny(o.HostHeader, lineBreaking) {
		return o, fmt.Errorf("broker options: host header %q has a line break", o.HostHeader)
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		if o.TLS.ServerName == "" {
			o.TLS.ServerName = host
		}
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Prefetch <= 0 {
		o.Prefetch = DefaultPrefetch
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	switch {
	case o.HeartBeat < 0:
		o.HeartBeat = 0
	case o.HeartBeat == 0:
		o.HeartBeat = DefaultHeartBeat
	}
	switch {
	case o.Beat < 0:
		o.Beat = 0
	case o.Beat == 0:
		o.Beat = DefaultBeat
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = DefaultMaxFrame
	}
	if o.Backoff == nil {
		o.Backoff = DefaultBackoff
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnState == nil {
		o.OnState = func(State) {}
	}
	return o, nil
}
