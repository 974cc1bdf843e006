package scenario

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// moduleExtension is that of module files.
const moduleExtension = ".wasm"

// Folder is the name of the folder of scenarios beside a plugin's manifest.
const Folder = "scenarios"

// passed are folders that FOLDER/... does not look into: what lies there is built
// and played by itself, or not at all.
var passed = []string{"testdata", "examples", "vendor"}

// place is a scenario file and where its module is looked for.
type place struct {
	path string
	// module is a module file, or empty for the one of the plugin's folder.
	module string
}

// find lists the scenarios that paths name. A path is a scenario file, a module
// file, a folder, or FOLDER/... for all below it.
func find(paths []string, module, scenarios string) ([]place, error) {
	isModule := func(path string) bool { return filepath.Ext(path) == moduleExtension }
	if scenarios != "" && !slices.ContainsFunc(paths, isModule) {
		return nil, fmt.Errorf("the scenarios in %s are for a module file, and none is named (*%s)", scenarios, moduleExtension)
	}
	var all []place
	seen := map[string]bool{}
	for _, path := range paths {
		files, own, err := files(path, scenarios)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("no scenarios in %s: they are *%s files in a folder %s beside a plugin's manifest", path, Extension, Folder)
		}
		if module != "" {
			own = module
		}
		for _, file := range files {
			if !seen[file] {
				seen[file] = true
				all = append(all, place{path: file, module: own})
			}
		}
	}
	return all, nil
}

// files are the scenarios of one path, and the module that the path names.
func files(path, scenarios string) (files []string, module string, err error) {
	if root, all := strings.CutSuffix(path, "..."); all {
		root = filepath.Clean(root)
		err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || slices.Contains(passed, entry.Name())):
				return fs.SkipDir
			case !entry.IsDir() && isScenario(path) && filepath.Base(filepath.Dir(path)) == Folder:
				files = append(files, path)
			}
			return nil
		})
		return files, "", err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, "", err
	case info.IsDir():
		for _, folder := range []string{path, filepath.Join(path, Folder)} {
			files = append(files, In(folder)...)
		}
		return files, "", nil
	case filepath.Ext(path) == moduleExtension:
		if scenarios == "" {
			scenarios = filepath.Join(filepath.Dir(path), Folder)
		}
		return In(scenarios), path, nil
	case isScenario(path):
		return []string{path}, "", nil
	}
	return nil, "", fmt.Errorf("%s is neither a scenario (*%s) nor a module (*.wasm) nor a folder", path, Extension)
}

func isScenario(path string) bool {
	return filepath.Ext(path) == Extension && filepath.Base(path) != CommonFile
}

// In lists the scenarios in a folder, without its common file.
func In(folder string) []string {
	files, err := filepath.Glob(filepath.Join(escapeGlob(folder), "*"+Extension))
	if err != nil {
		return nil // the pattern is sound
	}
	return slices.DeleteFunc(files, func(path string) bool { return !isScenario(path) })
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(path)
}
