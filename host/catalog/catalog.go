// Package catalog holds the installed modules and finds the one that takes an
// action. A module is installed when its file was read and what it says of
// itself is sound; each rule and each function belongs to one module. It is
// loaded (verified, compiled, warmed up) when the first action wants it: most
// hosts use a few rules, and each loaded module costs some 20 MB.
package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

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

// Catalog finds modules by what they handle. It does not change once loaded.
type Catalog struct {
	modules []*Module
	// routes by kind, then by routing name.
	routes map[string]map[string]*Module
}

// Load installs all *.wasm files of a folder. One bad file is an error: a host
// with a rule missing would answer its messages with failures.
func Load(box *sandbox.Sandbox, files fs.FS) (*Catalog, error) {
	names, err := fs.Glob(files, "*.wasm")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	if len(names) == 0 {
		return nil, ErrNoModules
	}
	c := &Catalog{routes: map[string]map[string]*Module{abi.KindRule: {}, abi.KindFunction: {}}}
	var errs []error
	for _, name := range names {
		m, err := install(box, files, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("module file %s: %w", name, err))
			continue
		}
		c.modules = append(c.modules, m)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, m := range c.modules {
		for _, r := range m.manifest.Rules {
			errs = append(errs, c.route(abi.KindRule, manifest.RoutingName(r.Title), m))
		}
		for _, f := range m.manifest.Functions {
			errs = append(errs, c.route(abi.KindFunction, f.Name, m))
		}
	}
	return c, errors.Join(errs...)
}

// Try loads each module that is not loaded yet and lets go of it again, so that
// a module that cannot be used is known, and what was compiled is kept on disk,
// before an action wants it.
func (c *Catalog) Try(ctx context.Context) error {
	var errs []error
	for _, m := range c.modules {
		if ctx.Err() != nil {
			break
		}
		if err := m.try(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Catalog) route(kind, name string, m *Module) error {
	if other, taken := c.routes[kind][name]; taken {
		return fmt.Errorf("the modules %s and %s both handle the %s %s: remove one of them", other.manifest.Name, m.manifest.Name, kind, name)
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
			for _, f := range m.manifest.Functions {
				names = append(names, f.Name)
			}
			continue
		}
		for _, r := range m.manifest.Rules {
			names = append(names, r.Title)
		}
	}
	slices.Sort(names)
	return names
}

// Modules are the installed modules in the order of their file names.
func (c *Catalog) Modules() []*Module { return c.modules }
