package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fn-threatq/host/secret"
)

// build makes the typed result of the checked values, and checks what concerns several of them.
func (l *loader) build() *Config {
	config := &Config{Path: l.path, learnt: l.learnt}
	config.ThreatQ = l.buildThreatQ()
	config.Resilient = l.buildResilient(config.ThreatQ.MaxParallel)
	config.Modules = l.buildModules()
	config.TrustedKeys = l.trustedKeys()
	config.Log = l.buildLog()
	config.Ledger = Ledger{
		Age:  time.Duration(l.values[sectionThreatQ+".ledger_days"].number) * 24 * time.Hour,
		Size: int64(l.values[sectionThreatQ+".ledger_mb"].number) << 20,
	}
	mode := l.values[sectionThreatQ+".mode"]
	if config.Observe = mode.text == "observe"; config.Observe {
		l.warn(mode.problem("is observe: nothing is written to ThreatQ or SOAR, and each action is answered by what would have been done", "write mode=act, or leave it out, to do it"))
	}
	config.Record = Record{
		On:   l.values[sectionThreatQ+".record"].boolean,
		Age:  time.Duration(l.values[sectionThreatQ+".record_days"].number) * 24 * time.Hour,
		Size: int64(l.values[sectionThreatQ+".record_mb"].number) << 20,
	}
	config.LockFile = expandHome(l.env[lockVariable], l.home)
	path, err := filepath.Abs(l.path)
	switch {
	case config.LockFile != "":
	case err == nil && path == filepath.Join(l.root, ServiceFile):
		// Who works with the service's configuration must see that the service runs.
		config.LockFile = filepath.Join(l.root, ServiceLock)
	default:
		config.LockFile = filepath.Join(l.home, ".resilient", "resilient_circuits_lockfile")
	}
	for _, field := range l.fields {
		v := l.values[field.ID()]
		setting := Setting{Field: field, Text: v.Written, Origin: v.Origin}
		if v.secret() && v.Written != "" && !(v.resolved && secret.IsReference(v.Written)) {
			setting.Text = secret.Mask
		}
		config.Settings = append(config.Settings, setting)
	}
	return config
}

// trustedKeys are told apart by commas; ~ is the home directory.
func (l *loader) trustedKeys() (keys []string) {
	for key := range strings.SplitSeq(l.values[sectionThreatQ+".trusted_keys"].text, ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, expandHome(key, l.home))
		}
	}
	return keys
}

// defaultPrefetch is how many messages are held. Those that wait are held small,
// some 3 KB each, and equal ones that are held together are served together.
const defaultPrefetch = 10_000

func (l *loader) buildResilient(maxParallel int) Resilient {
	get := func(key string) value { return l.values[sectionResilient+"."+key] }
	r := Resilient{
		Host: get("host").text, Port: get("port").number, Org: get("org").text,
		Email: get("email").text, Password: secret.New(get("password").text),
		APIKeyID: get("api_key_id").text, APIKeySecret: secret.New(get("api_key_secret").text),
		StompEnabled: get("stomp").boolean, StompHost: get("stomp_host").text, StompPort: get("stomp_port").number,
		StompTimeout: get("stomp_timeout").seconds(), Prefetch: get("stomp_prefetch_limit").number,
		RequestTimeout: get("request_timeout").seconds(), RequestAttempts: get("request_max_retries").number,
		RequestRetryDelay: get("request_retry_delay").seconds(), RequestRetryBackoff: get("request_retry_backoff").number,
		SelftestTimeout: get("selftest_timeout").seconds(), TrapException: get("trap_exception").boolean,
	}
	if r.RequestAttempts < 1 {
		r.RequestAttempts = mostAttempts // the reference client repeats for ever
	}
	l.checkAccount(r, get)
	if prefix := strings.Trim(get("resource_prefix").text, "/"); prefix != "" {
		r.ResourcePrefix = "/" + prefix
	}
	if strings.ContainsAny(r.ResourcePrefix, "?# \t\n") {
		l.fail(get("resource_prefix").problem("is "+get("resource_prefix").shown()+", not a path", "write it as /api/respond"))
	}
	if !r.StompEnabled && l.inspect {
		l.warn(get("stomp").problem("switches the message broker off, without which there is nothing to run", "leave it out"))
	}
	if r.StompHost == "" {
		r.StompHost = r.Host
	}
	switch {
	case r.Prefetch == 0:
		r.Prefetch = max(defaultPrefetch, 2*maxParallel)
	case r.Prefetch < maxParallel:
		l.warn(get("stomp_prefetch_limit").problem(fmt.Sprintf("is less than max_parallel in [%s] (%d): at most %d actions run side by side",
			sectionThreatQ, maxParallel, r.Prefetch), "raise it, or leave it out"))
	}

	r.Trust = l.trust(get("cafile"))
	r.StompTrust = r.Trust
	if get("stomp_cafile").set {
		r.StompTrust = l.trust(get("stomp_cafile"))
	}
	r.Trust.ClientCert, r.Trust.ClientKey = get("client_auth_cert").text, get("client_auth_key").text
	l.checkClientCertificate(r.Trust, get)
	r.Proxy = l.resilientProxy(get)
	return r
}

// checkAccount tells the ways in which no account is complete.
func (l *loader) checkAccount(r Resilient, get func(string) value) {
	half := func(given, missing string) Problem {
		p := get(given).problem("is given without "+missing, "add "+missing)
		if line, found := l.blank[sectionResilient+"."+missing]; found {
			p.Advice = fmt.Sprintf("add a value to %s on line %d", missing, line)
		} else if misspelt, found := l.misspelt[sectionResilient+"."+missing]; found {
			p.Advice = fmt.Sprintf("line %d: unknown key %s – did you mean %s?", misspelt.Line, misspelt.Key, missing)
		}
		return p
	}
	var halves []Problem
	switch keyID, keySecret := r.APIKeyID != "", r.APIKeySecret.IsSet(); {
	case keyID && !keySecret:
		halves = append(halves, half("api_key_id", "api_key_secret"))
	case keySecret && !keyID:
		halves = append(halves, half("api_key_secret", "api_key_id"))
	}
	email, password := r.Email != "", r.Password.IsSet()
	emailComplete := email && password
	accountBroken := get("api_key_id").broken || get("api_key_secret").broken || get("email").broken || get("password").broken
	if !r.UsesAPIKey() {
		switch {
		case email && !password:
			halves = append(halves, half("email", "password"))
		case password && !email:
			halves = append(halves, half("password", "email"))
		}
	}
	switch {
	case r.UsesAPIKey() && emailComplete:
		l.warn(get("email").problem("is not used: the API key wins", "comment out the account that is not meant"))
	case r.UsesAPIKey(), accountBroken:
	case emailComplete:
		for _, problem := range halves {
			problem.Message += ": the API key is not used, email and password are"
			l.warn(problem)
		}
	case len(halves) > 0:
		for _, problem := range halves {
			l.fail(problem)
		}
	case l.headers[sectionResilient] > 0 || l.values[sectionResilient+".host"].set: // else the section as a whole is what is missing
		l.fail(Problem{File: l.path, Line: cmp.Or(l.blank[sectionResilient+".api_key_id"], l.headers[sectionResilient]), Section: sectionResilient,
			Message: fmt.Sprintf("no account in [%s]", sectionResilient), Advice: "give values to api_key_id and api_key_secret, or to email and password"})
	}
}

// trust reads a cafile (contract: cafile) and tries the file.
func (l *loader) trust(v value) Trust {
	t := Trust{Key: fmt.Sprintf("%s in [%s]", v.Key, v.Section)}
	switch {
	case !v.explicit, v.broken, strings.EqualFold(v.text, "true"):
	case v.text == "" && v.Origin.Kind == FromFile && v.Section == sectionResilient:
		l.warn(v.problem("is blank: certificates are verified with the system's roots, where resilient-circuits verified nothing",
			"if the server's certificate is refused, write cafile=PATH of a PEM file that holds it or its authority, or cafile=false to verify nothing"))
	case v.text == "":
	case strings.EqualFold(v.text, "false"):
		t.Insecure = true
		l.warn(v.problem("is false: the server's certificate is not verified, and whoever sits between can read the passwords", "write "+v.Key+"=PATH of a PEM file with the server's certificate"))
	default:
		t.File = expandHome(v.text, l.home)
		if _, err := t.TLSConfig(""); err != nil {
			l.failFile(v, err)
		}
	}
	return t
}

func (l *loader) checkClientCertificate(t Trust, get func(string) value) {
	cert, key := get("client_auth_cert"), get("client_auth_key")
	switch {
	case cert.set && !key.set:
		l.fail(cert.problem("is given without client_auth_key", "add client_auth_key"))
	case key.set && !cert.set:
		l.fail(key.problem("is given without client_auth_cert", "add client_auth_cert"))
	case cert.set:
		if _, err := (Trust{ClientCert: t.ClientCert, ClientKey: t.ClientKey}).TLSConfig(""); err != nil {
			l.failFile(cert, err)
		}
	}
}

func (l *loader) failFile(v value, err error) {
	problem := v.problem("cannot be used: "+err.Error(), "correct the path or the file")
	problem.cause = ErrCertificate
	l.fail(problem)
}

// resilientProxy is the proxy of the keys proxy_…, else of proxy; HTTPS_PROXY of the environment overrides both.
func (l *loader) resilientProxy(get func(string) value) Proxy {
	noProxy := l.env.either("no_proxy", "NO_PROXY")
	if text := l.env.either("https_proxy", "HTTPS_PROXY"); text != "" {
		return l.environmentProxy(text, noProxy)
	}
	host, port := get("proxy_host"), get("proxy_port")
	if !host.set {
		return l.proxy(get("proxy"), noProxy)
	}
	text := host.text
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	server, err := url.Parse(text)
	if err != nil || server.Hostname() == "" {
		l.fail(host.problem("is "+host.shown()+", not a server name", "write proxy_host=NAME and proxy_port=NUMBER"))
		return Proxy{}
	}
	if port.set {
		server.Host = net.JoinHostPort(server.Hostname(), strconv.Itoa(port.number))
	} else if server.Port() == "" {
		l.fail(host.problem("is given without proxy_port", "add proxy_port"))
	}
	if user := get("proxy_user"); user.set {
		server.User = url.UserPassword(user.text, get("proxy_password").text)
	}
	proxy, err := newProxy(server.String(), noProxy)
	if err != nil {
		l.fail(host.problem("cannot be used: "+err.Error(), "write proxy_host=NAME and proxy_port=NUMBER"))
	}
	return proxy
}

func (l *loader) proxy(v value, noProxy string) Proxy {
	proxy, err := newProxy(strings.TrimFunc(v.text, isSpace), noProxy)
	if err != nil {
		l.fail(v.problem("cannot be used: "+err.Error(), "write it as http://HOST:PORT"))
	}
	return proxy
}

func (l *loader) environmentProxy(text, noProxy string) Proxy {
	proxy, err := newProxy(text, noProxy)
	if err != nil {
		l.fail(Problem{Message: "the environment variable HTTPS_PROXY cannot be used: " + err.Error(), Advice: "write it as http://HOST:PORT"})
	}
	return proxy
}

func (l *loader) buildThreatQ() ThreatQ {
	get := func(key string) value { return l.values[sectionThreatQ+"."+key] }
	t := ThreatQ{
		Username: get("username").text, Password: secret.New(get("password").text), CID: secret.New(strings.TrimFunc(get("cid").text, isSpace)),
		MaxParallel: get("max_parallel").number, Hold: time.Duration(get("hold_minutes").number) * time.Minute, Standby: get("standby").boolean,
		RequestTimeout: get("timeout").seconds(),
	}
	if !get("timeout").set {
		t.RequestTimeout = l.values[sectionIntegrations+".timeout"].seconds()
	}
	if host := get("host"); host.set {
		base, err := threatqBase(host.text)
		if err != nil {
			l.fail(host.problem(fmt.Sprintf("cannot be used: %v", err), "write host, host:port or https://host:port"))
		}
		t.BaseURL = base
	}
	t.Trust = l.trust(get("cafile"))
	if verify := get("verify"); !verify.boolean && !verify.broken {
		t.Trust = Trust{Key: t.Trust.Key, Insecure: true}
		l.warn(verify.problem("is false: the certificate of ThreatQ is not verified, and whoever sits between can read the password", "write verify=true and cafile=PATH of a PEM file with its certificate"))
	}

	noProxy := l.env.either("no_proxy", "NO_PROXY")
	for _, id := range []string{sectionThreatQ + ".proxy", sectionThreatQ + ".https_proxy", sectionThreatQ + ".http_proxy",
		sectionIntegrations + ".https_proxy", sectionIntegrations + ".http_proxy"} {
		if v := l.values[id]; v.set {
			t.Proxy = l.proxy(v, noProxy)
			return t
		}
	}
	t.Proxy = l.environmentProxy(l.env.either("https_proxy", "HTTPS_PROXY"), noProxy)
	return t
}

// threatqBase reads host, host:port or an https URL with a trailing "/" or "/api" (contract: Transport). Its error does
// not quote the text, for a URL may hold a password.
func threatqBase(text string) (*url.URL, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	} else if strings.EqualFold(scheme, "http") {
		return nil, errors.New("ThreatQ is only spoken to by https, and this begins with http://")
	} else if !strings.EqualFold(scheme, "https") {
		return nil, errors.New("it does not begin with https://")
	}
	base, err := url.Parse("https://" + rest)
	switch {
	case err != nil:
		return nil, errors.New("it is not a host name or URL")
	case base.User != nil:
		return nil, errors.New("it holds a user name, which belongs into username and password")
	case base.RawQuery != "" || base.ForceQuery:
		return nil, errors.New("it has a query (?…)")
	case base.Fragment != "" || strings.Contains(rest, "#"):
		return nil, errors.New("it has a fragment (#…)")
	}
	switch strings.TrimSuffix(base.Path, "/") {
	case "", "/api":
	default:
		return nil, errors.New("it has a path")
	}
	if !isHostName(base.Hostname()) {
		return nil, errors.New("it has no valid host name")
	}
	if strings.HasSuffix(base.Host, ":") {
		return nil, errors.New("it has a colon without a port")
	}
	if port := base.Port(); port != "" {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > maxPort {
			return nil, fmt.Errorf("its port is not from 1 to %d", maxPort)
		}
	}
	return &url.URL{Scheme: "https", Host: base.Host}, nil
}

// checkHost refuses what is no server name.
func (l *loader) checkHost(v value) {
	if isHostName(v.text) {
		return
	}
	advice := "write only the name or address of the server"
	if host, port, err := net.SplitHostPort(v.text); err == nil && isHostName(host) {
		portKey := strings.TrimSuffix(v.Key, "host") + "port"
		advice = fmt.Sprintf("write %s=%s and %s=%s", v.Key, host, portKey, port)
	} else if strings.Contains(v.text, "://") {
		advice = "write only the name of the server, without https:// and path"
	}
	l.fail(v.problem("is "+v.shown()+", not a server name", advice))
}

// isHostName accepts addresses and names, also international ones and such with an underscore.
func isHostName(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	return text != "" && !strings.ContainsAny(text, " \t\n/\\@:?#[]<>\"'%,;=&|^`{}()*!$")
}

// longestSource is the greatest number of characters in the name of a ThreatQ source.
const longestSource = 200

func (l *loader) buildModules() map[string]string {
	modules := make(map[string]string)
	for _, field := range l.fields {
		v := l.values[field.ID()]
		if !field.Module {
			continue
		}
		switch {
		case !v.set:
			modules[field.Key] = ""
		case field.Kind == KindBoolean:
			modules[field.Key] = strconv.FormatBool(v.boolean)
		case field.Kind == KindNumber:
			modules[field.Key] = strconv.Itoa(v.number)
		case field.Kind == KindMapping:
			modules[field.Key] = formatMapping(v.pairs)
		default:
			modules[field.Key] = v.text
		}
	}
	source := l.values[sectionThreatQ+".custom_source"]
	modules[source.Key] = l.cleanSource(source)
	return modules
}

// cleanSource makes a source name that ThreatQ takes: a comma would divide it into two.
func (l *loader) cleanSource(v value) string {
	name := v.text
	if strings.Contains(name, ",") {
		l.warn(v.problem("has commas, which ThreatQ does not take: they become blanks", "write the name without commas"))
		name = strings.Join(strings.Fields(strings.ReplaceAll(name, ",", " ")), " ")
	}
	if utf8.RuneCountInString(name) > longestSource {
		l.warn(v.problem(fmt.Sprintf("is longer than %d characters: the rest is cut off", longestSource), "write a shorter name"))
		name = strings.TrimFunc(string([]rune(name)[:longestSource]), isSpace)
	}
	if name == "" {
		return v.Default
	}
	return name
}

// smallestLog is the least size of a rotated log file, in bytes, that resilient-circuits takes.
const smallestLog = 100000

func (l *loader) buildLog() Log {
	get := func(key string) value { return l.values[sectionResilient+"."+key] }
	log := Log{Level: slog.LevelInfo, Dir: get("logdir").text, File: get("logfile").text,
		MaxBytes: int64(get("log_max_bytes").number), BackupCount: get("log_backup_count").number}
	switch get("loglevel").text {
	case "DEBUG", "NOTSET":
		log.Level = slog.LevelDebug
	case "WARNING", "WARN":
		log.Level = slog.LevelWarn
	case "ERROR":
		log.Level = slog.LevelError
	case "CRITICAL", "FATAL":
		log.Level = slog.LevelError + 4
	}
	if v := get("log_max_bytes"); log.MaxBytes > 0 && log.MaxBytes < smallestLog {
		l.fail(v.problem(fmt.Sprintf("is %s, less than %d", v.shown(), smallestLog), "write 0 for no rotation, or a larger number"))
	}
	if log.File != filepath.Base(log.File) {
		l.fail(get("logfile").problem("is "+get("logfile").shown()+", not a file name", "write the directory into logdir"))
	}
	if info, err := os.Stat(log.Dir); log.Dir != "" && (err != nil || !info.IsDir()) {
		l.warn(get("logdir").problem("is "+get("logdir").shown()+", which is no directory: there is no log file, only stderr", "create the directory, or correct the path"))
		log.Dir = ""
	}
	return log
}
