package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sample is what the host process holds at one moment.
type sample struct {
	answered                 int
	resident, threads, files int // resident in KB, files are descriptors
	goroutines               int
	heap                     float64 // MB, with what is not yet collected
	state                    int64
	second                   float64 // messages answered in one, since the sample before
	started                  time.Time
}

// soakLedger is the bound of the ledger in MB, the smallest there is: some 15,000
// actions fill it.
const soakLedger = 16

// samples is how many are taken of a soak.
const samples = 20

// soak plays many actions that add nothing new, and looks whether the host grows.
func soak(ctx context.Context, o options, out *printer) error {
	return inWorld(ctx, o, func(w *world) error { return soakIn(ctx, w, o, out) })
}

func soakIn(ctx context.Context, w *world, o options, out *printer) error {
	w.host.level = "info" // the log of each call would fill the disk
	if err := w.configure(fmt.Sprintf("ledger_mb=%d", soakLedger)); err != nil {
		return err
	}
	w.bridge.forgetful = true
	s := &story{w: w, out: out, tally: newTally(), plan: newPlan(o.seed, 400)}
	s.villain = newVillain(w, o.seed, 0, 0, s.tally, nil)
	w.sees()
	w.seed(s.plan)
	if err := w.host.startReady(); err != nil {
		return err
	}
	if err := s.perform(ctx, s.plan.stream); err != nil {
		return err
	}
	again := s.plan.repeatable()
	out.heading("%d actions in peace", o.actions)
	out.line("  %9s  %9s  %9s  %10s  %8s  %7s  %11s  %9s", "answered", "resident", "Go heap", "goroutines", "threads", "files", "state", "per s")
	var taken []sample
	for n := range samples {
		until := o.actions * (n + 1) / samples
		for at := o.actions * n / samples; at < until; at++ {
			again[at%len(again)].do(w.soar)
			if err := w.bridge.await(ctx, stuckAfter, func(s standing) bool { return s.published-s.answered < backlog }); err != nil {
				return err
			}
		}
		// All are answered, so that what work is under way does not hide what stays.
		if err := s.allAnswered(ctx); err != nil {
			return err
		}
		now, err := w.sample(ctx, taken)
		if err != nil {
			return err
		}
		taken = append(taken, now)
		last := taken[n]
		out.line("  %9d  %6d MB  %6.1f MB  %10d  %8d  %7d  %8.1f MB  %9.0f", last.answered, last.resident>>10, last.heap, last.goroutines, last.threads, last.files, float64(last.state)/(1<<20), last.second)
	}
	if err := s.allAnswered(ctx); err != nil {
		return err
	}
	v := &s.verdict
	if err := w.host.stop(); err != nil {
		v.other = append(v.other, err.Error())
	}
	published, _ := w.bridge.progress()
	v.actions = published
	w.judgeReplies(v)
	w.judgeQueues(ctx, v)
	v.other = append(v.other, growth(taken)...)
	s.tellVerdict()
	if !v.good() {
		return errReported
	}
	return nil
}

// repeatable are the deeds of a plan that may be done again and again: updates
// that change nothing in the end, and menu items.
func (p *plan) repeatable() (again []deed) {
	for _, d := range p.stream {
		switch d.kind {
		case "incident updated", "note edited", "task updated":
			n := len(again)
			again = append(again, deed{kind: d.kind, do: func(s *soarSide) { s.deeds.Add(1); p.touch(s, n) }})
		case "menu: sync incident with artifacts", "menu: sync indicator", "menu: true positive", "menu: set task status", "function: add indicator":
			again = append(again, d)
		}
	}
	return again
}

// touch saves an incident with another description, which fires its rule.
func (p *plan) touch(s *soarSide, n int) {
	i := n % len(s.incidents)
	s.sim.UpdateIncident(s.incidents[i], map[string]any{"description": html(fmt.Sprintf("Touched %d.", s.deeds.Load()))})
}

// sample looks at the host process; what the system does not tell is 0.
func (w *world) sample(ctx context.Context, before []sample) (sample, error) {
	_, answered := w.bridge.progress()
	now := sample{answered: answered, started: time.Now()}
	text, _ := w.command(ctx, []string{"status", "-o", "json"})
	var told struct {
		Goroutines int    `json:"goroutines"`
		Heap       uint64 `json:"heap_bytes"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return now, fmt.Errorf("the host does not tell its status: %w: %s", err, text)
	}
	now.goroutines, now.heap = told.Goroutines, float64(told.Heap)/(1<<20)
	proc := fmt.Sprintf("/proc/%d", w.host.pid())
	if status, err := os.ReadFile(proc + "/status"); err == nil {
		for _, line := range strings.Split(string(status), "\n") {
			// The error is that of another line.
			_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &now.resident)
			_, _ = fmt.Sscanf(line, "Threads: %d", &now.threads)
		}
	}
	if files, err := os.ReadDir(proc + "/fd"); err == nil {
		now.files = len(files)
	}
	_ = filepath.WalkDir(filepath.Join(w.dir, "host", "state"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				now.state += info.Size()
			}
		}
		return nil // a file may go while it is looked at
	})
	if len(before) > 0 {
		last := before[len(before)-1]
		now.second = float64(answered-last.answered) / now.started.Sub(last.started).Seconds()
	}
	return now, nil
}

// How much more the last quarter may hold than the second.
const (
	growthOfMemory = 1.20
	growthOfState  = 1.50
	moreFiles      = 8 // connections come and go
	moreThreads    = 8
	moreGoroutines = 16 // of connections too
)

// growth compares the last quarter of the samples with the second; the first is
// the warming up.
func growth(taken []sample) (wrong []string) {
	quarter := len(taken) / 4
	if quarter == 0 {
		return nil
	}
	mean := func(of []sample, value func(sample) float64) (sum float64) {
		for _, s := range of {
			sum += value(s) / float64(len(of))
		}
		return sum
	}
	early, late := taken[quarter:2*quarter], taken[len(taken)-quarter:]
	for _, m := range []struct {
		what  string
		value func(sample) float64
		bound func(early float64) float64
	}{
		{"resident memory (KB)", func(s sample) float64 { return float64(s.resident) }, func(e float64) float64 { return e * growthOfMemory }},
		{"goroutines", func(s sample) float64 { return float64(s.goroutines) }, func(e float64) float64 { return e + moreGoroutines }},
		{"open files", func(s sample) float64 { return float64(s.files) }, func(e float64) float64 { return e + moreFiles }},
		{"threads", func(s sample) float64 { return float64(s.threads) }, func(e float64) float64 { return e + moreThreads }},
		{"state on disk (bytes)", func(s sample) float64 { return float64(s.state) }, func(e float64) float64 { return e*growthOfState + 1<<20 }},
	} {
		before, after := mean(early, m.value), mean(late, m.value)
		if after > m.bound(before) {
			wrong = append(wrong, fmt.Sprintf("%s grows: %.0f in the second quarter, %.0f in the last", m.what, before, after))
		}
	}
	return wrong
}
