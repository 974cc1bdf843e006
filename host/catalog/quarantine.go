package catalog

import (
	"fmt"
	"sync"
	"time"

	"fn-threatq/host/flow"
)

const (
	// faultsInARow within faultWindow put a module aside.
	faultsInARow = 5
	faultWindow  = 10 * time.Minute
)

// pauses until a module that was put aside has its next trial; the last one
// repeats.
var pauses = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// Quarantine says that a module was put aside because it kept failing by its
// own fault: its actions fail at once, but for one trial after each pause. A
// trial that goes well ends it.
type Quarantine struct {
	// Since is when it was put aside, and Until when its next trial is due.
	Since, Until time.Time
	// Faults are those in a row, and Last says what the latest was.
	Faults int
	Last   string
}

// breaker puts a module aside.
type breaker struct {
	mu     sync.Mutex
	faults int
	first  time.Time // of these faults
	last   string
	// trials that failed.
	trials int
	since  time.Time // zero: not put aside
	until  time.Time
}

// Admit lets an action be played, or says why not.
func (m *Module) Admit() (settle func(flow.Verdict, string), err error) {
	b := &m.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	trial := false
	if !b.since.IsZero() {
		now := time.Now()
		if now.Before(b.until) {
			return nil, fmt.Errorf("module %s %s", m.name(), b.quarantine())
		}
		// The next one is not before the pause either, but not never: a trial may wait
		// for hours for a service that is down.
		b.until, trial = now.Add(b.pause()), true
	}
	return func(v flow.Verdict, reason string) { m.settle(trial, v, reason) }, nil
}

// settle notes how an action ended.
func (m *Module) settle(trial bool, v flow.Verdict, reason string) {
	b := &m.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	// What began before the module was put aside says nothing new.
	if aside := !b.since.IsZero(); aside && !trial {
		return
	}
	now := time.Now()
	switch v {
	case flow.NoVerdict:
		if trial {
			b.until = now // it has told nothing: the next action is the trial
		}
	case flow.Well:
		if trial {
			m.log.Info("the module is well again and back in use", "module", m.name(), "aside", now.Sub(b.since).Round(time.Second))
		}
		b.faults, b.trials, b.since, b.until, b.last = 0, 0, time.Time{}, time.Time{}, ""
	case flow.AtFault:
		if b.faults == 0 || !trial && now.Sub(b.first) > faultWindow {
			b.faults, b.first = 0, now
		}
		b.faults, b.last = b.faults+1, reason
		if !trial && b.faults < faultsInARow {
			return
		}
		pause := b.pause()
		b.trials++
		b.until = now.Add(pause)
		if trial {
			m.log.Warn("the trial of a module failed; it stays put aside", "module", m.name(), "next_trial_in", pause, "fault", reason)
			return
		}
		b.since = now
		m.log.Error("a module keeps failing by its own fault and is put aside; its actions fail until a trial goes well",
			"module", m.name(), "digest", m.anyDigest(), "faults", b.faults, "next_trial_in", pause, "fault", reason)
	}
}

// pause is that after the trials so far.
func (b *breaker) pause() time.Duration { return pauses[min(b.trials, len(pauses)-1)] }

// Quarantine tells whether the module is put aside.
func (m *Module) Quarantine() (q Quarantine, aside bool) {
	b := &m.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return Quarantine{}, false
	}
	return b.quarantine(), true
}

func (b *breaker) quarantine() Quarantine {
	return Quarantine{Since: b.since, Until: b.until, Faults: b.faults, Last: b.last}
}

// String says it in words that go behind the name of the module.
func (q Quarantine) String() string {
	return fmt.Sprintf("failed %d times in a row by its own fault and is not used until %s; the last fault: %s",
		q.Faults, q.Until.UTC().Format("15:04:05 MST"), q.Last)
}

func (m *Module) name() string { return m.manifest.Name + " " + m.manifest.Version }
