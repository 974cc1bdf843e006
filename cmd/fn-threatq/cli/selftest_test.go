package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

func TestSelftestExitCodes(t *testing.T) {
	forbid := func(suffix string) func(*testing.T, *world, string) {
		return func(_ *testing.T, w *world, _ string) {
			w.soar.Inject(resilienttest.Fault{PathSuffix: suffix, Status: http.StatusForbidden})
		}
	}
	edit := func(old, replaced string) func(*testing.T, *world, string) {
		return func(t *testing.T, _ *world, config string) {
			text, err := os.ReadFile(config)
			require.NoError(t, err)
			require.Contains(t, string(text), old)
			require.NoError(t, os.WriteFile(config, []byte(strings.Replace(string(text), old, replaced, 1)), 0o600))
		}
	}
	for _, test := range []struct {
		name   string
		users  map[string]brokertest.User
		make   func(t *testing.T, w *world, config string)
		code   int
		failed string // the first step that failed
	}{
		{name: "all is well", code: host.ExitOK},
		{name: "a mistake", make: edit("[fn_threatq]", "port=many\n[fn_threatq]"), code: host.ExitConfig, failed: "configuration"},
		{name: "no certificate file", make: edit("cafile=", "cafile=/nowhere"), code: host.ExitNoCertificate, failed: "configuration"},
		{name: "SOAR is down", make: func(_ *testing.T, w *world, _ string) { w.soar.Close() }, code: host.ExitUnreachable, failed: "soar tcp"},
		{name: "not trusted", make: edit("cafile=", "client_auth_cert=\n#"), code: host.ExitTLS, failed: "soar tls"},
		{name: "login", make: edit("$SOAR_PASSWORD", "$NOT_IT"), code: host.ExitUnauthorized, failed: "soar login"},
		{name: "organization", make: edit("org=Test", "org=Best"), code: host.ExitOrganization, failed: "organization"},
		{name: "rights", make: forbid("/actions"), code: host.ExitForbidden, failed: "rights"},
		{name: "no rules", make: func(_ *testing.T, w *world, _ string) {
			w.soar.Inject(resilienttest.Fault{PathSuffix: "/actions", Status: http.StatusOK, Body: `{"entities":[]}`})
		}, code: host.ExitFailure, failed: "rules"},
		{name: "no destination", make: func(_ *testing.T, w *world, _ string) {
			w.soar.Inject(resilienttest.Fault{PathSuffix: "/message_destinations", Status: http.StatusOK, Body: `{"entities":[]}`})
		}, code: host.ExitStompForbidden, failed: "destination"},
		{name: "broker down", make: func(_ *testing.T, w *world, _ string) { w.broker.Stop() }, code: host.ExitStompError, failed: "stomp tcp"},
		{name: "broker login", users: map[string]brokertest.User{"somebody": {}}, code: host.ExitStompLogin, failed: "stomp login"},
		{name: "subscription", users: map[string]brokertest.User{"integration@example.com": {Passcode: "c4nary-soar", Read: []string{}}},
			code: host.ExitStompForbidden, failed: "stomp subscription"},
		{name: "ThreatQ", make: func(_ *testing.T, w *world, _ string) {
			w.threatq.Inject(threatqtest.Fault{PathPrefix: "/api/token", Status: http.StatusUnauthorized, Times: -1})
		}, code: host.ExitFailure, failed: "threatq login"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, config := queueWorld(t, test.users, 0)
			t.Setenv("NOT_IT", "c4nary-wrong")
			if test.make != nil {
				test.make(t, w, config)
			}
			code, stdout, stderr := call(t, "selftest", "-o", "json", "--config", config)
			assert.Equal(t, test.code, code, stdout+stderr)
			assert.NotContains(t, stdout+stderr, "c4nary")
			var report struct {
				OK       bool
				ExitCode int `json:"exit_code"`
				Steps    []struct{ Step, State, Text, Advice string }
			}
			require.NoError(t, json.Unmarshal([]byte(stdout), &report), "it is one JSON document whatever failed")
			assert.Equal(t, test.code, report.ExitCode)
			assert.Equal(t, test.code == host.ExitOK, report.OK)
			first := ""
			for _, step := range report.Steps {
				if step.State == "failed" {
					assert.NotEmpty(t, step.Text)
					assert.NotEmpty(t, step.Advice, step.Step)
					if first == "" {
						first = step.Step
					}
				}
			}
			assert.Equal(t, test.failed, first)
		})
	}
}

func TestSelftestStopsByCtrlC(t *testing.T) {
	_, config := queueWorld(t, nil, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr buffer
	assert.Equal(t, host.ExitInterrupted, Run(ctx, []string{"selftest", "--config", config}, streams(&stdout, &stderr)))
	assert.Equal(t, "fn-threatq selftest: interrupted: 0 steps had been played\n", stderr.String())
}
