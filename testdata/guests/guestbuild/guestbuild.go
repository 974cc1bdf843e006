// Package guestbuild builds the test guests beside it into module files. A
// guest is built once per test run.
package guestbuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
)

// Manifest is the manifest of a guest, with a rule "Test: <name>" for
// incidents and with these limits (a JSON object).
func Manifest(name, limits string) string {
	return `{"abi":1,"name":"` + name + `","version":"1.2.3","description":"a guest for tests",` +
		`"rules":[{"title":"Test: ` + name + `","description":"","object":"incident","automatic":true}],` +
		`"calls":["threatq GET /api/events"],"limits":` + limits + `}`
}

// Module gives the module file of a guest with the default limits.
func Module(t testing.TB, name string) []byte {
	t.Helper()
	return WithManifest(t, Code(t, name), Manifest(name, `{}`))
}

// WithManifest gives the module file of some code.
func WithManifest(t testing.TB, code []byte, manifest string) []byte {
	t.Helper()
	file, err := modulefile.WithSection(code, abi.SectionManifest, []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

var (
	mu    sync.Mutex
	built = map[string]func() ([]byte, error){}
)

// Code gives the code of a guest, without a manifest.
func Code(t testing.TB, name string) []byte {
	t.Helper()
	mu.Lock()
	build, ok := built[name]
	if !ok {
		build = sync.OnceValues(func() ([]byte, error) { return compile(t, name) })
		built[name] = build
	}
	mu.Unlock()
	code, err := build()
	if err != nil {
		t.Fatalf("guest %s: %v", name, err)
	}
	return code
}

func compile(t testing.TB, name string) ([]byte, error) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = filepath.Join(filepath.Dir(filepath.Dir(here)), name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Logf("%s", strings.TrimSpace(string(text)))
		return nil, err
	}
	return os.ReadFile(out)
}
