package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Good is a module file that a host has tried and used. A copy of it is kept, so
// that the next host has it when the file itself was damaged or replaced by one
// that cannot be used.
type Good struct {
	Version
	// File is the path of a local module; empty for an installed one.
	File string `json:"file,omitempty"`
}

const goodName = "good.json"

// Good reads which file of each module was used last. What cannot be read is as
// if no host had run: everything is tried anew.
func (s *Store) Good() map[string]Good {
	good := map[string]Good{}
	text, err := os.ReadFile(s.path(goodName))
	if err != nil || json.Unmarshal(text, &good) != nil {
		return map[string]Good{}
	}
	return good
}

// SetGood writes which file of each module is used, with the files that are new.
// The running host is the only one that does.
func (s *Store) SetGood(good map[string]Good, files map[string][]byte) error {
	if had := s.Good(); len(good) == 0 && len(had) == 0 {
		return nil
	}
	keep := map[string]bool{}
	for _, g := range good {
		keep[s.goodFile(g.Digest)] = true
	}
	for digest, text := range files {
		if err := s.write(text, "good", digest+".wasm"); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(good, "", "  ")
	if err != nil {
		return err
	}
	if err := s.write(append(text, '\n'), goodName); err != nil {
		return err
	}
	had, err := filepath.Glob(s.path("good", "*"))
	if err != nil {
		return err
	}
	return remove(had, keep)
}

func (s *Store) goodFile(digest string) string { return s.path("good", digest+".wasm") }

// GoodFile is the copy of a file that was used; its errors are those of Module.
func (s *Store) GoodFile(digest string) ([]byte, error) {
	if !digestForm.MatchString(digest) {
		return nil, fmt.Errorf("installed modules: %q is no digest: %w", digest, ErrTampered)
	}
	return s.read(s.goodFile(digest), digest)
}

// MaxModule bounds a module file that was put into the folder by hand, in bytes.
const MaxModule = 128 << 20

// ReadLocal reads a module that was put into the folder by hand.
func (s *Store) ReadLocal(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > MaxModule:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, MaxModule)
	}
	return os.ReadFile(path)
}
