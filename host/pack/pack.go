// Package pack reads, builds, signs and verifies extension packs.
//
// A pack is one file (NAME-VERSION.ftqpack) that brings modules to a host:
//
//	pack.json               the listing: name, version, author, and size and SHA-256 of every other file
//	pack.json.minisig       the signature of the listing, as minisign writes it; absent in an unsigned pack
//	README.md               for the person who installs it
//	modules/NAME.wasm       the modules
//	modules/NAME.json       the manifest of each, as text to read; equal to the one in the module
//	scenarios/…/*.txtar     its scenarios, in scenarios/NAME/ for the module NAME
//
// It is a tar file compressed by gzip, and the same files give the same bytes.
// The listing covers all: a file that it does not list, lists with other bytes or
// lists in vain makes the pack invalid. A signature is made over the bytes of the
// listing as they stand, so nothing is ever written anew between the check and
// the use. A key is the public half of a minisign key pair; which keys are
// trusted is configuration. The digest of a pack is the SHA-256 of its file.
package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
)

// Extension ends the names of pack files.
const Extension = ".ftqpack"

// Format is the version of the form of packs that this host reads and writes.
const Format = 1

// Limits of a pack, so that reading one is safe before anything of it is trusted.
const (
	MaxBytes = 128 << 20 // of all files together, and of the pack itself
	MaxFiles = 10_000
	maxList  = 4 << 20 // of the listing
)

const (
	listingName   = "pack.json"
	signatureName = "pack.json.minisig"
	readmeName    = "README.md"
	modulesDir    = "modules"
	scenariosDir  = "scenarios"
	moduleEnd     = ".wasm"
	manifestEnd   = ".json"
	scenarioEnd   = ".txtar"
	commonName    = "common.txtar"
)

// Listing is pack.json.
type Listing struct {
	Pack        int    `json:"pack"`
	Name        string `json:"name"`
	Version     string `json:"version"` // MAJOR.MINOR.PATCH
	Description string `json:"description"`
	Author      string `json:"author,omitempty"`
	// Files are all others of the pack by path.
	Files map[string]File `json:"files,omitempty"`
}

// File is what the listing says of a file.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Module is a module of a pack.
type Module struct {
	Manifest *manifest.Manifest
	Bytes    []byte
	// Digest is the SHA-256 of Bytes, hexadecimal.
	Digest string
}

// Pack is a pack whose files are what its listing says.
type Pack struct {
	Listing
	// Digest is the SHA-256 of the pack's file, hexadecimal.
	Digest string
	// Modules in the order of their names.
	Modules []Module

	raw       []byte // the file
	listing   []byte // pack.json as it came
	signature []byte
	files     map[string][]byte
}

// Bytes are the pack's file. They must not be changed.
func (p *Pack) Bytes() []byte { return p.raw }

// FileName is the usual name of the pack's file.
func (p *Pack) FileName() string { return p.Name + "-" + p.Version + Extension }

// README is the text for the person who installs the pack.
func (p *Pack) README() string { return string(p.files[readmeName]) }

// Signed says whether there is a signature, not whether it is good: see Verify.
func (p *Pack) Signed() bool { return p.signature != nil }

// Scenarios are the scenario files of a module by their path below scenarios/,
// with the common files that they use.
func (p *Pack) Scenarios(module string) map[string][]byte {
	found := map[string][]byte{}
	for name, text := range p.files {
		rest, ok := strings.CutPrefix(name, scenariosDir+"/")
		if ok && (!strings.Contains(rest, "/") || strings.HasPrefix(rest, module+"/")) {
			found[rest] = text
		}
	}
	return found
}

// Paths are all files but listing and signature, sorted.
func (p *Pack) Paths() []string { return slices.Sorted(maps.Keys(p.files)) }

var (
	nameForm    = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
)

func parseListing(text []byte) (Listing, error) {
	var l Listing
	if err := json.Unmarshal(text, &l); err != nil {
		return l, fmt.Errorf("%s is not the JSON object that is wanted: %w", listingName, err)
	}
	switch {
	case l.Pack != Format:
		return l, fmt.Errorf("%s is of format %d, this host reads format %d: use a version of the pack or of the host that fits", listingName, l.Pack, Format)
	case len(l.Name) > 64 || !nameForm.MatchString(l.Name):
		return l, fmt.Errorf("%s: name %q: want lower-case words joined by hyphens, at most 64 characters", listingName, l.Name)
	case len(l.Version) > 32 || !versionForm.MatchString(l.Version):
		return l, fmt.Errorf("%s: version %q: want MAJOR.MINOR.PATCH", listingName, l.Version)
	}
	return l, nil
}

// checkPath holds a path to the layout of packs.
func checkPath(name string) error {
	parts := strings.Split(name, "/")
	switch {
	case len(name) > 255 || path.Clean(name) != name || path.IsAbs(name) || strings.ContainsAny(name, "\\\x00:") || slices.Contains(parts, ".."):
		return fmt.Errorf("path %q is not one that a pack may have", name)
	case name == readmeName:
		return nil
	case parts[0] == modulesDir && len(parts) == 2 && (path.Ext(name) == moduleEnd || path.Ext(name) == manifestEnd):
		return nil
	case parts[0] == scenariosDir && len(parts) >= 2 && len(parts) <= 3 && path.Ext(name) == scenarioEnd:
		return nil
	}
	return fmt.Errorf("file %q has no place in a pack: there are %s, %s/NAME%s and %s/NAME/*%s", name, readmeName, modulesDir, moduleEnd, scenariosDir, scenarioEnd)
}

// modulesOf reads the modules among the files.
func modulesOf(files map[string][]byte) ([]Module, error) {
	var modules []Module
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Dir(name) != modulesDir || path.Ext(name) != moduleEnd {
			continue
		}
		m, err := moduleOf(name, files[name])
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("no modules: they are %s/NAME%s", modulesDir, moduleEnd)
	}
	return modules, nil
}

func moduleOf(name string, text []byte) (Module, error) {
	section, ok, err := modulefile.Section(text, abi.SectionManifest)
	if err != nil {
		return Module{}, fmt.Errorf("%s: %w", name, err)
	}
	if !ok {
		return Module{}, fmt.Errorf("%s: no manifest (custom section %s)", name, abi.SectionManifest)
	}
	m, err := manifest.Parse(section)
	if err != nil {
		return Module{}, fmt.Errorf("%s: %w", name, err)
	}
	if want := modulesDir + "/" + m.Name + moduleEnd; name != want {
		return Module{}, fmt.Errorf("%s holds the module %s: name it %s", name, m.Name, want)
	}
	return Module{Manifest: m, Bytes: text, Digest: digestOf(text)}, nil
}

// checkTogether holds the files against each other.
func checkTogether(files map[string][]byte, modules []Module) error {
	if len(files[readmeName]) == 0 {
		return fmt.Errorf("no %s: say what the pack is for and what it needs", readmeName)
	}
	known := map[string]bool{}
	for _, m := range modules {
		known[m.Manifest.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts := strings.Split(name, "/")
		switch {
		case parts[0] == modulesDir && path.Ext(name) == manifestEnd:
			module := strings.TrimSuffix(parts[1], manifestEnd)
			section, _, err := modulefile.Section(files[modulesDir+"/"+module+moduleEnd], abi.SectionManifest)
			if err != nil || !slices.Equal(section, files[name]) {
				return fmt.Errorf("%s is not the manifest of the module %s", name, module)
			}
		case parts[0] == scenariosDir && len(parts) == 3 && !known[parts[1]]:
			return fmt.Errorf("%s belongs to the module %s, which is not in the pack", name, parts[1])
		}
	}
	for _, m := range modules {
		if files[modulesDir+"/"+m.Manifest.Name+manifestEnd] == nil {
			return fmt.Errorf("%s/%s%s is missing: it shows what the module may do", modulesDir, m.Manifest.Name, manifestEnd)
		}
	}
	return nil
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
