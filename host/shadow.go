package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/scenario"
	"fn-threatq/host/store"
)

// ShadowReport says how a candidate that runs beside a module compares with it.
type ShadowReport struct {
	Module string `json:"module"`
	// Candidate and Digest are the candidate's version and file; Live is the version
	// that it was compared with last.
	Candidate string `json:"candidate"`
	Digest    string `json:"digest"`
	Live      string `json:"live,omitempty"`
	// Since is when it began to run, Updated when this was written.
	Since   time.Time `json:"since"`
	Updated time.Time `json:"updated,omitzero"`
	// Dropped actions came faster than the candidate could play them.
	Dropped int64 `json:"dropped"`
	// Problem says why it cannot be played at all.
	Problem string `json:"problem,omitempty"`
	// Summary compares the actions that were played.
	Summary dialogue.Summary `json:"summary"`
}

const (
	// shadowFolder has the reports, below the folder of the state.
	shadowFolder = "shadow"
	// shadowQueue is how many actions wait for a candidate; the next are dropped.
	shadowQueue = 32
	// reportEvery is the pace at which a report that has changed is written.
	reportEvery = time.Second
)

// shadows runs candidates beside the modules at work: on the dialogues of actions
// that have ended, with what was answered to them. A candidate performs nothing,
// and nobody waits for it: it has a sandbox and a goroutine of its own, and one
// candidate works at a time.
type shadows struct {
	app *App
	// running by module name; exchanged as a whole.
	running atomic.Pointer[map[string]*shadow]
	turn    sync.Mutex
}

func newShadows(a *App) *shadows {
	s := &shadows{app: a}
	s.running.Store(&map[string]*shadow{})
	return s
}

// shadow is one candidate.
type shadow struct {
	of      *shadows
	queue   chan *dialogue.Dialogue
	dropped atomic.Int64
	stop    context.CancelFunc
	ended   chan struct{}
	// report is the goroutine's own.
	report ShadowReport
}

func (s *shadows) wants(module string) bool { return (*s.running.Load())[module] != nil }

// ended offers a dialogue to the candidate of its module.
func (s *shadows) ended(d *dialogue.Dialogue) {
	candidate := (*s.running.Load())[d.Module]
	if candidate == nil {
		return
	}
	select {
	case candidate.queue <- d:
	default:
		candidate.dropped.Add(1)
	}
}

// watch starts and stops candidates as the store says, until the context ends.
func (s *shadows) watch(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			if err := s.look(ctx); err != nil {
				s.app.log.Warn("candidates that are to run beside modules cannot be looked at", "error", err)
			}
			select {
			case <-ctx.Done():
				s.end(*s.running.Load())
				return
			case <-ticker.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (s *shadows) look(ctx context.Context) error {
	state, err := s.app.plugins().State()
	if err != nil {
		return err
	}
	was := *s.running.Load()
	next, gone := map[string]*shadow{}, maps.Clone(was)
	for name, v := range state.Shadows {
		if old := was[name]; old != nil && old.report.Digest == v.Digest {
			next[name] = old
			delete(gone, name)
			continue
		}
		next[name] = nil
	}
	s.end(gone)
	for name := range gone {
		if _, replaced := next[name]; !replaced {
			// Its last report came after whoever ended it had removed the former one.
			_ = os.Remove(filepath.Join(s.app.o.StateDir, shadowFolder, name+".json"))
		}
	}
	for name, candidate := range next {
		if candidate == nil {
			next[name] = s.start(ctx, name, state.Shadows[name])
		}
	}
	s.running.Store(&next)
	return nil
}

func (s *shadows) end(these map[string]*shadow) {
	for _, candidate := range these {
		candidate.stop()
		<-candidate.ended
	}
}

func (s *shadows) start(ctx context.Context, name string, v *store.Version) *shadow {
	ctx, stop := context.WithCancel(ctx)
	c := &shadow{of: s, queue: make(chan *dialogue.Dialogue, shadowQueue), stop: stop, ended: make(chan struct{})}
	// A host that is started again goes on counting.
	if had, err := readReport(s.app.o.StateDir, name); err == nil && had.Digest == v.Digest {
		c.report = *had
		c.dropped.Store(had.Dropped)
	} else {
		c.report = ShadowReport{Module: name, Candidate: v.Version, Digest: v.Digest, Since: time.Now().UTC()}
	}
	s.app.log.Info("a candidate runs beside a module; nothing that it asks for is performed", "module", name, "candidate", v.Version)
	go c.run(ctx)
	return c
}

// run plays what comes.
func (c *shadow) run(ctx context.Context) {
	defer close(c.ended)
	player, err := c.load(ctx)
	if err != nil {
		c.report.Problem = err.Error()
		if ctx.Err() == nil {
			c.of.app.log.Warn("a candidate cannot be used; the module at work is not concerned", "module", c.report.Module, "error", err)
		}
	} else {
		c.report.Problem = ""
		defer func() {
			if err := player.Close(context.WithoutCancel(ctx)); err != nil {
				c.of.app.log.Debug("a candidate was not closed in order", "error", err)
			}
		}()
	}
	c.write()
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	changed := false
	for {
		select {
		case <-ctx.Done():
			c.write()
			return
		case d := <-c.queue:
			if player != nil {
				c.compare(ctx, player, d)
				changed = true
			}
		case <-ticker.C:
			if changed || c.dropped.Load() != c.report.Dropped {
				c.write()
				changed = false
			}
		}
	}
}

func (c *shadow) load(ctx context.Context) (*scenario.Player, error) {
	file, err := c.of.app.plugins().Module(c.report.Digest)
	if err != nil {
		return nil, err
	}
	return scenario.NewPlayer(ctx, filepath.Join(c.of.app.o.CacheDir, "modules"), file)
}

func (c *shadow) compare(ctx context.Context, player *scenario.Player, d *dialogue.Dialogue) {
	c.of.turn.Lock()
	defer c.of.turn.Unlock()
	r, err := player.Compare(ctx, d)
	if ctx.Err() != nil {
		return
	}
	c.report.Live = d.Version
	s := &c.report.Summary
	if err != nil {
		s.Fail(errors.New(c.of.app.redact.Redact(fmt.Sprintf("%s: %s", d.ID, err))))
		return
	}
	for _, difference := range r.Differences {
		for _, texts := range [][]string{difference.Was, difference.Is} {
			for i := range texts {
				texts[i] = c.of.app.redact.Redact(texts[i])
			}
		}
	}
	s.Add(d.ID, r.Differences)
	if r.Short > 0 {
		s.Short++
	}
}

// write keeps the report where the command line reads it.
func (c *shadow) write() {
	c.report.Dropped, c.report.Updated = c.dropped.Load(), time.Now().UTC()
	text, err := json.MarshalIndent(c.report, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(c.of.app.o.StateDir, shadowFolder), c.report.Module+".json", append(text, '\n'))
	}
	if err != nil {
		c.of.app.log.Warn("the report on a candidate cannot be written", "module", c.report.Module, "error", err)
	}
}

// replaceFile writes a file as a whole: a reader sees the old one or the new one.
func replaceFile(dir, name string, text []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fresh := filepath.Join(dir, "."+name)
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, name))
}

func readReport(stateDir, module string) (*ShadowReport, error) {
	text, err := os.ReadFile(filepath.Join(stateDir, shadowFolder, module+".json"))
	if err != nil {
		return nil, err
	}
	r := &ShadowReport{}
	return r, json.Unmarshal(text, r)
}

// Shadow has a candidate run beside the module of its name, from the moment a host
// looks. It is loaded first: what cannot be used is no candidate.
func (m *Modules) Shadow(ctx context.Context, file []byte) (about *manifest.Manifest, err error) {
	if err := m.Try(ctx, file, nil); err != nil {
		return nil, fmt.Errorf("it cannot be used: %w", err)
	}
	if about, err = sandbox.Inspect(file); err != nil {
		return nil, err
	}
	name, used := about.Name, false
	for _, s := range m.catalog.Status() {
		used = used || s.Name == name && s.InUse
	}
	if !used {
		return nil, fmt.Errorf("no module %s is in use beside which it could run: install it instead", name)
	}
	return about, m.store.Change(func(state *store.State) error {
		digest, err := m.store.PutModule(file)
		if err != nil {
			return err
		}
		if state.Shadows == nil {
			state.Shadows = map[string]*store.Version{}
		}
		state.Shadows[name] = &store.Version{Version: about.Version, Digest: digest, Since: time.Now().UTC()}
		return nil
	})
}

// NoShadowError says that no candidate runs beside a module.
type NoShadowError struct{ Module string }

func (e *NoShadowError) Error() string {
	return fmt.Sprintf("no candidate runs beside module %q; `fn-threatq plugin shadow MODULE.wasm` begins one", e.Module)
}

// Shadows are the candidates with their reports, by module name. A candidate that
// no host has looked at yet has an empty one.
func (m *Modules) Shadows() (map[string]*ShadowReport, error) {
	state, err := m.store.State()
	if err != nil {
		return nil, err
	}
	all := map[string]*ShadowReport{}
	for name, v := range state.Shadows {
		r, err := readReport(m.stateDir, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the report on the candidate of %s: %w", name, err)
		}
		if r == nil || r.Digest != v.Digest {
			r = &ShadowReport{Module: name, Candidate: v.Version, Digest: v.Digest, Since: v.Since}
		}
		if r.Summary.Groups == nil {
			r.Summary.Groups = []*dialogue.Group{}
		}
		all[name] = r
	}
	return all, nil
}

// StopShadow ends a candidate; its report goes too.
func (m *Modules) StopShadow(name string) error {
	err := m.store.Change(func(state *store.State) error {
		if state.Shadows[name] == nil {
			return &NoShadowError{name}
		}
		delete(state.Shadows, name)
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(m.stateDir, shadowFolder, name+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ShadowFile is the file of a candidate.
func (m *Modules) ShadowFile(name string) ([]byte, error) {
	state, err := m.store.State()
	if err != nil {
		return nil, err
	}
	v := state.Shadows[name]
	if v == nil {
		return nil, &NoShadowError{name}
	}
	return m.store.Module(v.Digest)
}
