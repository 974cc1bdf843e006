package main

import (
	"fmt"
	"os"
	"path/filepath"

	"fn-threatq/host/author/build"
	"fn-threatq/host/sandbox"
)

// install puts modules into the folder of the host's store: what lies there is
// used, and customize puts its rules and functions into SOAR.
func (w *world) install(files []string) error {
	if len(files) == 0 {
		return nil
	}
	folder := filepath.Join(w.dir, "state", "fn-threatq", "plugins")
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
