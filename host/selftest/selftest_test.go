package selftest_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/config"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/selftest"
	"fn-threatq/host/threatq"
	"fn-threatq/host/threatq/threatqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what is checked. A test changes what it wants to be wrong.
type world struct {
	soarOptions    resilienttest.Options
	threatqOptions threatqtest.Options
	users          map[string]brokertest.User // of the broker; nil: everybody
	password       string                     // of SOAR
	org            string
	cafile         string // "untrusted": the system's roots; "false": no verification
	change         func(*selftest.Options)

	soar    *resilienttest.Server
	threatq *threatqtest.Server
	broker  *brokertest.Server
	options selftest.Options
}

const account = "integration@example.com"

func (w *world) start(t *testing.T) {
	t.Helper()
	authority := brokertest.NewAuthority()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, authority.CAPEM(), 0o600))
	trust := config.Trust{Key: "cafile in [resilient]", File: ca}
	switch w.cafile {
	case "untrusted":
		trust.File = ""
	case "false":
		trust.Insecure = true
	}

	w.soarOptions.Authority, w.soarOptions.Email, w.soarOptions.Password = authority, account, "right-password"
	w.soar = resilienttest.New(w.soarOptions)
	t.Cleanup(w.soar.Close)
	w.threatqOptions.Authority = authority
	w.threatq = threatqtest.New(w.threatqOptions)
	t.Cleanup(w.threatq.Close)
	var err error
	w.broker, err = brokertest.Start(brokertest.Options{TLS: authority.ServerConfig(), Users: w.users, Log: true})
	require.NoError(t, err)
	t.Cleanup(w.broker.Stop)

	c := &config.Config{Path: "app.config", Resilient: config.Resilient{SelftestTimeout: 30 * time.Second, StompEnabled: true}}
	tlsConfig, err := trust.TLSConfig("127.0.0.1")
	require.NoError(t, err)
	password := w.password
	if password == "" {
		password = "right-password"
	}
	org := w.org
	if org == "" {
		org = resilienttest.DefaultOrg
	}
	soar := resilient.New(resilient.Options{
		Base: &url.URL{Scheme: "https", Host: w.soar.Addr()}, TLS: tlsConfig, Org: org,
		Email: account, Password: func() string { return password },
	})
	t.Cleanup(func() { _ = soar.Close(context.Background()) })
	base, err := url.Parse(w.threatq.URL())
	require.NoError(t, err)
	tq := threatq.New(threatq.Options{
		Base: base, TLS: tlsConfig, Username: threatqtest.DefaultEmail,
		Password: func() string { return threatqtest.DefaultPassword }, ClientID: func() string { return threatqtest.DefaultClientID },
	})
	t.Cleanup(tq.Close)
	dial := new(net.Dialer).DialContext
	site := func(name, section, keys, addr string) selftest.Site {
		host, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		return selftest.Site{Name: name, Section: section, Keys: keys, Host: host, Port: port, Trust: trust, Dial: dial, HTTP: name != "stomp"}
	}
	w.options = selftest.Options{
		Config: c, SOAR: soar, ThreatQ: tq, Destination: resilienttest.Destination,
		SOARSite:    site("soar", "resilient", "host and port", w.soar.Addr()),
		StompSite:   site("stomp", "resilient", "stomp_host and stomp_port", w.broker.Addr()),
		ThreatQSite: site("threatq", "fn_threatq", "host", base.Host),
		Broker: func(s resilient.Session) (broker.Options, error) {
			return broker.Options{
				Addr: w.broker.Addr(), TLS: tlsConfig, Destination: fmt.Sprintf("actions.%d.fn_threatq", s.OrgID),
				Credentials: func(context.Context) (string, string, error) { return account, password, nil },
			}, nil
		},
		Modules: []*manifest.Manifest{{
			Rules:     []manifest.Rule{{Title: "ThreatQ: Sync Incident"}, {Title: "ThreatQ: Sync Task"}},
			Functions: []manifest.Function{{Name: "threatq_add_indicator"}},
		}},
	}
	if w.change != nil {
		w.change(&w.options)
	}
}

func (w *world) run(t *testing.T) (steps map[string]selftest.Result, order []string) {
	t.Helper()
	steps = map[string]selftest.Result{}
	selftest.Run(t.Context(), w.options, func(r selftest.Result) {
		require.NotContains(t, steps, r.Step, "played twice")
		steps[r.Step] = r
		order = append(order, r.Step)
	})
	return steps, order
}

var allSteps = []string{
	"configuration", "soar dns", "soar tcp", "soar tls", "soar login", "organization", "rights", "rules", "functions", "destination",
	"stomp dns", "stomp tcp", "stomp tls", "stomp login", "stomp subscription",
	"threatq dns", "threatq tcp", "threatq tls", "threatq login", "threatq version", "threatq types", "threatq statuses", "threatq event type", "clock",
}

func TestAllIsWell(t *testing.T) {
	w := &world{}
	w.start(t)
	w.broker.Publish("actions.201.fn_threatq", nil, []byte("{}"))
	steps, order := w.run(t)
	assert.Equal(t, allSteps, order)
	for name, r := range steps {
		want := selftest.OK
		if strings.HasSuffix(name, " tls") {
			want = selftest.Warning // the certificates of tests live for a day
		}
		assert.Equal(t, want, r.State, "%s: %s", name, r.Text)
		assert.NotEmpty(t, r.Text, name)
	}
	assert.Contains(t, steps["soar tls"].Text, `certificate "localhost", issued by throw-away test CA, until `)
	assert.Contains(t, steps["soar login"].Text, account)
	assert.Contains(t, steps["organization"].Text, "Test Organization (201) on SOAR 47.0")
	ready, _ := w.broker.Depth("actions.201.fn_threatq")
	assert.Equal(t, 1, ready, "no message is taken")
	for _, r := range w.soar.Requests() {
		if r.Path != "/rest/session" {
			assert.True(t, r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasSuffix(r.Path, "/query_paged"), "%s %s changes something", r.Method, r.Path)
		}
	}
}

// TestFindings shows each kind of trouble: the first step that fails, what it
// says and advises, and which steps are skipped for it.
func TestFindings(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, nobody, err := net.SplitHostPort(free.Addr().String())
	require.NoError(t, err)
	require.NoError(t, free.Close())

	answers := func(suffix, body string) func(*world) {
		return func(w *world) {
			w.soar.Inject(resilienttest.Fault{PathSuffix: suffix, Status: http.StatusOK, Body: body})
		}
	}
	forbid := func(suffixes ...string) func(*world) {
		return func(w *world) {
			for _, suffix := range suffixes {
				w.soar.Inject(resilienttest.Fault{PathSuffix: suffix, Status: http.StatusForbidden})
			}
		}
	}
	for _, test := range []struct {
		name         string
		world        world
		after        func(*world) // once it runs
		step         string
		state        selftest.State
		text, advice string
		skipped      string // with commas
	}{
		{name: "unknown name", world: world{change: func(o *selftest.Options) { o.SOARSite.Host = "soar.invalid" }},
			step: "soar dns", state: selftest.Failed, text: "soar.invalid", advice: "check host and port in [resilient] and the DNS",
			skipped: "soar tcp,soar tls,soar login,organization,rights,rules,functions,destination,stomp login,stomp subscription"},
		{name: "nothing listens", world: world{change: func(o *selftest.Options) { o.ThreatQSite.Port = nobody }},
			step: "threatq tcp", state: selftest.Failed, text: "refused", advice: "nothing listens there: check host in [fn_threatq]",
			skipped: "threatq tls,threatq login,threatq version,threatq types,threatq statuses,threatq event type"},
		{name: "not trusted", world: world{cafile: "untrusted"},
			step: "soar tls", state: selftest.Failed, text: "unknown authority", advice: "set cafile in [resilient] to a PEM file of the server's certificate or its authority, or to false",
			skipped: "soar login,organization,rights,rules,functions,destination,stomp login,stomp subscription,threatq login,threatq version,threatq types,threatq statuses,threatq event type,clock"},
		{name: "not verified", world: world{cafile: "false"},
			step: "soar tls", state: selftest.Warning, text: "NOT verified", advice: "anybody on the way"},
		{name: "login refused", world: world{password: "wrong-password"},
			step: "soar login", state: selftest.Failed, text: "refused the login (401)", advice: "delete from monapp.ipban",
			skipped: "organization,rights,rules,functions,destination,stomp login,stomp subscription"},
		{name: "banned", after: func(w *world) {
			w.soar.Inject(resilienttest.Fault{PathPrefix: "/rest", Status: http.StatusUnauthorized})
		},
			step: "soar login", state: selftest.Failed, text: "refused the login", advice: "sudo systemctl restart resilient"},
		{name: "unknown organization", world: world{org: "test organization"},
			step: "organization", state: selftest.Failed, text: `set org in [resilient] to "Test Organization"`, advice: "correct org",
			skipped: "rights,rules,functions,destination,stomp login,stomp subscription"},
		{name: "actions disabled", world: world{soarOptions: resilienttest.Options{ActionsFrameworkDisabled: true}},
			step: "organization", state: selftest.Failed, text: "actions framework is disabled", advice: "ask an administrator"},
		{name: "no right to rules", world: world{soarOptions: resilienttest.Options{ActionsForbidden: true}},
			step: "rights", state: selftest.Failed, text: "the account lacks rights: may not read rules", advice: "read rules",
			skipped: "rules"},
		{name: "no right to incidents", after: forbid("/incidents/query_paged"),
			step: "rights", state: selftest.Failed, text: "may not read incidents", advice: "read_all_incidents", skipped: "rules"},
		{name: "a narrow key", after: forbid("/functions", "/message_destinations", "/fields"),
			step: "rights", state: selftest.Warning, text: "may not read functions, message destinations, activity fields", advice: "read_function",
			skipped: "functions,destination"},
		{name: "nothing installed", world: world{soarOptions: resilienttest.Options{Installed: resilienttest.InstalledNothing}},
			step: "rules", state: selftest.Failed, text: "none of the 2 rules", advice: "fn-threatq customize"},
		{name: "a rule is missing, one is elsewhere, one is off", after: answers("/actions",
			`{"entities":[{"id":1,"name":"threatq: sync task","type":0,"object_type":"task","enabled":true,"message_destinations":["other"]}]}`),
			step: "rules", state: selftest.Warning, text: "missing: ThreatQ: Sync Incident; not sent to fn_threatq: ThreatQ: Sync Task", advice: "set the message destination of these rules to fn_threatq"},
		{name: "a rule is off", after: answers("/actions",
			`{"entities":[{"id":1,"name":"ThreatQ: Sync Task","enabled":false,"message_destinations":["fn_threatq"]},{"id":2,"name":"ThreatQ: Sync Incident","enabled":true,"message_destinations":["fn_threatq"]}]}`),
			step: "rules", state: selftest.Warning, text: "switched off: ThreatQ: Sync Task", advice: "on purpose"},
		{name: "no functions", after: answers("/functions", `{"entities":[]}`),
			step: "functions", state: selftest.Failed, text: "none of the 1 functions", advice: "customize"},
		{name: "no destination", after: answers("/message_destinations", `{"entities":[]}`),
			step: "destination", state: selftest.Failed, text: "none with the programmatic name fn_threatq", advice: "customize"},
		{name: "a topic", after: answers("/message_destinations", `{"entities":[{"id":9,"programmatic_name":"fn_threatq","destination_type":1,"users":[4]}]}`),
			step: "destination", state: selftest.Failed, text: "is a topic", advice: "type Queue"},
		{name: "not on the destination", after: answers("/message_destinations", `{"entities":[{"id":9,"programmatic_name":"fn_threatq","destination_type":0,"users":[1],"api_keys":[4]}]}`),
			step: "destination", state: selftest.Failed, text: "does not list this account", advice: "add \"" + account + "\" to its users or API keys"},
		{name: "broker login refused", world: world{users: map[string]brokertest.User{account: {Passcode: "another"}}},
			step: "stomp login", state: selftest.Failed, text: "is invalid", advice: "REST took this account, the broker does not", skipped: "stomp subscription"},
		{name: "subscription refused", world: world{users: map[string]brokertest.User{account: {Passcode: "right-password", Read: []string{}}}},
			step: "stomp subscription", state: selftest.Failed, text: "not authorized to read from", advice: "users or API keys of the message destination fn_threatq"},
		{name: "broker without TLS", after: func(w *world) {
			plain, err := brokertest.Start(brokertest.Options{})
			if err != nil {
				panic(err)
			}
			w.options.StompSite.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, plain.Addr())
			}
			w.broker.Stop()
			w.broker = plain // stopped below
		},
			step: "stomp tls", state: selftest.Failed, text: "TLS handshake", advice: "stomp_host and stomp_port", skipped: "stomp login,stomp subscription"},
		{name: "stomp is off", world: world{change: func(o *selftest.Options) { o.Config.Resilient.StompEnabled = false }},
			step: "stomp", state: selftest.Warning, text: "switches the message broker off", advice: "remove stomp=0"},
		{name: "ThreatQ login refused", after: func(w *world) {
			w.threatq.Inject(threatqtest.Fault{PathPrefix: "/api/token", Status: http.StatusBadRequest, Times: -1})
		},
			step: "threatq login", state: selftest.Failed, text: "check username, password and cid", advice: "repeated failures lock the account",
			skipped: "threatq version,threatq types,threatq statuses,threatq event type"},
		{name: "a weak role", world: world{threatqOptions: threatqtest.Options{WeakRole: true}},
			step: "threatq types", state: selftest.Warning, text: "names are sent instead of ids", advice: "give the role"},
		{name: "an old ThreatQ", after: func(w *world) {
			w.threatq.Inject(threatqtest.Fault{PathPrefix: "/api/objects", Status: http.StatusNotFound, Times: -1})
		},
			step: "threatq version", state: selftest.Warning, text: "may be older than 4.24", advice: "look at the version"},
		{name: "statuses refused", after: func(w *world) {
			w.threatq.Inject(threatqtest.Fault{PathPrefix: "/api/indicator/statuses", Status: http.StatusForbidden, Times: -1})
		},
			step: "threatq statuses", state: selftest.Failed, text: "403", advice: "right to read indicator statuses"},
		{name: "no event type Incident", world: world{threatqOptions: threatqtest.Options{WithoutIncidentType: true}},
			step: "threatq event type", state: selftest.Warning, text: "no event type Incident", advice: "the first incident creates it"},
		{name: "clock", after: func(w *world) {
			w.soar.Inject(resilienttest.Fault{Method: http.MethodHead, Status: http.StatusOK,
				Header: http.Header{"Date": {time.Now().Add(-10 * time.Minute).UTC().Format(http.TimeFormat)}}})
		},
			step: "clock", state: selftest.Warning, text: "the clock of soar differs by ", advice: "NTP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := test.world
			w.start(t)
			if test.after != nil {
				test.after(&w)
			}
			steps, _ := w.run(t)
			w.broker.Stop()
			r := steps[test.step]
			assert.Equal(t, test.state, r.State, r.Text)
			assert.Contains(t, r.Text, test.text)
			assert.Contains(t, r.Advice, test.advice)
			if test.state == selftest.Failed {
				assert.Error(t, r.Err)
			}
			if test.skipped != "" {
				var skipped []string
				for _, name := range allSteps {
					if steps[name].State == selftest.Skipped {
						skipped = append(skipped, name)
					}
				}
				assert.Equal(t, test.skipped, strings.Join(skipped, ","))
			}
			for name, r := range steps {
				assert.NotContains(t, r.Text+r.Advice, "password\"", name)
				assert.NotContains(t, r.Text+r.Advice, "right-password", name)
			}
		})
	}
}

func TestRefusedLoginIsNotTriedAgain(t *testing.T) {
	w := &world{password: "wrong-password"}
	w.start(t)
	w.run(t)
	logins := 0
	for _, r := range w.soar.Requests() {
		if r.Path == "/rest/session" {
			logins++
		}
	}
	assert.Equal(t, 1, logins)
	for _, f := range w.broker.Frames() {
		assert.NotEqual(t, "CONNECT", f.Command, "the broker has the same accounts")
	}
}

func TestStepsHaveALimit(t *testing.T) {
	w := &world{change: func(o *selftest.Options) { o.Config.Resilient.SelftestTimeout = 100 * time.Millisecond }}
	w.start(t)
	w.broker.Silent(true)
	defer w.broker.Silent(false)
	w.options.StompSite.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	steps, _ := w.run(t)
	assert.Equal(t, selftest.Failed, steps["stomp tcp"].State)
	assert.Contains(t, steps["stomp tcp"].Text, "no answer within 100ms (selftest_timeout in [resilient])")
	assert.Equal(t, selftest.Skipped, steps["stomp tls"].State)
}

func TestEndsWithItsContext(t *testing.T) {
	w := &world{}
	w.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var order []string
	selftest.Run(ctx, w.options, func(r selftest.Result) {
		if order = append(order, r.Step); r.Step == "soar tcp" {
			cancel()
		}
	})
	assert.Equal(t, []string{"configuration", "soar dns", "soar tcp"}, order)
}
