package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/config"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/resilient"
	"fn-threatq/host/threatq"
)

// reloadTime bounds the logins of a reload.
const reloadTime = time.Minute

// ErrNotReady says that there is nothing to reload yet.
var ErrNotReady = errors.New("the host is not subscribed, so that nothing was reloaded: restart it to use what was changed")

// live is what a reload exchanges.
type live struct {
	config  *config.Config
	session resilient.Session
	soar    service[*resilient.Client]
	threatq service[*threatq.Client]
	// stomp is the trust of the next connection to the broker.
	stomp *tls.Config
	// cold are the keys whose change waits for a restart.
	cold []string
}

// soar is the client of SOAR in force.
func (a *App) soar() *resilient.Client { return a.live.Load().soar.client }

// service is a client of one of the two services.
type service[C any] struct {
	client C
	trust  *tls.Config
	// users are closed when the actions have ended that began with the client.
	users []<-chan struct{}
}

// Reload makes the host work with the configuration that load returns. Everything
// that can fail is done beside what runs, logins included; only then does one
// switch follow. When it fails nothing has changed, and the error says why.
//
// Actions finish on what they began with; those that wait for a service that is down
// begin anew when a client has changed. A client is made anew, and logs in, only
// when a key of its section or a certificate file has changed, so that a service
// that is down does not keep other settings from being changed. The broker's
// session stays; its next connect uses new credentials, certificates and proxy.
// Each changed key that a running host cannot change is named in a warning.
func (a *App) Reload(ctx context.Context, load func() (*config.Config, error)) (err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	select {
	case <-a.ready:
	default:
		return ErrNotReady
	}
	if a.closed {
		return ErrNotReady
	}
	a.notify(append(reloading(), status("reloading the configuration"))...)
	defer func() {
		if ctx.Err() != nil {
			return
		}
		// Ready also when it failed: the host works on.
		text := status("working; configuration of %s", time.Now().Format(time.DateTime))
		if err != nil {
			text = status("working with the former configuration; the reload failed: %s", err)
		}
		a.notify("READY=1", text)
	}()
	next, err := load()
	if err != nil {
		return err
	}
	if !next.Resilient.StompEnabled {
		return ErrStompOff
	}
	// A login that was begun would go on when the host has stopped meanwhile.
	if err := ctx.Err(); err != nil {
		return err
	}
	a.redact.Add(next.Secrets()...)
	fresh, err := a.prepare(ctx, next)
	if err != nil {
		return err
	}
	// A module that cannot be used changes nothing there either.
	if _, err := a.catalog.Reload(ctx); err != nil {
		return errors.Join(fmt.Errorf("modules: %w", err), a.discard(fresh))
	}
	a.exchange(fresh)
	return nil
}

// discard closes the clients that prepare has made.
func (a *App) discard(fresh *live) (err error) {
	was := a.live.Load()
	if fresh.threatq.client != was.threatq.client {
		fresh.threatq.client.Close()
	}
	if fresh.soar.client != was.soar.client {
		ctx, cancel := context.WithTimeout(context.Background(), a.o.DrainTime)
		defer cancel()
		err = fresh.soar.client.Close(ctx)
	}
	return err
}

// prepare makes what differs from the current state; it changes nothing.
func (a *App) prepare(ctx context.Context, next *config.Config) (*live, error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	was := a.live.Load()
	fresh := *was
	fresh.config, fresh.cold = keepCold(a.o.Config, was.config, next)
	var err error
	r, t := fresh.config.Resilient, fresh.config.ThreatQ
	if fresh.stomp, err = r.StompTrust.TLSConfig(r.StompHost); err != nil {
		return nil, err
	}
	soar, err := a.soarClient(fresh.config)
	if err != nil {
		return nil, err
	}
	tq, err := a.threatqClient(fresh.config)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(was.config.Resilient, r) || !sameTrust(was.soar.trust, soar.trust) {
		fresh.soar = soar
		if fresh.session, err = soar.client.Connect(ctx); err == nil && fresh.session.OrgID != was.session.OrgID {
			err = fmt.Errorf("%s is now organization %d and was %d: restart the host", r.Org, fresh.session.OrgID, was.session.OrgID)
		}
		if err != nil {
			return nil, errors.Join(explained(fmt.Errorf("SOAR: %w", err), r.Trust), a.discard(&fresh))
		}
	}
	if !reflect.DeepEqual(was.config.ThreatQ, t) || !sameTrust(was.threatq.trust, tq.trust) {
		fresh.threatq = tq
		if err := tq.client.Check(ctx); err != nil {
			return nil, errors.Join(explained(fmt.Errorf("ThreatQ: %w", err), t.Trust), a.discard(&fresh))
		}
	}
	return &fresh, nil
}

func explained(err error, trust config.Trust) error {
	if advice := config.ExplainTLS(err, trust.Key); advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// exchange is the switch: what begins from now on uses what was prepared.
func (a *App) exchange(fresh *live) {
	was := a.live.Load()
	var made []string
	if fresh.soar.client != was.soar.client {
		made = append(made, "SOAR")
	}
	if fresh.threatq.client != was.threatq.client {
		made = append(made, "ThreatQ")
	}
	setup := a.setup(fresh)
	setup.Renewed = len(made) > 0
	unused := a.actions.Swap(setup)
	if fresh.soar.client != was.soar.client {
		a.retire(append(was.soar.users, unused), func(ctx context.Context) error { return was.soar.client.Close(ctx) })
	} else {
		fresh.soar.users = append(slices.Clip(was.soar.users), unused)
	}
	if fresh.threatq.client != was.threatq.client {
		a.retire(append(was.threatq.users, unused), func(context.Context) error { was.threatq.client.Close(); return nil })
	} else {
		fresh.threatq.users = append(slices.Clip(was.threatq.users), unused)
	}
	a.live.Store(fresh)
	a.listeners.configure(fresh.config.Record)
	for _, key := range fresh.cold {
		a.log.Warn("a key has changed that takes effect with a restart only", "key", key, "because", cold[key])
	}
	a.log.Info("configuration reloaded; what runs finishes on the former one", "logged_in_anew", strings.Join(made, ", "))
}

// retire closes a client when nobody uses it any more.
func (a *App) retire(users []<-chan struct{}, closeClient func(context.Context) error) {
	a.retiring.Go(func() {
		for _, unused := range users {
			<-unused
		}
		ctx, cancel := context.WithTimeout(context.Background(), a.o.DrainTime)
		defer cancel()
		if err := closeClient(ctx); err != nil {
			a.log.Debug("the former session was not closed in order", "error", err)
		}
	})
}

// setup is what the flow gives to actions.
func (a *App) setup(l *live) *flow.Setup {
	r := l.config.Resilient
	return &flow.Setup{
		Modules:   a.catalog,
		Directory: directory{l.soar.client.Directory()},
		Performer: effect.New(effect.Options{
			Clients: map[string]effect.Client{abi.ThreatQ: l.threatq.client, abi.Resilient: l.soar.client},
			Retry: map[string]effect.Retry{abi.Resilient: {
				Attempts: r.RequestAttempts, Delay: r.RequestRetryDelay, Factor: r.RequestRetryBackoff,
			}},
			Journal: a.record, MaxBlob: maxBlob(l.config.Modules), Logger: a.log,
		}),
		Site: abi.Site{
			OrgID: l.session.OrgID, OrgName: l.session.OrgName,
			ResilientURL: siteURL(r.Host, r.Port).String(), ThreatQURL: l.config.ThreatQ.BaseURL.String(),
			Account: abi.Account{Type: string(l.session.Account.Type), ID: l.session.Account.ID, Name: l.session.Account.Name},
		},
		Settings:      l.config.Modules,
		TrapException: r.TrapException,
		Observe:       l.config.Observe,
	}
}

// sameTrust compares the certificates that were read.
func sameTrust(a, b *tls.Config) bool {
	return poolEqual(a.RootCAs, b.RootCAs) && slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool {
		return slices.EqualFunc(x.Certificate, y.Certificate, slices.Equal)
	})
}

func poolEqual(a, b *x509.CertPool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}

// keepCold is the new configuration with what is cold as it was, and the cold
// keys that differ from those the host was started with. When one of the SOAR
// connection has changed, all of [resilient] waits for the restart: half of the old
// connection and half of the new one would be neither.
func keepCold(started, was, next *config.Config) (kept *config.Config, changed []string) {
	now := map[string]string{}
	for _, s := range next.Settings {
		now[s.ID()] = s.Text
	}
	copied := *next
	for _, s := range started.Settings {
		if cold[s.ID()] == "" || s.Text == now[s.ID()] {
			continue
		}
		changed = append(changed, s.ID())
		if s.Section == "resilient" && cold[s.ID()] != ofTheLog {
			copied.Resilient = was.Resilient
		}
	}
	copied.Resilient.Prefetch, copied.ThreatQ.MaxParallel = was.Resilient.Prefetch, was.ThreatQ.MaxParallel
	return &copied, changed
}

const (
	ofTheSession = "the broker's session is made with it"
	ofTheAccount = "the rules know what they wrote by the account"
	ofTheLog     = "the log file is open"
	ofTheLedger  = "the ledger is open"
)

// cold are the keys, as SECTION.KEY, that a running host cannot change, and why. All
// others are hot: a reload brings them into effect.
var cold = map[string]string{
	"resilient.host":                 ofTheSession,
	"resilient.port":                 ofTheSession,
	"resilient.org":                  "the message destination is the organization's",
	"resilient.api_key_id":           ofTheAccount,
	"resilient.email":                ofTheAccount,
	"resilient.stomp_host":           ofTheSession,
	"resilient.stomp_port":           ofTheSession,
	"resilient.stomp_timeout":        ofTheSession,
	"resilient.stomp_prefetch_limit": ofTheSession,
	"resilient.logdir":               ofTheLog,
	"resilient.logfile":              ofTheLog,
	"resilient.log_max_bytes":        ofTheLog,
	"resilient.log_backup_count":     ofTheLog,
	"fn_threatq.max_parallel":        "the lanes are made for it",
	"fn_threatq.hold_minutes":        "actions that wait began with it",
	"fn_threatq.standby":             ofTheSession,
	"fn_threatq.ledger_days":         ofTheLedger,
	"fn_threatq.ledger_mb":           ofTheLedger,
}
