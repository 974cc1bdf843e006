package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"fn-threatq/host"
	"fn-threatq/host/author/build"
	"fn-threatq/host/config"
	"fn-threatq/host/provision"
	"fn-threatq/host/sandbox"
)

// pluginsFolder is the host's store in this world: modules that lie in it are used.
func (w *world) pluginsFolder() string { return filepath.Join(w.dir, "state", "fn-threatq", "plugins") }

// install puts modules into the host's store.
func (w *world) install(files []string) error {
	if len(files) == 0 {
		return nil
	}
	folder := w.pluginsFolder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("module: %w: build it with \"fn-threatq plugin build\"", err)
		}
		m, err := sandbox.Inspect(text)
		if err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(folder, m.Name+build.Extension), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// customizeStore puts the rules and functions of the modules in the store into
// the SOAR, as far as the host's own command has not.
func (w *world) customizeStore(ctx context.Context) (err error) {
	if there, _ := filepath.Glob(filepath.Join(w.pluginsFolder(), "*"+build.Extension)); len(there) == 0 {
		return nil
	}
	c, err := config.Load(config.Options{Path: w.config, Environ: w.environment()})
	if err != nil {
		return err
	}
	customizer, err := host.NewCustomizer(host.Options{Config: c, Modules: os.DirFS(w.pluginsFolder())}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = customizer.Close(context.WithoutCancel(ctx)) }()
	there, err := customizer.Read(ctx)
	if err != nil {
		return err
	}
	plan := customizer.Plan(there, provision.Options{})
	if err := plan.Conflicts(); err != nil || !plan.Writes() {
		return err
	}
	return customizer.Apply(ctx, plan, there, func([]string) error { return nil })
}
