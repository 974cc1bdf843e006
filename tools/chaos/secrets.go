package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// adminCommands are those whose output is searched for secrets; one that this build
// does not have is passed over.
var adminCommands = [][]string{
	{"version"}, {"list"}, {"config", "show"}, {"config", "check"}, {"actions", "list", "-o", "json"}, {"queue", "peek"}, {"selftest"},
}

// liveCommands are those that ask the host that runs.
var liveCommands = [][]string{{"status"}, {"status", "-o", "json"}, {"plugin", "list"}, {"actions", "list", "-o", "json"}, {"config", "show"}}

// judgeSecrets looks for every secret of the run in all that the host left.
func (s *story) judgeSecrets(ctx context.Context) error {
	w, v := s.w, &s.verdict
	secrets, kinds := w.canary.count()
	found, files, err := w.canary.inFolder(filepath.Join(w.dir, "host"))
	if err != nil {
		return err
	}
	v.secrets = append(v.secrets, found...)
	replies := 0
	for _, r := range w.bridge.all() {
		for _, f := range r.finals {
			replies++
			v.secrets = append(v.secrets, w.canary.in("the reply to "+about(r), []byte(f.body))...)
		}
	}
	s.ask(ctx, adminCommands)
	s.searched = fmt.Sprintf("%d secrets (%s) were looked for in %d files, %d replies and the output of: %s",
		secrets, strings.Join(kinds, ", "), files, replies, strings.Join(s.asked, "; "))
	return nil
}

// ask searches the output of commands for secrets, and of one for each action that is
// kept.
func (s *story) ask(ctx context.Context, commands [][]string) {
	if text, known := s.w.command(ctx, []string{"actions", "list"}); known {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 0 && numeric.MatchString(fields[0]) && len(commands) < 40 {
				commands = append(commands, []string{"actions", "show", fields[0]}, []string{"actions", "show", fields[0], "-o", "json"})
			}
		}
	}
	for _, args := range commands {
		if text, known := s.w.command(ctx, args); known {
			if name := strings.Join(args[:min(2, len(args))], " "); !slices.Contains(s.asked, name) {
				s.asked = append(s.asked, name)
			}
			s.verdict.secrets = append(s.verdict.secrets, s.w.canary.in("the output of "+strings.Join(args, " "), text)...)
		}
	}
}

var numeric = regexp.MustCompile(`^[0-9]+$`)

// command runs the host's binary; known is false when it has no such command.
func (w *world) command(ctx context.Context, args []string) (output []byte, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.host.binary, args...)
	cmd.Env = append(append([]string(nil), w.host.env...), "APP_CONFIG_FILE="+w.host.config)
	output, _ = cmd.CombinedOutput() // a refusal is output too
	return output, !strings.Contains(string(output), "there is no command")
}
