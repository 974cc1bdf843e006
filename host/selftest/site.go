package selftest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"fn-threatq/host/config"
)

// Site is a server of the configuration.
type Site struct {
	// Name is soar, stomp or threatq; the steps begin with it.
	Name string
	// Section and Keys are where the address stands, as "host and port".
	Section, Keys string
	Host, Port    string
	Trust         config.Trust
	Proxy         config.Proxy
	// Dial opens the TCP connection in the host's own way.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// HTTP is true where HTTPS is spoken: the server is asked for its time.
	HTTP bool
}

// site is a Site while it is checked.
type site struct {
	Site
	conn   net.Conn
	offset time.Duration // of the server's clock; positive: it is ahead
	dated  bool          // the server told its time
}

func (s *site) addr() string { return net.JoinHostPort(s.Host, s.Port) }

// via is the proxy's URL, or nil.
func (s *site) via() (*url.URL, error) {
	return s.Proxy.ForURL(&url.URL{Scheme: "https", Host: s.addr()})
}

// steps are DNS, TCP and TLS.
func (s *site) steps(needs ...string) []step {
	return []step{
		{s.Name + " dns", needs, s.dns},
		{s.Name + " tcp", []string{s.Name + " dns"}, s.tcp},
		{s.Name + " tls", []string{s.Name + " tcp"}, s.tls},
	}
}

func (s *site) dns(ctx context.Context) finding {
	via, err := s.via()
	if err != nil {
		return fail(err, "correct the proxy of ["+s.Section+"]")
	}
	name, note := s.Host, ""
	if via != nil {
		name, note = via.Hostname(), fmt.Sprintf(" (the proxy, which looks up %s itself)", s.Host)
	}
	if net.ParseIP(name) != nil {
		return ok("%s is an address%s", name, note)
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return fail(err, fmt.Sprintf("check %s in [%s] and the DNS of this machine", s.Keys, s.Section))
	}
	return ok("%s is %s%s", name, strings.Join(addresses, ", "), note)
}

func (s *site) tcp(ctx context.Context) finding {
	conn, err := s.Dial(ctx, "tcp", s.addr())
	if err != nil {
		advice := fmt.Sprintf("check %s in [%s], and the firewalls and proxies on the way", s.Keys, s.Section)
		if errors.Is(err, syscall.ECONNREFUSED) {
			advice = fmt.Sprintf("nothing listens there: check %s in [%s], and that the server runs", s.Keys, s.Section)
		}
		return fail(err, advice)
	}
	s.conn = conn
	if via, err := s.via(); err == nil && via != nil {
		return ok("connected to %s through the proxy %s", s.addr(), s.Proxy)
	}
	return ok("connected to %s", s.addr())
}

// soonExpired is when a certificate should be renewed.
const soonExpired = 30 * 24 * time.Hour

func (s *site) tls(ctx context.Context) finding {
	defer s.close()
	trust, err := s.Trust.TLSConfig(s.Host)
	if err != nil {
		return fail(err, "correct "+s.Trust.Key)
	}
	conn := tls.Client(s.conn, trust)
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		advice := config.ExplainTLS(err, s.Trust.Key)
		var notTLS tls.RecordHeaderError
		if advice == "" || errors.As(err, &notTLS) {
			advice = fmt.Sprintf("check %s in [%s]: what listens there does not speak TLS, or a firewall or proxy stands between", s.Keys, s.Section)
		}
		return fail(fmt.Errorf("TLS handshake: %w", err), advice)
	}
	certificate := conn.ConnectionState().PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate %s", tls.VersionName(conn.ConnectionState().Version), describe(certificate))
	if s.HTTP {
		s.readClock(conn)
	}
	left := time.Until(certificate.NotAfter)
	switch {
	case s.Trust.Insecure:
		return warn(fmt.Sprintf("anybody on the way can read the passwords: set %s to a PEM file of the server's certificate or its authority", s.Trust.Key), "%s, which is NOT verified", text)
	case left < soonExpired:
		return warn("have it renewed", "%s: %d days left", text, int(left.Hours()/24))
	}
	return ok("%s", text)
}

func describe(c *x509.Certificate) string {
	name := func(n string, full string) string {
		if n != "" {
			return n
		}
		return full
	}
	issuer := "issued by " + name(c.Issuer.CommonName, c.Issuer.String())
	if c.Issuer.String() == c.Subject.String() {
		issuer = "self-signed"
	}
	return fmt.Sprintf("%q, %s, until %s", name(c.Subject.CommonName, c.Subject.String()), issuer, c.NotAfter.UTC().Format(time.DateOnly))
}

// readClock asks for the Date header of the front page, which needs no login. A
// server that does not tell it is not wrong.
func (s *site) readClock(conn net.Conn) {
	request, err := http.NewRequest(http.MethodHead, "https://"+s.addr()+"/", nil)
	if err != nil {
		return
	}
	request.Close = true
	begin := time.Now()
	if request.Write(conn) != nil {
		return
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	// The header has whole seconds, cut off; the answer was made half way.
	middle := begin.Add(time.Since(begin) / 2)
	s.offset, s.dated = date.Add(500*time.Millisecond).Sub(middle), true
}

func (s *site) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// furthest is how far a clock may be off.
const furthest = time.Minute

func clock(sites ...*site) func(context.Context) finding {
	return func(context.Context) finding {
		var texts []string
		f := finding{state: Skipped}
		for _, s := range sites {
			switch {
			case !s.dated:
				texts = append(texts, s.Name+" did not tell its time")
				continue
			case s.offset.Abs() > furthest:
				f.state, f.advice = Warning, "set the clocks by NTP: tokens and certificates depend on them, and so does --older-than"
				texts = append(texts, fmt.Sprintf("the clock of %s differs by %s", s.Name, s.offset.Abs().Round(time.Second)))
				continue
			case f.state == Skipped:
				f.state = OK
			}
			texts = append(texts, s.Name+" agrees with this machine")
		}
		f.text = strings.Join(texts, ", ")
		return f
	}
}
