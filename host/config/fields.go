package config

import (
	"slices"
	"strings"
	"sync"
)

// The sections of app.config that concern this host; all others belong to other apps.
const (
	sectionResilient    = "resilient"
	sectionIntegrations = "integrations"
	sectionThreatQ      = "fn_threatq"
)

// sections are their names in the order of the file.
var sections = []string{sectionResilient, sectionIntegrations, sectionThreatQ}

// Kind is the form of a field's value.
type Kind string

// The forms of values.
const (
	KindText    Kind = "text"
	KindSecret  Kind = "secret"  // as text, never shown
	KindNumber  Kind = "number"  // whole
	KindSeconds Kind = "seconds" // whole
	KindBoolean Kind = "boolean" // true/false, yes/no, on/off, 1/0 in any case, as in Python
	KindPath    Kind = "path"    // file or directory; ~ is the home directory
	KindTrust   Kind = "cafile"  // PEM file, false, or nothing: see Trust
	KindMapping Kind = "mapping" // FIELD=NAME pairs: see ParseMapping
	KindChoice  Kind = "choice"  // one of Choices, in any case
	KindHost    Kind = "host"    // server name or address, without scheme and port
	KindProxy   Kind = "proxy"   // URL or host:port; not shown when there is an account in it
)

// Field declares one key of app.config. Parsing, validation, suggestions for misspelt keys, environment variables and
// the reference table all follow from it.
type Field struct {
	Section, Key string
	Kind         Kind
	Default      string // as it would be written in the file; empty for none
	Required     bool
	Min, Max     int      // of KindNumber and KindSeconds; no limit where both are 0
	Choices      []string // of KindChoice
	Env          string   // an environment variable of the reference client that overrides the file
	EnvDefault   string   // an environment variable that counts when the file does not have the key
	Module       bool     // handed to modules in Config.Modules
	Doc          string   // one sentence without a full stop
	Ignored      string   // why the key is accepted without effect; empty when it has one
}

// ID returns "SECTION.KEY", the name of a command-line override.
func (f Field) ID() string { return f.Section + "." + f.Key }

// EnvVariable returns the name of the general environment override, such as RESILIENT_HOST or FN_THREATQ_CID;
// [integrations] has none.
func (f Field) EnvVariable() string {
	if f.Section == sectionIntegrations {
		return ""
	}
	return strings.ToUpper(f.Section + "_" + f.Key)
}

// Fields returns the declarations of all keys, in the order of the reference table.
func Fields() []Field { return slices.Concat(resilientFields, integrationsFields, threatqFields) }

var fieldsByID = sync.OnceValue(func() map[string]Field {
	byID := make(map[string]Field)
	for _, field := range Fields() {
		byID[field.ID()] = field
	}
	return byID
})

// Lookup returns the declaration of a key.
func Lookup(section, key string) (Field, bool) {
	field, found := fieldsByID()[section+"."+key]
	return field, found
}

func declare(section string, fields []Field) []Field {
	for i := range fields {
		fields[i].Section = section
	}
	return fields
}

const (
	maxPort      = 65535
	mostAttempts = 100
)

var resilientFields = declare(sectionResilient, []Field{
	{Key: "host", Kind: KindHost, Required: true, Doc: "name or address of the SOAR server"},
	{Key: "port", Kind: KindNumber, Default: "443", Min: 1, Max: maxPort, Doc: "REST port"},
	{Key: "org", Kind: KindText, Required: true, Doc: "organization: name (case-sensitive), UUID, Cloud account or number"},
	{Key: "api_key_id", Kind: KindText, Doc: "API key account: id; an API key wins over `email` and `password`"},
	{Key: "api_key_secret", Kind: KindSecret, Doc: "API key account: secret"},
	{Key: "email", Kind: KindText, Doc: "e-mail of the account, where there is no API key"},
	{Key: "password", Kind: KindSecret, Doc: "password of the account"},
	{Key: "cafile", Kind: KindTrust, Doc: "PEM file of the certificates to trust (only these); absent: those of the system; `false`: no verification"},
	{Key: "stomp_host", Kind: KindHost, Doc: "server of the message broker; absent: `host`"},
	{Key: "stomp_port", Kind: KindNumber, Default: "65001", Min: 1, Max: maxPort, Doc: "port of the message broker"},
	{Key: "stomp_cafile", Kind: KindTrust, Doc: "as `cafile`, for the message broker; absent: `cafile`"},
	{Key: "stomp_timeout", Kind: KindSeconds, Default: "60", Min: 1, Max: 3600, Doc: "time to connect to the message broker"},
	{Key: "stomp_prefetch_limit", Kind: KindNumber, Min: 1, Max: 32767, Doc: "messages that the broker hands out before one is acknowledged; absent: 10000, so that equal actions that wait are served together and no busy incident hides the others"},
	{Key: "stomp", Kind: KindBoolean, Default: "true", Doc: "`0` switches the message broker off"},
	{Key: "request_timeout", Kind: KindSeconds, Default: "60", Min: 1, Max: 3600, Doc: "time for one REST call (not a key of resilient-circuits)"},
	{Key: "request_max_retries", Kind: KindNumber, Default: "5", Min: -1, Max: mostAttempts, Doc: "attempts for a REST call that is safe to repeat; -1: 100"},
	{Key: "request_retry_delay", Kind: KindSeconds, Default: "2", Min: 0, Max: 3600, Doc: "wait before the second attempt"},
	{Key: "request_retry_backoff", Kind: KindNumber, Default: "2", Min: 1, Max: 10, Doc: "factor by which each further wait is longer"},
	{Key: "resource_prefix", Kind: KindText, Env: "RESOURCE_PREFIX", Doc: "path before `/rest` on Cloud Pak"},
	{Key: "client_auth_cert", Kind: KindPath, Doc: "PEM file of a TLS client certificate for REST"},
	{Key: "client_auth_key", Kind: KindPath, Doc: "PEM file of its key"},
	{Key: "proxy_host", Kind: KindProxy, Doc: "HTTP proxy: server name, with or without `http://`"},
	{Key: "proxy_port", Kind: KindNumber, Min: 1, Max: maxPort, Doc: "HTTP proxy: port"},
	{Key: "proxy_user", Kind: KindText, Doc: "HTTP proxy: account"},
	{Key: "proxy_password", Kind: KindSecret, Doc: "HTTP proxy: password"},
	{Key: "proxy", Kind: KindProxy, Doc: "HTTP proxy as one URL, where there is no `proxy_host`"},
	{Key: "trap_exception", Kind: KindBoolean, Default: "false", Doc: "`true`: a function that fails is a result with `success` false, and the workflow goes on"},
	{Key: "selftest_timeout", Kind: KindSeconds, Default: "10", Min: 1, Max: 3600, Doc: "time for each step of `fn-threatq selftest`"},
	{Key: "loglevel", Kind: KindChoice, Default: "INFO", Choices: []string{"DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL", "NOTSET"}, Env: "LOGLEVEL", Doc: "least level that is logged"},
	{Key: "logdir", Kind: KindPath, EnvDefault: "APP_LOG_DIR", Doc: "existing directory for the log file; absent: no log file, stderr only"},
	{Key: "logfile", Kind: KindText, Default: "app.log", Doc: "name of the log file"},
	{Key: "log_max_bytes", Kind: KindNumber, Default: "10000000", Min: 0, Max: 1 << 31, Doc: "size at which the log file is rotated, at least 100000; 0: never"},
	{Key: "log_backup_count", Kind: KindNumber, Default: "10", Min: 0, Max: 1000, Doc: "rotated log files that are kept"},

	{Key: "num_workers", Kind: KindNumber, Ignored: "`max_parallel` in `[fn_threatq]` bounds what runs side by side"},
	{Key: "stomp_max_retries", Kind: KindNumber, Ignored: "lost frames are settled when the message is redelivered"},
	{Key: "stomp_timer_interval", Kind: KindSeconds, Ignored: "lost frames are settled when the message is redelivered"},
	{Key: "stomp_max_connection_errors", Kind: KindNumber, Ignored: "reconnecting never ends"},
	{Key: "stomp_params", Kind: KindText, Ignored: "settings of the Python STOMP library"},
	{Key: "heartbeat_timeout_threshold", Kind: KindSeconds, Ignored: "reconnecting never ends"},
	{Key: "ignore_message_failure", Kind: KindBoolean, Ignored: "an unreadable message is always answered and acknowledged"},
	{Key: "max_connection_retries", Kind: KindNumber, Ignored: "reconnecting never ends, and a refused login waits longer each time"},
	{Key: "no_prompt_password", Kind: KindBoolean, Ignored: "nobody is asked for a password"},
	{Key: "cache_ttl", Kind: KindSeconds, Ignored: "the host decides what it caches"},
	{Key: "log_http_responses", Kind: KindPath, Ignored: "answers may hold personal data and are not written to files"},
	{Key: "componentsdir", Kind: KindPath, Ignored: "there are no Python components"},
	{Key: "noload", Kind: KindText, Ignored: "there are no Python components"},
	{Key: "resilient_mock", Kind: KindText, Ignored: "there are no Python components"},
	{Key: "test_actions", Kind: KindBoolean, Ignored: "there is no interactive test port"},
	{Key: "test_host", Kind: KindText, Ignored: "there is no interactive test port"},
	{Key: "test_port", Kind: KindNumber, Ignored: "there is no interactive test port"},
	{Key: "multitenancy", Kind: KindBoolean, Ignored: "one organization is served"},
	{Key: "pam_type", Kind: KindText, Ignored: "`^NAME` is looked up in the system's keyring, and in no other store"},
	{Key: "stomp_retries", Kind: KindNumber, Ignored: "resilient-circuits does not know it either"},
	{Key: "default_log_dir", Kind: KindPath, Ignored: "resilient-circuits does not know it either; `logdir` names the folder"},
})

var integrationsFields = declare(sectionIntegrations, []Field{
	{Key: "http_proxy", Kind: KindProxy, Doc: "proxy for ThreatQ where `https_proxy` is absent"},
	{Key: "https_proxy", Kind: KindProxy, Doc: "proxy for ThreatQ"},
	{Key: "timeout", Kind: KindSeconds, Default: "30", Min: 1, Max: 3600, Doc: "time for one ThreatQ call"},
})

var threatqFields = declare(sectionThreatQ, []Field{
	{Key: "host", Kind: KindText, Required: true, Doc: "ThreatQ server: host, host:port or https URL"},
	{Key: "username", Kind: KindText, Required: true, Doc: "ThreatQ account"},
	{Key: "password", Kind: KindSecret, Required: true, Doc: "its password"},
	{Key: "cid", Kind: KindSecret, Required: true, Doc: "Client ID (OAuth) of the ThreatQ profile"},
	{Key: "custom_source", Kind: KindText, Default: "Resilient", Module: true, Doc: "source of everything that is synced; commas become blanks, at most 200 characters"},
	{Key: "custom_attributes", Kind: KindMapping, Module: true, Doc: "incident fields that become event attributes: `field=name, field=name`"},
	{Key: "custom_objects", Kind: KindMapping, Module: true, Doc: "incident fields that become linked objects: `field=object name, field=object name`"},
	{Key: "verify", Kind: KindBoolean, Default: "true", Doc: "`false`: the certificate of ThreatQ is not verified"},
	{Key: "cafile", Kind: KindTrust, Doc: "as `cafile` of `[resilient]`, for ThreatQ"},
	{Key: "proxy", Kind: KindProxy, Doc: "proxy for ThreatQ; wins over the two below and over `[integrations]`"},
	{Key: "https_proxy", Kind: KindProxy, Doc: "as in `[integrations]`"},
	{Key: "http_proxy", Kind: KindProxy, Doc: "as in `[integrations]`"},
	{Key: "timeout", Kind: KindSeconds, Min: 1, Max: 3600, Doc: "as in `[integrations]`, and wins over it"},
	{Key: "max_parallel", Kind: KindNumber, Default: "64", Min: 1, Max: 2000, Doc: "actions of different incidents that run side by side"},
	{Key: "hold_minutes", Kind: KindNumber, Default: "240", Min: 0, Max: 1380, Doc: "how long an action waits for a service that is down, in minutes; `0`: it fails after the ordinary tries"},
	{Key: "standby", Kind: KindBoolean, Default: "false", Doc: "`true` on two hosts: one works, the other takes over when it is gone"},
	{Key: "mode", Kind: KindChoice, Default: "act", Choices: []string{"act", "observe"}, Doc: "`observe`: modules run for real messages, and nothing is written to ThreatQ or SOAR; replies say what would have been done"},
	{Key: "record", Kind: KindBoolean, Default: "false", Doc: "`true`: what each action asked and was told is kept for `fn-threatq history` and `replay`, without secrets"},
	{Key: "record_days", Kind: KindNumber, Default: "7", Min: 1, Max: 365, Doc: "days for which that is kept"},
	{Key: "record_mb", Kind: KindNumber, Default: "256", Min: 16, Max: 65536, Doc: "largest size of it in MB; the oldest gives way"},
	{Key: "ledger_days", Kind: KindNumber, Default: "7", Min: 1, Max: 365, Doc: "days for which the outcome of a message is remembered"},
	{Key: "ledger_mb", Kind: KindNumber, Default: "256", Min: 16, Max: 65536, Doc: "largest size of the ledger's file in MB; the oldest outcomes give way"},
	{Key: "default_indicator_status", Kind: KindText, Default: "Review", Module: true, Doc: "status of new indicators for which none was chosen"},
	{Key: "incident_object", Kind: KindChoice, Default: "event", Choices: []string{"event"}, Module: true, Doc: "what an incident becomes in ThreatQ; only `event` is supported"},
	{Key: "sync_task_completion", Kind: KindBoolean, Default: "true", Module: true, Doc: "a task closed in SOAR becomes Done in ThreatQ"},
	{Key: "unlink_on_delete", Kind: KindBoolean, Default: "false", Module: true, Doc: "what is deleted in SOAR is unlinked from the event"},
	{Key: "skip_private_ips", Kind: KindBoolean, Default: "false", Module: true, Doc: "private and reserved IP addresses are not synced"},
	{Key: "sync_passwords", Kind: KindBoolean, Default: "false", Module: true, Doc: "artifacts of type Password are synced"},
	{Key: "historical_artifacts", Kind: KindBoolean, Default: "true", Module: true, Doc: "Historical Sync includes artifacts"},
	{Key: "max_related", Kind: KindNumber, Default: "500", Min: 1, Max: 100000, Module: true, Doc: "artifacts that one Find Related Indicators may add"},
	{Key: "max_attachment_mb", Kind: KindNumber, Default: "100", Min: 1, Max: 10240, Module: true, Doc: "largest attachment that is imported, in MB"},
	{Key: "tlp", Kind: KindChoice, Choices: []string{"red", "amber", "green", "white"}, Module: true, Doc: "TLP of what is synced; absent: none"},
	{Key: "adopt_legacy_titles", Kind: KindBoolean, Default: "false", Module: true, Doc: "events made by earlier versions are found by their titles"},
	{Key: "trusted_keys", Kind: KindText, Doc: "public keys of minisign whose packs are trusted: files, or lines that begin with RW, with commas between them"},
})
