package effect

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// backoff are the pauses before the repeats of a call (contract: retry policy).
var backoff = []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

const (
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
		pause, again := verdict(c, err, tries)
		if !again || !wait(ctx, pause) {
			return tries, err
		}
	}
}

// verdict says whether the call may be sent again after its n-th try failed,
// and how long to wait before.
func verdict(c abi.Call, err error, n int) (time.Duration, bool) {
	var e *rest.Error
	if !errors.As(err, &e) || n > len(backoff) {
		return 0, false
	}
	pause := jitter(backoff[n-1])
	switch {
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
