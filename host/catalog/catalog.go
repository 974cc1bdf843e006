// Package catalog holds the installed modules and finds the one that takes an
// action. Each rule and each function belongs to one module. A module is loaded
// (verified, compiled, warmed up) when the first action wants it, and let go of
// when none has wanted it for a while: most hosts use a few rules, and each
// loaded module costs some 20 MB.
//
// A candidate is a module file that could be used under a name: one that is
// built in, one that was installed (package store), or a local one, which lies
// in the store's folder; the latter wins over the former. A reload looks at all
// candidates again. What is new is tried beside what is in use: read, verified,
// compiled, run once, and held against its scenarios. Then all that is in use
// is exchanged in one step. A candidate that fails changes nothing: the version
// that was in use stays. An action keeps the version that it began with.
package catalog

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/flow"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
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

// Options of a catalog.
type Options struct {
	// Box runs the modules. It is closed by whoever made it, after the catalog
	// is no longer used.
	Box *sandbox.Sandbox
	// Builtin holds *.wasm files; nil for those in the program.
	Builtin fs.FS
	// Store has what was installed besides; nil for nothing.
	Store *store.Store
	// Trial looks at a module that a reload found, after it was loaded; nil for
	// no more than that.
	Trial func(context.Context, Candidate) error
	// Idle is how long a module stays loaded that no action wants; 0 = 10 minutes.
	Idle   time.Duration
	Logger *slog.Logger
}

// Candidate is a module that is about to be used.
type Candidate struct {
	Manifest *manifest.Manifest
	File     []byte
	// Pack is the name of the pack that brought it; empty for none.
	Pack string
}

const defaultIdle = 10 * time.Minute

// Catalog finds modules by what they handle. It is safe for concurrent use.
type Catalog struct {
	o Options
	// table is what is in use. It is exchanged as a whole and never changed.
	table atomic.Pointer[table]
	// reload is held while a new table is made.
	reload sync.Mutex
}

// table is one set of modules.
type table struct {
	modules []*Module
	// routes by kind, then by routing name.
	routes map[string]map[string]*Module
	status []Status
}

// Load installs all *.wasm files of a folder, and nothing else ever. One bad
// file is an error.
func Load(box *sandbox.Sandbox, files fs.FS) (*Catalog, error) {
	return Open(context.Background(), Options{Box: box, Builtin: files})
}

// Open installs what is there. A built-in module that cannot be used is an
// error: a host with a rule missing would answer its messages with failures. A
// candidate of the store that cannot be used is logged; the next best is taken.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	if o.Builtin == nil {
		o.Builtin = Builtin()
	}
	if o.Idle == 0 {
		o.Idle = defaultIdle
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{o: o}
	c.table.Store(&table{})
	if _, err := c.Reload(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Try loads each module that is not loaded yet and lets go of it again, so that
// a module that cannot be used is known, and what was compiled is kept on disk,
// before an action wants it.
func (c *Catalog) Try(ctx context.Context) error {
	var errs []error
	for _, m := range c.Modules() {
		if ctx.Err() != nil {
			break
		}
		if err := m.try(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Find returns the module that takes an action, or nil. An action that keeps it
// is played to its end by it, whatever is installed meanwhile.
func (c *Catalog) Find(kind, name string) flow.Module {
	if m, ok := c.table.Load().routes[kind][name]; ok {
		return m
	}
	return nil
}

// Names lists the display names of the rules, or the API names of the
// functions, that are installed.
func (c *Catalog) Names(kind string) (names []string) {
	for _, m := range c.Modules() {
		rules, functions := handled(m.manifest)
		if kind == abi.KindFunction {
			names = append(names, functions...)
		} else {
			names = append(names, rules...)
		}
	}
	slices.Sort(names)
	return names
}

// Modules are those in use: built-in ones in the order of their file names,
// then the others in that of their names.
func (c *Catalog) Modules() []*Module { return c.table.Load().modules }

// Status tells of each module that is installed, in the order of their names.
func (c *Catalog) Status() []Status {
	t := c.table.Load()
	status := slices.Clone(t.status)
	for _, m := range t.modules {
		q, aside := m.Quarantine()
		n := slices.IndexFunc(status, func(s Status) bool { return s.InUse && s.Name == m.manifest.Name })
		if aside && n >= 0 {
			status[n].State, status[n].Reason = Quarantined, q.String()
		}
	}
	return status
}
