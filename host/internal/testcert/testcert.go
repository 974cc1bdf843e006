// Package testcert makes throw-away certificates in memory, so that the
// simulators, the test broker and the demo speak TLS that is verified for real.
//
// An Authority is one certificate authority and one server certificate signed
// by it. Nothing is written to disk and nothing outlives the process; do not
// use it for anything but tests and demonstrations.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// Authority is a certificate authority with one server certificate.
type Authority struct {
	caPEM   []byte
	certPEM []byte
	keyPEM  []byte
	server  tls.Certificate
	pool    *x509.CertPool
}

// New makes an authority and a server certificate for hosts (DNS names and IP
// addresses); without hosts it is for localhost, 127.0.0.1 and ::1. The
// certificates are valid from an hour ago for one day. New panics when the
// system has no randomness, as nothing else in it can fail.
func New(hosts ...string) *Authority {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	now := time.Now()
	caKey := newKey()
	ca := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "throw-away test CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caDER := must(x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey))

	key := newKey()
	leaf := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: hosts[0]},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	leafDER := must(x509.CreateCertificate(rand.Reader, leaf, must(x509.ParseCertificate(caDER)), key.Public(), caKey))

	a := &Authority{
		caPEM:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		keyPEM: pem.EncodeToMemory(&pem.Block{
			Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key)),
		}),
		pool: x509.NewCertPool(),
	}
	a.server = must(tls.X509KeyPair(a.certPEM, a.keyPEM))
	a.pool.AppendCertsFromPEM(a.caPEM)
	return a
}

// CAPEM is the authority's certificate, what a cafile= setting points at.
func (a *Authority) CAPEM() []byte { return a.caPEM }

// CertPEM is the server's certificate.
func (a *Authority) CertPEM() []byte { return a.certPEM }

// KeyPEM is the server's private key (PKCS #8).
func (a *Authority) KeyPEM() []byte { return a.keyPEM }

// Pool holds the authority's certificate, for tls.Config.RootCAs.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// ServerConfig is a TLS 1.2+ configuration for a server. Each call makes a new one.
func (a *Authority) ServerConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12}
}

// ClientConfig is a TLS 1.2+ configuration that trusts this authority alone.
// Each call makes a new one.
func (a *Authority) ClientConfig() *tls.Config {
	return &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS12}
}

func newKey() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func newSerial() *big.Int {
	return must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic("testcert: " + err.Error())
	}
	return value
}
