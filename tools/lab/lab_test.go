package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// binaries is the folder of hostBinary.
var binaries string

// hostBinary builds the real host once for all tests.
var hostBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "fn-threatq")
	out, err := exec.Command("go", "build", "-o", path, "fn-threatq/cmd/fn-threatq").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "fn-threatq-lab-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(binaries)
	os.Exit(code)
}

func realHost(t *testing.T) string {
	t.Helper()
	modules, err := filepath.Glob(filepath.Join("..", "..", "host", "catalog", "builtin", "*.wasm"))
	require.NoError(t, err)
	require.NotEmpty(t, modules, `the modules are not built: run "make plugins"`)
	path, err := hostBinary()
	require.NoError(t, err)
	return path
}

// ownTemp gives the test a folder for temporary files, in which nothing may stay.
func ownTemp(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(dir, "fn-threatq-*"))
		assert.NoError(t, err)
		assert.Empty(t, left, "left behind")
	})
}

// script makes a program that stands in for the host.
func script(t *testing.T, body string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	path := filepath.Join(t.TempDir(), "host")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700))
	return path
}

func TestTheDemoIsAsExpectedAndShowsWhatHappened(t *testing.T) {
	binary := realHost(t)
	ownTemp(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"demo", "-host", binary}, &stdout, &stderr)
	require.Zero(t, code, "stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	assert.Empty(t, stderr.String())
	text := stdout.String()
	flat := strings.Join(strings.Fields(text), " ") // messages are broken into lines
	for _, part := range []string{
		"SOAR simulator", "message broker", "ThreatQ simulator", "app.config",
		" 1 ThreatQ: Sync Incident", "27 ThreatQ: Add Indicator", "32 ThreatQ: Historical Sync",
		`"hxxps://login[.]invoice-portal[.]example[.]com/verify?u=42"`,
		"→ Synced to ThreatQ event 55 (created)", "→ Synced to ThreatQ event 55 (updated)",
		"posted to ThreatQ event 55", "changed on ThreatQ event 55", "posted to ThreatQ task 41",
		"has the status In Progress in ThreatQ", "5 indicators imported as Active", "marked as True Positive",
		"22↳ ThreatQ: Sync Indicator", "→ The artifact was deleted in SOAR; nothing done in ThreatQ.",
		"→ 3 related, 3 added", "24↳ ThreatQ: Sync Indicator", "existing (Expired), linked to event 55", "→ 3 related, 0 added, 3 already present",
		"content.indicators: 1", `"value":"CVE-2017-11882"`,
		"58 incidents, 124 indicators, 58 tasks, 3 simulations left",
		"Resilient #2096: Phishing: fake invoice", "In reply to note #", "fake-invoice.eml", "… and 49 more",
		"32 actions, ", "✔",
	} {
		assert.Contains(t, flat, part)
	}
	assert.Less(t, strings.Index(text, "  … 50 of 61 incidents"), strings.Index(text, "32  ThreatQ: Historical Sync"), "progress is shown while it is made")
	assert.Contains(t, text, "  … 50 of 61 incidents")
	assert.Regexp(t, `resilient GET +/incidents/2096 +200 +\d+ ms`, text)
	assert.NotContains(t, text, "\x1b", "colours are for terminals")
	assert.NotContains(t, text, threatqtest.DefaultPassword)
	for line := range strings.Lines(text) {
		if strings.Contains(line, "app.config") {
			continue // as long as the path of this test's folder
		}
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), width, line)
	}
}

func TestTheDemoReportsEachDifferenceAndFails(t *testing.T) {
	binary := realHost(t)
	ownTemp(t)
	var stdout, stderr bytes.Buffer
	err := demo(t.Context(), options{host: binary, limit: timeLimit, tamper: func(w *world) {
		w.threatq.AddEvent("Incident", "Resilient #2096: again", source)
		for _, indicator := range w.threatq.Indicators() {
			switch indicator.Name {
			case "login.invoice-portal.example.com":
				w.threatq.SetStatus(indicator.ID, "Expired")
			case "https://login.invoice-portal.example.com/verify?u=42":
				w.threatq.Delete("indicators", indicator.ID)
			case "198.51.100.77":
				w.threatq.AddAttribute("indicators", indicator.ID, "Confidence", "Low", "Another Feed")
			}
		}
		w.threatq.AddComment("events", w.threatq.Events()[0].ID, "by hand")
		w.threatq.Delete("tasks", w.threatq.Tasks()[0].ID)
		w.soar.AddArtifact(2096, "String", "too much")
		// As if the host had answered a second time, and one that nobody asked for.
		w.take(w.actions[2].correlation, []byte(`{"message_type":1,"message":"again","complete":true}`))
		w.take("invid:0", []byte(`{"message_type":0,"message":"who?","complete":true}`))
	}}, &printer{w: &stdout})
	assert.Equal(t, 1, exitCode(err, &stderr))
	assert.Empty(t, stderr.String(), "it is all in the report")
	text := stdout.String()
	assert.NotContains(t, text, "✔")
	for _, difference := range []string{
		`too much: event: Incident "Resilient #2096: again"`,
		`missing:  indicator: FQDN "login.invoice-portal.example.com", Active, by Acme SOC`,
		`too much: indicator: FQDN "login.invoice-portal.example.com", Expired, by Acme SOC`,
		`missing:  indicator: URL "https://login.invoice-portal.example.com/verify?u=42", Review, by Acme SOC`,
		`missing:  linked to Resilient #2096: URL https://login.invoice-portal.example.com/verify?u=42`,
		`too much: attribute of IP Address 198.51.100.77: Confidence = "Low" by Another Feed`,
		`too much: comment on Resilient #2096: "by hand"`,
		`missing:  task: "Resilient #2096 / task 18: Reset two passwords", Done, Medium`,
		`missing:  comment on Resilient #2096 / task 18: "Bob's password is reset`,
		`missing:  linked to Resilient #2096: Resilient #2096 / task 18`,
		`too much: artifact: String "too much"`,
		`33 actions, expected 32`,
		`answered 2 times, expected once`,
		`answered with an error: again`,
		`a reply to invid:0, which nobody sent`,
	} {
		assert.Contains(t, text, difference)
	}
}

func TestUpTakesCommandsFromASecondTerminal(t *testing.T) {
	binary := realHost(t)
	dir := filepath.Join(t.TempDir(), "lab")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"up", "-host", binary, "-dir", dir}, &stdout, &stderr) }()
	second := func(args ...string) (code int, out, errors string) {
		var o, e bytes.Buffer
		code = run(t.Context(), append([]string{"-dir", dir}, args...), &o, &e)
		return code, o.String(), e.String()
	}
	require.Eventually(t, func() bool { code, _, _ := second("show"); return code == 0 }, timeLimit, 20*time.Millisecond)

	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "app.config"): 0o600, filepath.Join(dir, controlFile): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), path)
	}
	written, err := os.ReadFile(filepath.Join(dir, "app.config"))
	require.NoError(t, err)
	assert.Contains(t, string(written), "password=$"+passwordVariable)
	assert.NotContains(t, string(written), threatqtest.DefaultPassword)

	wrong := func(message string, args ...string) {
		t.Helper()
		code, out, text := second(args...)
		assert.Equal(t, 1, code, "%v: %s", args, out)
		assert.Contains(t, text, message)
	}
	right := func(part string, args ...string) {
		t.Helper()
		code, out, text := second(args...)
		assert.Zero(t, code, "%v: %s", args, text)
		assert.Contains(t, out, part)
	}
	wrong("a lab is up already", "up", "-host", binary)
	wrong("there is no incident yet", "send", "artifact", "--type", "URL", "--value", "http://a.example")
	right("Synced to ThreatQ event 55 (created)", "send", "incident", "--name", "By hand", "--severity", "High")
	right("FQDN evil.example.com: created (Review)", "send", "artifact", "--type", "DNS Name", "--value", "evil.example.com")
	right("FQDN evil.example.com: existing (Active)", "send", "sync-indicator", "--artifact", "1550", "--status", "Active")
	right("1 of 1 artifact", "send", "sync-incident", "--import-artifacts")
	right("event 55 (updated)", "send", "update", "--description", "<p>more</p>")
	right("No automatic rule fires", "send", "update", "--severity", "Low")
	right("posted to ThreatQ event 55", "send", "note", "--text", "<p>a <b>b</b></p>")
	right("(created) of event 55", "send", "task", "--name", "Look", "--due", "2026-03-01")
	right("has the status Review in ThreatQ", "send", "set-task-status", "--task", "18", "--status", "Review")
	right("No automatic rule fires", "send", "attachment", "--name", "a.txt", "--text", "see 198.51.100.9")
	right("1 indicator imported as Review", "send", "import-attachment", "--attachment", "29", "--parse")
	right("marked as True Positive", "send", "mark-true-positive", "--artifact", "1550")
	right("marked as False Positive. The artifact was removed", "send", "mark-false-positive", "--artifact", "1550", "--remove")
	right("1 related, 1 added", "send", "function", "find-related-indicators", "incident_id=2096", "indicator_value=relay.invoice-portal.example.net")
	right("IP Address 198.51.100.7: created (Review)", "send", "function", "threatq_add_indicator", "indicator_value=198.51.100.7")
	right("sync-indicator --artifact ID", "send", "help")
	wrong("Nonsense", "send", "artifact", "--type", "Nonsense", "--value", "x")
	wrong("artifact needs --type: artifact --type TYPE --value VALUE", "send", "artifact")
	wrong("no artifact 9", "send", "sync-indicator", "--artifact", "9")
	wrong("cannot be sent", "send", "nothing")
	wrong("no function named", "send", "function", "nothing")
	wrong("is not input=value", "send", "function", "threatq_add_indicator", "x")
	right("No automatic rule fires", "send", "older-incidents", "--count", "9", "--artifacts", "1", "--tasks", "0")
	right("… Historical sync of all incidents since 2025-07-01", "send", "historical-sync")
	right("… and 2 more", "show")
	right("Incident 2097 of many", "show", "2097")
	wrong("there is no incident 7", "show", "7")
	wrong("the id of one incident", "show", "all")

	cancel()
	require.Zero(t, <-ended, "stderr:\n%s", &stderr)
	assert.Contains(t, stdout.String(), "ThreatQ: Sync Incident on incident 2096: done in ", "the host's log, readable")
	assert.NotContains(t, stdout.String(), "status=200", "calls are shown with -v only")
	assert.NoDirExists(t, dir)
	wrong("no lab is up", "show")
}

func TestAHostThatFailsAllIsReportedBriefly(t *testing.T) {
	w, err := newWorld(t.TempDir(), resilienttest.InstalledCurrent)
	require.NoError(t, err)
	defer w.close()
	var stdout bytes.Buffer
	l := &lab{world: w, out: &printer{w: &stdout}}
	w.actions = []*action{{about: "incident 2096, created", replies: []reply{{Type: 1, Message: "ERROR:\nno module", Complete: true}}}}
	l.host = &hostProcess{records: map[string]*record{}}
	wrong := append(l.checkConduct(nil), l.check(told{incident: 2096, older: 2097})...)
	l.showDifferences(wrong)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	assert.Len(t, lines, 1+shownDifferences+1)
	assert.Contains(t, lines[0], fmt.Sprintf("%d differences", len(wrong)))
	assert.Contains(t, stdout.String(), "incident 2096, created: answered with an error: ERROR: no module", "on one line, and before what follows from it")
	assert.Contains(t, lines[len(lines)-1], fmt.Sprintf("… and %d more", len(wrong)-shownDifferences))
}

func TestAHostThatIsSilentIsReportedWithWhatWasWaitedFor(t *testing.T) {
	binary := script(t, `[ "$1" = customize ] && exit 0; echo '{"level":"INFO","msg":"halfway there","step":3}' >&2; exec sleep 60`)
	ownTemp(t)
	var stderr bytes.Buffer
	err := demo(t.Context(), options{host: binary, limit: 500 * time.Millisecond}, &printer{w: &bytes.Buffer{}})
	assert.Equal(t, 1, exitCode(err, &stderr))
	assert.Contains(t, stderr.String(), "the host has been silent for 500ms and the lab still waits for the host to be ready")
	assert.Contains(t, stderr.String(), "INFO  halfway there step=3")
}

func TestAHostThatEndsEarlyIsReportedWithItsLastWords(t *testing.T) {
	binary := script(t, `[ "$1" = customize ] && exit 0; echo 'fn-threatq cannot start' >&2; exit 3`)
	ownTemp(t)
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 1, run(t.Context(), []string{"demo", "-host", binary}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "the host process ended (exit status 3) while the lab waited for the host to be ready")
	assert.Contains(t, stderr.String(), "fn-threatq cannot start")
}

func TestACustomizeThatFailsIsShownWhole(t *testing.T) {
	binary := script(t, `echo 'new  rule  X'; echo 'fn-threatq customize: no' >&2; exit 8`)
	ownTemp(t)
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 1, run(t.Context(), []string{"demo", "-host", binary}, &stdout, &stderr))
	assert.Equal(t, "lab: fn-threatq customize failed (exit status 8):\nnew  rule  X\nfn-threatq customize: no\n\n", stderr.String())
}

func TestAnEmptyLabIsCustomizedByHand(t *testing.T) {
	binary := realHost(t)
	ownTemp(t)
	dir := filepath.Join(t.TempDir(), "lab")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() { ended <- run(ctx, []string{"up", "-empty", "-host", binary, "-dir", dir}, writer, &stderr) }()
	lines := bufio.NewReader(reader)
	for line := ""; !strings.Contains(line, binary+" run --config "); {
		var err error
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // the rest of what is said
	call := func(args ...string) (said string, code int) {
		command := exec.CommandContext(ctx, binary, append(args, "--config", filepath.Join(dir, "app.config"))...)
		command.Env = append(os.Environ(), passwordVariable+"="+threatqtest.DefaultPassword, "XDG_STATE_HOME="+t.TempDir())
		text, _ := command.CombinedOutput()
		return string(text), command.ProcessState.ExitCode()
	}
	said, code := call("run")
	assert.Equal(t, host.ExitStompForbidden, code, "the account is not on the message destination: %s", said)
	said, code = call("customize", "--yes")
	assert.Zero(t, code, said)
	assert.Contains(t, said, "33 new")
	said, code = call("customize", "--yes")
	assert.Zero(t, code, said)
	assert.Contains(t, said, "nothing to do")

	// A host of the user's own takes what is sent.
	own := exec.CommandContext(ctx, binary, "run", "--config", filepath.Join(dir, "app.config"))
	own.Env = append(os.Environ(), passwordVariable+"="+threatqtest.DefaultPassword, "XDG_STATE_HOME="+t.TempDir(), "APP_LOCK_FILE="+filepath.Join(t.TempDir(), "lock"))
	own.Cancel = func() error { return own.Process.Signal(os.Interrupt) }
	require.NoError(t, own.Start())
	send := func(args ...string) (string, int) {
		var stdout, stderr bytes.Buffer
		code := run(ctx, append([]string{"-dir", dir}, args...), &stdout, &stderr)
		return stdout.String() + stderr.String(), code
	}
	said, code = send("send", "incident", "--name", "Mine")
	assert.Zero(t, code, said)
	assert.Contains(t, said, " 1  incident 2096, created\n  → Synced to ThreatQ event ")
	said, code = send("install", binary)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "this lab has no host of its own: give the module to yours")
	cancel()
	_ = own.Wait() // it was interrupted
	require.Zero(t, <-ended, stderr.String())
	assert.NoDirExists(t, dir)
}

func TestAMissingBinaryNamesTheWayOut(t *testing.T) {
	ownTemp(t)
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 1, run(t.Context(), []string{"demo", "-host", filepath.Join(t.TempDir(), "none")}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "make build")
}

func TestAnInterruptedDemoCleansUp(t *testing.T) {
	binary := script(t, `[ "$1" = customize ] && exit 0; exec sleep 60`)
	ownTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(300*time.Millisecond, cancel).Stop()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 130, run(ctx, []string{"demo", "-host", binary}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "interrupted")
}

func TestAWrongCommandLineShowsTheUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"nothing"}, {"demo", "more"}, {"send"}, {"-nothing"}} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 2, run(t.Context(), args, &stdout, &stderr), "%v", args)
		assert.Contains(t, stderr.String(), "usage: lab", "%v", args)
	}
}
