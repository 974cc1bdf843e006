// Package host is the process: it joins configuration, broker, sandbox, flow
// and the two clients, and nothing else does.
//
// The app is New, then Run until its context ends. Ready means that the
// subscription stands for the first time. To drain is to let running actions
// finish while the broker keeps what waits.
package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/host/broker"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/flow"
	"fn-threatq/host/ledger"
	"fn-threatq/host/resilient"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/secret"
	"fn-threatq/host/threatq"
)

// Version of the product. It is that of the Python package it replaces.
const Version = "1.1.0"

// destination is the programmatic name of the message destination.
const destination = "fn_threatq"

// queueName is what the broker calls the message destination of an organization.
func queueName(s resilient.Session) string {
	return "actions." + strconv.FormatInt(s.OrgID, 10) + "." + destination
}

// Options of an App.
type Options struct {
	Config *config.Config
	// Logger may be any; its texts are redacted here. Nil discards.
	Logger *slog.Logger
	// Redactor is given the secrets; nil for one of the app's own.
	Redactor *secret.Redactor
	// Modules holds *.wasm files; nil for those built into the program.
	Modules fs.FS
	// Catalog, when given, is used in place of Modules: apps of one process may
	// share what is loaded. It stays open when the app ends.
	Catalog *catalog.Catalog
	// CacheDir keeps compiled modules, StateDir the ledger. Empty means
	// fn-threatq in the user's cache and state folders.
	CacheDir, StateDir string
	// DrainTime bounds the wait for running actions at the end; 0 = 8 s, which
	// fits into the 10 s that the unit file of the guide gives.
	DrainTime time.Duration
	// TrialDelay passes after the app is ready, until it looks at all modules;
	// 0 = 5 s. The first moments belong to the actions that have waited.
	TrialDelay time.Duration
	// Notifier tells the service manager of the state; nil for none.
	Notifier *Notifier
}

// App is one host process.
type App struct {
	o       Options
	log     *slog.Logger
	redact  *secret.Redactor
	box     *sandbox.Sandbox
	catalog *catalog.Catalog
	actions *flow.Flow

	// live is exchanged by Reload, one at a time; retiring closes what it replaced.
	live      atomic.Pointer[live]
	reloading sync.Mutex
	closed    bool // guarded by reloading
	retiring  sync.WaitGroup

	// record is open while the app runs, and so are the listeners.
	record    *ledger.Ledger
	listeners *listeners

	// started and session are for the status.
	started time.Time
	session atomic.Pointer[brokerNow]

	ready     chan struct{}
	readyOnce sync.Once
	formerMu  sync.Mutex
	former    []string
	// unfit gets an error of the broker session that only a person can mend.
	unfit chan error
}

// ErrStompOff says that the configuration leaves nothing to do.
var ErrStompOff = errors.New("stomp=0 in [resilient] switches the message broker off, and then there is nothing to do: remove the key")

// New checks and prepares all that can be prepared without the network. Close
// is called by Run; an app that never runs must be closed with Close.
func New(ctx context.Context, o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redactor == nil {
		o.Redactor = secret.NewRedactor()
	}
	if o.Modules == nil {
		o.Modules = catalog.Builtin()
	}
	if o.DrainTime == 0 {
		o.DrainTime = 8 * time.Second
	}
	if o.TrialDelay == 0 {
		o.TrialDelay = 5 * time.Second
	}
	o.Redactor.Add(o.Config.Secrets()...)
	a := &App{o: o, redact: o.Redactor, log: slog.New(o.Redactor.Handler(o.Logger.Handler())), ready: make(chan struct{}), unfit: make(chan error, 1)}
	if err := a.folders(); err != nil {
		return nil, err
	}
	if err := a.clients(); err != nil {
		return nil, err
	}
	var err error
	if !a.o.Config.Resilient.StompEnabled {
		return nil, ErrStompOff
	}
	if a.catalog = o.Catalog; a.catalog == nil {
		if a.box, err = sandbox.New(ctx, sandbox.Options{CacheDir: filepath.Join(a.o.CacheDir, "modules"), Logger: a.log}); err != nil {
			return nil, err
		}
		plugins := a.plugins()
		if a.catalog, err = catalog.Open(ctx, catalog.Options{
			Box: a.box, Builtin: o.Modules, Store: plugins, Logger: a.log,
			Trial: Trial{CacheDir: filepath.Join(a.o.CacheDir, "modules"), Store: plugins}.Of,
		}); err != nil {
			return nil, errors.Join(err, a.Close(ctx))
		}
	}
	for _, m := range a.catalog.Modules() {
		a.log.Debug("module installed", "module", m.Manifest().Name, "version", m.Manifest().Version)
	}
	return a, nil
}

// clients makes the two REST clients; neither connects yet.
func (a *App) clients() error {
	l := &live{config: a.o.Config}
	var err error
	if l.soar, err = a.soarClient(l.config); err != nil {
		return err
	}
	if l.threatq, err = a.threatqClient(l.config); err != nil {
		return err
	}
	r := l.config.Resilient
	if l.stomp, err = r.StompTrust.TLSConfig(r.StompHost); err != nil {
		return err
	}
	a.live.Store(l)
	return nil
}

const userAgent = "fn-threatq/" + Version

func (a *App) soarClient(c *config.Config) (service[*resilient.Client], error) {
	r := c.Resilient
	// Without a name: the transport has that of the service or, for the connection to
	// a proxy that is reached by TLS, the proxy's.
	trust, err := r.Trust.TLSConfig("")
	if err != nil {
		return service[*resilient.Client]{}, err
	}
	o := resilient.Options{
		Base: siteURL(r.Host, r.Port).JoinPath(r.ResourcePrefix), TLS: trust, Proxy: r.Proxy.ForRequest,
		Org: r.Org, OnTokens: a.tokens, Timeout: r.RequestTimeout, UserAgent: userAgent, Logger: a.log,
	}
	if r.UsesAPIKey() {
		o.APIKeyID, o.APIKeySecret = r.APIKeyID, r.APIKeySecret.Reveal
	} else {
		o.Email, o.Password = r.Email, r.Password.Reveal
	}
	return service[*resilient.Client]{client: resilient.New(o), trust: trust}, nil
}

func (a *App) threatqClient(c *config.Config) (service[*threatq.Client], error) {
	t := c.ThreatQ
	trust, err := t.Trust.TLSConfig("")
	if err != nil {
		return service[*threatq.Client]{}, err
	}
	return service[*threatq.Client]{trust: trust, client: threatq.New(threatq.Options{
		Base: t.BaseURL, TLS: trust, Proxy: t.Proxy.ForRequest,
		Username: t.Username, Password: t.Password.Reveal, ClientID: t.CID.Reveal,
		OnTokens: a.tokens, Timeout: t.RequestTimeout, UserAgent: userAgent, Logger: a.log,
	})}, nil
}

// siteURL is https://host[:port], without the port that https implies.
func siteURL(name string, port int) *url.URL {
	if port == 443 {
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		return &url.URL{Scheme: "https", Host: name}
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(name, strconv.Itoa(port))}
}

// tokens keeps the redaction up to date with the sessions. A token that was
// replaced may still be valid, and come back in an answer: the latest stay masked.
func (a *App) tokens(fresh, former []string) {
	for _, t := range fresh {
		a.redact.Add(secret.New(t))
	}
	a.formerMu.Lock()
	defer a.formerMu.Unlock()
	for a.former = append(a.former, former...); len(a.former) > formerTokens; a.former = a.former[1:] {
		a.redact.Forget(secret.New(a.former[0]))
	}
}

// formerTokens is how many tokens stay masked after they were replaced.
const formerTokens = 32

// Ready is closed when the app is subscribed for the first time.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Close frees what New made.
func (a *App) Close(ctx context.Context) error {
	// A reload that is under way has seen the end of its context.
	a.reloading.Lock()
	defer a.reloading.Unlock()
	a.closed = true
	a.retiring.Wait()
	l := a.live.Load()
	l.threatq.client.Close()
	err := l.soar.client.Close(ctx)
	if a.box != nil {
		err = errors.Join(err, a.box.Close(ctx))
	}
	return err
}

// Run connects, subscribes and works until ctx ends, then drains. It returns
// nil after an orderly end; see ExitCode for its errors.
func (a *App) Run(ctx context.Context) error {
	// What ends must still talk to both services.
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer func() {
		if err := a.Close(alive); err != nil {
			a.log.Warn("not everything was closed", "error", err)
		}
	}()

	a.started = time.Now()
	record, err := a.ledger()
	if err != nil {
		return err
	}
	a.record = record
	a.catalog.Remember()
	defer func() {
		if err := record.Close(); err != nil {
			a.log.Warn("the ledger was not closed in order", "error", err)
		}
	}()
	a.listeners = a.newListeners()
	defer a.listeners.close()
	session, err := a.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	queue := queueName(session)
	a.log.Info("logged in to SOAR", "organization", session.OrgName, "organization_id", session.OrgID,
		"account", session.Account.Name, "account_type", string(session.Account.Type))
	a.checkThreatQ(ctx)

	a.actions = a.flow(session, record)
	b, err := a.broker(queue)
	if err != nil {
		return err
	}
	endControl := a.control(ctx, record, a.actions)
	defer endControl()
	ended := make(chan error, 1)
	go func() {
		ended <- b.Run(alive, func(d *broker.Delivery) { a.actions.Handle(delivery{d}) })
	}()
	endTrial := a.tryModules(ctx)
	defer endTrial()
	endLook := a.watchModules(ctx)
	defer endLook()
	endShadows := a.listeners.shadows.watch(ctx)
	defer endShadows()
	endWatch := a.watch(alive, func(ctx context.Context) error { a.actions.Ping(); return b.Ping(ctx) })
	defer endWatch()
	select {
	case err = <-ended:
	case err = <-a.unfit:
	case <-ctx.Done():
		a.log.Info("stopping: running actions finish, the rest stays with the broker")
		a.notify("STOPPING=1", status("stopping: running actions finish"))
		b.StopReceiving()
	}
	limit, cancel := context.WithTimeout(alive, a.o.DrainTime)
	defer cancel()
	if drained := a.actions.Drain(limit); drained != nil {
		a.log.Warn("some actions did not end in time; the broker will deliver them again", "limit", a.o.DrainTime)
	}
	closing, cancelClosing := context.WithTimeout(alive, time.Second)
	defer cancelClosing()
	if closed := b.Close(closing); closed != nil {
		a.log.Debug("the broker session was not closed in order", "error", closed)
	}
	return err
}

// lookEvery is how often the folder of installed modules is looked at: what is put
// there is in use after two looks.
const lookEvery = 2 * time.Second

// watchModules takes changes of the installed modules over.
func (a *App) watchModules(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.catalog.Watch(ctx, lookEvery)
	}()
	return func() { cancel(); <-done }
}

// tryModules looks at all modules soon after the app is ready, beside the
// actions. A module that cannot be used fails its actions; the log says so before
// the first of them comes.
func (a *App) tryModules(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-a.ready:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(a.o.TrialDelay):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		if err := a.catalog.Try(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("a module cannot be used; its actions will fail", "error", err)
		}
		// Reading compiled modules leaves several times their size as garbage.
		debug.FreeOSMemory()
		a.log.Debug("modules tried", "modules", len(a.catalog.Modules()), "took", time.Since(began).Round(time.Millisecond))
	}()
	return func() { cancel(); <-done }
}

// connect logs in to SOAR. What may pass by itself is tried again for ever,
// with growing pauses; what a person must mend ends the process.
func (a *App) connect(ctx context.Context) (resilient.Session, error) {
	for attempt := 0; ; attempt++ {
		session, err := a.login(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return session, err
		}
		pause := broker.DefaultBackoff(attempt)
		a.notify(status("SOAR is not reachable, trying again: %s", err))
		a.log.Warn("SOAR is not reachable; trying again", "error", err, "in", pause.Round(time.Millisecond),
			"advice", "check host, port and proxy in [resilient], and the firewall")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return resilient.Session{}, ctx.Err()
		}
	}
}

// login makes one attempt to connect to SOAR.
func (a *App) login(ctx context.Context) (resilient.Session, error) {
	session, err := a.soar().Connect(ctx)
	if err != nil {
		if advice := config.ExplainTLS(err, a.o.Config.Resilient.Trust.Key); advice != "" {
			err = fmt.Errorf("%w: %s", err, advice)
		}
	}
	return session, err
}

// checkThreatQ warns early about what would fail each action. ThreatQ may be
// down when the host starts: actions then wait for it.
func (a *App) checkThreatQ(ctx context.Context) {
	if err := a.live.Load().threatq.client.Check(ctx); err != nil && ctx.Err() == nil {
		args := []any{"error", err}
		if advice := config.ExplainTLS(err, a.o.Config.ThreatQ.Trust.Key); advice != "" {
			args = append(args, "advice", advice)
		}
		a.log.Warn("ThreatQ does not answer as it should; actions wait, or fail with the reason, until it does", args...)
		return
	}
	a.log.Info("logged in to ThreatQ", "host", a.o.Config.ThreatQ.BaseURL.Host)
}

// ledger opens the ledger and takes over what earlier versions kept as files.
func (a *App) ledger() (*ledger.Ledger, error) {
	c := a.o.Config.Ledger
	record, err := ledger.Open(ledger.Options{Dir: a.o.StateDir, Age: c.Age, Size: c.Size, Logger: a.log})
	if err != nil {
		return nil, err
	}
	if n, err := record.Adopt(filepath.Join(a.o.StateDir, "dead-letters")); err != nil {
		a.log.Warn("dead letters of an earlier version were not all taken into the ledger", "taken", n, "error", err)
	} else if n > 0 {
		a.log.Info("dead letters of an earlier version were taken into the ledger", "letters", n)
	}
	return record, nil
}

// flow makes the way of the actions.
func (a *App) flow(session resilient.Session, record *ledger.Ledger) *flow.Flow {
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	l := *a.live.Load()
	l.session = session
	a.live.Store(&l)
	s := a.setup(&l)
	return flow.New(flow.Options{
		Modules: s.Modules, Directory: s.Directory, Performer: s.Performer, Site: s.Site, Settings: s.Settings, TrapException: s.TrapException,
		Ledger:   record,
		Touches:  touches,
		Reads:    reads,
		Observe:  s.Observe,
		Listener: a.listeners,
		Parallel: a.o.Config.ThreatQ.MaxParallel,
		Hold:     a.o.Config.ThreatQ.Hold,
		Redact:   a.redact.Redact,
		Host:     name,
		Logger:   a.log,
	})
}

// maxBlob is the setting max_attachment_mb in bytes; config has checked it.
func maxBlob(settings map[string]string) int64 {
	mb, err := strconv.ParseInt(settings["max_attachment_mb"], 10, 32)
	if err != nil {
		return 0
	}
	return mb << 20
}

// broker makes the STOMP session.
func (a *App) broker(queue string) (*broker.Broker, error) {
	o := a.brokerOptions(queue)
	o.OnState = func(s broker.State) { a.brokerState(queue, s) }
	return broker.New(o)
}

// brokerOptions are what a session at the broker needs.
func (a *App) brokerOptions(queue string) broker.Options {
	r := a.o.Config.Resilient
	return broker.Options{
		Addr: net.JoinHostPort(r.StompHost, strconv.Itoa(r.StompPort)), HostHeader: r.StompHost,
		RenewTLS: func() *tls.Config { return a.live.Load().stomp },
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialer(a.live.Load().config.Resilient.Proxy)(ctx, network, addr)
		},
		Credentials: func(context.Context) (string, string, error) {
			l := a.live.Load()
			name, passcode := l.config.Resilient.Login()
			// One account for REST and STOMP: a refusal of one is a pause for both.
			return name, passcode.Reveal(), l.soar.client.LoginPaused()
		},
		Destination: queue, Prefetch: r.Prefetch, Exclusive: a.o.Config.ThreatQ.Standby, ConnectTimeout: r.StompTimeout, Logger: a.log,
	}
}

// brokerState announces the first subscription. Before that, a certificate
// that is not trusted ends the process: no waiting mends it.
func (a *App) brokerState(queue string, s broker.State) {
	a.noteBroker(s)
	if s.Connected {
		a.readyOnce.Do(func() {
			a.log.Info("ready", "destination", queue, "broker", s.Server, "prefetch", a.o.Config.Resilient.Prefetch, "standby", a.o.Config.ThreatQ.Standby)
			a.notify("READY=1")
			close(a.ready)
		})
		a.notify(status("working on %s", queue))
		return
	}
	if s.Reason != nil {
		a.notify(status("no message broker session, trying again: %s", s.Reason))
	}
	var refused *broker.RefusedError
	if errors.As(s.Reason, &refused) && refused.Kind == broker.RefusedLogin && s.RetryIn > 0 {
		a.soar().PauseLogin(s.RetryIn, refused.Text)
	}
	select {
	case <-a.ready:
	default:
		if broker.IsCertificate(s.Reason) {
			select {
			case a.unfit <- s.Reason:
			default:
			}
		}
	}
}
