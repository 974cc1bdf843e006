package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/config"
	"fn-threatq/host/internal/testcert"
)

const patience = 3 * time.Minute

// brokerName is a name that only the proxy knows: what is on loopback is always
// reached directly.
const brokerName = "broker.soar.test"

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// httpProxy is a proxy that opens tunnels to one address, whatever it is asked for.
type httpProxy struct {
	listener net.Listener
	to       string
	// answer, when set, is sent instead of opening a tunnel; "-" cuts the
	// connection, "silence" waits.
	answer string

	mu       sync.Mutex
	requests []*http.Request
	conns    []net.Conn
	group    sync.WaitGroup
}

func startProxy(t *testing.T, to, answer string) *httpProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &httpProxy{listener: listener, to: to, answer: answer}
	p.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.keep(conn)
			p.group.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.group.Wait()
	})
	return p
}

func (p *httpProxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

func (p *httpProxy) serve(conn net.Conn) {
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	if err != nil {
		conn.Close()
		return
	}
	p.mu.Lock()
	p.requests = append(p.requests, request)
	p.mu.Unlock()
	switch p.answer {
	case "":
	case "-":
		conn.Close()
		return
	case "silence":
		_, _ = io.Copy(io.Discard, reader) // until the client is gone
		return
	default:
		_, _ = io.WriteString(conn, p.answer)
		conn.Close()
		return
	}
	target, err := net.Dial("tcp", p.to)
	if err != nil {
		conn.Close()
		return
	}
	p.keep(target)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n")
	p.group.Go(func() {
		_, _ = io.Copy(target, reader)
		target.Close()
	})
	_, _ = io.Copy(conn, target)
	conn.Close()
}

func (p *httpProxy) seen() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*http.Request(nil), p.requests...)
}

func (p *httpProxy) port() string {
	_, port, _ := net.SplitHostPort(p.listener.Addr().String())
	return port
}

func (p *httpProxy) url(account string) *url.URL {
	u := &url.URL{Scheme: "http", Host: p.listener.Addr().String()}
	if name, password, ok := strings.Cut(account, ":"); ok {
		u.User = url.UserPassword(name, password)
	}
	return u
}

// configured is the proxy of a configuration with these keys and environment.
func configured(t *testing.T, keys string, environ ...string) config.Proxy {
	t.Helper()
	c := parsed(t, "[resilient]\nhost="+brokerName+"\norg=o\napi_key_id=k\napi_key_secret=s\n"+keys+
		"\n[fn_threatq]\nhost=threatq.test\nusername=u\npassword=p\ncid=c\n", environ...)
	return c.Resilient.Proxy
}

const proxyAccount = "proxy_user=joe\nproxy_password=pr0xy-c4nary:@/"

func TestSTOMPThroughAProxyWithAccount(t *testing.T) {
	authority := testcert.New(brokerName)
	server, err := brokertest.Start(brokertest.Options{TLS: authority.ServerConfig()})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	proxy := startProxy(t, server.Addr(), "")

	b, err := broker.New(broker.Options{
		Addr: brokerName + ":65001", TLS: authority.ClientConfig(), Destination: "actions.201.fn_threatq", FailFast: true,
		Credentials: func(context.Context) (string, string, error) { return "u", "p", nil },
		Dial:        dialer(configured(t, "proxy_host=127.0.0.1\nproxy_port="+proxy.port()+"\n"+proxyAccount)),
	})
	require.NoError(t, err)
	bodies, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- b.Run(context.Background(), func(d *broker.Delivery) { bodies <- string(d.Body) })
	}()
	server.Publish("actions.201.fn_threatq", nil, []byte("through the tunnel"))
	select {
	case body := <-bodies:
		assert.Equal(t, "through the tunnel", body)
	case err := <-ended:
		require.NoError(t, err)
		require.Fail(t, "the session ended")
	case <-within(t).Done():
		require.Fail(t, "no message came")
	}
	require.NoError(t, b.Close(within(t)))

	requests := proxy.seen()
	require.Len(t, requests, 1)
	assert.Equal(t, http.MethodConnect, requests[0].Method)
	assert.Equal(t, brokerName+":65001", requests[0].RequestURI)
	assert.Equal(t, brokerName+":65001", requests[0].Host)
	assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("joe:pr0xy-c4nary:@/")), requests[0].Header.Get("Proxy-Authorization"))
}

func TestProxyWithoutAccountSendsNone(t *testing.T) {
	proxy := startProxy(t, startEcho(t), "")
	conn, err := dialer(configured(t, "proxy=http://127.0.0.1:"+proxy.port()))(within(t), "tcp", "[2001:db8::1]:65001")
	require.NoError(t, err)
	defer conn.Close()
	requests := proxy.seen()
	require.Len(t, requests, 1)
	assert.Equal(t, "[2001:db8::1]:65001", requests[0].RequestURI)
	assert.Empty(t, requests[0].Header.Values("Proxy-Authorization"))
	assertEchoes(t, conn)
}

func TestProxyRefusesTheTunnel(t *testing.T) {
	for status, text := range map[int]string{407: "Proxy Authentication Required", 403: "Forbidden by policy", 502: "Bad Gateway"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			proxy := startProxy(t, "", fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: 5\r\n\r\nsorry", status, text))
			_, err := dialer(configured(t, "proxy_host=127.0.0.1\nproxy_port="+proxy.port()+"\n"+proxyAccount))(within(t), "tcp", brokerName+":65001")
			require.Error(t, err)
			assert.Equal(t, fmt.Sprintf("the proxy 127.0.0.1:%s refused a tunnel to %s:65001: %d %s", proxy.port(), brokerName, status, text), err.Error())
			require.Len(t, proxy.seen(), 1)
		})
	}
}

func TestProxyBreaksTheHandshake(t *testing.T) {
	for name, answer := range map[string]string{
		"cut": "-", "half a header": "HTTP/1.1 200 OK\r\nProxy", "no HTTP": "SSH-2.0-OpenSSH_9.6\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			proxy := startProxy(t, "", answer)
			_, err := dialer(configured(t, "proxy_host=127.0.0.1\nproxy_port="+proxy.port()+"\n"+proxyAccount))(within(t), "tcp", brokerName+":65001")
			require.ErrorContains(t, err, "the proxy 127.0.0.1:"+proxy.port()+": ")
			assert.NotContains(t, err.Error(), "c4nary")
			require.Len(t, proxy.seen(), 1)
		})
	}
}

func TestProxyIsDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, listener.Close())
	_, err = dialer(configured(t, "proxy_host=127.0.0.1\nproxy_port="+port+"\n"+proxyAccount))(within(t), "tcp", brokerName+":65001")
	require.ErrorContains(t, err, "the proxy 127.0.0.1:"+port+": ")
	assert.NotContains(t, err.Error(), "c4nary")
}

func TestSilentProxyHoldsNobody(t *testing.T) {
	dial := func(t *testing.T, ctx context.Context) (*httpProxy, chan error) {
		proxy := startProxy(t, "", "silence")
		dial := dialer(configured(t, "proxy=http://127.0.0.1:"+proxy.port()))
		failed := make(chan error, 1)
		go func() {
			_, err := dial(ctx, "tcp", brokerName+":65001")
			failed <- err
		}()
		return proxy, failed
	}
	wait := func(t *testing.T, failed chan error) error {
		select {
		case err := <-failed:
			return err
		case <-within(t).Done():
			require.Fail(t, "it still waits for the proxy")
			return nil
		}
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, failed := dial(t, ctx)
		require.ErrorIs(t, wait(t, failed), context.DeadlineExceeded)
	})
	t.Run("shutdown", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		proxy, failed := dial(t, ctx)
		require.Eventually(t, func() bool { return len(proxy.seen()) == 1 }, patience, time.Millisecond)
		cancel()
		require.ErrorIs(t, wait(t, failed), context.Canceled)
	})
}

// Whatever notices first that the time is over, the error is the context's. The
// limits go through all of a dial.
func TestDialThatRunsOutOfTimeSaysSo(t *testing.T) {
	proxy := startProxy(t, "", "silence")
	dial := dialer(configured(t, "proxy=http://127.0.0.1:"+proxy.port()))
	for i := range 400 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*2*time.Microsecond)
		_, err := dial(ctx, "tcp", brokerName+":65001")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

// A proxy that is reached by TLS proves its own name, not the one of the service
// behind it.
func TestProxyByTLSIsAskedForItsOwnName(t *testing.T) {
	names := make(chan string, 1)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		select {
		case names <- h.ServerName:
		default:
		}
		return nil, errors.New("that is all")
	}})
	require.NoError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	})
	t.Cleanup(func() { listener.Close(); group.Wait() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	c := parsed(t, "[resilient]\nhost="+brokerName+"\norg=o\napi_key_id=k\napi_key_secret=s\nproxy=https://localhost:"+port+
		"\n[fn_threatq]\nhost=threatq.test\nusername=u\npassword=p\ncid=c\nhttps_proxy=https://localhost:"+port+"\n")
	a := &App{log: slog.New(slog.DiscardHandler)}
	soar, err := a.soarClient(c)
	require.NoError(t, err)
	threatq, err := a.threatqClient(c)
	require.NoError(t, err)
	for name, ask := range map[string]func(context.Context) error{
		"SOAR":    func(ctx context.Context) error { _, err := soar.client.Connect(ctx); return err },
		"ThreatQ": threatq.client.Check,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(within(t))
			var asking sync.WaitGroup
			asking.Go(func() { assert.Error(t, ask(ctx)) })
			select {
			case got := <-names:
				assert.Equal(t, "localhost", got)
			case <-within(t).Done():
				assert.Fail(t, "the proxy was not asked")
			}
			cancel()
			asking.Wait()
		})
	}
}

func TestTunnelOutlivesTheDialContext(t *testing.T) {
	proxy := startProxy(t, startEcho(t), "")
	conn, err := net.Dial("tcp", proxy.listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	require.NoError(t, connectThrough(ctx, conn, proxy.url("joe:pw"), brokerName+":65001"))
	cancel() // the broker ends the context of the attempt when it is connected
	assertEchoes(t, conn)
}

func TestWhatIsReachedWithoutTheProxy(t *testing.T) {
	echo := startEcho(t)
	_, echoPort, _ := net.SplitHostPort(echo)
	proxy := startProxy(t, "", "HTTP/1.1 403 not asked for\r\n\r\n")
	keys := "proxy_host=127.0.0.1\nproxy_port=" + proxy.port()
	for name, test := range map[string]struct {
		proxy config.Proxy
		addr  string
	}{
		"no proxy at all": {configured(t, ""), echo},
		"loopback":        {configured(t, keys), echo},
		"localhost":       {configured(t, keys), net.JoinHostPort("localhost", echoPort)},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dialer(test.proxy)(within(t), "tcp", test.addr)
			require.NoError(t, err)
			defer conn.Close()
			assertEchoes(t, conn)
		})
	}
	t.Run("NO_PROXY", func(t *testing.T) {
		_, err := dialer(configured(t, keys, "NO_PROXY=.soar.test"))(within(t), "tcp", brokerName+":65001")
		var unknown *net.DNSError
		require.ErrorAs(t, err, &unknown, "it looks the name up itself")
		assert.Equal(t, brokerName, unknown.Name)
	})
	assert.Empty(t, proxy.seen())
}

func TestProxyByTLSIsRefused(t *testing.T) {
	_, err := dialer(configured(t, "proxy=https://joe:pr0xy-c4nary@proxy.test:3129"))(within(t), "tcp", brokerName+":65001")
	require.ErrorContains(t, err, "use an http:// one")
	assert.NotContains(t, err.Error(), "c4nary")
}

func TestProxyAddr(t *testing.T) {
	for text, want := range map[string]string{
		"http://proxy.test": "proxy.test:80", "http://proxy.test:3128": "proxy.test:3128",
		"http://[2001:db8::2]": "[2001:db8::2]:80", "http://u:p@[2001:db8::2]:8080": "[2001:db8::2]:8080",
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		assert.Equal(t, want, proxyAddr(u), text)
	}
}

// startEcho is a server that sends everything back.
func startEcho(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			assert.NoError(t, err)
		}
	})
	return listener.Addr().String()
}

func assertEchoes(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, "hello")
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(answer))
}
