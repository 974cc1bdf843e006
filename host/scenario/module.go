package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"fn-threatq/abi"
	"fn-threatq/host/flow"
)

// ModuleFile is a module that was loaded from its file.
type ModuleFile struct {
	Module
	modules *modules
	path    string
}

// LoadModule loads a module file into a sandbox of its own. An empty folder for
// compiled modules is the host's. Close must follow.
func LoadModule(ctx context.Context, path, cacheDir string) (*ModuleFile, error) {
	modules, err := openModules(ctx, cacheDir)
	if err != nil {
		return nil, err
	}
	loaded, err := modules.load(ctx, path, func() ([]byte, error) { return os.ReadFile(path) })
	if err != nil {
		_ = modules.box.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return &ModuleFile{Module: loaded, modules: modules, path: path}, nil
}

// Close frees the module.
func (m *ModuleFile) Close(ctx context.Context) error { return m.modules.box.Close(ctx) }

// Scenarios are those that belong to the module file: in a folder, or, when that
// is empty, in the folder scenarios beside the file.
func (m *ModuleFile) Scenarios(folder string) ([]*Scenario, error) {
	if folder == "" {
		folder = filepath.Join(filepath.Dir(m.path), Folder)
	} else if _, err := os.Stat(folder); err != nil {
		return nil, err
	}
	var all []*Scenario
	for _, path := range In(folder) {
		s, err := Load(path)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Input is what a module is given in the first turn of the story.
func (s *Scenario) Input(ctx context.Context, module Module) (abi.Input, error) {
	var in abi.Input
	st, err := s.stage(ctx, module)
	if err != nil {
		return in, err
	}
	if err := json.Unmarshal(flow.NewInput(module.Manifest(), st.settings, st.site, st.action, st.now).Text(1), &in); err != nil {
		return in, fmt.Errorf("%s: %w", s.Path, err)
	}
	return in, nil
}
