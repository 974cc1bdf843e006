package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/resilient/resilienttest"
)

// otherAuthority is the PEM file of an authority that signed nothing here.
func otherAuthority(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "other-ca.pem")
	require.NoError(t, os.WriteFile(path, testcert.New().CAPEM(), 0o600))
	return path
}

// What a person has to mend ends the process, with a code and a text of its own.
func TestMistakesThatEndTheStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup func(t *testing.T) setup
		after func(w *world)
		code  int
		words []string
	}{
		"REST certificate of an unknown authority": {
			setup: func(t *testing.T) setup {
				return setup{resilient: keys{"cafile": otherAuthority(t)}}
			},
			code: host.ExitTLS, words: []string{"unknown authority", "cafile in [resilient]", "PEM file", "false"},
		},
		"REST certificate with a blank cafile": {
			setup: func(*testing.T) setup { return setup{resilient: keys{"cafile": "blank"}} },
			code:  host.ExitTLS, words: []string{"unknown authority", "cafile in [resilient]", "PEM file", "false"},
		},
		"broker certificate of an unknown authority": {
			setup: func(t *testing.T) setup {
				return setup{resilient: keys{"stomp_cafile": otherAuthority(t)}}
			},
			code: host.ExitTLS, words: []string{"message broker", "stomp_cafile", "cafile=false"},
		},
		"REST login refused": {
			setup: func(*testing.T) setup { return setup{resilient: keys{"password": "wrong-passw0rd"}} },
			code:  host.ExitUnauthorized, words: []string{"refused the login", "check email and password in [resilient]"},
		},
		"REST login by API key refused": {
			setup: func(*testing.T) setup {
				return setup{apiKey: true, resilient: keys{"api_key_secret": "wrong-passw0rd"}}
			},
			code: host.ExitUnauthorized, words: []string{"refused the login", "check api_key_id and api_key_secret in [resilient]"},
		},
		"broker login refused": {
			setup: func(*testing.T) setup { return setup{resilient: keys{"password": "wrong-passw0rd"}} },
			after: func(w *world) { w.soar.SetCredentials("wrong-passw0rd", "wrong-passw0rd") },
			code:  host.ExitStompLogin, words: []string{"the broker refused", "check the API key id and secret, or email and password"},
		},
		"account not on the message destination": {
			// The accounts of ActiveMQ are fixed.
			setup: func(*testing.T) setup {
				return setup{broker: startEmbedded, soar: resilienttest.Options{Email: "stranger", Password: "stranger"},
					resilient: keys{"email": "stranger", "password": "stranger"}}
			},
			code: host.ExitStompForbidden, words: []string{"the broker refused", "add this account to the users or API keys of the message destination"},
		},
		"unknown organization": {
			setup: func(*testing.T) setup { return setup{resilient: keys{"org": "Nobody's"}} },
			code:  host.ExitOrganization, words: []string{"Nobody's", resilienttest.DefaultOrg},
		},
		"account of no organization": {
			setup: func(*testing.T) setup { return setup{soar: resilienttest.Options{NoOrgs: true}} },
			code:  host.ExitOrganization, words: []string{"organization"},
		},
		"actions disabled": {
			setup: func(*testing.T) setup { return setup{soar: resilienttest.Options{ActionsFrameworkDisabled: true}} },
			code:  host.ExitOrganization, words: []string{"actions framework is disabled"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.setup(t)
			s.modules = []string{"add-indicator"} // the smallest
			w := newWorld(t, s)
			if c.after != nil {
				c.after(w)
			}
			err := w.launch().wait()
			require.Error(t, err)
			assert.Equal(t, c.code, host.ExitCode(err), err.Error())
			for _, word := range c.words {
				assert.Contains(t, err.Error(), word)
			}
			for _, secret := range []string{"wrong-passw0rd", integrationPasscode + ";"} {
				assert.NotContains(t, err.Error(), secret)
			}
			assert.LessOrEqual(t, w.soar.RefusedLogins(), 1, "a refused login is not tried again")
		})
	}
}

// What may pass by itself is waited for.
func TestHostWaitsForSOAR(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	// The port of a server that is not up yet.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	w.setup.resilient = keys{"port": strings.TrimPrefix(addr, "127.0.0.1:")}
	p := w.launch()
	eventually(t, func() bool { return w.logs.said("WARN", "SOAR is not reachable", "check host, port and proxy") }, "no warning")

	user, passcode := w.account()
	late, err := resilienttest.Start(resilienttest.Options{Addr: addr, Authority: shared.authority, Email: user, Password: passcode,
		Orgs: []resilienttest.Org{{ID: w.soar.OrgID(), Name: resilienttest.DefaultOrg}}})
	require.NoError(t, err)
	t.Cleanup(late.Close)
	w.soar = late
	p.ready()
	w.do(w.incidentMessage(incident, "created"))
	p.settled()
}

func TestHostWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{ownBroker: true})
	w.broker.Stop(t)
	p := w.launch()
	eventually(t, func() bool { return w.logs.said("WARN", "no message broker session") }, "no warning")
	w.broker.Restart(t)
	p.ready()
	w.do(w.incidentMessage(incident, "created"))
	p.settled()
}

func TestHostThatWaitsCanBeStopped(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(w *world){
		"for SOAR":       func(w *world) { w.soar.Close() },
		"for the broker": func(w *world) { w.relay.close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			breakIt(w)
			p := w.launch()
			eventually(t, func() bool {
				return w.logs.said("WARN", "SOAR is not reachable") || w.logs.said("WARN", "no message broker session")
			}, "no warning")
			p.stop()
		})
	}
}

func TestCafileFalseVerifiesNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{
		resilient: keys{"cafile": "false", "stomp_cafile": ""}, threatq: keys{"cafile": "false"},
	})
	c, err := w.configuration()
	require.NoError(t, err)
	warnings := 0
	for _, warning := range c.Warnings {
		if warning.Key == "cafile" && strings.Contains(warning.Message, "is not verified") {
			warnings++
		}
	}
	assert.Equal(t, 2, warnings, "one for each cafile=false: %v", c.Warnings)
	p := w.start()
	w.do(w.incidentMessage(incident, "created"))
	p.settled()
	w.event()
}

// A blank cafile verifies, where the reference client did not: the warning names
// the ways out.
func TestBlankCafileWarns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{resilient: keys{"cafile": "blank"}})
	c, err := w.configuration()
	require.NoError(t, err)
	require.NotEmpty(t, c.Warnings)
	text := c.Warnings[0].String()
	assert.Contains(t, text, "cafile=PATH")
	assert.Contains(t, text, "cafile=false")
}

// ThreatQ may be down when the host starts: each action says what is wrong.
func TestThreatQCertificateOfAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{modules: []string{"add-indicator"}, threatq: keys{"cafile": otherAuthority(t)}})
	p := w.start()
	require.True(t, w.logs.said("WARN", "ThreatQ", "cafile in [fn_threatq]"))
	r := w.final(w.send(w.soar.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_value": "bad.example.com"})))
	for _, call := range w.logs.lines("call") {
		assert.NotContains(t, call, "tries", "trying again would be of no use")
	}
	assert.Equal(t, 1, r.Type)
	assert.Contains(t, r.Message, "failed to verify certificate")
	p.settled()
}
