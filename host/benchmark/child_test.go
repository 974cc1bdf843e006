package benchmark

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

// Environment of a child.
const (
	childConfig  = "FN_THREATQ_BENCH_CONFIG"
	childModules = "FN_THREATQ_BENCH_MODULES"
	childCache   = "FN_THREATQ_BENCH_CACHE"
)

// runChild is the host process; it logs as the program does.
func runChild() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if path := os.Getenv("FN_THREATQ_BENCH_PROFILE"); path != "" {
		file, err := os.Create(path)
		if err == nil {
			err = pprof.StartCPUProfile(file)
		}
		if err != nil {
			log.Error("no profile", "error", err)
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	log.Info("begin")
	path := os.Getenv(childConfig)
	c, err := config.Load(config.Options{Path: path, Environ: []string{}})
	if err == nil {
		var app *host.App
		app, err = host.New(ctx, host.Options{Config: c, Logger: log, Modules: os.DirFS(os.Getenv(childModules)),
			CacheDir: os.Getenv(childCache), StateDir: filepath.Dir(path)})
		log.Info("prepared")
		if err == nil {
			err = app.Run(ctx)
		}
	}
	if err != nil {
		log.Error("ended", "error", err)
		return 1
	}
	return 0
}

// child is a running host process.
type child struct {
	b     *testing.B
	cmd   *exec.Cmd
	state string // its folder
	ready chan struct{}
	ended chan struct{}

	mu sync.Mutex
	// at is when each line of the start was logged.
	at map[string]time.Time
	// actions are the log lines of the actions.
	actions []line
	last    []string
}

// line is a line of the log.
type line struct {
	Time             time.Time
	Msg, Outcome     string
	Turns, Calls     int
	Duration, Waited time.Duration
}

// options of a child that differ from the usual ones.
type options struct {
	modules, cache string
	// settings are lines for [fn_threatq].
	settings []string
}

// start runs a host and waits until it is subscribed.
func (w *world) start(b *testing.B, o options) *child {
	if o.modules == "" {
		o.modules = shared.modules
	}
	if o.cache == "" {
		o.cache = shared.cache
	}
	c := &child{b: b, ready: make(chan struct{}), ended: make(chan struct{}), at: map[string]time.Time{}}
	c.cmd = exec.Command(os.Args[0])
	path := w.appConfig(b, o.settings)
	c.state = filepath.Dir(path)
	c.cmd.Env = append(os.Environ(), childConfig+"="+path, childModules+"="+o.modules, childCache+"="+o.cache)
	stderr, err := c.cmd.StderrPipe()
	require.NoError(b, err)
	c.at["start"] = time.Now()
	require.NoError(b, c.cmd.Start())
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			c.take(lines.Bytes())
		}
		_ = c.cmd.Wait() // stop asks for the state
	}()
	b.Cleanup(c.stop)
	select {
	case <-c.ready:
	case <-c.ended:
		require.Fail(b, "the host ended", c.lastLines())
	case <-time.After(time.Minute):
		require.Fail(b, "the host is not ready", c.lastLines())
	}
	return c
}

func (c *child) take(text []byte) {
	var l line
	_ = json.Unmarshal(text, &l) // what is no JSON is shown when the child fails
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.Msg == "action" {
		c.actions = append(c.actions, l)
		return
	}
	if c.last = append(c.last, string(text)); len(c.last) > 20 {
		c.last = c.last[1:]
	}
	if _, again := c.at[l.Msg]; !again {
		c.at[l.Msg] = l.Time
		if l.Msg == "ready" {
			close(c.ready)
		}
	}
}

func (c *child) lastLines() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.last, "\n")
}

// logged waits for the log lines of n actions, and forgets them.
func (c *child) logged(n int) (actions []line) {
	require.Eventually(c.b, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.actions) >= n
	}, time.Minute, time.Millisecond, "log lines of %d actions", n)
	c.mu.Lock()
	defer c.mu.Unlock()
	actions, c.actions = c.actions, nil
	return actions
}

// stop ends the process in order; it may be called again.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	require.True(c.b, c.cmd.ProcessState.Success(), c.lastLines())
}

// cpu is the processor time that the process has used.
func (c *child) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	require.NoError(c.b, err)
	// utime and stime are the 14th and 15th field, in ticks of 10 ms; the 2nd is the name in brackets.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(c.b, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(c.b, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory is a line of /proc/PID/status in bytes.
func (c *child) memory(key string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	require.NoError(c.b, err)
	for l := range strings.Lines(string(text)) {
		if fields := strings.Fields(l); len(fields) > 1 && fields[0] == key+":" {
			kilobytes, err := strconv.Atoi(fields[1])
			require.NoError(c.b, err)
			return float64(kilobytes) * 1024
		}
	}
	require.Fail(c.b, "no such line", key)
	return 0
}
