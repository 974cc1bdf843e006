// Package build makes module files.
//
// A module file is code that a compiler made, with the manifest and perhaps a
// warm-up as custom sections. To seal code is to put them in. A Go plugin is a
// folder with a manifest.json, a thin package main in module/ that registers the
// rules, and perhaps a warmup.json; its module file is that package main compiled
// for wasip1 as a reactor, and sealed. The same sources and toolchain give the
// same bytes in any folder on any machine.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
)

// Names of a plugin's files.
const (
	ManifestFile = "manifest.json"
	WarmUpFile   = "warmup.json"
	// MainFile is what makes a folder a Go plugin.
	MainFile = "module/main.go"
	// Extension of module files.
	Extension = ".wasm"
)

// Options say what to build.
type Options struct {
	// Source is the folder of a Go plugin, or a file of code that another
	// compiler made.
	Source string
	// Manifest is the file of the manifest; empty for the one in the folder, or
	// beside the code.
	Manifest string
	// Name, when given, is what the manifest must call the module.
	Name string
	// Out is the module file to write; empty for NAME.wasm beside the manifest.
	Out string
}

// Built is one module file.
type Built struct {
	Name, Version string
	Path          string
	// Size in bytes.
	Size int
	// Digest is the SHA-256 of the file in hexadecimal.
	Digest string
	// Changed is false when the file already had these bytes: it is then left
	// alone, so that what is made of it need not be made again.
	Changed bool
}

// String is one line for people.
func (b Built) String() string {
	note := ""
	if !b.Changed {
		note = "  (unchanged)"
	}
	return fmt.Sprintf("%-16s %-8s %5d KB  %s%s", b.Name, b.Version, (b.Size+1023)/1024, b.Digest[:12], note)
}

// IsGoPlugin reports whether a folder is that of a Go plugin with its manifest.
func IsGoPlugin(dir string) bool {
	return exists(dir, MainFile) && exists(dir, ManifestFile)
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	return err == nil
}

// Build makes a module file.
func Build(ctx context.Context, o Options) (Built, error) {
	info, err := os.Stat(o.Source)
	if err != nil {
		return Built{}, err
	}
	dir := o.Source
	if !info.IsDir() {
		dir = filepath.Dir(o.Source)
	}
	if o.Manifest == "" {
		o.Manifest = filepath.Join(dir, ManifestFile)
	}
	text, err := os.ReadFile(o.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return Built{}, fmt.Errorf("%w: the manifest says what the module is and may do; name it with --manifest", err)
	} else if err != nil {
		return Built{}, err
	}
	// Compiling takes longer than finding a mistake here.
	m, err := manifest.Parse(text)
	if err != nil {
		return Built{}, fmt.Errorf("%s: %w", o.Manifest, err)
	}
	if o.Name != "" && m.Name != o.Name {
		return Built{}, fmt.Errorf("%s: the name is %q; it must be that of the folder, %q", o.Manifest, m.Name, o.Name)
	}
	warmUp, err := os.ReadFile(filepath.Join(filepath.Dir(o.Manifest), WarmUpFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Built{}, err
	}
	var code []byte
	if info.IsDir() {
		code, err = compile(ctx, dir)
	} else {
		code, err = os.ReadFile(o.Source)
	}
	if err != nil {
		return Built{}, err
	}
	module, err := Seal(code, text, warmUp)
	if err != nil {
		return Built{}, fmt.Errorf("%s: %w", o.Source, err)
	}
	if o.Out == "" {
		o.Out = filepath.Join(filepath.Dir(o.Manifest), m.Name+Extension)
	}
	digest := sha256.Sum256(module)
	b := Built{Name: m.Name, Version: m.Version, Path: o.Out, Size: len(module), Digest: hex.EncodeToString(digest[:])}
	b.Changed, err = write(b.Path, module)
	return b, err
}

// Seal puts a manifest and a warm-up, which may be nil, into code. Sections of
// these names that the code has already are replaced.
func Seal(code, manifestText, warmUp []byte) ([]byte, error) {
	if _, err := manifest.Parse(manifestText); err != nil {
		return nil, err
	}
	module, err := withJSON(code, abi.SectionManifest, manifestText)
	if err != nil || warmUp == nil {
		return module, err
	}
	var inputs []abi.Input
	if err := json.Unmarshal(warmUp, &inputs); err != nil {
		return nil, fmt.Errorf("%s: want a list of turn inputs: %w", WarmUpFile, err)
	}
	return withJSON(module, abi.SectionWarmUp, warmUp)
}

// withJSON adds a section of JSON without its blanks.
func withJSON(module []byte, name string, text []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	return modulefile.WithSection(module, name, compact.Bytes())
}

// compile builds the package main of a Go plugin.
func compile(ctx context.Context, dir string) ([]byte, error) {
	if !exists(dir, MainFile) {
		return nil, fmt.Errorf("%s is not the folder of a Go plugin: it has no %s; for code of another language name the file that its compiler made", dir, MainFile)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("%s is a Go plugin, and the Go toolchain is not there: install Go and put it into PATH: %w", dir, err)
	}
	temp, err := os.MkdirTemp("", "fn-threatq-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "module"+Extension)
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w", "-o", file, "./module")
	cmd.Dir = dir
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
