package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/sandbox"
)

// Module is an installed module. It is what package flow plays.
type Module struct {
	box      *sandbox.Sandbox
	log      *slog.Logger
	files    fs.FS
	from     *candidate
	manifest *manifest.Manifest
	permits  *manifest.Permits

	// wanted counts turns that run or wait for the module to be loaded.
	wanted atomic.Int64

	mu     sync.Mutex
	loaded *sandbox.Module
	// idle is how long it stays loaded, and timer ends that.
	idle  time.Duration
	timer *time.Timer

	breaker breaker
}

func newModule(o Options, c *candidate, permits *manifest.Permits) *Module {
	return &Module{box: o.Box, log: o.Logger, files: o.Builtin, from: c, manifest: c.manifest, permits: permits, idle: o.Idle}
}

// Manifest of the module. It must not be changed.
func (m *Module) Manifest() *manifest.Manifest { return m.manifest }

// Permits are the calls that the module may make.
func (m *Module) Permits() *manifest.Permits { return m.permits }

// Digest is the SHA-256 of the module file; empty for a built-in one.
func (m *Module) Digest() string { return m.from.digest }

// anyDigest is that of a built-in one too; empty when it cannot be read.
func (m *Module) anyDigest() string {
	if m.from.digest != "" {
		return m.from.digest
	}
	text, err := m.read()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Turn plays one turn in the sandbox.
func (m *Module) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
	m.wanted.Add(1)
	defer m.rest()
	module, err := m.Loaded(ctx)
	if err != nil {
		return nil, nil, err
	}
	out, err := module.Turn(ctx, sandbox.TurnInput{Input: input, Now: now, Seed: seed})
	if out.LogDropped > 0 {
		out.Log = append(out.Log, fmt.Sprintf("(%d more bytes)", out.LogDropped))
	}
	return out.Answer, out.Log, err
}

// Loaded is the module in the sandbox; the first call loads it. A failure is
// not remembered: a full disk may be emptied.
func (m *Module) Loaded(ctx context.Context) (*sandbox.Module, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ensure(ctx); err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", m.from.where(), err)
	}
	return m.loaded, nil
}

// rest ends a turn: when no other comes for a while, the module is let go of.
func (m *Module) rest() {
	if m.wanted.Add(-1) > 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.later()
}

// later lets go of the module after its idle time; mu is held.
func (m *Module) later() {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.timer = time.AfterFunc(m.idle, m.release)
}

// release lets go of the module, unless a turn wants it.
func (m *Module) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded == nil || m.wanted.Load() > 0 {
		return
	}
	module := m.loaded
	m.loaded = nil
	if err := module.Close(context.Background()); err != nil {
		m.log.Debug("a module could not be let go of", "module", m.manifest.Name, "error", err)
	}
}

// retiredIdle is how long a module stays loaded that was replaced: an action
// that began with it may want another turn, and would load it again.
const retiredIdle = 10 * time.Second

// retire says that another version takes the actions from now on.
func (m *Module) retire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = min(m.idle, retiredIdle)
	m.later()
}

// try loads the module, and keeps it only when a turn has come to want it.
func (m *Module) try(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded != nil {
		return nil
	}
	if err := m.ensure(ctx); err != nil {
		return fmt.Errorf("%s cannot be used: %w", m.from.where(), err)
	}
	if m.wanted.Load() > 0 {
		return nil
	}
	module := m.loaded
	m.loaded = nil
	return module.Close(context.WithoutCancel(ctx))
}

// ensure loads the module when it is not; mu is held.
func (m *Module) ensure(ctx context.Context) error {
	if m.loaded != nil {
		return nil
	}
	text, err := m.read()
	if err != nil {
		return err
	}
	// The next action needs it too, so the end of this one does not end it.
	if m.loaded, err = m.box.Load(context.WithoutCancel(ctx), text, sandbox.DefaultCeiling); err != nil {
		return err
	}
	m.later()
	return nil
}

// check loads the module for a reload.
func (m *Module) check(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ensure(ctx)
}

func (m *Module) read() ([]byte, error) {
	if m.from.kind == built {
		return fs.ReadFile(m.files, m.from.file)
	}
	return m.from.text, nil
}
