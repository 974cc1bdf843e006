// Package store keeps on disk what was installed besides the modules that are
// built into the program.
//
// The store is one folder:
//
//	installed.json        the state: which version of each module is current, which packs are there
//	modules/DIGEST.wasm   module files under the SHA-256 of their bytes
//	packs/NAME.ftqpack    installed packs as they came
//	*.wasm                local modules: put here by hand, used while they are here
//	good.json, good/      which file of each module a host has used last, with a copy of it
//
// The state is changed by one process at a time, and written whole: a reader
// sees the old one or the new one. A module file that does not have the digest
// in its name was tampered with and is never used.
package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// State is installed.json.
type State struct {
	Format int `json:"format"`
	// Modules by name: those that differ from what is built in.
	Modules map[string]*Module `json:"modules"`
	// Packs by name.
	Packs map[string]*Pack `json:"packs"`
	// Shadows are the candidates that run beside modules of their names.
	Shadows map[string]*Version `json:"shadows,omitempty"`
}

// Module is what is installed under one name.
type Module struct {
	// Disabled modules take no actions.
	Disabled bool `json:"disabled,omitempty"`
	// Current is in use; of no digest: the one that is built in.
	Current Version `json:"current"`
	// Former were in use before, the latest first.
	Former []Version `json:"former,omitempty"`
}

// Version is one version of a module.
type Version struct {
	// Version as its manifest has it.
	Version string `json:"version,omitempty"`
	// Digest is the SHA-256 of the module file, hexadecimal; empty for the one
	// that is built in.
	Digest string `json:"digest,omitempty"`
	// Pack is the name of the pack that brought it; empty for a single module.
	Pack string `json:"pack,omitempty"`
	// Since is when it was installed.
	Since time.Time `json:"since,omitzero"`
}

// Builtin says that it is the version in the program.
func (v Version) Builtin() bool { return v.Digest == "" }

// Pack is an installed pack.
type Pack struct {
	Version string `json:"version"`
	// Digest is the SHA-256 of the pack's file, hexadecimal.
	Digest string `json:"digest"`
	// Key is the number of the trusted key that signed it; empty: unsigned.
	Key     string    `json:"key,omitempty"`
	Modules []string  `json:"modules"`
	Since   time.Time `json:"since"`
}

// maxFormer is how many former versions of a module are kept.
const maxFormer = 5

// Use makes a version the current one.
func (m *Module) Use(v Version) {
	if m.Current.Digest == v.Digest {
		m.Current = v
		return
	}
	m.Former = slices.Insert(slices.DeleteFunc(m.Former, func(f Version) bool { return f.Digest == v.Digest }), 0, m.Current)
	m.Former = m.Former[:min(len(m.Former), maxFormer)]
	m.Current = v
}

const stateFormat = 1

// Store is a folder of installed modules.
type Store struct{ dir string }

// Errors of a store.
var (
	// ErrTampered says that a file is not what was installed.
	ErrTampered = errors.New("the file is not the one that was installed: install it again, or remove it")
	// ErrMissing says that an installed file is gone.
	ErrMissing = errors.New("the file that was installed is gone: install it again, or remove it")
)

// Open returns the store in a folder, which is made when something is put there.
func Open(dir string) *Store { return &Store{dir: dir} }

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

const stateName = "installed.json"

// State reads what is installed.
func (s *Store) State() (*State, error) {
	state := &State{Format: stateFormat}
	text, err := os.ReadFile(s.path(stateName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("installed modules: %w", err)
	default:
		if err := json.Unmarshal(text, state); err != nil {
			return nil, fmt.Errorf("installed modules: %s is damaged: %w: put back a copy of it, or delete it and install again", s.path(stateName), err)
		}
		if state.Format != stateFormat {
			return nil, fmt.Errorf("installed modules: %s is of format %d, this program reads format %d", s.path(stateName), state.Format, stateFormat)
		}
	}
	if state.Modules == nil {
		state.Modules = map[string]*Module{}
	}
	if state.Packs == nil {
		state.Packs = map[string]*Pack{}
	}
	return state, nil
}

// Change reads the state, lets change work on it, and writes it, while no other
// process does the same. When change fails nothing is written.
func (s *Store) Change(change func(*State) error) (err error) {
	if err := s.folder(s.dir); err != nil {
		return fmt.Errorf("installed modules: %w", err)
	}
	unlock, err := lock(s.path(".lock"))
	if err != nil {
		return fmt.Errorf("installed modules: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	state, err := s.State()
	if err != nil {
		return err
	}
	if err := change(state); err != nil {
		return err
	}
	text, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	if err := s.write(append(text, '\n'), stateName); err != nil {
		return err
	}
	return s.sweep(state)
}

// sweep removes the files that the state names no more.
func (s *Store) sweep(state *State) error {
	keep := map[string]bool{}
	for _, m := range state.Modules {
		for _, v := range append(slices.Clone(m.Former), m.Current) {
			keep[s.moduleFile(v.Digest)] = true
		}
	}
	for _, v := range state.Shadows {
		keep[s.moduleFile(v.Digest)] = true
	}
	for name := range state.Packs {
		keep[s.packFile(name)] = true
	}
	for _, pattern := range []string{s.path("modules", "*.wasm"), s.path("packs", "*"+packEnd)} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		if err := remove(files, keep); err != nil {
			return err
		}
	}
	// What a process left that ended in the middle of a write: nobody else writes now.
	for _, dir := range []string{"modules", "packs"} {
		files, err := filepath.Glob(s.path(dir, ".*"))
		if err != nil {
			return err
		}
		if err := remove(files, nil); err != nil {
			return err
		}
	}
	return nil
}

// remove removes files but for those to keep.
func remove(files []string, keep map[string]bool) error {
	for _, f := range files {
		if keep[f] {
			continue
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("installed modules: %w", err)
		}
	}
	return nil
}

const packEnd = ".ftqpack"

func (s *Store) moduleFile(digest string) string { return s.path("modules", digest+".wasm") }
func (s *Store) packFile(name string) string     { return s.path("packs", name+packEnd) }

// PutModule keeps a module file and returns its digest. Call it within Change:
// what the state does not name is swept away after it.
func (s *Store) PutModule(text []byte) (digest string, err error) {
	sum := sha256.Sum256(text)
	digest = hex.EncodeToString(sum[:])
	return digest, s.write(text, "modules", digest+".wasm")
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Module is the module file of that digest; its error is ErrTampered or
// ErrMissing when it is not there as it was installed.
func (s *Store) Module(digest string) ([]byte, error) {
	if !digestForm.MatchString(digest) {
		return nil, fmt.Errorf("installed modules: %q is no digest: %w", digest, ErrTampered)
	}
	return s.read(s.moduleFile(digest), digest)
}

// PutPack keeps the file of a pack. Call it within Change.
func (s *Store) PutPack(name string, text []byte) error {
	return s.write(text, "packs", name+packEnd)
}

// Pack is the file of an installed pack.
func (s *Store) Pack(name, digest string) ([]byte, error) { return s.read(s.packFile(name), digest) }

func (s *Store) read(path, digest string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("installed modules: %w", err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("%s: %w", path, ErrTampered)
	}
	return text, nil
}

// Local are the paths of the modules that were put into the folder by hand.
// Hidden files are not among them: they are what editors and copies leave while
// they write.
func (s *Store) Local() ([]string, error) {
	files, err := filepath.Glob(s.path("*.wasm"))
	return slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f)[0] == '.' }), err
}

// folder makes a folder that is not there.
func (s *Store) folder(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return keepOwner(dir)
}

// write replaces a file as a whole.
func (s *Store) write(text []byte, parts ...string) (err error) {
	target := s.path(parts...)
	if had, err := os.ReadFile(target); err == nil && bytes.Equal(had, text) {
		return nil
	}
	if err := s.folder(filepath.Dir(target)); err != nil {
		return fmt.Errorf("installed modules: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return fmt.Errorf("installed modules: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("installed modules: %w", errors.Join(err, os.Remove(file.Name())))
		}
	}()
	_, err = file.Write(text)
	if err = errors.Join(err, keepOwner(file.Name()), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), target)
}
