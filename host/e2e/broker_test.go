package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
)

// The accounts that every broker of these tests knows. The odd one holds what
// only a wrongly escaped CONNECT changes.
const (
	integrationUser, integrationPasscode = "integration", "secret"
	oddUser, oddPasscode                 = `key:id\1`, `p:w\d`
	soarUser, soarPasscode               = "soar", "soar"
)

// messageBroker is a broker over TLS that the tests run on. Its certificate is
// for 127.0.0.1, and its state outlives Stop and Restart.
type messageBroker interface {
	Addr() string
	CAFile() string
	ClientTLS() *tls.Config
	Stop(t testing.TB)
	Restart(t testing.TB)
}

var (
	// startBroker is for a test that leaves the broker alone, startOwnBroker for
	// one that stops it.
	startBroker    = startEmbedded
	startOwnBroker = startEmbedded
	// endSharedBroker ends what the tests shared.
	endSharedBroker = func() {}
)

type embedded struct{ *brokertest.Server }

func (embedded) CAFile() string         { return shared.caFile }
func (embedded) ClientTLS() *tls.Config { return shared.authority.ClientConfig() }
func (e embedded) Stop(testing.TB)      { e.Server.Stop() }
func (e embedded) Restart(t testing.TB) { require.NoError(t, e.Server.Restart()) }
func startEmbedded(t *testing.T) messageBroker {
	integration := brokertest.User{Passcode: integrationPasscode, Read: []string{"actions.>"}, Write: []string{"acks.>"}}
	odd := integration
	odd.Passcode = oddPasscode
	server, err := brokertest.Start(brokertest.Options{
		TLS: shared.authority.ServerConfig(),
		Users: map[string]brokertest.User{
			integrationUser: integration, oddUser: odd, soarUser: {Passcode: soarPasscode},
			// An account that is not on the message destination.
			"stranger": {Passcode: "stranger", Read: []string{}, Write: []string{}},
		},
	})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return embedded{server}
}

// relay passes connections on to a broker and can cut them, as a network does.
type relay struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	group  sync.WaitGroup
}

func startRelay(t testing.TB, to string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: listener, to: to, conns: map[net.Conn]bool{}}
	r.group.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			in.Close()
			continue
		}
		if !r.keep(in, out) {
			return
		}
		r.group.Go(func() { r.copy(in, out) })
		r.group.Go(func() { r.copy(out, in) })
	}
}

// keep remembers a pair of connections, unless the relay is closed.
func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.closed {
			c.Close()
			continue
		}
		r.conns[c] = true
	}
	return !r.closed
}

func (r *relay) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	r.mu.Lock()
	delete(r.conns, to)
	delete(r.conns, from)
	r.mu.Unlock()
}

// cut ends all connections without a word.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cut()
	r.group.Wait()
}
