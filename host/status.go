package host

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"time"

	"fn-threatq/host/admin"
	"fn-threatq/host/broker"
	"fn-threatq/host/catalog"
)

// Status is how a running host stands.
type Status = admin.Status

// ErrNotRunning says that no host runs on a state folder.
var ErrNotRunning = admin.ErrNoHost

// AskStatus asks the host that runs on a state folder; empty is the default one.
func AskStatus(ctx context.Context, stateDir string) (Status, error) {
	a := &App{o: Options{StateDir: stateDir}}
	if err := a.folders(); err != nil {
		return Status{}, err
	}
	client, err := admin.Dial(filepath.Join(a.o.StateDir, admin.SocketName))
	if err != nil {
		return Status{}, err
	}
	return client.Status(ctx)
}

// brokerNow is the last state of the broker's session.
type brokerNow struct {
	state broker.State
	since time.Time
}

// noteBroker keeps the state for the status; a session that is sought in vain is
// away since it was lost.
func (a *App) noteBroker(s broker.State) {
	next := brokerNow{s, time.Now()}
	if before := a.session.Load(); before != nil && !before.state.Connected && !s.Connected {
		next.since = before.since
	}
	a.session.Store(&next)
}

// ill are the states of modules that a person should look at.
var ill = map[catalog.State]bool{catalog.Failed: true, catalog.Tampered: true, catalog.Quarantined: true}

// status is asked by the control socket.
func (a *App) status() (Status, error) {
	l := a.live.Load()
	s := Status{
		Version: Version, PID: os.Getpid(), Started: a.started, Observe: l.config.Observe, Standby: a.o.Config.ThreatQ.Standby,
		Broker: admin.Broker{Destination: queueName(l.session), Since: a.started},
		Down:   []admin.Down{}, Modules: []admin.Ill{}, Goroutines: runtime.NumGoroutine(), HeapBytes: heap(),
	}
	if now := a.session.Load(); now != nil {
		s.Broker.Connected, s.Broker.Since = now.state.Connected, now.since
		if now.state.Reason != nil {
			s.Broker.Reason = a.redact.Redact(now.state.Reason.Error())
		}
	}
	for _, o := range a.actions.Down() {
		s.Down = append(s.Down, admin.Down{Service: o.Name(), Since: o.Since, Reason: a.redact.Redact(o.Cause())})
	}
	t := a.actions.Status()
	s.Traffic = admin.Traffic{Waiting: t.Waiting, Running: t.Running, Held: t.Held, Done: t.Done, Failed: t.Failed}
	if !t.Oldest.IsZero() {
		s.Traffic.Oldest = &t.Oldest
	}
	for _, m := range a.catalog.Status() {
		if ill[m.State] {
			s.Modules = append(s.Modules, admin.Ill{Name: m.Name, Version: m.Version, State: string(m.State), Reason: a.redact.Redact(m.Reason)})
		}
	}
	s.Works = s.Broker.Connected && len(s.Down) == 0
	var err error
	s.DeadLetters, err = a.record.CountLetters()
	return s, err
}

// heap is what lives in the Go heap, and what is not yet collected, in bytes.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
