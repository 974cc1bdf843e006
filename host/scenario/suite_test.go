package scenario

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/catalog"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
)

// open is a suite over these paths, with the modules that are built in.
func open(t *testing.T, o Options) *Suite {
	t.Helper()
	o.CacheDir = testrun.Modules()
	s, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close(context.Background())) })
	return s
}

// plugins is what ofThePlugins gives; TestMain closes it.
var plugins *Suite

// ofThePlugins are all scenarios of this project. Tests share them, and so load
// each module once.
func ofThePlugins(t *testing.T) *Suite {
	t.Helper()
	if plugins == nil {
		var err error
		plugins, err = Open(context.Background(), Options{Paths: []string{"../../plugins/..."}, CacheDir: testrun.Modules()})
		require.NoError(t, err)
	}
	return plugins
}

func TestMain(m *testing.M) {
	testrun.Main(m, func() error {
		if plugins == nil {
			return nil
		}
		return plugins.Close(context.Background())
	})
}

// reports are those of a run, by name, and the names in order.
func reports(t *testing.T, s *Suite, update bool) (map[string]Report, []string) {
	t.Helper()
	byName, names := map[string]Report{}, []string{}
	s.Run(t.Context(), update, func(r Report) {
		byName[r.Name] = r
		names = append(names, r.Name)
	})
	return byName, names
}

// TestScenariosOfThePlugins plays all scenarios of this project to the modules
// that are built in, and misses none of the plugins.
func TestScenariosOfThePlugins(t *testing.T) {
	s := ofThePlugins(t)
	told := map[string]int{}
	s.Run(t.Context(), false, func(r Report) {
		told[path.Dir(r.Name)]++
		t.Run(r.Name, func(t *testing.T) {
			assert.True(t, r.Passed(), "%s", r.Text(false))
		})
	})
	manifests, err := filepath.Glob("../../plugins/*/manifest.json")
	require.NoError(t, err)
	require.NotEmpty(t, manifests)
	for _, file := range manifests {
		plugin := filepath.Base(filepath.Dir(file))
		assert.GreaterOrEqual(t, told[plugin], 12, "%s: too few scenarios to tell its main path, its fields and its faults", plugin)
	}
}

// write makes files below a folder.
func write(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return root
}

var example = regexp.MustCompile("(?ms)^```txtar example\n(.*?)^```$")

func TestTheExampleOfTheSpecificationPasses(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	found := example.FindAllSubmatch(text, -1)
	require.Len(t, found, 1)
	root := write(t, map[string]string{"add-indicator/scenarios/example.txtar": string(found[0][1])})
	r, _ := reports(t, open(t, Options{Paths: []string{root + "/..."}}), false)
	require.Len(t, r, 1)
	assert.True(t, r["add-indicator/example"].Passed(), "%s", r["add-indicator/example"].Text(true))
	assert.Equal(t, "A new status reaches an indicator that exists", r["add-indicator/example"].Title)
}

const unrecognised = `A value that is no indicator
-- action.json --
{"inputs": {"indicator_value": "just words"}}
-- reply --
failed
No indicator was {*}
results:
{"success": false, "...": "*"}
`

func TestWhichScenariosAPathNames(t *testing.T) {
	root := write(t, map[string]string{
		"a/scenarios/two.txtar": "", "a/scenarios/one.txtar": "", "a/scenarios/common.txtar": "", "a/scenarios/notes.md": "",
		"a/testdata/scenarios/x.txtar": "", "a/.hidden/scenarios/x.txtar": "", "a/x.txtar": "",
		"b/deep/scenarios/three.txtar": "", "b/x.wasm": "", "c/empty.md": "", "[d]/scenarios/four.txtar": "",
	})
	t.Chdir(root)
	for _, c := range []struct {
		paths             []string
		module, scenarios string
		want              []place
	}{
		{paths: []string{"./..."}, want: []place{{path: "[d]/scenarios/four.txtar"}, {path: "a/scenarios/one.txtar"}, {path: "a/scenarios/two.txtar"}, {path: "b/deep/scenarios/three.txtar"}}},
		{paths: []string{"a"}, want: []place{{path: "a/x.txtar"}, {path: "a/scenarios/one.txtar"}, {path: "a/scenarios/two.txtar"}}},
		{paths: []string{"[d]/"}, want: []place{{path: "[d]/scenarios/four.txtar"}}},
		{paths: []string{"a/scenarios/two.txtar", "a/scenarios"}, want: []place{{path: "a/scenarios/two.txtar"}, {path: "a/scenarios/one.txtar"}}},
		{paths: []string{"b/x.wasm"}, scenarios: "a/scenarios", want: []place{{path: "a/scenarios/one.txtar", module: "b/x.wasm"}, {path: "a/scenarios/two.txtar", module: "b/x.wasm"}}},
		{paths: []string{"a/x.txtar"}, module: "m.wasm", want: []place{{path: "a/x.txtar", module: "m.wasm"}}},
	} {
		got, err := find(c.paths, c.module, c.scenarios)
		require.NoError(t, err, c.paths)
		assert.Equal(t, c.want, got, c.paths)
	}
	for path, want := range map[string]string{
		"c": "no scenarios in c: they are *.txtar files", "c/...": "no scenarios in c/...", "b/x.wasm": "no scenarios in b/x.wasm", "nowhere": "nowhere: no such file",
		"nowhere/...": "nowhere: no such file", "c/empty.md": "c/empty.md is neither a scenario", "a/scenarios/common.txtar": "a/scenarios/common.txtar is neither a scenario",
	} {
		_, err := find([]string{path}, "", "")
		assert.ErrorContains(t, err, want, path)
	}
	_, err := find([]string{"a"}, "", "b")
	assert.EqualError(t, err, "the scenarios in b are for a module file, and none is named (*.wasm)")
}

func TestReportsComeInOrderWhateverHappens(t *testing.T) {
	files := map[string]string{
		"add-indicator/scenarios/b-fails.txtar":   strings.Replace(unrecognised, "No indicator", "One indicator", 1),
		"add-indicator/scenarios/c-broken.txtar":  strings.Replace(unrecognised, "failed", "fails", 1),
		"add-indicator/scenarios/d-passes.txtar":  unrecognised,
		"add-indicator/scenarios/a-mistake.txtar": strings.Replace(unrecognised, "indicator_value", "value", 1),
		"nobody/scenarios/passes.txtar":           unrecognised,
		"other/manifest.json":                     `{"abi":1,"name":"other","version":"1.0.0","functions":[{"name":"a","inputs":[]}]}`,
		"other/scenarios/passes.txtar":            unrecognised,
	}
	module, err := fs.ReadFile(catalog.Builtin(), "add-indicator.wasm")
	require.NoError(t, err)
	files["other/other.wasm"] = string(module)
	files["stranger/stranger.wasm"] = string(module)
	files["stranger/scenarios/passes.txtar"] = unrecognised
	root := write(t, files)
	t.Chdir(root)

	r, names := reports(t, open(t, Options{Paths: []string{"..."}}), false)
	assert.Equal(t, []string{"add-indicator/a-mistake", "add-indicator/b-fails", "add-indicator/c-broken", "add-indicator/d-passes",
		"nobody/passes", "other/passes", "stranger/passes"}, names)
	assert.EqualError(t, r["add-indicator/a-mistake"].Err,
		"add-indicator/scenarios/a-mistake.txtar:3: action.json: the manifest declares no input value; it has indicator_confidence, indicator_status, indicator_type, indicator_value")
	assert.Equal(t, `FAIL add-indicator/b-fails: A value that is no indicator
     add-indicator/scenarios/b-fails.txtar
     turn 1, the end (line 4): it differs
         -- reply --
         failed
       - One indicator was {*}
       + No indicator was recognised in the value; name its type.
         results:
         {"success": false, "...": "*"}
`, r["add-indicator/b-fails"].Text(false))
	assert.Equal(t, "ERROR add-indicator/c-broken\n     add-indicator/scenarios/c-broken.txtar:5: want `success` or `failed`, and the message below it\n",
		r["add-indicator/c-broken"].Text(true))
	assert.Equal(t, "ok   add-indicator/d-passes: A value that is no indicator (1 turn, 0 calls)\n", r["add-indicator/d-passes"].Text(false))
	assert.ErrorContains(t, r["nobody/passes"].Err, "nobody.wasm nor a built-in nobody.wasm; name one with --module, or run `make build`")
	assert.ErrorContains(t, r["other/passes"].Err, "was built from another manifest than ")
	assert.True(t, r["stranger/passes"].Passed(), "a module beside the scenarios")

	r, _ = reports(t, open(t, Options{Paths: []string{"nobody"}, Module: "stranger/stranger.wasm"}), false)
	assert.True(t, r["nobody/passes"].Passed(), "a module that was named")
	r, _ = reports(t, open(t, Options{Paths: []string{"stranger/stranger.wasm"}, Scenarios: "nobody/scenarios"}), false)
	assert.True(t, r["nobody/passes"].Passed(), "scenarios that were named")
	r, _ = reports(t, open(t, Options{Paths: []string{"nobody"}, Module: "nowhere.wasm"}), false)
	assert.ErrorIs(t, r["nobody/passes"].Err, fs.ErrNotExist)
	r, _ = reports(t, open(t, Options{Paths: []string{"nobody"}, Module: "add-indicator/scenarios/d-passes.txtar"}), false)
	assert.ErrorContains(t, r["nobody/passes"].Err, "module add-indicator/scenarios/d-passes.txtar: ")
}

func TestTurnThatRanOverItsTimeIsPlayedAgain(t *testing.T) {
	for _, c := range []struct {
		fails int
		kind  sandbox.Kind
		turns int
	}{{0, sandbox.KindTimeout, 1}, {2, sandbox.KindTimeout, 3}, {9, sandbox.KindTimeout, 3}, {9, sandbox.KindTrap, 1}} {
		turns := 0
		_, err := patiently(func() (sandbox.TurnOutput, error) {
			if turns++; turns <= c.fails {
				return sandbox.TurnOutput{}, &sandbox.Error{Kind: c.kind}
			}
			return sandbox.TurnOutput{}, nil
		})
		assert.Equal(t, c.turns, turns)
		assert.Equal(t, c.fails < tries, err == nil)
	}
}

func TestUpdateWritesTheFile(t *testing.T) {
	root := write(t, map[string]string{"add-indicator/scenarios/a.txtar": strings.Replace(unrecognised, "No indicator", "One indicator", 1)})
	path := filepath.Join(root, "add-indicator/scenarios/a.txtar")
	s := open(t, Options{Paths: []string{path}})
	assert.Equal(t, []string{path}, s.Paths())
	r, _ := reports(t, s, true)
	assert.Equal(t, "ok   add-indicator/a: A value that is no indicator (1 turn, 0 calls, updated)\n", r["add-indicator/a"].Text(false))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	want := strings.Replace(unrecognised, "No indicator was {*}", "No indicator was recognised in the value; name its type.", 1)
	assert.Equal(t, strings.Replace(want, "-- reply", "\n-- reply", 1), string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	r, _ = reports(t, s, true)
	assert.False(t, r["add-indicator/a"].Updated)
}
