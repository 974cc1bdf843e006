package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
	"fn-threatq/host/install"
	"fn-threatq/host/pack"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/scenario"
	"fn-threatq/host/store"
)

// Modules is what the command line sees and changes of the installed modules.
// A host that runs takes changes over by itself.
type Modules struct {
	store     *store.Store
	installer *install.Installer
	box       *sandbox.Sandbox
	catalog   *catalog.Catalog
	trial     Trial
	stateDir  string
}

// pluginsFolder is the store's, below the folder of the state.
const pluginsFolder = "plugins"

// plugins is the store of what was installed; the folders are filled in.
func (a *App) plugins() *store.Store {
	return store.Open(filepath.Join(a.o.StateDir, pluginsFolder))
}

// installed are the modules that a host with these options would use. None of them
// can be run.
func installed(o Options) (*catalog.Catalog, error) {
	a := &App{o: o}
	if err := a.folders(); err != nil {
		return nil, err
	}
	return catalog.Open(context.Background(), catalog.Options{Builtin: o.Modules, Store: a.plugins()})
}

// manifests of the modules that a host with these options would use.
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
	m := &Modules{store: s, stateDir: a.o.StateDir, box: box, trial: Trial{CacheDir: cache, Store: s}}
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

// Status tells of each installed module.
func (m *Modules) Status() []catalog.Status { return m.catalog.Status() }

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
