package catalog

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/sandbox"
)

// Module is an installed module. It is what package flow plays.
type Module struct {
	box      *sandbox.Sandbox
	files    fs.FS
	file     string
	manifest *manifest.Manifest
	permits  *manifest.Permits

	// wanted counts turns that wait for the module to be loaded.
	wanted atomic.Int64
	mu     sync.Mutex
	loaded *sandbox.Module
}

func install(box *sandbox.Sandbox, files fs.FS, name string) (*Module, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	m, err := sandbox.Inspect(text)
	if err != nil {
		return nil, err
	}
	permits, err := manifest.NewPermits(m.Calls)
	if err != nil {
		return nil, err
	}
	return &Module{box: box, files: files, file: name, manifest: m, permits: permits}, nil
}

// Manifest of the module. It must not be changed.
func (m *Module) Manifest() *manifest.Manifest { return m.manifest }

// Permits are the calls that the module may make.
func (m *Module) Permits() *manifest.Permits { return m.permits }

// Turn plays one turn in the sandbox.
func (m *Module) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
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
	m.wanted.Add(1)
	defer m.wanted.Add(-1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded == nil {
		if err := m.load(ctx); err != nil {
			return nil, err
		}
	}
	return m.loaded, nil
}

// try loads the module, and keeps it only when a turn has come to want it.
func (m *Module) try(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded != nil {
		return nil
	}
	if err := m.load(ctx); err != nil {
		return err
	}
	if m.wanted.Load() > 0 {
		return nil
	}
	module := m.loaded
	m.loaded = nil
	return module.Close(context.WithoutCancel(ctx))
}

func (m *Module) load(ctx context.Context) error {
	text, err := fs.ReadFile(m.files, m.file)
	if err == nil {
		// The next action needs it too, so the end of this one does not end it.
		m.loaded, err = m.box.Load(context.WithoutCancel(ctx), text, sandbox.DefaultCeiling)
	}
	if err != nil {
		return fmt.Errorf("module file %s cannot be used: %w", m.file, err)
	}
	return nil
}
