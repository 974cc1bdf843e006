package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/admin"
	"fn-threatq/host/catalog"
	"fn-threatq/host/install"
	"fn-threatq/host/pack"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/scenario"
	"fn-threatq/host/store"
)

// Modules is what the command line sees and changes of the installed modules.
// A host that runs takes changes over by itself, or at once by Tell.
type Modules struct {
	stateDir  string
	store     *store.Store
	installer *install.Installer
	box       *sandbox.Sandbox
	catalog   *catalog.Catalog
	trial     Trial
}

// pluginsFolder is the store's, below the folder of the state.
const pluginsFolder = "plugins"

// plugins is the store of what was installed; the folders are filled in.
func (a *App) plugins() *store.Store {
	return store.Open(filepath.Join(a.o.StateDir, pluginsFolder))
}

// installed are the modules that the host has which runs on the state folder; when
// none runs, those that the next one will have. None of them can be run.
func installed(o Options) (*catalog.Catalog, error) {
	ctx := context.Background()
	a := &App{o: o}
	if err := a.folders(); err != nil {
		return nil, err
	}
	told, err := told(ctx, a.o.StateDir)
	if err != nil {
		return nil, err
	}
	looked := catalog.Options{Builtin: o.Modules, Store: a.plugins(), Told: told}
	c, err := catalog.Open(ctx, looked)
	if err != nil || told != nil || !c.Untried() {
		return c, err
	}
	// What nobody has tried may be refused by the next host: it is tried as there.
	cache := filepath.Join(a.o.CacheDir, "modules")
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: cache})
	if err != nil {
		return nil, err
	}
	looked.Box, looked.Trial = box, Trial{CacheDir: cache, Store: looked.Store}.Of
	c, err = catalog.Open(ctx, looked)
	return c, errors.Join(err, box.Close(ctx))
}

// told is what the host says of its modules that runs on the state folder; nil when
// there is none.
func told(ctx context.Context, stateDir string) ([]catalog.Status, error) {
	client, err := admin.Dial(filepath.Join(stateDir, admin.SocketName))
	if errors.Is(err, admin.ErrNoHost) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	status, err := client.Modules(ctx)
	if err != nil {
		return nil, fmt.Errorf("the running host does not tell which modules it has: %w", err)
	}
	return status, nil
}

// manifests of the modules in use, as installed has them.
func manifests(o Options) ([]*manifest.Manifest, error) {
	c, err := installed(o)
	if err != nil {
		return nil, err
	}
	var all []*manifest.Manifest
	for _, m := range c.Modules() {
		all = append(all, m.Manifest())
	}
	return all, nil
}

// OpenModules looks at what is built in and at what is installed. Close must
// follow. Nothing is loaded yet.
func OpenModules(ctx context.Context, cacheDir, stateDir string) (*Modules, error) {
	a := &App{o: Options{CacheDir: cacheDir, StateDir: stateDir}}
	if err := a.folders(); err != nil {
		return nil, err
	}
	s := a.plugins()
	cache := filepath.Join(a.o.CacheDir, "modules")
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: cache})
	if err != nil {
		return nil, err
	}
	m := &Modules{stateDir: a.o.StateDir, store: s, box: box, trial: Trial{CacheDir: cache, Store: s}}
	if m.catalog, err = catalog.Open(ctx, catalog.Options{Box: box, Store: s}); err != nil {
		return nil, errors.Join(err, box.Close(ctx))
	}
	m.installer = &install.Installer{Store: s}
	builtin, err := builtinManifests()
	if err != nil {
		return nil, errors.Join(err, box.Close(ctx))
	}
	m.installer.Builtin = builtin
	return m, nil
}

func builtinManifests() (all []*manifest.Manifest, err error) {
	files := catalog.Builtin()
	names, err := fs.Glob(files, "*.wasm")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		m, err := sandbox.Inspect(text)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// Close frees what OpenModules made.
func (m *Modules) Close(ctx context.Context) error { return m.box.Close(ctx) }

// Folder is where modules can be put by hand.
func (m *Modules) Folder() string { return m.store.Dir() }

// Status tells of each installed module: what the host says that runs on the
// folder, else what the next one finds.
func (m *Modules) Status(ctx context.Context) (status []catalog.Status, running bool, err error) {
	client, err := m.host()
	if client == nil {
		return m.catalog.Status(), false, err
	}
	status, err = client.Modules(ctx)
	return status, true, err
}

// host is the one that runs on the folder, or nil.
func (m *Modules) host() (*admin.Client, error) {
	client, err := admin.Dial(filepath.Join(m.stateDir, admin.SocketName))
	if errors.Is(err, admin.ErrNoHost) {
		return nil, nil
	}
	return client, err
}

// Told is what the running host has made of a change.
type Told struct {
	// Running: there is a host on the folder.
	Running bool
	// Done says it for each module, in words; Refused are those that the host does
	// not use as the change wants it.
	Done, Refused []string
}

// Tell has the running host take a change over, and says what it did.
func (m *Modules) Tell(ctx context.Context, p *install.Plan) (told Told, err error) {
	client, err := m.host()
	if client == nil {
		return Told{}, err
	}
	told.Running = true
	done, err := client.ReloadModules(ctx)
	if err != nil {
		return told, err
	}
	for _, step := range p.Steps {
		told.add(step, done.Modules)
	}
	return told, nil
}

// add compares a step with how it stands with its module now.
func (t *Told) add(step install.Step, modules []catalog.Status) {
	var now catalog.Status
	for _, s := range modules {
		if s.Name == step.Module {
			now = s
		}
	}
	used := fmt.Sprintf("%s (%s)", now.Version, now.Origin)
	done := func(format string, args ...any) { t.Done = append(t.Done, fmt.Sprintf(format, args...)) }
	switch {
	case step.To == "" || step.Do == install.Disable:
		if now.InUse {
			done("the running host uses %s %s now", step.Module, used)
		} else {
			done("the running host has no actions for %s any more", step.Module)
		}
	case now.State == catalog.Disabled:
		done("%s is disabled in the running host", step.Module)
	case now.InUse && used == step.To && now.State != catalog.Failed && now.State != catalog.Tampered:
		done("the running host uses %s %s now", step.Module, step.To)
	case now.InUse && now.State != catalog.Failed && now.State != catalog.Tampered:
		done("the running host uses %s %s all the same, which comes before it", step.Module, used)
	default:
		refusal := fmt.Sprintf("the running host refused %s %s", step.Module, step.To)
		if now.Reason != "" {
			refusal += ": " + now.Reason
		}
		t.Refused = append(t.Refused, refusal)
	}
}

// runningModules are those of an app that runs.
type runningModules struct {
	app *App
	// run ends when the app is to stop.
	run context.Context
}

func (r runningModules) Modules(context.Context) ([]catalog.Status, error) {
	return r.app.catalog.Status(), nil
}

func (r runningModules) ReloadModules(ctx context.Context) (done admin.Reloaded, err error) {
	// The app is not closed while it reloads.
	r.app.reloading.Lock()
	defer r.app.reloading.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.run, cancel)()
	if r.app.closed || r.run.Err() != nil {
		return done, errors.New("the host stops; the next start uses what was changed")
	}
	if done.Changes, err = r.app.catalog.Reload(ctx); err != nil {
		return done, err
	}
	done.Modules = r.app.catalog.Status()
	return done, nil
}

// Packs are the installed packs by name.
func (m *Modules) Packs() (map[string]*store.Pack, error) {
	state, err := m.store.State()
	if err != nil {
		return nil, err
	}
	return state.Packs, nil
}

// Plans are made here; Do carries one out.
func (m *Modules) Plans() *install.Installer { return m.installer }

// Do carries a plan out.
func (m *Modules) Do(p *install.Plan) error { return m.installer.Do(p) }

// Try loads a module file and plays scenarios to it, so that what cannot work
// is not installed at all.
func (m *Modules) Try(ctx context.Context, file []byte, scenarios map[string][]byte) error {
	loaded, err := m.box.Load(ctx, file, sandbox.DefaultCeiling)
	if err != nil {
		return err
	}
	name := loaded.Manifest().Name
	if err := loaded.Close(ctx); err != nil {
		return err
	}
	return m.trial.Run(ctx, name, file, scenarios)
}

// TryPack tries each module of a pack.
func (m *Modules) TryPack(ctx context.Context, p *pack.Pack) error {
	for _, module := range p.Modules {
		if err := m.Try(ctx, module.Bytes, p.Scenarios(module.Manifest.Name)); err != nil {
			return err
		}
	}
	return nil
}

// TryFile tries a module with the scenarios in the folder beside its file.
func (m *Modules) TryFile(ctx context.Context, path string, file []byte) error {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "scenarios", "*"+scenario.Extension))
	if err != nil {
		return err
	}
	about, err := sandbox.Inspect(file)
	if err != nil {
		return err
	}
	scenarios := map[string][]byte{}
	for _, name := range found {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		scenarios[about.Name+"/"+filepath.Base(name)] = text
	}
	if common, err := os.ReadFile(filepath.Join(filepath.Dir(path), scenario.CommonFile)); err == nil {
		scenarios[scenario.CommonFile] = common
	}
	return m.Try(ctx, file, scenarios)
}
