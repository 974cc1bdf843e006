package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
)

// kind is where a candidate lies.
type kind int

// The kinds; the higher wins. A good one is the copy of what a host has used
// last, for when the higher ones cannot be used.
const (
	built kind = iota
	good
	stored
	local
)

// candidate is a module file that could be used under a name.
type candidate struct {
	kind     kind
	name     string
	version  string
	manifest *manifest.Manifest
	// origin says where it comes from, for people.
	origin string
	// file is its name in the folder of what is built in, or its path.
	file string
	pack string
	// digest of the file; empty for built-in ones, which do not change.
	digest string
	// fetch reads the file; nil for built-in ones and once it was called.
	fetch func() ([]byte, error)
	// text is the file; nil for built-in ones, which are read when wanted.
	text []byte
	// unfit is why it cannot be used.
	unfit error
}

// look reads the file, once.
func (c *candidate) look() {
	if c.fetch == nil {
		return
	}
	c.text, c.unfit = c.fetch()
	if c.fetch = nil; c.unfit == nil {
		c.inspect()
	}
}

// same says that two candidates are one file.
func (c *candidate) same(other *candidate) bool {
	return c.kind == other.kind && c.digest == other.digest && c.file == other.file && c.pack == other.pack
}

// where names the candidate in errors.
func (c *candidate) where() string {
	if c.kind == stored || c.kind == good {
		return fmt.Sprintf("module %s %s (%s)", c.name, c.version, c.origin)
	}
	return "module file " + c.file
}

// label is its version with its origin.
func (c *candidate) label() string {
	if c.version == "" {
		return c.origin
	}
	return c.version + " (" + c.origin + ")"
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// builtinCandidates reads what is built in. One bad file is an error.
func builtinCandidates(files fs.FS) ([]*candidate, error) {
	names, err := fs.Glob(files, "*.wasm")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	if len(names) == 0 {
		return nil, ErrNoModules
	}
	var found []*candidate
	var errs []error
	owners := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err == nil {
			var m *manifest.Manifest
			if m, err = sandbox.Inspect(text); err == nil {
				if other, twice := owners[m.Name]; twice {
					errs = append(errs, fmt.Errorf("the module files %s and %s are both the module %s: remove one of them", other, name, m.Name))
					continue
				}
				owners[m.Name] = name
				found = append(found, &candidate{kind: built, name: m.Name, version: m.Version, manifest: m, origin: "built in", file: name})
				continue
			}
		}
		errs = append(errs, fmt.Errorf("module file %s: %w", name, err))
	}
	return found, errors.Join(errs...)
}

// storedCandidates are the current version of each installed module, and the
// former ones, which take its place when it cannot be used.
func storedCandidates(s *store.Store, state *store.State) (found []*candidate) {
	for name, entry := range state.Modules {
		for _, v := range append([]store.Version{entry.Current}, entry.Former...) {
			if v.Builtin() {
				// What is built in comes after the versions before it.
				break
			}
			c := &candidate{kind: stored, name: name, version: v.Version, origin: "single module", pack: v.Pack, digest: v.Digest}
			if v.Pack != "" {
				c.origin = "pack " + v.Pack
			}
			c.fetch = func() ([]byte, error) { return s.Module(v.Digest) }
			found = append(found, c)
		}
	}
	return found
}

// localCandidates are the files that lie in the store's folder. A file without a
// manifest has the name of the module that was there before, by paths; for want of
// one its path stands for it.
func localCandidates(s *store.Store, names map[string]string) ([]*candidate, error) {
	paths, err := s.Local()
	if err != nil {
		return nil, err
	}
	var found []*candidate
	for _, path := range paths {
		c := &candidate{kind: local, name: path, origin: "file " + path, file: path}
		if c.text, c.unfit = s.ReadLocal(path); c.unfit == nil {
			c.digest = digestOf(c.text)
			c.inspect()
		}
		if name := names[path]; name != "" && c.manifest == nil {
			c.name = name
		}
		if c.manifest != nil {
			if i := slices.IndexFunc(found, func(o *candidate) bool { return o.name == c.manifest.Name }); i >= 0 {
				c.unfit = fmt.Errorf("%s is the same module: remove one of them", found[i].file)
			} else {
				c.name, c.version = c.manifest.Name, c.manifest.Version
			}
		}
		found = append(found, c)
	}
	return found, nil
}

// goodCandidates are the copies of what was used last.
func goodCandidates(s *store.Store, used map[string]store.Good) (found []*candidate) {
	for name, g := range used {
		c := &candidate{kind: good, name: name, version: g.Version.Version, file: g.File, pack: g.Pack, digest: g.Digest, origin: "copy of the last good one"}
		c.fetch = func() ([]byte, error) { return s.GoodFile(g.Digest) }
		found = append(found, c)
	}
	return found
}

func (c *candidate) inspect() {
	m, err := sandbox.Inspect(c.text)
	switch {
	case err != nil:
		c.unfit = err
	case c.kind != local && m.Name != c.name:
		c.unfit = fmt.Errorf("it is the module %s", m.Name)
	default:
		c.manifest = m
	}
}

// byName sorts candidates to their names, the best first.
func byName(all []*candidate) map[string][]*candidate {
	names := map[string][]*candidate{}
	for _, c := range all {
		names[c.name] = append(names[c.name], c)
	}
	for name, candidates := range names {
		slices.SortStableFunc(candidates, func(a, b *candidate) int {
			return int(b.kind - a.kind)
		})
		// A copy is for when the file is bad, not for when somebody took it away.
		if candidates[0].kind == good {
			if candidates = candidates[1:]; len(candidates) == 0 {
				delete(names, name)
				continue
			}
			names[name] = candidates
		}
	}
	return names
}
