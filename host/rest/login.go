package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"fn-threatq/abi"
)

// Session authorizes requests until the service ends it.
type Session interface {
	// Authorize adds what the service wants to see in a request.
	Authorize(*http.Request)
	// ExpiresAt is the time from which the session is not used any more; the
	// zero time when it is not known beforehand.
	ExpiresAt() time.Time
}

// Authenticator makes sessions.
type Authenticator interface {
	// Login makes exactly one attempt with the given client. It returns a
	// *RefusedError when the service refused the account.
	Login(ctx context.Context, client *http.Client) (Session, error)
}

// RefusedError says that the service refused our account. It is never followed
// by another try at once: both systems lock accounts or ban addresses.
type RefusedError struct {
	Service string
	// Status is 0 where the refusal came by another way than HTTP.
	Status int
	// Text are the server's words and what the person can do.
	Text string
}

func (e *RefusedError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("%s refused the login: %s", e.Service, e.Text)
	}
	return fmt.Sprintf("%s refused the login (%d): %s", e.Service, e.Status, e.Text)
}

// PausedError says that no login is tried for a while after a refused one.
type PausedError struct {
	Until   time.Time
	Refused *RefusedError
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("no login is tried before %s, so that the account is not locked: %s", e.Until.Format(time.TimeOnly), e.Refused.Error())
}

func (e *PausedError) Unwrap() error { return e.Refused }

// pauses after the first, second, … refused login in a row.
var pauses = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 60 * time.Minute}

// login holds the one session of a client.
type login struct {
	service       string
	timeout       time.Duration
	authenticator Authenticator
	client        *http.Client
	log           *slog.Logger

	mu      sync.Mutex
	current Session
	flight  *flight
	refused *RefusedError
	// refusals counts refused logins in a row; until ends the pause.
	refusals int
	until    time.Time
}

// flight is a login under way, which all who need it wait for.
type flight struct {
	done    chan struct{}
	session Session
	err     error
}

func newLogin(o Options, client *http.Client) *login {
	return &login{service: o.Service, timeout: o.Timeout, authenticator: o.Authenticator, client: client, log: o.Logger}
}

// session returns the session in force. A caller whose session was refused by
// the service passes it as stale: it is dropped unless another caller already
// replaced it.
func (l *login) session(ctx context.Context, stale Session) (Session, error) {
	l.mu.Lock()
	if l.current != nil {
		expires := l.current.ExpiresAt()
		if l.current == stale || (!expires.IsZero() && !time.Now().Before(expires)) {
			l.current = nil
		}
	}
	if l.current != nil {
		defer l.mu.Unlock()
		return l.current, nil
	}
	if l.flight == nil {
		if time.Now().Before(l.until) {
			defer l.mu.Unlock()
			return nil, &Error{Service: l.service, Method: "login", Code: abi.CodeLogin, Err: &PausedError{Until: l.until, Refused: l.refused}}
		}
		l.flight = &flight{done: make(chan struct{})}
		// The login outlives the caller that happened to start it: others wait
		// for it too.
		go l.fly(context.WithoutCancel(ctx), l.flight)
	}
	f := l.flight
	l.mu.Unlock()

	select {
	case <-f.done:
		return f.session, f.err
	case <-ctx.Done():
		return nil, &Error{Service: l.service, Method: "login", Code: abi.CodeUnreachable, Err: ctx.Err()}
	}
}

// paused is a *PausedError while no login is tried.
func (l *login) paused() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return &PausedError{Until: l.until, Refused: l.refused}
	}
	return nil
}

// pause keeps logins away for a while, as after a refused one.
func (l *login) pause(pause time.Duration, refused *RefusedError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(pause); until.After(l.until) {
		l.until, l.refused = until, refused
	}
}

func (l *login) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	session, err := l.authenticator.Login(ctx, l.client)

	l.mu.Lock()
	defer l.mu.Unlock()
	var refused *RefusedError
	switch {
	case err == nil:
		l.current, l.refused, l.refusals, l.until = session, nil, 0, time.Time{}
	case errors.As(err, &refused):
		pause := pauses[min(l.refusals, len(pauses)-1)]
		l.refused, l.refusals, l.until = refused, l.refusals+1, time.Now().Add(pause)
		l.log.Error("login refused", "service", l.service, "status", refused.Status, "reason", refused.Text, "next_try_in", pause.String())
		err = &Error{Service: l.service, Method: "login", Code: abi.CodeLogin, Err: refused}
	default:
		err = &Error{Service: l.service, Method: "login", Code: abi.CodeUnreachable, Err: clean(err)}
	}
	f.session, f.err = session, err
	l.flight = nil
	close(f.done)
}
