package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"fn-threatq/host/catalog"
	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/sandbox"
	"fn-threatq/tools/buildplugins/build"
)

// shared is what all tests of the binary have in common: it is made once
// because it is slow to make.
var shared struct {
	authority *testcert.Authority
	caFile    string
	cacheDir  string
	modules   fs.FS // all of them

	mu       sync.Mutex
	box      *sandbox.Sandbox
	catalogs map[string]*catalog.Catalog // by names
}

// modules are the module files of those names; all of them when there are no
// names.
func modules(names ...string) fs.FS {
	if len(names) == 0 {
		return shared.modules
	}
	some := fstest.MapFS{}
	for _, name := range names {
		file := name + ".wasm"
		content, err := fs.ReadFile(shared.modules, file)
		if err != nil {
			panic(err)
		}
		some[file] = &fstest.MapFile{Data: content}
	}
	return some
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fn-threatq-e2e-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	shared.authority = testcert.New()
	shared.caFile = filepath.Join(dir, "ca.pem")
	shared.cacheDir = filepath.Join(cmp.Or(os.Getenv("FN_THREATQ_TEST_CACHE"), dir), "fn-threatq")
	if err := os.WriteFile(shared.caFile, shared.authority.CAPEM(), 0o600); err != nil {
		return complain(err)
	}
	out := filepath.Join(dir, "modules")
	if _, err := build.Plugins(context.Background(), build.Options{Root: filepath.Join("..", ".."), Out: out}); err != nil {
		return complain(err)
	}
	shared.modules = os.DirFS(out)
	ctx, box := context.Background(), (*sandbox.Sandbox)(nil)
	if box, err = sandbox.New(ctx, sandbox.Options{CacheDir: filepath.Join(shared.cacheDir, "modules"), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return complain(err)
	}
	shared.box, shared.catalogs = box, map[string]*catalog.Catalog{}
	// The tests mostly wait: for pauses between tries, for reconnects.
	flag.Parse()
	if given := flag.Lookup("test.parallel"); given.Value.String() == given.DefValue {
		if err := flag.Set("test.parallel", "8"); err != nil {
			return complain(err)
		}
	}
	code := m.Run()
	endSharedBroker()
	if err := shared.box.Close(ctx); err != nil {
		return complain(err)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			return complain(err)
		}
	}
	return code
}

// install is the catalog of the modules of those names. Tests that need the same
// share it: loading a module takes a second under the race detector.
func install(names ...string) *catalog.Catalog {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	key := strings.Join(slices.Sorted(slices.Values(names)), " ")
	installed := shared.catalogs[key]
	if installed == nil {
		var err error
		if installed, err = catalog.Load(shared.box, modules(names...)); err != nil {
			panic(err)
		}
		shared.catalogs[key] = installed
	}
	return installed
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}
