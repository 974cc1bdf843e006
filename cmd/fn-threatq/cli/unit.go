package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

// Where the service finds its things.
const (
	unitName      = "fn-threatq.service"
	serviceConfig = config.ServiceFile
)

// UnitOptions say what a unit file is for.
type UnitOptions struct {
	// Binary and Config are absolute paths.
	Binary, Config string
	// User runs the service; empty for a user that systemd makes up (DynamicUser=).
	User string
	// Credentials are files by the name of the systemd credential.
	Credentials map[string]string
	// EnvironmentFile is read when it is there; empty for none.
	EnvironmentFile string
	// Documentation is a URI such as man:fn-threatq(1); empty for none.
	Documentation string
}

// Unit is the text of the unit file. Its first line holds a hash of the rest,
// which tells a unit that was written here and left alone from any other.
func Unit(o UnitOptions) string {
	body := unitBody(o)
	return mark + hash(body) + "\n" + body
}

const mark = "# Written by `fn-threatq service install`, which replaces it only while it is unchanged: "

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// ours tells whether a unit file was written here and not changed since.
func ours(text string) bool {
	first, body, _ := strings.Cut(text, "\n")
	sum, marked := strings.CutPrefix(first, mark)
	return marked && sum == hash(body)
}

func unitBody(o UnitOptions) string {
	var account, reload, path string
	if o.User == "" {
		account = "# The user exists while the service runs. It may not read files of others, so that\n" +
			"# systemd hands it the configuration. The copy is made at the start: what was\n" +
			"# changed is taken by a restart, which loses nothing, and not by a reload.\n" +
			"DynamicUser=yes\nLoadCredential=app.config:" + escape(o.Config) + "\n"
		path = "%d/app.config"
	} else {
		account = "User=" + o.User + "\n"
		path = escape(o.Config)
		reload = "# A reload that fails changes nothing; the journal and `systemctl status` say why.\nExecReload=kill -HUP $MAINPID\n"
	}
	for _, name := range slices.Sorted(maps.Keys(o.Credentials)) {
		account += "LoadCredential=" + name + ":" + escape(o.Credentials[name]) + "\n"
	}
	environment := "Environment=\"APP_CONFIG_FILE=" + path + "\" APP_LOCK_FILE=%t/fn-threatq/lock\n"
	if o.EnvironmentFile != "" {
		environment += "EnvironmentFile=-" + o.EnvironmentFile + "\n"
	}
	documentation := ""
	if o.Documentation != "" {
		documentation = "Documentation=" + o.Documentation + "\n"
	}
	var final []string
	for _, c := range host.ExitCodes() {
		if !c.Restart && c.Code != host.ExitOK && c.Code != host.ExitInterrupted {
			final = append(final, strconv.Itoa(c.Code))
		}
	}
	return fmt.Sprintf(unitText, documentation, escape(o.Binary), reload, environment, account, strings.Join(final, " "))
}

// escape keeps a path from being read as a specifier or as two words.
func escape(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	return strings.ReplaceAll(path, " ", `\x20`)
}

// unitText has the documentation, the program, the reload, the environment, the account and the final
// exit codes to fill in. It keeps to what systemd 250 knows.
const unitText = `[Unit]
Description=Bridge between IBM SOAR (Resilient) and ThreatQ
%sWants=network-online.target
After=network-online.target nss-lookup.target
# Starting again never ends; what no start mends is listed below.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart="%s" run --log-format json
%s%s
# Ready means subscribed. While SOAR cannot be reached the service is "activating",
# and its status says why.
TimeoutStartSec=infinity
# Running actions have 8 seconds to finish; the rest stays with the broker.
TimeoutStopSec=15
WatchdogSec=60

%sRestart=on-failure
RestartSec=10
# Nothing gets better by itself after these, and a refused login that is tried again
# and again gets accounts locked: the service stays failed until a person comes.
RestartPreventExitStatus=%s

StateDirectory=fn-threatq
StateDirectoryMode=0700
# Compiled modules: machine code, which nobody else may write.
CacheDirectory=fn-threatq
CacheDirectoryMode=0700
RuntimeDirectory=fn-threatq
# For logdir=/var/log/fn-threatq; without it the journal has the log.
LogsDirectory=fn-threatq
LogsDirectoryMode=0750
UMask=0077
# A core would hold passwords.
LimitCORE=0

# It talks to three servers, and to nothing of this machine. MemoryDenyWriteExecute=
# is not here: modules are compiled to machine code, which needs pages that become
# executable.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateMounts=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`
