package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fn-threatq/host"
)

// packagedUnit is where the Debian package puts its unit; one in unitFolder wins
// over it.
const (
	packagedUnit = "/usr/lib/systemd/system/" + unitName
	unitFolder   = "/etc/systemd/system"
)

func (p *program) serviceCommand() *cobra.Command {
	return group("service", "Let systemd run the host", p.serviceInstallCommand(), p.serviceUninstallCommand(), p.serviceStatusCommand())
}

// service is what its commands share.
type service struct {
	*program
	// root is the folder that stands for /, for tests.
	root string
}

func (s *service) rootFlag(c *cobra.Command) {
	c.Flags().StringVar(&s.root, "root", "/", "the folder that stands for /")
	_ = c.Flags().MarkHidden("root")
}

func (s *service) path(absolute string) string { return filepath.Join(s.root, absolute) }

func (s *service) unit() string { return filepath.Join(unitFolder, unitName) }

func (s *service) did(format string, args ...any) { fmt.Fprintf(s.Stdout, format+"\n", args...) }

func (s *service) note(format string, args ...any) { fmt.Fprintf(s.Stderr, format+"\n", args...) }

type installFlags struct {
	config, user, binary string
	credentials          []string
	start, print, yes    bool
}

func (p *program) serviceInstallCommand() *cobra.Command {
	s, f := &service{program: p}, installFlags{}
	c := &cobra.Command{
		Use:   "install",
		Short: "Write the unit file, and have the service started at each boot",
		Long: `Write the unit file, and have the service started at each boot.

Each $credential:NAME of the configuration becomes a systemd credential that is read
from credentials/NAME beside the configuration, or from the file of --credential. Only
root needs to be able to read these files.

Without --user the service runs as a user that exists only while it runs. Systemd then
hands it a copy of the configuration, and what was changed is taken by a restart; with
--user also by systemctl reload.

A unit file that was not written by this command, or was changed since, is replaced only
with --yes; it is kept beside the new one, with .bak added to its name.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return s.install(f) },
	}
	c.Flags().StringVar(&f.config, "config", serviceConfig, "the configuration `FILE` of the service")
	c.Flags().StringVar(&f.user, "user", "", "run as the user `NAME`, which exists")
	c.Flags().StringVar(&f.binary, "binary", "", "the program `FILE` that the service runs (default: this program)")
	c.Flags().StringArrayVar(&f.credentials, "credential", nil, "`NAME=FILE` of a systemd credential; may be repeated")
	c.Flags().BoolVar(&f.start, "now", false, "start the service, or restart it")
	c.Flags().BoolVar(&f.print, "print", false, "only print the unit file")
	c.Flags().BoolVar(&f.yes, "yes", false, "replace a unit file of others")
	s.rootFlag(c)
	_ = c.MarkFlagFilename("config")
	_ = c.MarkFlagFilename("binary")
	return c
}

func (s *service) install(f installFlags) error {
	o, err := s.unitOptions(f)
	if err != nil {
		return err
	}
	text := Unit(o)
	if f.print {
		fmt.Fprint(s.Stdout, text)
		return nil
	}
	if _, err := os.Stat(s.path(packagedUnit)); err == nil {
		if _, err := os.Stat(s.path(s.unit())); errors.Is(err, fs.ErrNotExist) && !f.yes {
			return &exit{host.ExitDeclined, fmt.Errorf("the package brings a unit, %s: use it (systemctl enable --now fn-threatq) and adapt it by `systemctl edit fn-threatq`, or give --yes to put another one over it", packagedUnit)}
		}
	}
	if err := s.write(text, f.yes); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Credentials)) {
		if _, err := os.Stat(s.path(o.Credentials[name])); err != nil {
			s.note("There is no %s yet: put the secret into it (mode 0600), or the service cannot start.", o.Credentials[name])
		}
	}
	ready := s.checkConfig(o)
	commands := [][]string{{"daemon-reload"}, {"enable", unitName}}
	switch {
	case f.start && ready:
		commands = append(commands, []string{"restart", unitName})
	case f.start:
		s.note("The service was not started.")
	}
	return s.systemctl(commands)
}

// unitOptions checks the flags; what the unit names must be usable by it.
func (s *service) unitOptions(f installFlags) (UnitOptions, error) {
	o := UnitOptions{Binary: f.binary, Config: f.config, User: f.user, Credentials: map[string]string{}}
	if o.Binary == "" {
		own, err := os.Executable()
		if err == nil {
			own, err = filepath.EvalSymlinks(own)
		}
		if err != nil {
			return o, fmt.Errorf("the path of this program is not known: %w: name it by --binary", err)
		}
		o.Binary = own
	}
	for flag, path := range map[string]string{"--binary": o.Binary, "--config": o.Config} {
		if !filepath.IsAbs(path) {
			return o, usagef("%s %s is not an absolute path", flag, path)
		}
	}
	for _, hidden := range []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
		if strings.HasPrefix(o.Binary, hidden) {
			return o, fmt.Errorf("the service cannot see %s, because home and temporary folders are closed to it: install -m 755 %s /usr/local/bin/fn-threatq, and use that one", o.Binary, o.Binary)
		}
		if o.User != "" && strings.HasPrefix(o.Config, hidden) {
			return o, fmt.Errorf("the service cannot see %s, because home and temporary folders are closed to it: put it at %s", o.Config, serviceConfig)
		}
	}
	if o.User != "" {
		if _, err := user.Lookup(o.User); err != nil {
			return o, fmt.Errorf("there is no user %s: make it (useradd --system --shell /usr/sbin/nologin %s), or leave --user out", o.User, o.User)
		}
	}
	text, err := os.ReadFile(s.path(o.Config))
	if err == nil {
		for _, reference := range credentialReference.FindAllSubmatch(text, -1) {
			name := string(reference[1])
			o.Credentials[name] = filepath.Join(filepath.Dir(o.Config), "credentials", name)
		}
	}
	for _, c := range f.credentials {
		name, file, _ := strings.Cut(c, "=")
		if !credentialName.MatchString(name) || !filepath.IsAbs(file) {
			return o, usagef("--credential %q is not NAME=FILE with an absolute path", c)
		}
		o.Credentials[name] = file
	}
	return o, nil
}

var (
	credentialName      = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	credentialReference = regexp.MustCompile(`\$\{?credential:([A-Za-z0-9_.-]+)`)
)

// write puts the unit file in place.
func (s *service) write(text string, yes bool) error {
	path := s.path(s.unit())
	current, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return forRoot(err)
	case string(current) == text:
		s.did("unchanged %s", s.unit())
		return nil
	case !ours(string(current)) && !yes:
		return &exit{host.ExitDeclined, fmt.Errorf("%s was not written by this command, or was changed since: look at it, then give --yes to replace it (it is kept as %s.bak)", s.unit(), unitName)}
	case !ours(string(current)):
		if err := writeFile(path+".bak", string(current)); err != nil {
			return forRoot(err)
		}
		s.did("kept the former one as %s.bak", s.unit())
	}
	if err := writeFile(path, text); err != nil {
		return forRoot(err)
	}
	s.did("wrote %s", s.unit())
	return nil
}

// writeFile replaces a file at once: a crash leaves the old one or the new one.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(fresh.Name())
	_, err = fresh.WriteString(text)
	err = errors.Join(err, fresh.Chmod(0o644), fresh.Sync(), fresh.Close())
	if err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	return err
}

func forRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run it as root (sudo); --print shows the unit to anybody", err)
	}
	return err
}

// checkConfig says what keeps the service from reading its configuration.
func (s *service) checkConfig(o UnitOptions) bool {
	info, err := os.Stat(s.path(o.Config))
	if err != nil {
		s.note("There is no %s yet: make it, check it (fn-threatq run --check --config %s), then: systemctl start fn-threatq", o.Config, o.Config)
		return false
	}
	if o.User != "" && !readable(info, o.User) {
		s.note("%s may not read %s: chgrp its group, and chmod 640", o.User, o.Config)
		return false
	}
	return true
}

// systemctl runs the commands, or says what to run where it cannot.
func (s *service) systemctl(commands [][]string) error {
	missing := ""
	program, err := exec.LookPath("systemctl")
	if err != nil {
		missing = "there is no systemctl here"
	} else if _, err := os.Stat(s.path("/run/systemd/system")); err != nil {
		missing = "systemd does not run this machine"
	}
	for i, args := range commands {
		line := "systemctl " + strings.Join(args, " ")
		if missing != "" {
			if i == 0 {
				s.note("Nothing more was done, because %s. Where systemd runs:", missing)
			}
			s.note("  %s", line)
			continue
		}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
		}
		s.did("ran %s", line)
	}
	return nil
}

func (p *program) serviceUninstallCommand() *cobra.Command {
	s, yes := &service{program: p}, false
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the service and remove its unit file; configuration and state stay",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return s.uninstall(yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "remove a unit file of others too")
	s.rootFlag(c)
	return c
}

func (s *service) uninstall(yes bool) error {
	path := s.path(s.unit())
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(s.path(packagedUnit)); err == nil {
			return fmt.Errorf("the unit %s belongs to the package: systemctl disable --now fn-threatq, or remove the package", packagedUnit)
		}
		s.did("there is no %s", s.unit())
		return nil
	case err != nil:
		return forRoot(err)
	case !ours(string(text)) && !yes:
		return &exit{host.ExitDeclined, fmt.Errorf("%s was not written by this command, or was changed since: look at it, then give --yes to remove it", s.unit())}
	}
	if err := s.systemctl([][]string{{"disable", "--now", unitName}}); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return forRoot(err)
	}
	s.did("removed %s", s.unit())
	if err := s.systemctl([][]string{{"daemon-reload"}}); err != nil {
		return err
	}
	s.did("configuration (/etc/fn-threatq), state (/var/lib/fn-threatq), cache (/var/cache/fn-threatq) and logs (/var/log/fn-threatq) were left alone")
	return nil
}

func (p *program) serviceStatusCommand() *cobra.Command {
	s, format := &service{program: p}, ""
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the service is installed, enabled and working",
		Long: `Say whether the service is installed, enabled and working. It needs no rights.

Exit code 0 means that it works, that is, the host is subscribed; 1 anything else.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return s.status(format) },
	}
	c.Flags().StringVarP(&format, "output", "o", "human", "human or json")
	s.rootFlag(c)
	return c
}

// serviceState is what status prints as JSON.
type serviceState struct {
	Unit string `json:"unit"`
	// File is the unit file, empty when there is none.
	File string `json:"file"`
	// State and Substate are systemd's words, such as active and running.
	State    string `json:"state"`
	Substate string `json:"substate"`
	// Boot is enabled, disabled, static or masked.
	Boot string `json:"boot"`
	// Says is what the host told systemd last.
	Says     string `json:"says,omitempty"`
	PID      int    `json:"pid,omitempty"`
	Since    string `json:"since,omitempty"`
	Restarts int    `json:"restarts"`
	// ExitCode is that of the last end; Meaning says what it means.
	ExitCode int    `json:"exit_code"`
	Meaning  string `json:"meaning,omitempty"`
}

func (s *service) status(format string) error {
	if format != "human" && format != "json" {
		return usagef("--output %q is none of human, json", format)
	}
	program, err := exec.LookPath("systemctl")
	if err != nil {
		return errors.New("there is no systemctl here: systemd does not run this machine")
	}
	properties := []string{"LoadState", "FragmentPath", "ActiveState", "SubState", "UnitFileState", "StatusText", "MainPID", "StateChangeTimestamp", "NRestarts", "ExecMainCode", "ExecMainStatus"}
	out, err := exec.Command(program, "show", unitName, "--property="+strings.Join(properties, ",")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl show %s: %w: %s", unitName, err, bytes.TrimSpace(out))
	}
	state := readState(string(out))
	if format == "json" {
		encoder := json.NewEncoder(s.Stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(state); err != nil {
			return err
		}
	} else {
		state.print(s)
	}
	if state.State != "active" && state.State != "reloading" {
		return &exit{code: host.ExitFailure}
	}
	return nil
}

// readState reads the lines NAME=VALUE of systemctl show.
func readState(text string) serviceState {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		values[name] = value
	}
	number := func(name string) int { n, _ := strconv.Atoi(values[name]); return n }
	state := serviceState{
		Unit: unitName, File: values["FragmentPath"], State: values["ActiveState"], Substate: values["SubState"], Boot: values["UnitFileState"],
		Says: values["StatusText"], PID: number("MainPID"), Since: values["StateChangeTimestamp"], Restarts: number("NRestarts"),
	}
	// ExecMainCode 1 is CLD_EXITED: the process ended by itself, with a code.
	if values["ExecMainCode"] == "1" {
		state.ExitCode = number("ExecMainStatus")
	}
	for _, c := range host.ExitCodes() {
		if c.Code == state.ExitCode && c.Code != host.ExitOK {
			state.Meaning = c.Meaning
		}
	}
	return state
}

func (t serviceState) print(s *service) {
	if t.File == "" {
		s.did("%s is not installed: fn-threatq service install", t.Unit)
		return
	}
	s.did("%s: %s (%s) since %s; at boot: %s", t.Unit, t.State, t.Substate, t.Since, t.Boot)
	s.did("unit file: %s", t.File)
	if t.PID > 0 {
		s.did("process %d, restarted %d times", t.PID, t.Restarts)
	}
	if t.Says != "" {
		s.did("it says: %s", t.Says)
	}
	if t.ExitCode != 0 {
		s.did("it ended with exit code %d: %s", t.ExitCode, t.Meaning)
	}
	if t.State == "failed" || t.State == "activating" {
		s.did("what happened: journalctl -u fn-threatq -e")
	}
}
