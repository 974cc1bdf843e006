package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a host may take to end after SIGTERM, readyTime how long
// it may take to subscribe: the first one compiles the modules.
const stopTime, readyTime = 30 * time.Second, 3 * time.Minute

// process is the host as one incarnation of its process after the other.
type process struct {
	binary, config, logs string
	level                string // of the log
	env                  []string

	mu    sync.Mutex
	run   *incarnation
	count int
	// says counts messages of all logs.
	says map[string]int
	// errors are the error lines that are not about an action.
	errors []string
}

type incarnation struct {
	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{}
	last  []string
}

// start runs the next incarnation; it does not wait until it is ready.
func (p *process) start() (*incarnation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	cmd := exec.Command(p.binary, "run", "--config", p.config, "--log-level", p.level, "--log-format", "json")
	cmd.Env = p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is ours
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(p.logs, fmt.Sprintf("host-%03d.log", p.count)))
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("the host process cannot be started: %w", err)
	}
	i := &incarnation{cmd: cmd, ready: make(chan struct{}), done: make(chan struct{})}
	p.run = i
	go func() {
		defer close(i.done)
		p.read(i, io.TeeReader(stderr, log))
		log.Close()
		_ = cmd.Wait() // ProcessState tells
	}()
	return i, nil
}

func (p *process) read(i *incarnation, r io.Reader) {
	lines := bufio.NewReaderSize(r, 64<<10)
	isReady := false
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			var e struct{ Level, Msg string }
			if json.Unmarshal([]byte(line), &e) != nil {
				e.Level, e.Msg = "ERROR", line // a panic, or a mistake in the command line
			}
			p.mu.Lock()
			if p.says == nil {
				p.says = map[string]int{}
			}
			p.says[e.Msg]++
			if e.Level == "ERROR" && e.Msg != "action" && len(p.errors) < 50 {
				p.errors = append(p.errors, line)
			}
			if i.last = append(i.last, line); len(i.last) > 12 {
				i.last = i.last[1:]
			}
			p.mu.Unlock()
			if e.Msg == "ready" && !isReady {
				isReady = true
				close(i.ready)
			}
		}
		if err != nil {
			return
		}
	}
}

// said is how often a message was logged.
func (p *process) said(msg string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.says[msg]
}

// said is how often all hosts logged a message, and started how many processes there were.
func (w *world) said(msg string) (n int) {
	for _, h := range w.hosts() {
		n += h.said(msg)
	}
	return n
}

func (w *world) started() (n int) {
	for _, h := range w.hosts() {
		n += h.count
	}
	return n
}

func (p *process) current() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

func (p *process) pid() int { return p.current().cmd.Process.Pid }

// startReady runs the next incarnation and waits until it is ready.
func (p *process) startReady() error {
	i, err := p.start()
	if err != nil {
		return err
	}
	return p.untilReady(i)
}

// untilReady waits for the subscription.
func (p *process) untilReady(i *incarnation) error {
	late := time.NewTimer(readyTime)
	defer late.Stop()
	select {
	case <-i.ready:
		return nil
	case <-i.done:
		return fmt.Errorf("the host ended by itself (%s): %s", i.cmd.ProcessState, p.lastLines(i))
	case <-late.C:
		return fmt.Errorf("the host was not ready within %s: %s", readyTime, p.lastLines(i))
	}
}

func (p *process) lastLines(i *incarnation) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "the end of its log:\n  " + strings.Join(i.last, "\n  ")
}

// kill ends the incarnation as a crash does.
func (p *process) kill() {
	i := p.current()
	_ = i.cmd.Process.Kill() // it may have ended
	<-i.done
}

// stop ends it in order.
func (p *process) stop() error {
	i := p.current()
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case <-i.done:
	case <-late.C:
		p.kill()
		return fmt.Errorf("the host did not end within %s of SIGTERM and was killed; %s", stopTime, p.lastLines(i))
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the host ended with %s after SIGTERM, want exit code 0; %s", i.cmd.ProcessState, p.lastLines(i))
	}
	return nil
}

// alive fails when the incarnation has ended by itself.
func (p *process) alive() error {
	i := p.current()
	select {
	case <-i.done:
		return fmt.Errorf("the host ended by itself (%s); %s", i.cmd.ProcessState, p.lastLines(i))
	default:
		return nil
	}
}
