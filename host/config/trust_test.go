package config

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testcert"
)

// handshake connects to a TLS server of the given configuration.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if connection, err := listener.Accept(); err == nil {
			defer connection.Close()
			_, _ = io.Copy(io.Discard, tls.Server(connection, server))
		}
	}()
	connection, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		// With TLS 1.3 a server refuses a client certificate after the client's handshake: that shows when reading.
		_ = connection.CloseWrite()
		if _, readErr := connection.Read(make([]byte, 1)); !errors.Is(readErr, io.EOF) {
			err = readErr
		}
		_ = connection.Close()
	}
	<-done
	return err
}

func TestTrust(t *testing.T) {
	authority, other := testcert.New("soar.example.com", "127.0.0.1"), testcert.New("soar.example.com")
	directory := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	authorityFile, otherFile := file("ca.pem", authority.CAPEM()), file("other.pem", other.CAPEM())
	bothFile := file("both.pem", append(append([]byte("# bundle\n"), other.CAPEM()...), authority.CAPEM()...))
	leafFile := file("leaf.pem", authority.CertPEM())
	certFile, keyFile := file("cert.pem", authority.CertPEM()), file("cert.key", authority.KeyPEM())

	askingForCertificate := authority.ServerConfig().Clone()
	askingForCertificate.ClientAuth = tls.RequireAnyClientCert
	old := authority.ServerConfig().Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	tests := map[string]struct {
		trust  Trust
		server *tls.Config
		name   string
		advice string // part of ExplainTLS; empty: the connection is made
	}{
		"authority":                   {Trust{File: authorityFile}, authority.ServerConfig(), "soar.example.com", ""},
		"one of a bundle":             {Trust{File: bothFile}, authority.ServerConfig(), "soar.example.com", ""},
		"the certificate itself":      {Trust{File: leafFile}, authority.ServerConfig(), "soar.example.com", ""},
		"address":                     {Trust{File: authorityFile}, authority.ServerConfig(), "127.0.0.1", ""},
		"nothing verified":            {Trust{Insecure: true}, authority.ServerConfig(), "soar.example.com", ""},
		"nothing verified, with file": {Trust{Insecure: true, File: "nowhere"}, authority.ServerConfig(), "soar.example.com", ""},
		"other authority": {Trust{File: otherFile}, authority.ServerConfig(), "soar.example.com",
			"signed by an unknown authority: set THE KEY to a PEM file of the server's certificate or its authority, or to false to verify nothing"},
		"system": {Trust{}, authority.ServerConfig(), "soar.example.com", "signed by an unknown authority: set THE KEY"},
		"wrong name": {Trust{File: authorityFile}, authority.ServerConfig(), "threatq.example.com",
			"for soar.example.com, 127.0.0.1 and not for threatq.example.com"},
		"client certificate":         {Trust{File: authorityFile, ClientCert: certFile, ClientKey: keyFile}, askingForCertificate, "soar.example.com", ""},
		"client certificate missing": {Trust{File: authorityFile}, askingForCertificate, "soar.example.com", "client_auth_cert"},
		"TLS 1.1":                    {Trust{File: authorityFile}, old, "soar.example.com", "another TLS version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, err := test.trust.TLSConfig(test.name)
			require.NoError(t, err)
			assert.Equal(t, uint16(tls.VersionTLS12), client.MinVersion)
			err = handshake(t, test.server, client)
			if test.advice == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, ExplainTLS(err, "THE KEY"), test.advice)
		})
	}
}

func TestExplainTLSOnPlainServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		if connection, err := listener.Accept(); err == nil {
			_, _ = connection.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = connection.Close()
		}
	}()
	client, err := Trust{}.TLSConfig("soar.example.com")
	require.NoError(t, err)
	_, err = tls.Dial("tcp", listener.Addr().String(), client)
	require.Error(t, err)
	assert.Contains(t, ExplainTLS(err, "k"), "does not speak TLS on this port")
	assert.Empty(t, ExplainTLS(errors.New("connection refused"), "k"))
}

func TestTrustReadsTheFileEachTime(t *testing.T) {
	authority, renewed := testcert.New("soar.example.com"), testcert.New("soar.example.com")
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, authority.CAPEM(), 0o600))
	config := load(t, resilientPart+"cafile="+path+"\n"+threatqPart)
	for _, trust := range []Trust{config.Resilient.Trust, config.Resilient.StompTrust} {
		require.NoError(t, os.WriteFile(path, renewed.CAPEM(), 0o600))
		client, err := trust.TLSConfig("soar.example.com")
		require.NoError(t, err)
		require.NoError(t, handshake(t, renewed.ServerConfig(), client))
		require.NoError(t, os.Remove(path))
		_, err = trust.TLSConfig("soar.example.com")
		require.ErrorIs(t, err, ErrCertificate)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	_, err := Load(Options{Path: write(t, resilientPart+"cafile=nowhere\n"+threatqPart), Environ: []string{}})
	require.ErrorIs(t, err, ErrCertificate, "the exit code depends on it")
}
