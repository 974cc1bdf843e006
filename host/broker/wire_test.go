package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzFrameReader feeds what a broker might send. Nothing may panic, and what is
// read must read the same after go-stomp's writer wrote it again.
func FuzzFrameReader(f *testing.F) {
	for _, seed := range []string{
		"\n", "\r\n\n", "MESSAGE\nack:ID\\c1\ncontent-length:3\n\na\x00b\x00",
		"CONNECTED\nversion:1.2\nsession:ID:x\\c\n\n\x00", "ERROR\nmessage:x\\\\\\n\n\nbody\x00",
		"MESSAGE\ncontent-length:4294967295\n\n", "HTTP/1.1 400\r\n\r\n", "RECEIPT\r\nreceipt-id:a\\tb\r\n\r\n\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		reader := newFrameReader(bytes.NewReader(input), 1<<20)
		for {
			got, err := reader.next()
			if err != nil {
				return
			}
			if got == nil || got.Command == frame.CONNECTED {
				continue
			}
			var again bytes.Buffer
			require.NoError(t, frame.NewWriter(&again).Write(got))
			second, err := newFrameReader(&again, 4<<20).next()
			require.NoError(t, err)
			require.Equal(t, got, second)
		}
	})
}

// A content-length alone must not cost memory.
func TestContentLengthAloneCostsNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := newFrameReader(strings.NewReader("MESSAGE\ncontent-length:1000000000\n\nx"), 2<<30).next()
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))

	_, err = newFrameReader(strings.NewReader("MESSAGE\ncontent-length:1000\n\n"), 500).next()
	require.True(t, errors.Is(err, errFrameTooLarge), err)
}

func TestRefusalTexts(t *testing.T) {
	long := strings.Repeat("é", 600)
	for text, want := range map[string]RefusedError{
		"User name [x] or password is invalid.":                   {RefusedLogin, "User name [x] or password is invalid."},
		"User x is not authorized to write to: queue://q":         {RefusedSend, "User x is not authorized to write to: queue://q"},
		"User x is not authorized to create queue: queue://q":     {RefusedDestination, "User x is not authorized to create queue: queue://q"},
		"Already subscribed to q":                                 {RefusedAlreadySubscribed, "Already subscribed to q"},
		"... Unable to connect to authentication service at x":    {RefusedServiceNotReady, "... Unable to connect to authentication service at x"},
		"wrong: user\r\n\tand \x1b hush":                          {RefusedOther, "wrong: user and \x1b ***"},
		"User name [hush] or password hush is invalid. \xff" + "": {RefusedLogin, "User name [***] or password *** is invalid. ?"},
		long: {RefusedOther, strings.Repeat("é", 250)},
	} {
		assert.Equal(t, &want, refusal(frame.New(frame.ERROR, frame.Message, text), "hush"), text)
	}
	bodied := frame.New(frame.ERROR)
	bodied.Body = []byte("Already subscribed\n\tat java.lang")
	assert.Equal(t, &RefusedError{RefusedAlreadySubscribed, "Already subscribed"}, refusal(bodied, ""))
}

func TestDefaultBackoff(t *testing.T) {
	for attempt, seconds := range []float64{1, 2, 4, 8, 16, 32, 60, 60} {
		for range 100 {
			pause := DefaultBackoff(attempt).Seconds()
			require.LessOrEqual(t, pause, seconds)
			require.GreaterOrEqual(t, pause, seconds*3/4)
		}
	}
	assert.LessOrEqual(t, DefaultBackoff(1<<40).Minutes(), 1.0)
}

func TestConnectErrorsSayWhatToCheck(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := closed.Addr().String()
	closed.Close()
	_, refused := net.Dial("tcp", addr)

	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer plain.Close()
	go func() {
		if conn, err := plain.Accept(); err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			conn.Close()
		}
	}()
	_, noTLS := tls.Dial("tcp", plain.Addr().String(), nil)

	for hint, cause := range map[string]error{
		"nothing listens there":    refused,
		"no TLS on this port":      noTLS,
		"name is not known":        &net.DNSError{Err: "no such host", Name: "soar.example.com"},
		"set stomp_host to a name": &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "soar"}},
		"cafile":                   &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"no firewall":              context.DeadlineExceeded,
		"closed from the other":    io.EOF,
		"check stomp_host":         errors.New("anything else"),
	} {
		require.Error(t, cause, hint)
		err := connectError(StageDial, "soar.example.com:65001", time.Minute, cause)
		assert.ErrorContains(t, err, hint)
		assert.ErrorIs(t, err, cause)
	}
}
