package author

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fn-threatq/host/author/build"
)

// Watch calls do at once, and again whenever files of the paths have changed,
// until the context ends. A path is as for `plugin test`. Files are looked at in
// an interval; a change counts once they have stayed the same for another one,
// because editors write a file in several steps. The module file in the folder of
// a plugin in Go is made of the others, and is not looked at.
func Watch(ctx context.Context, paths []string, interval time.Duration, do func()) error {
	seen, err := fingerprint(paths)
	if err != nil {
		return err
	}
	do()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for last := seen; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := fingerprint(paths)
		if err != nil {
			return err
		}
		settled := now == last
		last = now
		if settled && now != seen {
			// What changes while this goes on is a change of its own.
			seen = now
			do()
		}
	}
}

// watched are the endings of files that a plugin is made of.
var watched = []string{".go", ".json", ".txtar", build.Extension, ".mod"}

// fingerprint changes when a file of the paths does.
func fingerprint(paths []string) (string, error) {
	var out strings.Builder
	for _, path := range paths {
		root := filepath.Clean(strings.TrimSuffix(path, "..."))
		if info, err := os.Stat(root); err != nil {
			return "", err
		} else if !info.IsDir() {
			root = filepath.Dir(root)
		}
		made := build.IsGoPlugin(root)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil // it went away in between
			case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
				return fs.SkipDir
			case entry.IsDir() || !slices.Contains(watched, filepath.Ext(path)), made && filepath.Ext(path) == build.Extension:
				return nil
			}
			if info, err := entry.Info(); err == nil {
				fmt.Fprintln(&out, path, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// GoPlugins are those of the paths that are folders of plugins in Go.
func GoPlugins(paths []string) (dirs []string) {
	for _, path := range paths {
		if build.IsGoPlugin(path) {
			dirs = append(dirs, path)
		}
	}
	return dirs
}
