package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// customize puts the rules and functions into the SOAR by the host's own command, and
// returns what it said at the end. Then an administrator makes a menu item beside each
// automatic rule, so that people may start these too.
func (w *world) customize(ctx context.Context, binary string) (string, error) {
	path, err := hostPath(binary)
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	command := exec.CommandContext(limited, path, "customize", "--yes", "--config", w.config)
	command.Env = w.environment()
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	err = command.Run()
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return "", fmt.Errorf("fn-threatq customize has not ended within %s; it said:\n%s", timeLimit, said.String())
	case err != nil:
		return "", fmt.Errorf("fn-threatq customize failed (%w):\n%s", err, said.String())
	}
	rules := w.soar.Rules()
	for _, r := range rules {
		isItem := func(other resilienttest.Rule) bool { return other.Name == r.Name && other.Type == 1 }
		if r.Type == 0 && !slices.ContainsFunc(rules, isItem) {
			w.soar.AddRule(resilienttest.Rule{Name: r.Name, ObjectType: r.ObjectType, Type: 1, Fields: menuFields[r.Name]})
		}
	}
	return strings.TrimPrefix(lines[len(lines)-1], "fn-threatq customize: "), nil
}

// menuFields are the activity fields of automatic rules as menu items (guide: Rules).
var menuFields = map[string][]string{
	"ThreatQ: Sync Incident":  {"threatq_import_artifacts", "threatq_import_indicators"},
	"ThreatQ: Sync Indicator": {"threatq_indicator_status", "threatq_indicator_confidence"},
}

// folderFlag names the folder of a lab to its other commands, where it is not the usual one.
func folderFlag(dir string) string {
	if dir == defaultDir() {
		return ""
	}
	return "-dir " + dir + " "
}

// upEmpty runs the simulators alone until ctx ends: a SOAR in which nothing is
// installed, for whoever wants to go the way of a new user.
func upEmpty(ctx context.Context, o options, out *printer) error {
	if err := prepareDir(ctx, o.dir); err != nil {
		return err
	}
	defer clean(o.dir)
	w, err := newWorld(o.dir, resilienttest.InstalledNothing)
	if err != nil {
		return err
	}
	defer w.close()
	l := &lab{world: w, out: out, limit: o.limit}
	serving, err := l.serve()
	if err != nil {
		return err
	}
	defer serving.Close()
	out.heading("The simulators are up, without a host and without rules; Ctrl-C ends them")
	w.showServers(out)
	out.line("  %-18s %s", "app.config", filepath.Join(o.dir, "app.config")+", or one of your own with its values")
	out.heading("From a second terminal")
	for _, line := range []string{
		"export " + passwordVariable + "='" + threatqtest.DefaultPassword + "'",
		o.host + " customize --config " + w.config,
		o.host + " run --config " + w.config,
	} {
		out.line("  %s", line)
	}
	out.line("  and then, as with a lab that has a host: go run ./tools/lab %ssend help", folderFlag(o.dir))
	<-ctx.Done() // how it is meant to end
	return nil
}
