package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/host/catalog"
	"fn-threatq/host/pack"
	"fn-threatq/host/scenario"
	"fn-threatq/host/store"
)

// Trial is a first run of a module beside all that is in use: it is loaded, and
// plays the scenarios that came with it.
type Trial struct {
	// CacheDir keeps compiled modules; empty for the host's own.
	CacheDir string
	// Store has the packs, whose scenarios are played; nil for none.
	Store *store.Store
}

// Of tries a candidate of the catalog.
func (t Trial) Of(ctx context.Context, c catalog.Candidate) error {
	var scenarios map[string][]byte
	if c.Pack != "" && t.Store != nil {
		state, err := t.Store.State()
		if err != nil {
			return err
		}
		if entry := state.Packs[c.Pack]; entry != nil {
			text, err := t.Store.Pack(c.Pack, entry.Digest)
			if err != nil {
				return err
			}
			p, err := pack.Read(text)
			if err != nil {
				return fmt.Errorf("pack %s: %w", c.Pack, err)
			}
			// Another version of the pack has scenarios for another version of the module.
			if slices.ContainsFunc(p.Modules, func(m pack.Module) bool { return bytes.Equal(m.Bytes, c.File) }) {
				scenarios = p.Scenarios(c.Manifest.Name)
			}
		}
	}
	return t.Run(ctx, c.Manifest.Name, c.File, scenarios)
}

// Run tries a module with scenarios, given by their paths as in a pack. Without
// any it does nothing.
func (t Trial) Run(ctx context.Context, name string, file []byte, scenarios map[string][]byte) (err error) {
	own := false
	for path := range scenarios {
		own = own || strings.HasPrefix(path, name+"/") && filepath.Base(path) != scenario.CommonFile
	}
	if !own {
		return nil
	}
	dir, err := os.MkdirTemp("", "fn-threatq-trial-")
	if err != nil {
		return fmt.Errorf("scenarios of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	module := filepath.Join(dir, name+".wasm")
	if err := os.WriteFile(module, file, 0o600); err != nil {
		return fmt.Errorf("scenarios of %s: %w", name, err)
	}
	for path, text := range scenarios {
		target := filepath.Join(dir, "scenarios", filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return fmt.Errorf("scenarios of %s: %w", name, err)
		}
		if err := os.WriteFile(target, text, 0o600); err != nil {
			return fmt.Errorf("scenarios of %s: %w", name, err)
		}
	}
	suite, err := scenario.Open(ctx, scenario.Options{Paths: []string{module}, Scenarios: filepath.Join(dir, "scenarios", name), CacheDir: t.CacheDir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, suite.Close(context.WithoutCancel(ctx))) }()
	played, wrong := 0, []string(nil)
	suite.Run(ctx, false, func(r scenario.Report) {
		played++
		if !r.Passed() {
			wrong = append(wrong, strings.TrimSpace(strings.ReplaceAll(r.Text(false), dir+string(filepath.Separator), "")))
		}
	})
	if len(wrong) > 0 {
		return fmt.Errorf("%d of its %d scenarios fail, the first: %s", len(wrong), played, wrong[0])
	}
	return nil
}
