package testcert_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testcert"
)

// handshake reports what a client with config makes of the authority's server.
func handshake(t *testing.T, server *testcert.Authority, config *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server.ServerConfig())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), config)
	if err == nil {
		conn.Close()
	}
	listener.Close()
	<-done
	return err
}

func TestCertificateIsVerified(t *testing.T) {
	authority := testcert.New("soar.example.com", "127.0.0.1")

	for _, name := range []string{"soar.example.com", "127.0.0.1"} {
		config := authority.ClientConfig()
		config.ServerName = name
		require.NoError(t, handshake(t, authority, config), name)
	}

	other := authority.ClientConfig()
	other.ServerName = "other.example.com"
	var hostname x509.HostnameError
	require.ErrorAs(t, handshake(t, authority, other), &hostname)

	stranger := testcert.New().ClientConfig()
	stranger.ServerName = "soar.example.com"
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, handshake(t, authority, stranger), &unknown)
}

func TestPEMsBelongTogether(t *testing.T) {
	authority := testcert.New()
	_, err := tls.X509KeyPair(authority.CertPEM(), authority.KeyPEM())
	require.NoError(t, err)

	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(authority.CAPEM()))
	require.True(t, pool.Equal(authority.Pool()))
}
