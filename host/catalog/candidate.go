package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
)

// kind is where a candidate lies.
type kind int

// The kinds; the higher wins.
const (
	built kind = iota
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
	// text is the file; nil for built-in ones, which are read when wanted.
	text []byte
	// unfit is why it cannot be used.
	unfit error
}

// same says that two candidates are one file.
func (c *candidate) same(other *candidate) bool {
	return c.kind == other.kind && c.digest == other.digest && c.file == other.file && c.pack == other.pack
}

// where names the candidate in errors.
func (c *candidate) where() string {
	if c.kind == stored {
		return fmt.Sprintf("module %s %s (%s)", c.name, c.version, c.origin)
	}
	return "module file " + c.file
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
			if c.text, c.unfit = s.Module(v.Digest); c.unfit == nil {
				c.inspect()
			}
			found = append(found, c)
		}
	}
	return found
}

// localCandidates are the files that lie in the store's folder. Without a
// manifest a file has no name, and its path stands for it.
func localCandidates(s *store.Store) ([]*candidate, error) {
	paths, err := s.Local()
	if err != nil {
		return nil, err
	}
	var found []*candidate
	for _, path := range paths {
		c := &candidate{kind: local, name: path, origin: "file " + path, file: path}
		if c.text, c.unfit = os.ReadFile(path); c.unfit == nil {
			c.digest = digestOf(c.text)
			c.inspect()
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

func (c *candidate) inspect() {
	m, err := sandbox.Inspect(c.text)
	switch {
	case err != nil:
		c.unfit = err
	case c.kind == stored && m.Name != c.name:
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
	for _, candidates := range names {
		slices.SortStableFunc(candidates, func(a, b *candidate) int {
			return int(b.kind - a.kind)
		})
	}
	return names
}
