package effect

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// Retry is how often a call is sent to a service, and the growing pauses
// between the tries.
type Retry struct {
	// Attempts counts the first try too.
	Attempts int
	// Delay is the pause before the second try; each further one is Factor
	// times as long, up to maxPause.
	Delay  time.Duration
	Factor int
}

// DefaultRetry waits 1, 2, 4 and 8 seconds (contract: retry policy).
var DefaultRetry = Retry{Attempts: 5, Delay: time.Second, Factor: 2}

// pause is the wait after the n-th try.
func (r Retry) pause(n int) time.Duration {
	d := r.Delay
	for range n - 1 {
		d = min(d*time.Duration(r.Factor), maxPause)
	}
	return jitter(d)
}

const (
	// maxPause bounds one pause between two tries.
	maxPause = 60 * time.Second
	// maxRetryAfter bounds how long a server can make an action wait.
	maxRetryAfter = 60 * time.Second
	// unknownPause passes before a module is told "outcome unknown".
	unknownPause = 2 * time.Second
)

// retry performs a call until it succeeds or may not be repeated. It is the
// one rule for all calls: what did not reach the server is repeated; what may
// have reached it, only when the call says that this does no harm.
func (p *Performer) retry(ctx context.Context, c abi.Call, once func() error) (tries int, err error) {
	for {
		tries++
		if err = once(); err == nil {
			return tries, nil
		}
		pause, again := p.verdict(c, err, tries)
		if !again || !wait(ctx, pause) {
			return tries, err
		}
	}
}

// verdict says whether the call may be sent again after its n-th try failed,
// and how long to wait before.
func (p *Performer) verdict(c abi.Call, err error, n int) (time.Duration, bool) {
	policy, ok := p.o.Retry[c.Service]
	if !ok {
		policy = DefaultRetry
	}
	var e *rest.Error
	if !errors.As(err, &e) || n >= policy.Attempts {
		return 0, false
	}
	pause := policy.pause(n)
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return 0, false // it stays so until a person mends it
	case e.Code == abi.CodeUnreachable:
		return pause, true
	case e.Code == abi.CodeUnknown:
		return pause, c.Idempotent
	case e.Code != abi.CodeHTTP || !c.Idempotent:
		return 0, false
	case e.Status == http.StatusInternalServerError:
		return pause, n == 1
	case overload(e.Status):
		if e.RetryAfter > 0 {
			pause = min(e.RetryAfter, maxRetryAfter)
		}
		return pause, true
	}
	return 0, false
}

// overload are the statuses of a server that wants to be left alone a while.
func overload(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// outcomeUnknown are the statuses after which the server may have acted.
func outcomeUnknown(status int) bool {
	return status == http.StatusInternalServerError || overload(status)
}

// jitter spreads a pause by ±20 %.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// wait reports whether the pause passed before the context ended.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
