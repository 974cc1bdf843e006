// Package catalog holds the installed modules and finds the one that takes an
// action. A module is installed when its file was read, verified, compiled and
// has played a first turn; each rule and each function belongs to one module.
package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/flow"
	"fn-threatq/host/sandbox"
)

//go:embed all:builtin
var builtin embed.FS

// Builtin are the module files that were built into this program.
func Builtin() fs.FS {
	files, err := fs.Sub(builtin, "builtin")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return files
}

// ErrNoModules says that there is nothing to install.
var ErrNoModules = errors.New("no modules are built in: run `make plugins`, then build again")

// Module is an installed module. It is what package flow plays.
type Module struct {
	*sandbox.Module
	permits *manifest.Permits
}

// Permits are the calls that the module may make.
func (m *Module) Permits() *manifest.Permits { return m.permits }

// Turn plays one turn in the sandbox.
func (m *Module) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
	out, err := m.Module.Turn(ctx, sandbox.TurnInput{Input: input, Now: now, Seed: seed})
	if out.LogDropped > 0 {
		out.Log = append(out.Log, fmt.Sprintf("(%d more bytes)", out.LogDropped))
	}
	return out.Answer, out.Log, err
}

// Catalog finds modules by what they handle. It does not change once loaded.
type Catalog struct {
	modules []*Module
	// routes by kind, then by routing name.
	routes map[string]map[string]*Module
}

// Load installs all *.wasm files of a folder side by side. One bad file is an
// error: a host with a rule missing would answer its messages with failures.
func Load(ctx context.Context, box *sandbox.Sandbox, files fs.FS) (*Catalog, error) {
	names, err := fs.Glob(files, "*.wasm")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	if len(names) == 0 {
		return nil, ErrNoModules
	}
	modules, errs := make([]*Module, len(names)), make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() {
			if modules[i], errs[i] = load(ctx, box, files, name); errs[i] != nil {
				errs[i] = fmt.Errorf("module file %s: %w", name, errs[i])
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := &Catalog{modules: modules, routes: map[string]map[string]*Module{abi.KindRule: {}, abi.KindFunction: {}}}
	for _, m := range modules {
		for _, r := range m.Manifest().Rules {
			errs = append(errs, c.route(abi.KindRule, manifest.RoutingName(r.Title), m))
		}
		for _, f := range m.Manifest().Functions {
			errs = append(errs, c.route(abi.KindFunction, f.Name, m))
		}
	}
	return c, errors.Join(errs...)
}

func load(ctx context.Context, box *sandbox.Sandbox, files fs.FS, name string) (*Module, error) {
	file, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	m, err := box.Load(ctx, file, sandbox.DefaultCeiling)
	if err != nil {
		return nil, err
	}
	permits, err := manifest.NewPermits(m.Manifest().Calls)
	if err != nil {
		return nil, err
	}
	return &Module{Module: m, permits: permits}, nil
}

func (c *Catalog) route(kind, name string, m *Module) error {
	if other, taken := c.routes[kind][name]; taken {
		return fmt.Errorf("the modules %s and %s both handle the %s %s: remove one of them", other.Manifest().Name, m.Manifest().Name, kind, name)
	}
	c.routes[kind][name] = m
	return nil
}

// Find returns the module that takes an action, or nil.
func (c *Catalog) Find(kind, name string) flow.Module {
	if m, ok := c.routes[kind][name]; ok {
		return m
	}
	return nil
}

// Names lists the display names of the rules, or the API names of the
// functions, that are installed.
func (c *Catalog) Names(kind string) (names []string) {
	for _, m := range c.modules {
		if kind == abi.KindFunction {
			for _, f := range m.Manifest().Functions {
				names = append(names, f.Name)
			}
			continue
		}
		for _, r := range m.Manifest().Rules {
			names = append(names, r.Title)
		}
	}
	slices.Sort(names)
	return names
}

// Modules are the installed modules in the order of their file names.
func (c *Catalog) Modules() []*Module { return c.modules }
