package config

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"fn-threatq/host/secret"
)

// Proxy is an HTTP proxy with the hosts that are reached without it (NO_PROXY). The zero Proxy is none. Its account is
// shown nowhere but in the URLs that ForURL and ForRequest return.
type Proxy struct {
	server  secret.Value
	noProxy string
}

// newProxy reads a proxy's URL, or host:port for an HTTP proxy. Its error does not quote the text: there may be a
// password in it.
func newProxy(text, noProxy string) (Proxy, error) {
	if text == "" {
		return Proxy{}, nil
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	server, err := url.Parse(text)
	switch {
	case err != nil:
		return Proxy{}, errors.New("the proxy is not a URL")
	case server.Scheme != "http" && server.Scheme != "https":
		return Proxy{}, errors.New("the proxy's URL begins with neither http:// nor https://")
	case server.Hostname() == "":
		return Proxy{}, errors.New("the proxy's URL has no host")
	}
	return Proxy{server: secret.New(server.String()), noProxy: noProxy}, nil
}

// IsSet tells whether there is a proxy.
func (p Proxy) IsSet() bool { return p.server.IsSet() }

// ForURL returns the proxy for a target, or nil when it is reached directly. Loopback addresses are always.
func (p Proxy) ForURL(target *url.URL) (*url.URL, error) {
	if !p.IsSet() {
		return nil, nil
	}
	chosen := httpproxy.Config{HTTPProxy: p.server.Reveal(), HTTPSProxy: p.server.Reveal(), NoProxy: p.noProxy}
	return chosen.ProxyFunc()(target)
}

// ForRequest is ForURL in the form of http.Transport.Proxy.
func (p Proxy) ForRequest(request *http.Request) (*url.URL, error) { return p.ForURL(request.URL) }

// String returns the proxy's URL without the account.
func (p Proxy) String() string {
	server, err := url.Parse(p.server.Reveal())
	if err != nil {
		return ""
	}
	server.User = nil
	return server.String()
}

// LogValue gives String to slog.
func (p Proxy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// secrets returns the proxy's URL and the password in it.
func (p Proxy) secrets() []secret.Value {
	values := []secret.Value{p.server}
	if server, err := url.Parse(p.server.Reveal()); err == nil && server.User != nil {
		password, _ := server.User.Password()
		values = append(values, secret.New(password))
	}
	return values
}
