package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Trust says which server certificates a connection accepts (contract: cafile). The zero Trust accepts those that the
// system's roots have signed.
type Trust struct {
	// Key is the key of app.config that decides, as "cafile in [resilient]"; for messages.
	Key string
	// File is a PEM file of the only certificates that are trusted; empty: the system's roots.
	File string
	// Insecure: no certificate is verified.
	Insecure bool
	// ClientCert and ClientKey are PEM files of a certificate to show to the server; both or none.
	ClientCert, ClientKey string
}

// TLSConfig returns a configuration for connections to serverName with TLS 1.2 or later; serverName may be empty for
// an HTTP transport, which fills it in. The files are read on each call, so that a renewed one is used by the next
// connection. Its errors name the file and have ErrCertificate in their chain.
func (t Trust) TLSConfig(serverName string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName, InsecureSkipVerify: t.Insecure}
	if t.File != "" && !t.Insecure {
		roots, err := readCertificates(t.File)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if t.ClientCert != "" {
		certificate, err := readKeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, certificateError{fmt.Errorf("client certificate %s with key %s: %w", t.ClientCert, t.ClientKey, err)}
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

func readKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

func readCertificates(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, certificateError{fmt.Errorf("%s: %w", path, plainError(err))}
	case !info.Mode().IsRegular():
		return nil, certificateError{fmt.Errorf("%s is a directory or device, a PEM file is needed", path)}
	}
	data, err := readFile(path)
	if err != nil {
		return nil, certificateError{fmt.Errorf("%s: %w", path, plainError(err))}
	}
	roots := x509.NewCertPool()
	count := 0
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, certificateError{fmt.Errorf("certificate %d in %s: %w", count+1, path, err)}
		}
		roots.AddCert(certificate)
		count++
	}
	if count > 0 {
		return roots, nil
	}
	if _, err := x509.ParseCertificates(data); err == nil && len(data) > 0 {
		return nil, certificateError{fmt.Errorf("%s is in DER form; convert it: openssl x509 -inform DER -in %s -out cert.pem", path, path)}
	}
	if bytes.Contains(data, []byte("PRIVATE KEY")) {
		return nil, certificateError{fmt.Errorf("%s holds a private key and no certificate", path)}
	}
	return nil, certificateError{fmt.Errorf("%s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", path)}
}

// certificateError has ErrCertificate in its chain without repeating its text.
type certificateError struct{ error }

func (e certificateError) Unwrap() []error { return []error{ErrCertificate, e.error} }

// ExplainTLS returns what a person can do about an error of a TLS handshake, or "" for any other error. The key names
// what to change, as Trust.Key does.
func ExplainTLS(err error, key string) string {
	var (
		unknownAuthority x509.UnknownAuthorityError
		wrongName        x509.HostnameError
		invalid          x509.CertificateInvalidError
		noRoots          x509.SystemRootsError
		verification     *tls.CertificateVerificationError
		notTLS           tls.RecordHeaderError
		remote           *net.OpError
	)
	waysOut := "set " + key + " to a PEM file of the server's certificate or its authority, or to false to verify nothing"
	switch {
	case errors.As(err, &unknownAuthority):
		return "the server's certificate is signed by an unknown authority: " + waysOut
	case errors.As(err, &wrongName):
		names := "no host name"
		if wrongName.Certificate != nil {
			if all := append(wrongName.Certificate.DNSNames, addresses(wrongName.Certificate)...); len(all) > 0 {
				names = strings.Join(all, ", ")
			}
		}
		return fmt.Sprintf("the server's certificate is for %s and not for %s: use a name of the certificate as host, or have one issued with that name as subjectAltName",
			names, wrongName.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet: renew it, or check this machine's clock"
	case errors.As(err, &noRoots):
		return "this machine has no certificate store: install the package ca-certificates, or " + waysOut
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "the server's certificate was refused: " + waysOut
	case errors.As(err, &notTLS):
		return "the server does not speak TLS on this port: check host and port, and whether a proxy stands between"
	case errors.As(err, &remote) && remote.Op == "remote error": // how crypto/tls reports an alert of the other side
		return "the server refused the TLS connection: check whether it asks for a client certificate (client_auth_cert) or for another TLS version"
	}
	return ""
}

func addresses(certificate *x509.Certificate) []string {
	texts := make([]string, len(certificate.IPAddresses))
	for i, address := range certificate.IPAddresses {
		texts[i] = address.String()
	}
	return texts
}
