package host

import (
	"path/filepath"
	"sync/atomic"

	"fn-threatq/host/config"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/history"
)

// listeners are those who are given the dialogues of actions: the recorder, when
// it is switched on, and the candidates that run beside modules.
type listeners struct {
	app       *App
	recording atomic.Bool
	recorder  *history.Recorder
	shadows   *shadows
}

func (a *App) newListeners() *listeners {
	c := a.o.Config.Record
	l := &listeners{app: a, shadows: newShadows(a), recorder: history.NewRecorder(history.Options{
		Dir: filepath.Join(a.o.StateDir, history.Folder), Redact: a.redact.Redact, Logger: a.log,
	}, history.Bounds{Age: c.Age, Size: c.Size})}
	l.recording.Store(c.On)
	return l
}

// configure takes a reloaded configuration over, for actions that begin from now on.
func (l *listeners) configure(c config.Record) {
	l.recorder.Bound(history.Bounds{Age: c.Age, Size: c.Size})
	l.recording.Store(c.On)
}

// close writes what was heard.
func (l *listeners) close() {
	l.recorder.Close()
}

// Wants implements flow.Listener.
func (l *listeners) Wants(module string) bool {
	return l.recording.Load() || l.shadows.wants(module)
}

// Ended implements flow.Listener.
func (l *listeners) Ended(d *dialogue.Dialogue) {
	if l.recording.Load() {
		l.recorder.Keep(d)
	}
	l.shadows.ended(d)
}
