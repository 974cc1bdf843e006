package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long the host process may take to drain and end.
const stopTime = 15 * time.Second

// keptLines are the log lines shown when something went wrong.
const keptLines = 15

// hostProcess is the fn-threatq under test.
type hostProcess struct {
	cmd     *exec.Cmd
	started time.Time
	ready   chan struct{}
	done    chan struct{} // closed when it has ended
	heard   chan struct{} // holds one when something was logged since it was looked at
	onEntry func(entry)

	mu      sync.Mutex
	isReady bool
	took    time.Duration // until ready
	last    []string
	errors  []string
	records map[string]*record // by action
}

// record is what the log said of one action.
type record struct {
	calls  []entry
	action entry
	ends   int           // lines "action"
	logged chan struct{} // closed with the first of them
}

// entry is a line of the JSON log.
type entry map[string]any

func (e entry) text(key string) string {
	switch value := e[key].(type) {
	case nil:
		return ""
	case string:
		return value
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	default:
		return fmt.Sprint(value)
	}
}

// duration reads nanoseconds, or a text like 1.2ms.
func (e entry) duration(key string) time.Duration {
	if n, isNumber := e[key].(float64); isNumber {
		return time.Duration(n)
	}
	d, _ := time.ParseDuration(e.text(key))
	return d
}

// hostPath is the binary as exec.Command wants it, which looks a bare name up in PATH.
func hostPath(binary string) (string, error) {
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("there is no host binary %s: build it with \"make build\", or name one with -host", binary)
	}
	if !strings.ContainsRune(binary, os.PathSeparator) {
		binary = "." + string(os.PathSeparator) + binary
	}
	return binary, nil
}

// startHost runs the binary on the world's app.config. onEntry is told each log
// line, from one goroutine.
func startHost(binary string, w *world, onEntry func(entry)) (*hostProcess, error) {
	path, err := hostPath(binary)
	if err != nil {
		return nil, err
	}
	h := &hostProcess{
		cmd:     exec.Command(path, "run", "--config", w.config, "--log-level", "debug", "--log-format", "json"),
		started: time.Now(), ready: make(chan struct{}), done: make(chan struct{}), heard: make(chan struct{}, 1), onEntry: onEntry, records: map[string]*record{},
	}
	h.cmd.Env = w.environment()
	ownGroup(h.cmd)
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("the host process cannot be started: %w", err)
	}
	go func() {
		defer close(h.done)
		h.read(stderr)
		_ = h.cmd.Wait() // exitCode tells
	}()
	return h, nil
}

func (h *hostProcess) read(stderr io.Reader) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			h.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (h *hostProcess) take(line string) {
	e := entry{}
	if json.Unmarshal([]byte(line), &e) != nil {
		e = entry{"level": "ERROR", "msg": line} // a panic, or a mistake in the command line
	}
	h.note(e)
	if h.onEntry != nil {
		h.onEntry(e)
	}
}

func (h *hostProcess) note(e entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.heard <- struct{}{}:
	default:
	}
	h.last = append(h.last, plainEntry(e))
	if len(h.last) > keptLines {
		h.last = h.last[1:]
	}
	if e.text("msg") != "action" && (e.text("level") == "ERROR" || e.text("msg") == "sub-action failed") {
		h.errors = append(h.errors, plainEntry(e))
	}
	switch e.text("msg") {
	case "ready":
		if !h.isReady {
			h.isReady, h.took = true, time.Since(h.started)
			close(h.ready)
		}
	case "call":
		r := h.recordLocked(e.text("action"))
		r.calls = append(r.calls, e)
	case "action":
		r := h.recordLocked(e.text("action"))
		r.action = e
		if r.ends++; r.ends == 1 {
			close(r.logged)
		}
	}
}

func (h *hostProcess) recordLocked(action string) *record {
	r := h.records[action]
	if r == nil {
		r = &record{logged: make(chan struct{})}
		h.records[action] = r
	}
	return r
}

// logged is closed when the log has the end of an action.
func (h *hostProcess) logged(action string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recordLocked(action).logged
}

// record is a copy of what the log said of an action.
func (h *hostProcess) record(action string) record {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := *h.recordLocked(action)
	r.calls = slices.Clone(r.calls)
	return r
}

// calls are those of an action and of its sub-actions, whose ids begin with its own.
func (h *hostProcess) calls(action string) []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	var calls []entry
	for id, r := range h.records {
		if id == action || strings.HasPrefix(id, action+"/") {
			calls = append(calls, r.calls...)
		}
	}
	return calls
}

func (h *hostProcess) loggedErrors() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.errors)
}

// lastLines are the newest lines of the log, for when something went wrong.
func (h *hostProcess) lastLines() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) == 0 {
		return "the host process logged nothing"
	}
	return "the last lines of the host's log:\n  " + strings.Join(h.last, "\n  ")
}

// stop ends the process in an orderly way, and says how that went. It does
// nothing to a process that has ended.
func (h *hostProcess) stop() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = h.cmd.Process.Kill() // no signals on this system
	}
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case <-h.done:
	case <-late.C:
		_ = h.cmd.Process.Kill()
		<-h.done
		return fmt.Errorf("the host process did not end within %s of SIGTERM and was killed", stopTime)
	}
	if code := h.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the host process ended with %s; want exit code 0 after SIGTERM", h.cmd.ProcessState)
	}
	return nil
}

// memory is what the process holds now and held at most; "" where the system does not say.
func (h *hostProcess) memory() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		return ""
	}
	now, peak := 0, 0
	for line := range strings.Lines(string(status)) {
		// The error is that of another line.
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &now)
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	return fmt.Sprintf("%d MB resident, %d MB at most", now>>10, peak>>10)
}

// plainEntry is a log line for people, without colours.
func plainEntry(e entry) string {
	text := e.text("level")
	for len(text) < len("ERROR") {
		text += " "
	}
	text += " " + e.text("msg")
	for _, key := range slices.Sorted(maps.Keys(e)) {
		if key == "time" || key == "level" || key == "msg" || key == "source" {
			continue
		}
		value := e.text(key)
		if key == "duration" || key == "waited" {
			value = e.duration(key).Round(10 * time.Microsecond).String()
		}
		if strings.ContainsAny(value, " \"=") || value == "" {
			value = strconv.Quote(value)
		}
		text += " " + key + "=" + value
	}
	return text
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
