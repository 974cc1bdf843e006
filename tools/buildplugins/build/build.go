// Package build makes the module files of this project's plugins out of the
// folders under plugins/, with nothing but the Go toolchain. How one is made is
// told in package fn-threatq/host/author/build.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	module "fn-threatq/host/author/build"
)

// Options say what to build.
type Options struct {
	// Root is the folder that holds go.mod and plugins/.
	Root string
	// Out is the folder for the module files; it is made when missing.
	Out string
	// Names of the plugins to build; all of them when empty, and then module
	// files in Out that belong to no plugin are removed.
	Names []string
}

// Built is one module file.
type Built = module.Built

// sideBySide bounds the builds under way; each uses several cores by itself.
const sideBySide = 2

// Plugins builds and returns the modules in the order of their names. Every
// plugin is tried; the error joins what failed.
func Plugins(ctx context.Context, o Options) ([]Built, error) {
	names, err := plugins(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	built := make([]Built, len(names))
	errs := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, name := range names {
		group.Go(func() error {
			if built[i], errs[i] = one(ctx, o, name); errs[i] != nil {
				errs[i] = fmt.Errorf("plugin %s: %w", name, errs[i])
			}
			return nil
		})
	}
	_ = group.Wait()
	if len(o.Names) == 0 {
		errs = append(errs, removeStale(o.Out, names))
	}
	return slices.DeleteFunc(built, func(b Built) bool { return b.Name == "" }), errors.Join(errs...)
}

func plugins(o Options) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(o.Root, "plugins", "*", "module", "main.go"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, main := range mains {
		all = append(all, filepath.Base(filepath.Dir(filepath.Dir(main))))
	}
	if len(o.Names) == 0 {
		if len(all) == 0 {
			return nil, fmt.Errorf("no plugins/*/module/main.go in %s", o.Root)
		}
		return all, nil
	}
	names := slices.Compact(slices.Sorted(slices.Values(o.Names)))
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("no plugin %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	return names, nil
}

func one(ctx context.Context, o Options, name string) (Built, error) {
	return module.Build(ctx, module.Options{
		Source: filepath.Join(o.Root, "plugins", name), Name: name, Out: filepath.Join(o.Out, name+module.Extension),
	})
}

func removeStale(out string, names []string) error {
	files, err := filepath.Glob(filepath.Join(out, "*.wasm"))
	errs := []error{err}
	for _, file := range files {
		if !slices.Contains(names, strings.TrimSuffix(filepath.Base(file), ".wasm")) {
			errs = append(errs, os.Remove(file))
		}
	}
	return errors.Join(errs...)
}
