package effect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// Failure is a kind of failed try, by what it says of the service and of what
// the service has done.
type Failure string

// The kinds of failure.
const (
	// Unreachable: no connection, no name, no TLS, no login for lack of those.
	// The call was not sent.
	Unreachable Failure = "unreachable"
	// Untrusted: the certificate is not trusted. The call was not sent.
	Untrusted Failure = "untrusted"
	// LoginRefused: the service refused our account, or logins pause after that.
	LoginRefused Failure = "login refused"
	// Lost: the call was sent, and its answer did not come whole or in time.
	Lost Failure = "answer lost"
	// Busy: 429, 502, 503, 504; the server wants to be left alone a while.
	Busy Failure = "busy"
	// Broken: any other 5xx; this call is too much for the server.
	Broken Failure = "broken"
	// Refused: any other status that is no success.
	Refused Failure = "refused"
	// TooLarge: the answer is over a limit.
	TooLarge Failure = "too large"
	// Internal: a fault of the host.
	Internal Failure = "internal"
)

// Again says how often a call is sent anew.
type Again int

// How often: not at all, one time, or until Retry.Attempts are used up.
const (
	Never Again = iota
	Once
	Attempts
)

// Rule is what is done about a failure. Safe is about the call: performing it
// twice does no harm.
type Rule struct {
	Failure Failure
	Safe    bool
	Again   Again
	// Down: the failure counts as a sign that the service is down.
	Down bool
	// Waits: when its tries are used up and the service has served nobody
	// meanwhile, the call waits until the service is back.
	Waits bool
	// Tells is what the module is told when all is over.
	Tells abi.ErrorCode
	// User is what people read, in the words of the handbook.
	User string
}

// Policy is the one place that says what is done about failures, the same for
// both services (contract: retry policy); they differ in Retry only. What did not
// reach the server is repeated; what may have reached it, only when that does
// no harm. host/README.md shows it as a table.
var Policy = []Rule{
	{Unreachable, true, Attempts, true, true, abi.CodeUnreachable, "that it waits; at last: down since when, and why"},
	{Unreachable, false, Attempts, true, true, abi.CodeUnreachable, "that it waits; at last: down since when, and why"},
	{Untrusted, true, Never, false, false, abi.CodeUnreachable, "at once: the certificate is not trusted"},
	{Untrusted, false, Never, false, false, abi.CodeUnreachable, "at once: the certificate is not trusted"},
	{LoginRefused, true, Never, false, false, abi.CodeLogin, "at once: the login was refused, and what to check"},
	{LoginRefused, false, Never, false, false, abi.CodeLogin, "at once: the login was refused, and what to check"},
	{Lost, true, Attempts, true, true, abi.CodeUnknown, "that it waits; at last: down since when, and why"},
	{Lost, false, Never, true, false, abi.CodeUnknown, "nothing: the rule looks what was done, then tries once more"},
	{Busy, true, Attempts, true, true, abi.CodeHTTP, "that it waits; at last: down since when, and why"},
	{Busy, false, Never, true, false, abi.CodeUnknown, "nothing: the rule looks what was done, then tries once more"},
	{Broken, true, Once, false, false, abi.CodeHTTP, "the status and the server's words"},
	{Broken, false, Never, false, false, abi.CodeUnknown, "nothing: the rule looks what was done, then tries once more"},
	{Refused, true, Never, false, false, abi.CodeHTTP, "the status and the server's words"},
	{Refused, false, Never, false, false, abi.CodeHTTP, "the status and the server's words"},
	{TooLarge, true, Never, false, false, abi.CodeTooLarge, "what is too large, and the limit"},
	{TooLarge, false, Never, false, false, abi.CodeTooLarge, "what is too large, and the limit"},
	{Internal, true, Never, false, false, abi.CodeInternal, "an internal error"},
	{Internal, false, Never, false, false, abi.CodeInternal, "an internal error"},
}

// ruleFor is the row of the policy for a failed try.
func ruleFor(err error, safe bool) Rule {
	kind := failureOf(err)
	for _, r := range Policy {
		if r.Failure == kind && r.Safe == safe {
			return r
		}
	}
	panic(fmt.Sprintf("effect: the policy has no row for %q, safe=%v", kind, safe))
}

// failureOf tells the kind of a failed try.
func failureOf(err error) Failure {
	var e *rest.Error
	if !errors.As(err, &e) {
		return Internal
	}
	var untrusted *tls.CertificateVerificationError
	switch e.Code {
	case abi.CodeUnreachable:
		if errors.As(err, &untrusted) {
			return Untrusted
		}
		return Unreachable
	case abi.CodeUnknown:
		return Lost
	case abi.CodeLogin:
		return LoginRefused
	case abi.CodeTooLarge:
		return TooLarge
	case abi.CodeHTTP:
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return Busy
		}
		if e.Status >= 500 {
			return Broken
		}
		return Refused
	}
	return Internal
}

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

// allows says whether the call may be sent again after its n-th try.
func (r Retry) allows(again Again, n int) bool {
	return n < r.Attempts && (again == Attempts || again == Once && n == 1)
}

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
	// maxRetryAfter bounds for how long a server can close itself to us.
	maxRetryAfter = 15 * time.Minute
	// unknownPause passes before a module is told "outcome unknown".
	unknownPause = 2 * time.Second
)

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
