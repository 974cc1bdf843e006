package scenario

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
	"fn-threatq/host/sandbox"
)

// modules loads module files into one sandbox, each once.
type modules struct {
	box *sandbox.Sandbox

	mu     sync.Mutex
	loaded map[string]func() (*wasm, error)
}

// openModules makes the sandbox; an empty folder for compiled modules is the
// host's own.
func openModules(ctx context.Context, cacheDir string) (*modules, error) {
	if cacheDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no folder for compiled modules: %w: set XDG_CACHE_HOME", err)
		}
		cacheDir = filepath.Join(cache, "fn-threatq", "modules")
	}
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: cacheDir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &modules{box: box, loaded: map[string]func() (*wasm, error){}}, nil
}

// wasm is a module of the sandbox.
type wasm struct {
	module *sandbox.Module
	// source names its file for people.
	source string
}

func (w *wasm) Manifest() *manifest.Manifest { return w.module.Manifest() }

func (w *wasm) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
	out, err := patiently(func() (sandbox.TurnOutput, error) {
		return w.module.Turn(ctx, sandbox.TurnInput{Input: input, Now: now, Seed: seed})
	})
	if out.LogDropped > 0 {
		out.Log = append(out.Log, fmt.Sprintf("(%d more bytes)", out.LogDropped))
	}
	return out.Answer, out.Log, err
}

// tries is how often a turn is played that runs over its time.
const tries = 3

// patiently plays a turn again that ran over its time: a busy machine is no
// fault of the module, and one that runs for ever does so each time.
func patiently(turn func() (sandbox.TurnOutput, error)) (out sandbox.TurnOutput, err error) {
	for range tries {
		out, err = turn()
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != sandbox.KindTimeout {
			break
		}
	}
	return out, err
}

// forScenario is the module of a scenario: the one that was named, else the
// module file in the plugin's folder, else the one built into this program.
func (m *modules) forScenario(ctx context.Context, p place) (*wasm, error) {
	absolute, err := filepath.Abs(p.path)
	if err != nil {
		return nil, err
	}
	plugin := filepath.Dir(absolute)
	if filepath.Base(plugin) == Folder {
		plugin = filepath.Dir(plugin)
	}
	w, err := m.find(ctx, p.module, plugin)
	if err != nil {
		return nil, err
	}
	return w, sameManifest(w, filepath.Join(plugin, "manifest.json"))
}

func (m *modules) find(ctx context.Context, named, plugin string) (*wasm, error) {
	if named != "" {
		return m.load(ctx, named, func() ([]byte, error) { return os.ReadFile(named) })
	}
	file := filepath.Base(plugin) + moduleExtension
	beside := filepath.Join(plugin, file)
	if _, err := os.Stat(beside); err == nil {
		return m.load(ctx, beside, func() ([]byte, error) { return os.ReadFile(beside) })
	}
	w, err := m.load(ctx, file+" (built in)", func() ([]byte, error) { return fs.ReadFile(catalog.Builtin(), file) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no module: neither %s nor a built-in %s; name one with --module, or run `make build`", beside, file)
	}
	return w, err
}

// sameManifest refuses a module that does not belong to the plugin's sources.
func sameManifest(w *wasm, path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !reflect.DeepEqual(m, w.Manifest()) {
		return fmt.Errorf("the module %s was built from another manifest than %s: run `make build`", w.source, path)
	}
	return nil
}

// load loads a module when it is first asked for.
func (m *modules) load(ctx context.Context, source string, read func() ([]byte, error)) (*wasm, error) {
	m.mu.Lock()
	load, ok := m.loaded[source]
	if !ok {
		load = sync.OnceValues(func() (*wasm, error) {
			file, err := read()
			if err != nil {
				return nil, err
			}
			module, err := m.box.Load(ctx, file, sandbox.DefaultCeiling)
			if err != nil {
				return nil, fmt.Errorf("module %s: %w", source, err)
			}
			return &wasm{module: module, source: source}, nil
		})
		m.loaded[source] = load
	}
	m.mu.Unlock()
	return load()
}
