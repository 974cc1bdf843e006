package build_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/tools/buildplugins/build"
)

const (
	source = `package main

//go:wasmexport ftq1_input
func input(size uint32) uint32 { return size }

//go:wasmexport ftq1_turn
func turn(length uint32) uint64 { return uint64(length) }

func main() {}
`
	valid = `{"abi": 1, "name": "demo", "version": "1.0.0", "description": "d",
  "functions": [{"name": "demo", "title": "Demo", "description": "d", "inputs": []}]}`
	compact = `{"abi":1,"name":"demo","version":"1.0.0","description":"d","functions":[{"name":"demo","title":"Demo","description":"d","inputs":[]}]}`
)

// project makes a project with these files and gives its options.
func project(t *testing.T, files map[string]string) build.Options {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module example.org/demo\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return build.Options{Root: root, Out: filepath.Join(root, "out")}
}

func demo(t *testing.T) build.Options {
	t.Helper()
	return project(t, map[string]string{
		"plugins/demo/manifest.json":  valid,
		"plugins/demo/warmup.json":    `[ {"v": 1} ]`,
		"plugins/demo/module/main.go": source,
		"plugins/kit/kit.go":          "package kit\n",
	})
}

func TestModuleFileDescribesItselfAndIsTheSameEverywhere(t *testing.T) {
	here, there := demo(t), demo(t)
	t.Setenv("GOFLAGS", "-gcflags=-N")
	built, err := build.Plugins(t.Context(), here)
	require.NoError(t, err)
	require.Len(t, built, 1)
	b := built[0]
	assert.Equal(t, "demo", b.Name)
	assert.Equal(t, "1.0.0", b.Version)
	assert.True(t, b.Changed)
	assert.Len(t, b.Digest, 64)

	module, err := os.ReadFile(b.Path)
	require.NoError(t, err)
	assert.Len(t, module, b.Size)
	for name, want := range map[string]string{abi.SectionManifest: compact, abi.SectionWarmUp: `[{"v":1}]`} {
		text, ok, err := modulefile.Section(module, name)
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, want, string(text))
	}

	t.Setenv("GOFLAGS", "")
	again, err := build.Plugins(t.Context(), there)
	require.NoError(t, err)
	assert.Equal(t, b.Digest, again[0].Digest, "a build in another folder, with other settings")
}

func TestAFileIsOnlyWrittenWhenItsBytesChange(t *testing.T) {
	o := demo(t)
	built, err := build.Plugins(t.Context(), o)
	require.NoError(t, err)
	before, err := os.Stat(built[0].Path)
	require.NoError(t, err)

	built, err = build.Plugins(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, built[0].Changed)
	after, err := os.Stat(built[0].Path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))

	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "plugins/demo/warmup.json"), []byte(`[]`), 0o644))
	built, err = build.Plugins(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, built[0].Changed)
}

func TestModulesOfPluginsThatAreGoneAreRemoved(t *testing.T) {
	o := demo(t)
	stale, other := filepath.Join(o.Out, "gone.wasm"), filepath.Join(o.Out, "README.md")
	require.NoError(t, os.MkdirAll(o.Out, 0o755))
	for _, file := range []string{stale, other} {
		require.NoError(t, os.WriteFile(file, nil, 0o644))
	}
	o.Names = []string{"demo"}
	_, err := build.Plugins(t.Context(), o)
	require.NoError(t, err)
	assert.FileExists(t, stale, "a build of named plugins leaves the others alone")
	o.Names = nil
	_, err = build.Plugins(t.Context(), o)
	require.NoError(t, err)
	assert.NoFileExists(t, stale)
	assert.FileExists(t, other)
	left, err := filepath.Glob(filepath.Join(o.Out, ".building-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestMistakesAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"name of another folder": {"manifest.json", `{"abi":1,"name":"other","version":"1.0.0","functions":[{"name":"demo"}]}`, `manifest.json: the name is "other"; it must be that of the folder, "demo"`},
		"invalid manifest":       {"manifest.json", `{"abi":1,"name":"demo"}`, `manifest.json: manifest of "demo": version ""`},
		"warm-up no list":        {"warmup.json", `{}`, "warmup.json: want a list"},
		"does not compile":       {"module/main.go", "package main\n\nfunc main() { undefined() }\n", "main.go:3:15: undefined: undefined"},
	} {
		t.Run(name, func(t *testing.T) {
			o := demo(t)
			require.NoError(t, os.WriteFile(filepath.Join(o.Root, "plugins/demo", c.file), []byte(c.text), 0o644))
			built, err := build.Plugins(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, built)
		})
	}
	t.Run("no manifest", func(t *testing.T) {
		o := demo(t)
		require.NoError(t, os.Remove(filepath.Join(o.Root, "plugins/demo/manifest.json")))
		_, err := build.Plugins(t.Context(), o)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("unknown name", func(t *testing.T) {
		o := demo(t)
		o.Names = []string{"demmo"}
		_, err := build.Plugins(t.Context(), o)
		require.EqualError(t, err, `no plugin "demmo"; there are demo`)
	})
	t.Run("no plugins", func(t *testing.T) {
		_, err := build.Plugins(t.Context(), project(t, map[string]string{}))
		require.ErrorContains(t, err, "no plugins/*/module/main.go")
	})
}
