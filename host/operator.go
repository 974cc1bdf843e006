package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"fn-threatq/host/broker"
	"fn-threatq/host/queue"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
	"fn-threatq/host/secret"
	"fn-threatq/host/selftest"
)

// Operator does by the command line what an administrator did by hand: it uses
// the same configuration, accounts and proxies as a host, and loads no module.
type Operator struct{ app *App }

// NewOperator prepares what needs no network. Of the options it takes Config,
// Logger, Redactor, Modules and StateDir.
func NewOperator(o Options) (*Operator, error) {
	a, err := clientApp(o)
	if err != nil {
		return nil, err
	}
	if err := a.folders(); err != nil {
		return nil, err
	}
	return &Operator{app: a}, nil
}

// clientApp is an app of the clients alone: it never runs.
func clientApp(o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redactor == nil {
		o.Redactor = secret.NewRedactor()
	}
	o.Redactor.Add(o.Config.Secrets()...)
	a := &App{o: o, redact: o.Redactor, log: slog.New(o.Redactor.Handler(o.Logger.Handler()))}
	return a, a.clients()
}

// Close ends the sessions at the services.
func (o *Operator) Close(ctx context.Context) error { return o.app.Close(ctx) }

// StateDir is the folder for what must outlive the process.
func (o *Operator) StateDir() string { return o.app.o.StateDir }

// ErrDestination says that there is no message destination that could be used.
var ErrDestination = selftest.ErrDestination

// Queue is the message destination of the organization, once an account is
// logged in.
type Queue struct {
	app     *App
	options broker.Options
	names   queue.Names
	// Warning is set when the names of rules cannot be read: they then have only ids.
	Warning error
}

// Queue logs in to SOAR, once, and finds the message destination. See ExitCode
// for its errors.
func (o *Operator) Queue(ctx context.Context) (*Queue, error) {
	a := o.app
	if !a.o.Config.Resilient.StompEnabled {
		return nil, ErrStompOff
	}
	session, err := a.login(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.checkDestination(ctx); err != nil {
		return nil, err
	}
	q := &Queue{app: a, options: a.brokerOptions(queueName(session))}
	names := a.soar().Directory()
	q.names = func(ctx context.Context, rule int64) string {
		name, err := names.RuleName(ctx, rule)
		var unknown *resilient.UnknownRuleError
		if err != nil && !errors.As(err, &unknown) && q.Warning == nil {
			q.Warning = err
		}
		return name
	}
	return q, nil
}

// checkDestination refuses what is no queue. An account that may not read the
// destinations learns from the broker what it may do.
func (a *App) checkDestination(ctx context.Context) error {
	d, err := a.destination(ctx)
	switch {
	case forbidden(err):
		return nil
	case err != nil:
		return err
	case d == nil:
		return fmt.Errorf("%w: SOAR has none with the programmatic name %s: create it by `fn-threatq customize`", ErrDestination, destination)
	case d.Topic:
		return fmt.Errorf("%w: %s is a topic, which keeps no messages: make one of type Queue in its place", ErrDestination, destination)
	}
	return nil
}

// destination is nil when SOAR has none of our name.
func (a *App) destination(ctx context.Context) (*resilient.Destination, error) {
	all, err := a.soar().Destinations(ctx)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(d resilient.Destination) bool { return d.Name == destination }); i >= 0 {
		return &all[i], nil
	}
	return nil, nil
}

func forbidden(err error) bool {
	var failed *rest.Error
	return errors.As(err, &failed) && failed.Status == http.StatusForbidden
}

// Peek looks at the first limit messages (0: at all) and takes none.
func (q *Queue) Peek(ctx context.Context, filter queue.Filter, limit int) (queue.View, error) {
	return queue.Peek(ctx, q.options, q.names, filter, limit)
}

// quiet is how long a drain waits for messages that it was shown.
const quiet = 3 * time.Second

// Drain answers and acknowledges what a view shows; see queue.Drain for keep and
// progress.
func (q *Queue) Drain(ctx context.Context, view queue.View, reply string, keep func([]queue.Record) error, progress func(done int)) (queue.Drained, error) {
	return queue.Drain{
		Broker: q.options, View: view, Reply: reply, Keep: keep, Redact: q.app.redact.Redact, Progress: progress, Quiet: quiet,
	}.Run(ctx)
}
