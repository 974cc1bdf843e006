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
	"maps"
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
	// is no longer used. Nil for a catalog that is only looked at: nothing is tried.
	Box *sandbox.Sandbox
	// Builtin holds *.wasm files; nil for those in the program.
	Builtin fs.FS
	// Store has what was installed besides; nil for nothing.
	Store *store.Store
	// Trial looks at a module that a reload found, after it was loaded; nil for
	// no more than that.
	Trial func(context.Context, Candidate) error
	// Told is what the host says that runs on the store: what it has in use is what is
	// shown, and found, where its file is there; nil when none runs.
	Told []Status
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
	// told are the errors of the last reload, which are not logged twice.
	told map[string]bool
	// remembers what is in use; guarded by reload.
	remembers bool
	// seen is the fingerprint of the store that is in use.
	seen atomic.Pointer[string]
}

// table is one set of modules.
type table struct {
	modules []*Module
	// routes by kind, then by routing name.
	routes map[string]map[string]*Module
	status []Status
	// missing says why nothing takes an action, by kind, then by routing name.
	missing map[string]map[string]string
	// disabled modules by name.
	disabled map[string]bool
	// good are the files to remember.
	good map[string]store.Good
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

// Remember notes in the store what is in use, now and after each reload, so that
// the next host has it too. Only the one host that runs on a state folder does.
func (c *Catalog) Remember() {
	c.reload.Lock()
	defer c.reload.Unlock()
	c.remembers = true
	c.note()
}

// note writes what is in use; reload is held.
func (c *Catalog) note() {
	if !c.remembers || c.o.Store == nil {
		return
	}
	t, had, files := c.table.Load(), c.o.Store.Good(), map[string][]byte{}
	if maps.Equal(t.good, had) {
		return
	}
	for _, m := range t.modules {
		name, digest := m.manifest.Name, m.from.digest
		if digest != "" && t.good[name].Digest == digest && had[name].Digest != digest {
			files[digest] = m.from.text
		}
	}
	if err := c.o.Store.SetGood(t.good, files); err != nil {
		c.o.Logger.Warn("which modules are in use could not be noted; the next start tries them anew", "error", err)
	}
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
func (c *Catalog) Find(kind, name string) flow.Module { return c.Pinned().Find(kind, name) }

// Names lists the display names of the rules, or the API names of the
// functions, that are installed.
func (c *Catalog) Names(kind string) []string { return c.Pinned().Names(kind) }

// Pinned are the modules that are in use now. What is installed later does not
// change them, but for one thing: a module that a person disables takes no more
// actions, sub-actions of what runs for hours included.
func (c *Catalog) Pinned() flow.Modules { return view{c, c.table.Load()} }

// Absent is why Find returns nil.
func (c *Catalog) Absent(kind, name string) string { return c.table.Load().missing[kind][name] }

// view is a catalog at one moment.
type view struct {
	catalog *Catalog
	table   *table
}

func (v view) Find(kind, name string) flow.Module {
	m, ok := v.table.routes[kind][name]
	if !ok || v.catalog.table.Load().disabled[m.manifest.Name] {
		return nil
	}
	return m
}

func (v view) Absent(kind, name string) string {
	if m, ok := v.table.routes[kind][name]; ok {
		return disabledText(m.manifest.Name)
	}
	return v.table.missing[kind][name]
}

func (v view) Names(kind string) (names []string) {
	for _, m := range v.table.modules {
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

// Untried says that a file is in use that no host has tried yet, and no box of this
// catalog: whether it can be used is not known.
func (c *Catalog) Untried() bool {
	if c.o.Box != nil || c.o.Store == nil {
		return false
	}
	used := c.o.Store.Good()
	return slices.ContainsFunc(c.Modules(), func(m *Module) bool {
		return m.from.kind != built && m.from.digest != used[m.manifest.Name].Digest
	})
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
