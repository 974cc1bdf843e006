package effect_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

var update = flag.Bool("update", false, "rewrite the table of failures in host/README.md")

// failures has an example of each kind; of busy and broken all statuses that
// are named.
var failures = map[effect.Failure][]error{
	effect.Unreachable:  {failing(abi.CodeUnreachable, 0)},
	effect.Untrusted:    {untrusted()},
	effect.LoginRefused: {failing(abi.CodeLogin, 0)},
	effect.Lost:         {failing(abi.CodeUnknown, 0)},
	effect.Busy:         {failing(abi.CodeHTTP, 429), failing(abi.CodeHTTP, 502), failing(abi.CodeHTTP, 503), failing(abi.CodeHTTP, 504)},
	effect.Broken:       {failing(abi.CodeHTTP, 500), failing(abi.CodeHTTP, 501), failing(abi.CodeHTTP, 520)},
	effect.Refused:      {failing(abi.CodeHTTP, 400), failing(abi.CodeHTTP, 401), failing(abi.CodeHTTP, 403), failing(abi.CodeHTTP, 404), failing(abi.CodeHTTP, 409), failing(abi.CodeHTTP, 422), failing(abi.CodeHTTP, 302)},
	effect.TooLarge:     {failing(abi.CodeTooLarge, 0)},
	effect.Internal:     {failing(abi.CodeInternal, 0), fmt.Errorf("no error of a client")},
}

// opened is an action on services with answers of one kind.
func opened(t *testing.T, answer func(n int, r rest.Request) (*rest.Response, error), waiting effect.Waiting, change ...func(*effect.Options)) (*effect.Performer, *effect.Scope, *service) {
	t.Helper()
	s := &service{answer: answer}
	o := effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: s, abi.Resilient: s}}
	for _, c := range change {
		c(&o)
	}
	p := effect.New(o)
	return p, action(t, p, "m1", waiting), s
}

func action(t *testing.T, p *effect.Performer, id string, waiting effect.Waiting) *effect.Scope {
	t.Helper()
	permits, err := manifest.NewPermits([]string{"threatq GET /api/events", "threatq POST /api/events", "resilient GET /incidents/{id}", "resilient POST /incidents/{id}"})
	require.NoError(t, err)
	return p.Open(effect.ScopeOptions{Action: id, Permits: permits, MaxCalls: 1000, MaxTurnCalls: 100, Waiting: waiting})
}

// callOf is a call that is safe to repeat or not.
func callOf(service, id string, safe bool) abi.Call {
	c := abi.Call{ID: id, Service: service, Method: "POST", Path: "/api/events", Idempotent: safe}
	if service == abi.Resilient {
		c.Path = "/incidents/1"
	}
	return c
}

func perform(t *testing.T, s *effect.Scope, c abi.Call) abi.Result {
	t.Helper()
	results, err := s.Perform(t.Context(), []abi.Call{c})
	require.NoError(t, err)
	return results[0]
}

// The whole table: what each of its rows says is what is done, at both services.
func TestPolicyIsWhatIsDone(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range effect.Policy {
		key := fmt.Sprintf("%s safe=%v", row.Failure, row.Safe)
		require.False(t, seen[key], "two rows for %s", key)
		seen[key] = true
		require.NotEmpty(t, failures[row.Failure], "no example of %s", row.Failure)
		for _, service := range []string{abi.ThreatQ, abi.Resilient} {
			for i, failure := range failures[row.Failure] {
				t.Run(fmt.Sprintf("%s/%s/%d", key, service, i), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { tries(t, row, service, failure) })
					synctest.Test(t, func(t *testing.T) { signsOfOutage(t, row, service, failure) })
					synctest.Test(t, func(t *testing.T) { waits(t, row, service, failure) })
				})
			}
		}
	}
	assert.Len(t, seen, 2*len(failures), "each kind has a row for safe calls and one for others")
}

func tries(t *testing.T, row effect.Rule, service string, failure error) {
	_, s, server := opened(t, func(int, rest.Request) (*rest.Response, error) { return nil, failure }, effect.Waiting{})
	r := perform(t, s, callOf(service, "x", row.Safe))
	want := map[effect.Again]int32{effect.Never: 1, effect.Once: 2, effect.Attempts: 5}[row.Again]
	assert.Equal(t, want, server.n.Load(), "tries")
	if assert.NotNil(t, r.Error) {
		assert.Equal(t, row.Tells, r.Error.Code)
	}
}

// Ten actions meet the failure; whether another call is sent at once after that
// tells whether the service counts as down.
func signsOfOutage(t *testing.T, row effect.Rule, service string, failure error) {
	broken := true
	p, _, _ := opened(t, func(int, rest.Request) (*rest.Response, error) {
		if broken {
			return nil, failure
		}
		return fine("")
	}, effect.Waiting{})
	for range 10 {
		perform(t, action(t, p, "m", effect.Waiting{}), callOf(service, "x", row.Safe))
	}
	broken = false
	begin := time.Now()
	perform(t, action(t, p, "m", effect.Waiting{Hold: time.Hour}), callOf(service, "x", true))
	assert.Equal(t, row.Down, time.Since(begin) > 0, "%s passed", time.Since(begin))
	other := map[string]string{abi.ThreatQ: abi.Resilient, abi.Resilient: abi.ThreatQ}[service]
	begin = time.Now()
	perform(t, action(t, p, "m", effect.Waiting{}), callOf(other, "x", true))
	assert.Zero(t, time.Since(begin), "the other service is not concerned")
}

// The failure lasts ten minutes.
func waits(t *testing.T, row effect.Rule, service string, failure error) {
	begin := time.Now()
	_, s, _ := opened(t, func(int, rest.Request) (*rest.Response, error) {
		if time.Since(begin) < 10*time.Minute {
			return nil, failure
		}
		return fine("")
	}, effect.Waiting{Hold: time.Hour})
	r := perform(t, s, callOf(service, "x", row.Safe))
	assert.Equal(t, row.Waits, r.Error == nil)
	assert.Equal(t, row.Waits, time.Since(begin) >= 10*time.Minute)
	assert.Less(t, time.Since(begin), 11*time.Minute, "it goes on soon after the service is back")
}

// Whatever the table says: what may have happened is not done again by the host, and
// what gets accounts locked is not tried again.
func TestPolicyDoesNoHarm(t *testing.T) {
	mayHaveActed := []effect.Failure{effect.Lost, effect.Busy, effect.Broken}
	byItself := []effect.Failure{effect.Unreachable, effect.Lost, effect.Busy} // passes
	for _, r := range effect.Policy {
		name := fmt.Sprintf("%s safe=%v", r.Failure, r.Safe)
		if !r.Safe && r.Failure != effect.Unreachable {
			assert.Equal(t, effect.Never, r.Again, "%s: it may have been sent", name)
			assert.False(t, r.Waits, "%s: it would be sent again after the wait", name)
		}
		if !r.Safe && slices.Contains(mayHaveActed, r.Failure) {
			assert.Equal(t, abi.CodeUnknown, r.Tells, "%s: the rule must look", name)
		}
		if passes := slices.Contains(byItself, r.Failure); passes {
			assert.True(t, r.Down, name)
			assert.Equal(t, r.Safe || r.Failure == effect.Unreachable, r.Waits && r.Again == effect.Attempts, name)
		} else {
			assert.False(t, r.Down || r.Waits, "%s: waiting does not mend it", name)
			assert.Equal(t, r.Failure == effect.Broken && r.Safe, r.Again != effect.Never, name)
			assert.NotEqual(t, effect.Attempts, r.Again, name)
		}
	}
}

const policyBegin, policyEnd = "<!-- policy:begin -->\n", "<!-- policy:end -->"

// The table in the handbook is the one in the code.
func TestPolicyIsDocumented(t *testing.T) {
	again := map[effect.Again]string{effect.Never: "no", effect.Once: "once", effect.Attempts: "yes"}
	mark := map[bool]string{true: "yes", false: "–"}
	var b strings.Builder
	b.WriteString("| failure | call safe to repeat | sent again | sign of an outage | waits for its end | the module is told | the user reads |\n|---|---|---|---|---|---|---|\n")
	for _, r := range effect.Policy {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | `%s` | %s |\n", r.Failure, map[bool]string{true: "yes", false: "no"}[r.Safe], again[r.Again], mark[r.Down], mark[r.Waits], r.Tells, r.User)
	}
	path := "../README.md"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), policyBegin)
	require.True(t, found)
	table, after, found := strings.Cut(rest, policyEnd)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+policyBegin+b.String()+policyEnd+after), 0o644))
		return
	}
	assert.Equal(t, b.String(), table, "run go test ./host/effect -update")
}
