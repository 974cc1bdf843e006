package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/secret"
)

const (
	resilientPart = "[resilient]\nhost=soar.example.com\norg=My Org\napi_key_id=key-id\napi_key_secret=key-secret\n"
	threatqPart   = "[fn_threatq]\nhost=threatq.example.com\nusername=me\npassword=tq-password\ncid=tq-client\n"
)

// write puts a configuration into a private file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.config")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// load loads text that has no mistakes, with the given environment only.
func load(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	config, err := Load(Options{Path: write(t, text), Environ: append([]string{}, environ...), Home: "/home/integration"})
	require.NoError(t, err)
	return config
}

func messages(problems []Problem) string {
	var texts []string
	for _, problem := range problems {
		texts = append(texts, problem.String())
	}
	return strings.Join(texts, "\n")
}

// TestTemplate loads a file that was made for resilient-circuits: its template, the guide's section, and other apps.
func TestTemplate(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "app.config"))
	require.NoError(t, err)
	config := load(t, string(data))

	r := config.Resilient
	assert.Equal(t, "soar.example.com", r.Host)
	assert.Equal(t, 443, r.Port)
	assert.Equal(t, "My Org", r.Org)
	assert.False(t, r.UsesAPIKey())
	name, password := r.Login()
	assert.Equal(t, "integration@example.com", name)
	assert.Equal(t, "MyPassword", password.Reveal())
	assert.Equal(t, "soar.example.com", r.StompHost)
	assert.Equal(t, 65001, r.StompPort)
	assert.Equal(t, 2*time.Minute, r.StompTimeout)
	assert.Equal(t, 10_000, r.Prefetch)
	assert.True(t, r.StompEnabled)
	assert.True(t, r.Trust.Insecure)
	assert.True(t, r.StompTrust.Insecure)
	assert.False(t, config.ThreatQ.Trust.Insecure)
	assert.Equal(t, 10*time.Second, r.SelftestTimeout)
	assert.Equal(t, 5, r.RequestAttempts)

	assert.Equal(t, "https://threatq.example.com", config.ThreatQ.BaseURL.String())
	assert.Equal(t, "Tq;Pass#word%1", config.ThreatQ.Password.Reveal())
	assert.Equal(t, "0123456789abcdef", config.ThreatQ.CID.Reveal())
	assert.Equal(t, 45*time.Second, config.ThreatQ.RequestTimeout)
	assert.Equal(t, 64, config.ThreatQ.MaxParallel)
	assert.Equal(t, map[string]string{
		"custom_source": "Resilient", "custom_attributes": "internal_severity=Severity,internal_confidence=Confidence", "custom_objects": "",
		"default_indicator_status": "Review", "incident_object": "event", "sync_task_completion": "true", "unlink_on_delete": "false",
		"skip_private_ips": "false", "sync_passwords": "false", "historical_artifacts": "true", "max_related": "500", "max_attachment_mb": "100",
		"tlp": "", "adopt_legacy_titles": "false",
	}, config.Modules)

	assert.Equal(t, Log{Level: slog.LevelInfo, Dir: "/tmp", File: "app.log", MaxBytes: 10000000, BackupCount: 10}, config.Log)
	assert.Equal(t, "/home/integration/.resilient/resilient_circuits_lockfile", config.LockFile)
	require.Len(t, config.Warnings, 3, messages(config.Warnings))
	assert.Contains(t, config.Warnings[0].Message, "stomp_max_retries in [resilient] has no effect: ")
	assert.Contains(t, config.Warnings[1].Message, "num_workers in [resilient] has no effect: ")
	assert.Contains(t, config.Warnings[2].Message, "cafile in [resilient] is false")
}

// TestPasswordsVerbatim holds that what stands behind the delimiter is the password, whatever it looks like.
func TestPasswordsVerbatim(t *testing.T) {
	for _, password := range []string{`a#b`, `#a`, `;a`, `a ;b`, `a # b`, `=a=`, `a=b`, `:a`, `%a%%(x)s`, `"a"`, `"a`, `a"`, `'a'`, `'`, "`a`", "`a", "`",
		`a\`, `\`, `a\\`, `"""a"""`, `"""`, `a${`, `a$b`, `a^b`, `[a]`, `{}`, `пароль€😀`, `a,b`, `a  b`, `-`, `$`, `^`} {
		t.Run(password, func(t *testing.T) {
			config := load(t, resilientPart+"[fn_threatq]\nhost=h\nusername=u\npassword = "+password+" \ncid=c\n")
			assert.Equal(t, password, config.ThreatQ.Password.Reveal())
			assert.Empty(t, config.Warnings)
			config = load(t, resilientPart+threatqPart, "FN_THREATQ_PASSWORD=$"+password)
			assert.Equal(t, "$"+password, config.ThreatQ.Password.Reveal(), "the environment is taken as it is")
		})
	}
}

func TestPrecedence(t *testing.T) {
	origin := func(config *Config, id string) string {
		at := slices.IndexFunc(config.Settings, func(s Setting) bool { return s.ID() == id })
		require.GreaterOrEqual(t, at, 0)
		return config.Settings[at].Text + " " + config.Settings[at].Origin.String()
	}
	plain := resilientPart + threatqPart
	withPort := resilientPart + "port=1\n" + threatqPart

	config := load(t, plain)
	assert.Equal(t, 443, config.Resilient.Port)
	assert.Equal(t, "443 default", origin(config, "resilient.port"))

	config = load(t, withPort)
	assert.Equal(t, 1, config.Resilient.Port)
	assert.Equal(t, "1 "+config.Path+":6", origin(config, "resilient.port"))

	config = load(t, withPort, "RESILIENT_PORT=2")
	assert.Equal(t, 2, config.Resilient.Port)
	assert.Equal(t, "2 environment RESILIENT_PORT", origin(config, "resilient.port"))

	config, err := Load(Options{Path: write(t, withPort), Environ: []string{"RESILIENT_PORT=2"}, Overrides: map[string]string{"resilient.port": "3"}})
	require.NoError(t, err)
	assert.Equal(t, 3, config.Resilient.Port)
	assert.Equal(t, "3 command line resilient.port", origin(config, "resilient.port"))

	config, err = Load(Options{Path: write(t, withPort), Environ: []string{"RESILIENT_PORT=", "PORT=9"}, Overrides: map[string]string{"resilient.port": "$PORT", "resilient.stomp_port": ""}})
	require.NoError(t, err)
	assert.Equal(t, 9, config.Resilient.Port, "an override may be a reference")
	assert.Equal(t, 65001, config.Resilient.StompPort, "a blank override gives the default")

	assert.Equal(t, 1, load(t, withPort, "RESILIENT_PORT=").Resilient.Port, "an empty variable counts as not set")
	assert.Equal(t, 65001, load(t, resilientPart+"stomp_port=\n"+threatqPart).Resilient.StompPort, "so does a blank value")
	assert.Equal(t, 77, load(t, "[DEFAULT]\nport=77\nunheard_of=1\n"+plain).Resilient.Port)
	assert.Equal(t, 1, load(t, "[DEFAULT]\nport=77\n"+withPort).Resilient.Port)

	_, err = Load(Options{Path: write(t, plain), Environ: []string{}, Overrides: map[string]string{"resilient.hots": "x"}})
	assert.EqualError(t, err, "configuration: the command line sets the unknown key resilient.hots; did you mean host?")
}

func TestEnvironment(t *testing.T) {
	config := load(t, resilientPart+"loglevel=ERROR\nlogdir=/\n"+threatqPart,
		"LOGLEVEL=debug", "APP_LOG_DIR=/tmp", "APP_LOCK_FILE=~/functions.lock", "RESILIENT_STOMP_TIMEOUT=7", "RESILIENT_STOMP_MAX_RETRIES=9",
		"FN_THREATQ_CUSTOM_SOURCE=From env", "FN_THREATQ_MAX_PARALEL=3", "FN_THREATQ_STATE_DIRECTORY=/x", "RESOURCE_PREFIX=api/respond/")
	assert.Equal(t, slog.LevelDebug, config.Log.Level)
	assert.Equal(t, "/", config.Log.Dir, "the file wins over APP_LOG_DIR, as with resilient-circuits")
	assert.Equal(t, "/home/integration/functions.lock", config.LockFile)
	assert.Equal(t, 7*time.Second, config.Resilient.StompTimeout)
	assert.Equal(t, "From env", config.Modules["custom_source"])
	assert.Equal(t, "/api/respond", config.Resilient.ResourcePrefix)
	assert.Equal(t, "the environment variable FN_THREATQ_MAX_PARALEL stands for no key; did you mean FN_THREATQ_MAX_PARALLEL?", messages(config.Warnings))

	assert.Equal(t, "/tmp", load(t, resilientPart+threatqPart, "APP_LOG_DIR=/tmp").Log.Dir)
	assert.Empty(t, load(t, resilientPart+threatqPart).Log.Dir)
	assert.Equal(t, slog.LevelWarn, load(t, resilientPart+threatqPart, "LOGLEVEL=ERROR", "RESILIENT_LOGLEVEL=warning").Log.Level)

	_, err := Load(Options{Path: write(t, resilientPart+threatqPart), Environ: []string{"RESILIENT_PORT=many"}})
	assert.EqualError(t, err, `configuration: port in [resilient] is "many", not a whole number (environment RESILIENT_PORT); write a number from 1 to 65535`)
}

func TestReferences(t *testing.T) {
	config := load(t, resilientPart+"[fn_threatq]\nhost=${TQ}.example.com\nusername=$TQ_USER\npassword=$TQ_PASSWORD\ncid=a${TQ}b${MISSING}\n",
		"TQ=tq", "TQ_USER=someone ", "TQ_PASSWORD= $TQ #x ")
	assert.Equal(t, "tq.example.com", config.ThreatQ.BaseURL.Host)
	assert.Equal(t, "someone", config.ThreatQ.Username)
	assert.Equal(t, " $TQ #x ", config.ThreatQ.Password.Reveal())
	assert.Equal(t, "atqb${MISSING}", config.ThreatQ.CID.Reveal())
	require.Len(t, config.Warnings, 1)
	assert.Equal(t, 10, config.Warnings[0].Line)
	assert.Equal(t, "cid", config.Warnings[0].Key)
	shown := make(map[string]string)
	for _, setting := range config.Settings {
		shown[setting.ID()] = setting.Text
	}
	assert.Equal(t, "$TQ_PASSWORD", shown["fn_threatq.password"], "a reference may be shown")
	assert.Equal(t, secret.Mask, shown["fn_threatq.cid"], "a literal part may not")
	assert.Equal(t, secret.Mask, shown["resilient.api_key_secret"])
	assert.Empty(t, shown["resilient.password"])
}

func TestReferenceWhereNoneIsResolved(t *testing.T) {
	config := load(t, resilientPart+threatqPart, "FN_THREATQ_PASSWORD=${file:/etc/C4NARY}")
	assert.Equal(t, "${file:/etc/C4NARY}", config.ThreatQ.Password.Reveal())
	assert.Equal(t, "password in [fn_threatq] looks like a reference and is taken as the secret itself (environment FN_THREATQ_PASSWORD); write references into the file", messages(config.Warnings))
}

func TestThreatQHost(t *testing.T) {
	for text, want := range map[string]string{
		"threatq": "https://threatq", "threatq.example.com": "https://threatq.example.com", "threatq:8443": "https://threatq:8443",
		"https://threatq": "https://threatq", "HTTPS://threatq:8443/": "https://threatq:8443", "https://threatq/api": "https://threatq",
		"https://threatq:8443/api/": "https://threatq:8443", "threatq/api": "https://threatq", "threatq/": "https://threatq",
		"10.0.0.1": "https://10.0.0.1", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443",
	} {
		base, err := threatqBase(text)
		if assert.NoError(t, err, text) {
			assert.Equal(t, want, base.String(), text)
		}
	}
	for text, want := range map[string]string{
		"http://threatq": "begins with http://", "ftp://threatq": "not begin with https://", "https://me:C4NARY@threatq": "user name", "me@threatq": "user name",
		"threatq?x=1": "query", "threatq?": "query", "https://threatq/#": "fragment", "https://threatq/api#x": "fragment", "threatq/api/v1": "path", "https://": "host name",
		"threatq:0": "port", "threatq:65536": "port", "threatq:": "colon", "threatq:C4NARY": "not a host name", "thr eatq": "host name", ":8443": "host name", "a,b": "host name",
	} {
		_, err := threatqBase(text)
		if assert.ErrorContains(t, err, want, text) {
			assert.NotContains(t, err.Error(), "C4NARY")
		}
	}
}

func TestProxies(t *testing.T) {
	target := &url.URL{Scheme: "https", Host: "soar.example.com:443"}
	through := func(p Proxy, target *url.URL) string {
		proxy, err := p.ForRequest(&http.Request{URL: target})
		require.NoError(t, err)
		if proxy == nil {
			return "direct"
		}
		return proxy.String()
	}
	none := load(t, resilientPart+threatqPart)
	assert.Equal(t, "direct", through(none.Resilient.Proxy, target))
	assert.False(t, none.ThreatQ.Proxy.IsSet())

	keys := resilientPart + "proxy_host=proxy.example.com\nproxy_port=3128\nproxy_user=me\nproxy_password=p@ss/w%rd\nproxy=http://unused:1\n" +
		"[integrations]\nhttp_proxy=http://integrations:1\n" + threatqPart
	config := load(t, keys, "NO_PROXY=.internal,10.0.0.0/8")
	proxy, err := config.Resilient.Proxy.ForURL(target)
	require.NoError(t, err)
	password, _ := proxy.User.Password()
	assert.Equal(t, "p@ss/w%rd", password)
	assert.Equal(t, "proxy.example.com:3128", proxy.Host)
	assert.Equal(t, "http://proxy.example.com:3128", config.Resilient.Proxy.String())
	assert.Equal(t, "direct", through(config.Resilient.Proxy, &url.URL{Scheme: "https", Host: "soar.internal"}))
	assert.Equal(t, "direct", through(config.Resilient.Proxy, &url.URL{Scheme: "https", Host: "10.1.2.3"}))
	assert.Equal(t, "http://integrations:1", through(config.ThreatQ.Proxy, target))

	assert.Equal(t, "http://env:2", through(load(t, keys, "HTTPS_PROXY=env:2").Resilient.Proxy, target), "the environment overrides the keys of [resilient]")
	assert.Equal(t, "http://integrations:1", through(load(t, keys, "HTTPS_PROXY=env:2").ThreatQ.Proxy, target), "and not those for ThreatQ")
	assert.Equal(t, "http://env:2", through(load(t, resilientPart+threatqPart, "https_proxy=http://env:2").ThreatQ.Proxy, target))
	own := load(t, keys+"http_proxy=http://a:1\nhttps_proxy=http://b:1\n")
	assert.Equal(t, "http://b:1", through(own.ThreatQ.Proxy, target))
	own = load(t, keys+"http_proxy=http://a:1\nproxy=https://c:1\n")
	assert.Equal(t, "https://c:1", through(own.ThreatQ.Proxy, target))
	assert.Equal(t, "http://one:1", through(load(t, resilientPart+"proxy=one:1\n"+threatqPart).Resilient.Proxy, target))
}

func TestDerivedValues(t *testing.T) {
	config := load(t, resilientPart+"stomp_host=broker.example.com\nstomp=0\nrequest_max_retries=-1\nstomp_cafile=true\ncafile=TRUE\n"+threatqPart+
		"max_parallel=4\ntimeout=3\nTLP=Amber\nIncident_Object=EVENT\ncustom_attributes= properties.a = B = C ,\nsync_passwords=On\nCustom_ Source=Mine\nmax_related=007\n")
	name, keySecret := config.Resilient.Login()
	assert.True(t, config.Resilient.UsesAPIKey())
	assert.Equal(t, "key-id", name)
	assert.Equal(t, "key-secret", keySecret.Reveal())
	assert.Equal(t, "broker.example.com", config.Resilient.StompHost)
	assert.False(t, config.Resilient.StompEnabled)
	assert.Equal(t, 100, config.Resilient.RequestAttempts)
	assert.Equal(t, 10_000, config.Resilient.Prefetch)
	assert.Equal(t, 3*time.Second, config.ThreatQ.RequestTimeout)
	assert.Equal(t, "amber", config.Modules["tlp"])
	assert.Equal(t, "event", config.Modules["incident_object"])
	assert.Equal(t, "properties.a=B = C", config.Modules["custom_attributes"])
	assert.Equal(t, "true", config.Modules["sync_passwords"])
	assert.Equal(t, "Mine", config.Modules["custom_source"])
	assert.Equal(t, "7", config.Modules["max_related"])
	assert.Equal(t, Trust{Key: "cafile in [resilient]"}, config.Resilient.Trust)
	assert.Empty(t, config.Warnings)

	source := load(t, resilientPart+threatqPart+"custom_source=a, b,,c"+strings.Repeat("ü", 300)+"\n").Modules["custom_source"]
	assert.Equal(t, "a b c"+strings.Repeat("ü", 195), source)
	assert.Equal(t, "Resilient", load(t, resilientPart+threatqPart+"custom_source=,\n").Modules["custom_source"])
}

// TestModulesGetNoSecret holds that no key of a secret kind can be marked for modules.
func TestModulesGetNoSecret(t *testing.T) {
	for _, field := range Fields() {
		if field.Module {
			assert.NotContains(t, []Kind{KindSecret, KindProxy, KindTrust}, field.Kind, field.ID())
			assert.Equal(t, sectionThreatQ, field.Section)
		}
	}
}

// TestFieldTable holds what the code takes for granted of each declaration.
func TestFieldTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, field := range Fields() {
		assert.False(t, seen[field.ID()], "%s is declared twice", field.ID())
		seen[field.ID()] = true
		assert.Equal(t, strings.ToLower(field.Key), field.Key)
		assert.NotEqual(t, field.Doc == "", field.Ignored == "", "%s has either an effect or a reason", field.ID())
		if field.Default != "" || field.Kind == KindNumber || field.Kind == KindSeconds {
			l := newLoader(environment{}, "/home/integration", "app.config")
			l.decode(field, entry{field.Default, Origin{Kind: FromDefault}})
			assert.Empty(t, l.problems, "the default of %s is valid", field.ID())
			assert.False(t, field.Ignored == "" && (field.Kind == KindNumber || field.Kind == KindSeconds) && field.Max == 0, "%s has no limits", field.ID())
		}
	}
}

// TestNoSecretIsShown puts a canary into every key that takes one and looks everywhere that people look.
func TestNoSecretIsShown(t *testing.T) {
	config := load(t, "[resilient]\nhost=h\norg=o\napi_key_id=i\napi_key_secret=C4NARY-1\nemail=e\npassword=C4NARY-2\nproxy_host=p\nproxy_port=1\nproxy_user=u\nproxy_password=C4NARY-3\n"+
		"proxy=http://u:C4NARY-4@p:1\n[integrations]\nhttp_proxy=u:C4NARY-5@p:1\n[fn_threatq]\nhost=h\nusername=u\npassword=C4NARY-6\ncid=$CID\nproxy=http://u:C4NARY-7@p:1\n", "CID=C4NARY-8")
	encoded, err := json.Marshal(config)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "config", config, "proxy", config.Resilient.Proxy)
	for _, shown := range []string{fmt.Sprintf("%+v %v %#v", *config, config, *config), string(encoded), log.String(), messages(config.Warnings)} {
		assert.NotContains(t, shown, "C4NARY")
	}
	redactor := secret.NewRedactor(config.Secrets()...)
	for _, n := range []int{1, 2, 3, 6, 7, 8} { // 4 and 5 are overridden
		assert.Equal(t, "a *** b", redactor.Redact(fmt.Sprintf("a C4NARY-%d b", n)))
	}
}

func TestPermissions(t *testing.T) {
	warning := func(text string, mode os.FileMode) string {
		path := write(t, text)
		require.NoError(t, os.Chmod(path, mode))
		config, err := Load(Options{Path: path, Environ: []string{"S=secret"}})
		require.NoError(t, err)
		return strings.ReplaceAll(messages(config.Warnings), path, "FILE")
	}
	literal := resilientPart + threatqPart
	const want = "FILE: the file holds secrets and every user of this machine can read it; chmod 600 FILE"
	assert.Equal(t, want, warning(literal, 0o644))
	assert.Empty(t, warning(literal, 0o640))
	references := strings.NewReplacer("=key-secret", "=$S", "=tq-password", "=$S", "=tq-client", "=${S}").Replace(literal)
	assert.Empty(t, warning(references, 0o644))
	assert.Empty(t, warning(references+"proxy=http://proxy:3128\n", 0o644))
	assert.Equal(t, want, warning(references+"proxy=http://u:p@proxy:3128\n", 0o644))
}

func TestLocate(t *testing.T) {
	home, work, root := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(work)
	lock := ""
	put := func(path string) string {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(resilientPart+threatqPart), 0o600))
		return path
	}
	loaded := func(path string, environ ...string) string {
		config, err := Load(Options{Path: path, Environ: append([]string{}, environ...), Home: home, Root: root})
		require.NoError(t, err)
		lock = config.LockFile
		return config.Path
	}
	_, err := Load(Options{Environ: []string{}, Home: home, Root: root})
	require.ErrorIs(t, err, ErrNoFile)
	ofService := filepath.Join(root, ServiceFile)
	for _, place := range []string{"APP_CONFIG_FILE", "app.config", filepath.Join(home, ".resilient", "app.config"), ofService} {
		assert.ErrorContains(t, err, place)
	}
	put(ofService)
	assert.Equal(t, ofService, loaded(""))
	assert.Equal(t, filepath.Join(root, ServiceLock), lock, "it is the service that must not run meanwhile")
	loaded("", "APP_LOCK_FILE=/other")
	assert.Equal(t, "/other", lock)

	atHome := put(filepath.Join(home, ".resilient", "app.config"))
	assert.Equal(t, atHome, loaded(""))
	assert.Equal(t, filepath.Join(home, ".resilient", "resilient_circuits_lockfile"), lock)
	loaded(ofService)
	assert.Equal(t, filepath.Join(root, ServiceLock), lock, "also where the service's file is named")
	put("app.config")
	assert.Equal(t, "app.config", loaded(""))
	named := put(filepath.Join(home, "named.config"))
	assert.Equal(t, named, loaded("", "APP_CONFIG_FILE=~/named.config"))
	assert.Equal(t, atHome, loaded("~/.resilient/app.config", "APP_CONFIG_FILE="+named))

	_, err = Load(Options{Environ: []string{"APP_CONFIG_FILE=" + named + "x"}, Home: home})
	require.ErrorIs(t, err, ErrNoFile)
	assert.EqualError(t, err, "configuration: "+named+"x: the configuration file named by APP_CONFIG_FILE cannot be read: no such file or directory; correct the path, or make the file: fn-threatq config create "+named+"x")
	_, err = Load(Options{Path: home, Environ: []string{}})
	require.ErrorIs(t, err, ErrNoFile)
	assert.ErrorContains(t, err, "is a directory")
}

func TestParseMapping(t *testing.T) {
	pairs, err := ParseMapping(" internal_severity=Severity, internal_confidence = Confidence ,, properties.x=A=B,internal_severity=Other,")
	require.NoError(t, err)
	assert.Equal(t, []Pair{{"internal_severity", "Severity"}, {"internal_confidence", "Confidence"}, {"properties.x", "A=B"}, {"internal_severity", "Other"}}, pairs)
	again, err := ParseMapping(formatMapping(pairs))
	require.NoError(t, err)
	assert.Equal(t, pairs, again)
	pairs, err = ParseMapping("a=b,\n  c=d")
	require.NoError(t, err)
	assert.Len(t, pairs, 2)
	pairs, err = ParseMapping(" ")
	require.NoError(t, err)
	assert.Empty(t, pairs)
	pairs, err = ParseMapping("a,=b,c=,d=e")
	assert.EqualError(t, err, "pair \"a\" has no \"=\"\npair \"=b\" has no field before its \"=\"\npair \"c=\" has no name after its \"=\"")
	assert.Equal(t, []Pair{{"d", "e"}}, pairs)
}

func TestNearest(t *testing.T) {
	l := newLoader(environment{}, "", "")
	for word, want := range map[string]string{
		"hots": "host", "hsot": "host", "passwrod": "password", "passwd": "password", "pasword": "password", "user_name": "username", "user-name": "username",
		"customsource": "custom_source", "client_id": "", "x": "", "": "", "api_key": "", "cdi": "cid", "maxparalell": "max_parallel",
	} {
		assert.Equal(t, want, nearest(word, l.keys(sectionThreatQ)), word)
	}
}

func TestTrapExceptionIsOffUnlessAsked(t *testing.T) {
	assert.False(t, load(t, resilientPart+threatqPart).Resilient.TrapException)
	for text, want := range map[string]bool{"true": true, "True": true, "1": true, "False": false, "no": false} {
		config := load(t, resilientPart+"trap_exception="+text+"\n"+threatqPart)
		assert.Equal(t, want, config.Resilient.TrapException, text)
		assert.NotContains(t, messages(config.Warnings), "trap_exception", text)
	}
}
