package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

var (
	// ErrStale says that the session a delivery came by is gone: the message
	// comes again by the next one, and is acknowledged there.
	ErrStale = errors.New("the session this message came by is gone; the broker will deliver it again")
	// ErrUnconfirmed says that the connection was lost, or the wait given up, while
	// the broker committed: the message comes again unless that was done.
	ErrUnconfirmed = errors.New("whether the broker has taken the reply and the acknowledgement is not known; if not, it delivers the message again")
	// ErrClosed says that the Broker was closed or that Run has ended.
	ErrClosed = errors.New("the broker session is closed")
	// ErrNoReplyTo says that the message names nobody to answer.
	ErrNoReplyTo = errors.New("the message has no reply-to header, so nobody can be answered")
	// ErrNoAck says that the message cannot be acknowledged.
	ErrNoAck = errors.New("the message has no ack header, so it cannot be acknowledged")

	errProtocol = errors.New("the broker does not follow STOMP 1.2")
	errSilent   = errors.New("the broker fell silent")
)

// Refusal says what the broker refused.
type Refusal int

// What an ERROR frame can be about.
const (
	// RefusedOther is any text not known here.
	RefusedOther Refusal = iota
	// RefusedLogin: login or passcode is wrong.
	RefusedLogin
	// RefusedCredentials: login or passcode cannot even be sent by STOMP.
	RefusedCredentials
	// RefusedDestination: the account may not read the message destination.
	RefusedDestination
	// RefusedAlreadySubscribed: another session holds the subscription.
	RefusedAlreadySubscribed
	// RefusedServiceNotReady: the broker is up before the SOAR server is.
	RefusedServiceNotReady
	// RefusedSend: the account may not write to where a reply went.
	RefusedSend
)

// RefusedError is an ERROR frame of the broker, or RefusedCredentials.
type RefusedError struct {
	Kind Refusal
	// Text is the broker's own, in one line of at most 500 bytes, without the passcode.
	Text string
}

func (e *RefusedError) Error() string {
	text := "the broker refused: " + e.Text
	switch e.Kind {
	case RefusedCredentials:
		return e.Text
	case RefusedLogin:
		return text + "; check the API key id and secret, or email and password"
	case RefusedDestination:
		return text + "; add this account to the users or API keys of the message destination in SOAR"
	case RefusedAlreadySubscribed:
		return text + "; another integration uses this message destination with the same account"
	case RefusedServiceNotReady:
		return text + "; the SOAR server is not ready yet"
	default:
		return text
	}
}

// ReplyRefusedError says that the broker does not take the reply to a message,
// which was acknowledged without it.
type ReplyRefusedError struct{ Reason *RefusedError }

func (e *ReplyRefusedError) Error() string {
	return "the message is acknowledged without the reply: " + e.Reason.Error()
}

// Acknowledged tells it to those who do not know this package.
func (e *ReplyRefusedError) Acknowledged() bool { return true }

// refusal reads an ERROR frame. The texts are ActiveMQ's, as the reference
// client looks for them.
func refusal(f *frame.Frame, passcode string) *RefusedError {
	text := f.Header.Get(frame.Message)
	if text == "" {
		text, _, _ = strings.Cut(string(f.Body[:min(len(f.Body), 2000)]), "\n")
	}
	lower := strings.ToLower(text)
	if passcode != "" {
		text = strings.ReplaceAll(text, passcode, "***")
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "")
	}
	kind := RefusedOther
	switch {
	case strings.Contains(lower, "unable to connect to authentication service"):
		kind = RefusedServiceNotReady
	case strings.Contains(lower, "already subscribed"):
		kind = RefusedAlreadySubscribed
	case strings.Contains(lower, "is not authorized to write"):
		kind = RefusedSend
	case strings.Contains(lower, "is not authorized to"):
		kind = RefusedDestination
	case strings.Contains(lower, "user name [") && strings.Contains(lower, "is invalid"):
		kind = RefusedLogin
	}
	return &RefusedError{Kind: kind, Text: text}
}

// endsSession tells the refusals after which there is nothing to receive. The
// others are about one frame of ours, and ActiveMQ keeps the connection open.
func (e *RefusedError) endsSession() bool {
	return e.Kind != RefusedOther && e.Kind != RefusedSend
}

// Stage is how far an attempt to connect came.
type Stage string

// The stages of an attempt, in order.
const (
	StageCredentials Stage = "get the credentials"
	StageDial        Stage = "open the TCP connection"
	StageTLS         Stage = "TLS handshake"
	StageConnect     Stage = "STOMP CONNECT"
	StageSubscribe   Stage = "STOMP SUBSCRIBE"
	StageBrowse      Stage = "browse the queue"
)

// ConnectError is a failed attempt to connect. Hint says what to check.
type ConnectError struct {
	Stage Stage
	Addr  string
	Hint  string
	Err   error
}

func (e *ConnectError) Error() string {
	text := fmt.Sprintf("message broker %s: %s: %v", e.Addr, e.Stage, e.Err)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *ConnectError) Unwrap() error { return e.Err }

// IsCertificate tells whether err is about the broker's certificate: it will
// not go away by trying again.
func IsCertificate(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

func connectError(stage Stage, addr string, timeout time.Duration, err error) error {
	e := &ConnectError{Stage: stage, Addr: addr, Err: err}
	var (
		dns      *net.DNSError
		hostname x509.HostnameError
		record   tls.RecordHeaderError
		refused  *RefusedError
	)
	switch {
	case errors.As(err, &refused), stage == StageCredentials:
	case errors.As(err, &dns):
		e.Hint = "check stomp_host and host: the name is not known here"
	case errors.As(err, &hostname):
		e.Hint = "the certificate is for another name: set stomp_host to a name in it"
	case IsCertificate(err):
		e.Hint = "the certificate is not trusted: set stomp_cafile or cafile to the PEM file of its authority " +
			"(cafile=false trusts anybody)"
	case errors.As(err, &record):
		e.Hint = "there is no TLS on this port: check stomp_port (SOAR has 65001)"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Hint = "nothing listens there: check stomp_host and stomp_port (SOAR has 65001)"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Err = fmt.Errorf("no answer within %v: %w", timeout, err)
		e.Hint = "check stomp_host, stomp_port and that no firewall stands between"
	case errors.Is(err, errProtocol):
		e.Hint = "check stomp_port: what listens there may be no STOMP broker"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		e.Hint = "it was closed from the other side: check stomp_port, the TLS settings and the broker's log"
	default:
		e.Hint = "check stomp_host, stomp_port and the firewall"
	}
	return e
}
