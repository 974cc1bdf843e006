// Package config reads app.config, the configuration file of resilient-circuits, unchanged; it also makes one, and adds to
// one what it lacks.
//
// Terms: the file has sections with keys; a Field declares a key, once, and everything else about the key follows from
// that: how it is read and checked, the generated file (Template), what is added to an older one (Update, Addition), the
// reference table (Reference); a File is one that is to be written, whole or not at all; a layer is one source of values (default, file, environment, command line), the later winning over the earlier;
// an Origin is where an effective value comes from; a Problem is a mistake or a warning, with file and line; a reference
// ($NAME, see package secret) stands for a secret; to inspect is to load without an intent to start; a Config is the result, typed and never changed after Load.
package config

import (
	"log/slog"
	"net/url"
	"time"

	"fn-threatq/host/secret"
)

// Config is the whole configuration, checked. It is not changed after Load and may be shared; do not change it.
type Config struct {
	Path      string // the file that was read
	Resilient Resilient
	ThreatQ   ThreatQ
	// Modules holds the settings that modules may see, by key of [fn_threatq]; no secret is among them. Booleans are
	// "true" or "false", numbers are decimal, mappings are "field=name,field=name", a value that is not set is "".
	Modules map[string]string
	// TrustedKeys are public keys of minisign, or the files that hold them.
	TrustedKeys []string
	Log         Log
	Ledger      Ledger
	// Observe: nothing is written to ThreatQ or SOAR (mode=observe).
	Observe bool
	Record  Record
	// LockFile is held while the host runs: two hosts with one account take each other's messages.
	LockFile string
	// Warnings are what a person should see at each start.
	Warnings []Problem
	// Settings are all effective values in the order of the reference table.
	Settings []Setting

	learnt []secret.Value
}

// Resilient is how the SOAR server is reached.
type Resilient struct {
	Host           string
	Port           int
	Org            string // as configured: name, UUID, Cloud account or number
	Email          string
	Password       secret.Value
	APIKeyID       string
	APIKeySecret   secret.Value
	ResourcePrefix string // path before /rest; begins with "/" and does not end with it, or is empty
	Trust          Trust  // of REST, with the client certificate
	Proxy          Proxy  // of REST and of the message broker

	StompEnabled bool
	StompHost    string
	StompPort    int
	StompTrust   Trust
	StompTimeout time.Duration // to connect
	Prefetch     int           // messages that the broker hands out unacknowledged

	// TrapException makes the failure of a function a result, so that the workflow goes on.
	TrapException bool

	RequestTimeout      time.Duration // of one REST call
	RequestAttempts     int           // of a REST call that is safe to repeat, with the first
	RequestRetryDelay   time.Duration // before the second attempt
	RequestRetryBackoff int           // factor of each further delay
	SelftestTimeout     time.Duration
}

// UsesAPIKey tells which account is used: the API key when both of its parts are set (contract: CONNECT), else the
// e-mail account.
func (r Resilient) UsesAPIKey() bool { return r.APIKeyID != "" && r.APIKeySecret.IsSet() }

// Login returns user name and secret of the account that is used, for REST and for the message broker.
func (r Resilient) Login() (name string, password secret.Value) {
	if r.UsesAPIKey() {
		return r.APIKeyID, r.APIKeySecret
	}
	return r.Email, r.Password
}

// ThreatQ is how the ThreatQ server is reached.
type ThreatQ struct {
	BaseURL        *url.URL // https://host or https://host:port, without a path
	Username       string
	Password       secret.Value
	CID            secret.Value // client id (OAuth)
	Trust          Trust
	Proxy          Proxy
	RequestTimeout time.Duration
	MaxParallel    int           // actions of different incidents that run side by side
	Hold           time.Duration // how long an action waits for a service that is down
	Standby        bool          // one host of several works, the others wait
}

// Ledger says how long outcomes are remembered, and in how much room.
type Ledger struct {
	Age  time.Duration
	Size int64 // bytes
}

// Record says whether dialogues of actions are kept, how long, and in how much room.
type Record struct {
	On   bool
	Age  time.Duration
	Size int64 // bytes
}

// Log says what is logged, and to which file besides stderr.
type Log struct {
	Level       slog.Level
	Dir         string // an existing directory; empty: no log file
	File        string // name within Dir
	MaxBytes    int64  // size of the file at which it is rotated; 0: never
	BackupCount int    // rotated files that are kept
}

// Setting is one effective value, for showing.
type Setting struct {
	Field
	// Text is the value as it was written, with references unresolved; secret.Mask for a literal secret; empty when not set.
	Text   string
	Origin Origin
}

// Secrets returns all secrets of the configuration, for a secret.Redactor; also what was kept in a file, a credential or
// the keyring, whatever it is used for.
func (c *Config) Secrets() []secret.Value {
	values := []secret.Value{c.Resilient.Password, c.Resilient.APIKeySecret, c.ThreatQ.Password, c.ThreatQ.CID}
	values = append(values, c.learnt...)
	values = append(values, c.Resilient.Proxy.secrets()...)
	return append(values, c.ThreatQ.Proxy.secrets()...)
}
