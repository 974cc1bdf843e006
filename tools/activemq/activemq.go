// Package activemq runs Debian's ActiveMQ Classic, the broker inside IBM SOAR,
// for tests: STOMP over TLS on a free loopback port, with a throw-away
// certificate authority and the accounts below.
//
// The work is done by activemq.sh, which also serves by hand; its files are
// embedded, so that a test binary needs nothing but the system's ActiveMQ.
package activemq

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed activemq.sh activemq.xml
var files embed.FS

// The accounts of activemq.xml.
const (
	// IntegrationUser may read actions.> and write acks.>.
	IntegrationUser, IntegrationPasscode = "integration", "secret"
	// OddUser may do the same; both values hold a colon and a backslash.
	OddUser, OddPasscode = `key:id\1`, `p:w\d`
	// CanaryUser and the API key CanaryKeyID may do the same; their secrets can be told from any other text.
	CanaryUser, CanaryPasscode   = "canary@example.com", "canary-soar-passw0rd-5f1e"
	CanaryKeyID, CanaryKeySecret = "canary-key-id", "canary-soar-api-secret-2b4d6f"
	// SOARUser plays the SOAR server and may do everything.
	SOARUser, SOARPasscode = "soar", "soar"
)

// ErrNotInstalled says that there is no ActiveMQ on this machine, and how to get it.
var ErrNotInstalled = errors.New("ActiveMQ is not installed: apt-get install -y --no-install-recommends activemq")

// Broker is an ActiveMQ process with its state in one directory.
type Broker struct {
	// Addr is host:port of STOMP over TLS; it stays over restarts.
	Addr string
	// CAFile is the PEM file of the authority that signed its certificate.
	CAFile string

	dir string
}

// Start runs ActiveMQ with its state in dir (made when missing; messages of an
// earlier run in it are still there), on a free port. It returns when the broker
// answers, after a second or two. End it with Stop. ctx bounds the start only.
func Start(ctx context.Context, dir string) (*Broker, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"activemq.sh", "activemq.xml"} {
		content, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	b := &Broker{dir: dir, CAFile: filepath.Join(dir, "certs", "ca.pem")}
	if err := b.Restart(ctx); err != nil {
		return nil, err
	}
	port, err := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil {
		return nil, err
	}
	b.Addr = "127.0.0.1:" + strings.TrimSpace(string(port))
	return b, nil
}

// Restart starts it again after Stop or Kill, on the same port, with the same data.
func (b *Broker) Restart(ctx context.Context) error { return b.run(ctx, "start") }

// Stop ends it in order; persistent messages are kept. It may be called again.
func (b *Broker) Stop(ctx context.Context) error { return b.run(ctx, "stop") }

// Kill ends it as a crash would.
func (b *Broker) Kill(ctx context.Context) error { return b.run(ctx, "kill") }

// Log is what ActiveMQ printed so far, for a failed test.
func (b *Broker) Log() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ClientTLS trusts the broker's authority alone. Each call makes a new one.
func (b *Broker) ClientTLS() (*tls.Config, error) {
	pem, err := os.ReadFile(b.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", b.CAFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func (b *Broker) run(ctx context.Context, verb string) error {
	command := exec.CommandContext(ctx, "bash", filepath.Join(b.dir, "activemq.sh"), verb)
	// Without a port the script takes the one of the last start, else a free one.
	command.Env = append(os.Environ(), "AMQ_DIR="+b.dir, "AMQ_PORT=",
		"AMQ_PARENT="+strconv.Itoa(os.Getpid())) // a test that panics leaves no broker behind
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 2 && strings.Contains(output.String(), "is not installed"):
		return ErrNotInstalled
	default:
		return fmt.Errorf("activemq %s: %w: %s", verb, err, strings.TrimSpace(output.String()))
	}
}
