// Package build makes module files out of the folders under plugins/, with
// nothing but the Go toolchain.
//
// A plugin is a folder plugins/<name> with a manifest.json, a thin package main
// in module/ that registers the rules, and perhaps a warmup.json. Its module
// file is that package main compiled for wasip1 as a reactor, with manifest and
// warm-up as custom sections. The same sources and toolchain give the same
// bytes in any folder on any machine.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
)

// Options say what to build.
type Options struct {
	// Root is the folder that holds go.mod and plugins/.
	Root string
	// Out is the folder for the module files; it is made when missing.
	Out string
	// Names of the plugins to build; all of them when empty, and then module
	// files in Out that belong to no plugin are removed.
	Names []string
}

// Built is one module file.
type Built struct {
	Name, Version string
	Path          string
	Size          int
	// Digest is the SHA-256 of the file in hexadecimal.
	Digest string
	// Changed is false when the file already had these bytes: it is then left
	// alone, so that what embeds it need not be built again.
	Changed bool
}

// sideBySide bounds the builds under way; each uses several cores by itself.
const sideBySide = 2

// Plugins builds and returns the modules in the order of their names. Every
// plugin is tried; the error joins what failed.
func Plugins(ctx context.Context, o Options) ([]Built, error) {
	names, err := plugins(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	built := make([]Built, len(names))
	errs := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, name := range names {
		group.Go(func() error {
			if built[i], errs[i] = one(ctx, o, name); errs[i] != nil {
				errs[i] = fmt.Errorf("plugin %s: %w", name, errs[i])
			}
			return nil
		})
	}
	_ = group.Wait()
	if len(o.Names) == 0 {
		errs = append(errs, removeStale(o.Out, names))
	}
	return slices.DeleteFunc(built, func(b Built) bool { return b.Name == "" }), errors.Join(errs...)
}

func plugins(o Options) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(o.Root, "plugins", "*", "module", "main.go"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, main := range mains {
		all = append(all, filepath.Base(filepath.Dir(filepath.Dir(main))))
	}
	if len(o.Names) == 0 {
		if len(all) == 0 {
			return nil, fmt.Errorf("no plugins/*/module/main.go in %s", o.Root)
		}
		return all, nil
	}
	names := slices.Compact(slices.Sorted(slices.Values(o.Names)))
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("no plugin %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	return names, nil
}

func one(ctx context.Context, o Options, name string) (Built, error) {
	dir := filepath.Join(o.Root, "plugins", name)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return Built{}, err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return Built{}, fmt.Errorf("manifest.json: %w", err)
	}
	if m.Name != name {
		return Built{}, fmt.Errorf("manifest.json: the name is %q; it must be that of the folder", m.Name)
	}
	module, err := compile(ctx, o.Root, name)
	if err != nil {
		return Built{}, err
	}
	if module, err = withJSON(module, abi.SectionManifest, text); err != nil {
		return Built{}, fmt.Errorf("manifest.json: %w", err)
	}
	text, err = os.ReadFile(filepath.Join(dir, "warmup.json"))
	switch {
	case err == nil:
		var inputs []abi.Input
		if err := json.Unmarshal(text, &inputs); err != nil {
			return Built{}, fmt.Errorf("warmup.json: want a list of turn inputs: %w", err)
		}
		if module, err = withJSON(module, abi.SectionWarmUp, text); err != nil {
			return Built{}, fmt.Errorf("warmup.json: %w", err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return Built{}, err
	}
	digest := sha256.Sum256(module)
	b := Built{
		Name: m.Name, Version: m.Version, Path: filepath.Join(o.Out, name+".wasm"),
		Size: len(module), Digest: hex.EncodeToString(digest[:]),
	}
	b.Changed, err = write(b.Path, module)
	return b, err
}

// withJSON adds a section of JSON without its blanks.
func withJSON(module []byte, name string, text []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return modulefile.WithSection(module, name, compact.Bytes())
}

// compile builds the package main of a plugin.
func compile(ctx context.Context, root, name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "buildplugins-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "module.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w", "-o", file, "./plugins/"+name+"/module")
	cmd.Dir = root
	// Settings of the person who builds must not change the bytes.
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.ReadFile(file)
}

// write replaces a file in one step, and only when its bytes differ.
func write(path string, content []byte) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".building-")
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return false, err
	}
	return true, os.Rename(f.Name(), path)
}

func removeStale(out string, names []string) error {
	files, err := filepath.Glob(filepath.Join(out, "*.wasm"))
	errs := []error{err}
	for _, file := range files {
		if !slices.Contains(names, strings.TrimSuffix(filepath.Base(file), ".wasm")) {
			errs = append(errs, os.Remove(file))
		}
	}
	return errors.Join(errs...)
}
