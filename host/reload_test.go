package host

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/config"
	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/resilient/resilienttest"
)

// hot are the keys that a reload brings into effect. A new key belongs here, once it
// does, or among the cold ones of reload.go.
var hot = strings.Fields(`
	resilient.api_key_secret resilient.password resilient.cafile resilient.stomp_cafile resilient.stomp
	resilient.request_timeout resilient.request_max_retries resilient.request_retry_delay resilient.request_retry_backoff
	resilient.resource_prefix resilient.client_auth_cert resilient.client_auth_key
	resilient.proxy_host resilient.proxy_port resilient.proxy_user resilient.proxy_password resilient.proxy
	resilient.trap_exception resilient.selftest_timeout resilient.loglevel
	integrations.http_proxy integrations.https_proxy integrations.timeout
	fn_threatq.host fn_threatq.username fn_threatq.password fn_threatq.cid fn_threatq.custom_source fn_threatq.custom_attributes
	fn_threatq.custom_objects fn_threatq.verify fn_threatq.cafile fn_threatq.proxy fn_threatq.https_proxy fn_threatq.http_proxy
	fn_threatq.timeout fn_threatq.default_indicator_status fn_threatq.incident_object fn_threatq.sync_task_completion
	fn_threatq.unlink_on_delete fn_threatq.skip_private_ips fn_threatq.sync_passwords fn_threatq.historical_artifacts
	fn_threatq.max_related fn_threatq.max_attachment_mb fn_threatq.tlp fn_threatq.adopt_legacy_titles fn_threatq.trusted_keys
	fn_threatq.mode fn_threatq.record fn_threatq.record_days fn_threatq.record_mb`)

func TestEachKeyIsHotOrCold(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	declared := map[string]bool{}
	for _, f := range config.Fields() {
		if f.Ignored != "" {
			continue
		}
		declared[f.ID()] = true
		isCold := cold[f.ID()] != ""
		assert.True(t, isCold != slices.Contains(hot, f.ID()), "%s must be either hot (reload_test.go) or cold (reload.go)", f.ID())
		if isCold {
			assert.Contains(t, string(readme), "`"+f.Key+"`", "README.md names the keys that need a restart")
		}
	}
	for key := range cold {
		assert.True(t, declared[key], "there is no key %s", key)
	}
}

// reload reloads the app with the keys as they are now.
func (s *site) reload(t *testing.T, app *App) error {
	t.Helper()
	return app.Reload(t.Context(), func() (*config.Config, error) { return s.config(t), nil })
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	before, keys := app.live.Load(), s.keys
	logins := s.soar.OpenSessions()
	for name, test := range map[string]struct {
		key, value string
		code       int
		text       string
	}{
		"a wrong password":        {"password", "wr0ng-c4nary", ExitUnauthorized, "SOAR"},
		"no broker any more":      {"stomp", "0", ExitConfig, "stomp=0"},
		"a certificate of others": {"cafile", strangersCA(t), ExitTLS, "set cafile in [resilient]"},
	} {
		t.Run(name, func(t *testing.T) {
			s.keys = maps.Clone(keys)
			s.keys[test.key] = test.value
			err := s.reload(t, app)
			require.ErrorContains(t, err, test.text)
			assert.Equal(t, test.code, ExitCode(err), "%v", err)
			assert.NotContains(t, err.Error(), "c4nary")
			assert.Same(t, before, app.live.Load())
		})
	}
	s.keys = maps.Clone(keys)
	s.tq.Close()
	require.NoError(t, s.reload(t, app), "a ThreatQ that is down is not asked when nothing of it has changed")
	assert.Same(t, before.threatq.client, app.live.Load().threatq.client)
	assert.Equal(t, logins, s.soar.OpenSessions(), "nor is SOAR")
	stop()
	require.NoError(t, outcome(t, ended))
	assert.Zero(t, s.soar.OpenSessions(), "all sessions are closed, those of failed reloads too")
}

func strangersCA(t *testing.T) string {
	path := t.TempDir() + "/ca.pem"
	require.NoError(t, os.WriteFile(path, testcert.New().CAPEM(), 0o600))
	return path
}

func TestReloadTakesARenewedSecretAndClosesTheFormerSession(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	before := app.live.Load()
	s.soar.SetCredentials("renewed-c4nary", "renewed-c4nary")
	s.keys["password"] = "renewed-c4nary"
	require.NoError(t, s.reload(t, app))
	after := app.live.Load()
	assert.NotSame(t, before.soar.client, after.soar.client)
	assert.Same(t, before.threatq.client, after.threatq.client, "nothing of ThreatQ has changed")
	require.Eventually(t, func() bool { return s.soar.OpenSessions() == 1 }, patience, time.Millisecond, "the former session is closed")
	name, passcode := after.config.Resilient.Login()
	assert.Equal(t, email, name)
	assert.Equal(t, "renewed-c4nary", passcode.Reveal(), "the next connect to the broker uses it")
	assert.NotContains(t, s.logs.text(), "renewed-c4nary")

	// The certificates may change without the configuration.
	pem, err := os.ReadFile(s.keys["cafile"])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.keys["cafile"], append(pem, testcert.New().CAPEM()...), 0o600))
	require.NoError(t, s.reload(t, app))
	assert.NotSame(t, after.soar.client, app.live.Load().soar.client)
	assert.NotSame(t, after.threatq.client, app.live.Load().threatq.client)
	assert.False(t, after.stomp.RootCAs.Equal(app.live.Load().stomp.RootCAs))
	stop()
	require.NoError(t, outcome(t, ended))
	assert.Zero(t, s.soar.OpenSessions())
}

func TestReloadNamesKeysThatNeedARestart(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	host, before := s.keys["host"], app.live.Load()
	s.keys["host"], s.keys["trap_exception"] = "elsewhere.example.com", "true"
	for range 2 {
		require.NoError(t, s.reload(t, app), "the new host is not connected to")
	}
	assert.Equal(t, 2, strings.Count(s.logs.text(), "takes effect with a restart only"), "it is said each time")
	assert.Contains(t, s.logs.text(), "key=resilient.host")
	assert.Same(t, before.soar.client, app.live.Load().soar.client)
	assert.False(t, app.live.Load().config.Resilient.TrapException, "all of [resilient] waits for the restart")

	s.keys["host"], s.keys["logfile"] = host, "other.log"
	require.NoError(t, s.reload(t, app))
	assert.Contains(t, s.logs.text(), "key=resilient.logfile")
	assert.True(t, app.live.Load().config.Resilient.TrapException, "a log file keeps nothing else from being reloaded")
	stop()
	require.NoError(t, outcome(t, ended))
}

func TestReloadIsGivenUpWhenTheHostStops(t *testing.T) {
	s := newSite(t, resilienttest.Options{}, brokertest.Options{})
	app, stop, ended := s.run(t)
	awaitReady(t, app, ended)
	s.keys["trap_exception"] = "true"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := app.Reload(ctx, func() (*config.Config, error) { return s.config(t), nil })
	require.ErrorIs(t, err, context.Canceled)
	stop()
	require.NoError(t, outcome(t, ended))
	assert.Zero(t, s.soar.OpenSessions())
}
