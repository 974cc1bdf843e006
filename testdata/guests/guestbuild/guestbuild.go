// Package guestbuild builds the test guests beside it into module files. They
// are one program, which is built once per test run.
package guestbuild

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// marker is the text in the program that a name takes the place of.
const marker = "which-test-guest-is-this"

var program = sync.OnceValues(func() ([]byte, error) {
	_, here, _, _ := runtime.Caller(0)
	dir, err := os.MkdirTemp("", "guestbuild-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guests.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = filepath.Join(filepath.Dir(filepath.Dir(here)), "all")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, text)
	}
	return os.ReadFile(out)
})

// versionMark is the text in the guest swapped that its version takes the place of.
const versionMark = "version-of-this-guest"

// Swapped gives the code of a version of the guest swapped.
func Swapped(t testing.TB, version string) []byte {
	t.Helper()
	code := Code(t, "swapped")
	if n := bytes.Count(code, []byte(versionMark)); n != 1 {
		t.Fatalf("the mark of the version stands %d times in the program", n)
	}
	return bytes.Replace(code, []byte(versionMark), fmt.Appendf(nil, "%-*s", len(versionMark), version), 1)
}

// Code gives the code of a guest, without a manifest.
func Code(t testing.TB, name string) []byte {
	t.Helper()
	code, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(code, []byte(name)) {
		t.Fatalf("there is no test guest %q", name)
	}
	if n := bytes.Count(code, []byte(marker)); n != 1 {
		t.Fatalf("the marker of the guest stands %d times in the program", n)
	}
	return bytes.Replace(code, []byte(marker), fmt.Appendf(nil, "%-*s", len(marker), name), 1)
}
