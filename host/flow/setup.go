package flow

import (
	"log/slog"
	"sync"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
)

// Setup is what actions work with. It is exchanged as a whole while the flow
// runs: an action has the one setup from its first step to its last, and so have
// its sub-actions.
type Setup struct {
	Modules   Modules
	Directory Directory
	Performer *effect.Performer
	Site      abi.Site
	// Settings are the non-secret keys of [fn_threatq].
	Settings map[string]string
	// TrapException is as in Options.
	TrapException bool
	// Observe: nothing is written. Actions are played on what the services answer
	// to their reads, and on stand-ins for the answers to all else; their users are
	// told what would have been done.
	Observe bool
	// Renewed: its services are reached otherwise than those of the setup before.
	// Actions that wait for one that is down begin anew with it.
	Renewed bool

	// retired is closed when what waits for a service must be given up: the next one is
	// renewed, or the host stops. A setup that is not renewed shares it with the former.
	retired chan struct{}
	retire  func()

	log *slog.Logger
	// using counts the actions that work with it.
	using sync.WaitGroup
}

// Swap gives a setup to all actions that begin from now on, those that wait in
// their lanes included. The channel is closed when the last action has ended that
// works with the setup before; what that holds can be closed then. A setup is
// given to one flow, once.
func (f *Flow) Swap(next *Setup) (unused <-chan struct{}) {
	next.log = f.o.Logger
	if next.Performer != nil {
		next.Directory = patientDirectory{next.Directory, next.Performer}
	}
	f.mu.Lock()
	former := f.setup
	f.setup = next
	if former != nil && !next.Renewed {
		next.retired, next.retire = former.retired, former.retire
	} else {
		next.retired = make(chan struct{})
		next.retire = sync.OnceFunc(func() { close(next.retired) })
	}
	if former != nil && next.Renewed {
		former.retire()
	}
	if f.draining {
		next.retire()
	}
	f.mu.Unlock()
	done := make(chan struct{})
	if former == nil {
		close(done)
		return done
	}
	go func() {
		// Nobody takes it any more, so that the count only falls.
		former.using.Wait()
		close(done)
	}()
	return done
}

// pin is the current setup, counted as used until the caller says Done.
func (f *Flow) pin() *Setup {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setup.using.Add(1)
	return f.setup
}

// pinned are modules that do not change any more.
func pinned(m Modules) Modules {
	if c, ok := m.(Changing); ok {
		return c.Pinned()
	}
	return m
}

// whyAbsent is why no module takes an action; empty when none is installed.
func whyAbsent(m Modules, kind, name string) string {
	if e, ok := m.(Excused); ok {
		return e.Absent(kind, name)
	}
	return ""
}

func (f *Flow) current() *Setup {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.setup
}

// Ping returns when the flow takes messages and starts actions, which is at
// once: that it does not return is how a watchdog sees that something hangs.
func (f *Flow) Ping() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lanes.mu.Lock()
	defer f.lanes.mu.Unlock()
	f.holds.mu.Lock()
	defer f.holds.mu.Unlock()
}
