package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Options of a sandbox. The zero value is usable.
type Options struct {
	// CacheDir keeps compiled code between runs of the program; "" keeps it in
	// memory only. It is created with mode 0700. It holds native code that is
	// run as it is, so a folder that another account owns or can write to is
	// refused.
	CacheDir string
	// Logger gets what an operator may want to know; slog.Default when nil.
	Logger *slog.Logger
	// MaxIdle is how many instances of a module wait for the next turn; the
	// number of processors when 0. More are made when more turns come at once.
	MaxIdle int
	// MaxRunning is how many turns run at once, over all modules; twice the
	// number of processors when 0. More would only share the processors: each
	// would take longer, up to its time limit, and need memory of its own.
	MaxRunning int
}

// Sandbox compiles and holds modules. It is safe for concurrent use.
type Sandbox struct {
	options Options
	log     *slog.Logger
	meter   meter
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	wasi    map[string]api.FunctionDefinition

	loads     gate
	compiling queues
	// slots are taken by running turns.
	slots   chan struct{}
	mu      sync.Mutex
	modules map[*Module]struct{}
	closed  bool
}

// Loaded is how many modules are loaded.
func (s *Sandbox) Loaded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.modules)
}

// New makes a sandbox. Close it when it is no longer needed.
func New(ctx context.Context, o Options) (*Sandbox, error) { return newWith(ctx, o, fuelMeter{}) }

func newWith(ctx context.Context, o Options, m meter) (*Sandbox, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = runtime.GOMAXPROCS(0)
	}
	if o.MaxRunning <= 0 {
		o.MaxRunning = 2 * runtime.GOMAXPROCS(0)
	}
	s := &Sandbox{slots: make(chan struct{}, o.MaxRunning), options: o, log: o.Logger, meter: m, modules: map[*Module]struct{}{}}
	config := s.meter.configure(wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	s.cache = wazero.NewCompilationCache()
	if o.CacheDir != "" {
		if err := privateDir(o.CacheDir); err != nil {
			return nil, err
		}
		var err error
		if s.cache, err = wazero.NewCompilationCacheWithDir(o.CacheDir); err != nil {
			return nil, fmt.Errorf("cache of compiled modules: %w", err)
		}
	}
	s.runtime = wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(s.cache))
	compiled, err := instantiateWASI(ctx, s.runtime)
	if err != nil {
		_ = s.shutdown(ctx)
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s.wasi = compiled.ExportedFunctions()
	if err := m.offer(ctx, s.runtime); err != nil {
		_ = s.shutdown(ctx)
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return s, nil
}

// Close closes all modules: it waits for turns and loads under way (or until
// the context ends, then it returns that error, frees nothing that is still in
// use, and may be called again). Later calls do nothing.
func (s *Sandbox) Close(ctx context.Context) error {
	if err := s.loads.close(ctx); err != nil {
		return fmt.Errorf("sandbox: a module is still being loaded: %w", err)
	}
	s.mu.Lock()
	var modules []*Module
	for m := range s.modules {
		modules = append(modules, m)
	}
	s.mu.Unlock()
	var errs []error
	for _, m := range modules {
		errs = append(errs, m.Close(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.shutdown(context.WithoutCancel(ctx))
}

func (s *Sandbox) shutdown(ctx context.Context) error {
	return errors.Join(s.runtime.Close(ctx), s.cache.Close(ctx))
}

// privateDir makes the folder, and refuses one that others can put code into.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cache of compiled modules: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cache of compiled modules: %w", err)
	}
	dirs := []string{dir}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(dir, e.Name()))
	}
	for _, d := range dirs {
		info, err := os.Stat(d)
		if err != nil {
			return fmt.Errorf("cache of compiled modules: %w", err)
		}
		if err := ownedAndPrivate(info); err != nil {
			return fmt.Errorf("cache of compiled modules: %s %w, so others could put code there that this program would run: choose another folder, or `chmod 700` and `chown` it to this account", d, err)
		}
	}
	return nil
}
