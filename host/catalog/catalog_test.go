package catalog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/catalog"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
	"fn-threatq/tools/buildplugins/build"
)

func load(t *testing.T, files fs.FS) (*catalog.Catalog, error) {
	t.Helper()
	// No limit but that of the test run: under the race detector compiling is slow.
	ctx := t.Context()
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: testrun.Modules()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close(context.Background())) })
	return catalog.Load(box, files)
}

func TestMain(m *testing.M) { testrun.Main(m) }

// guest is a module of this name that handles rules and functions.
func guest(t *testing.T, name, rules, functions string) *fstest.MapFile {
	t.Helper()
	text := `{"abi":1,"name":"` + name + `","version":"1.2.3","description":"a guest for tests","calls":["threatq GET /api/events"]`
	if rules != "" {
		text += `,"rules":[` + rules + `]`
	}
	if functions != "" {
		text += `,"functions":[` + functions + `]`
	}
	return &fstest.MapFile{Data: guestbuild.Tiny{Manifest: text + "}"}.File(t)}
}

func rule(title string) string {
	return `{"title":"` + title + `","description":"","object":"incident","automatic":true}`
}

func function(name string) string {
	return `{"name":"` + name + `","title":"Title of ` + name + `","description":"","inputs":[]}`
}

func TestNothingToInstall(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"empty": {}, "other files": {"README.md": {}, "modules/a.wasm": {}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, files)
			require.ErrorIs(t, err, catalog.ErrNoModules)
			assert.ErrorContains(t, err, "make plugins")
		})
	}
}

func TestEachBrokenFileIsNamed(t *testing.T) {
	_, err := load(t, fstest.MapFS{
		"good.wasm":  guest(t, "good", rule("T: Good"), ""),
		"text.wasm":  {Data: []byte("no module")},
		"plain.wasm": {Data: guestbuild.Tiny{}.Code()},
	})
	require.Error(t, err)
	assert.ErrorContains(t, err, "module file text.wasm: ")
	assert.ErrorContains(t, err, "module file plain.wasm: ")
	assert.NotContains(t, err.Error(), "good.wasm")
	var refused *sandbox.Error
	require.ErrorAs(t, err, &refused)
}

// unusable says the right things of itself and cannot be compiled.
func unusable(t *testing.T) *fstest.MapFile {
	return &fstest.MapFile{Data: guestbuild.WithManifest(t, []byte("\x00asm\x01\x00\x00\x00"), `{"abi":1,"name":"bad","version":"1.2.3","description":"","rules":[`+rule("T: Bad")+`]}`)}
}

func TestTryTellsWhichModulesCannotBeUsed(t *testing.T) {
	c, err := load(t, fstest.MapFS{"bad.wasm": unusable(t), "good.wasm": guest(t, "good", rule("T: Good"), "")})
	require.NoError(t, err)
	err = c.Try(t.Context())
	require.ErrorContains(t, err, "module file bad.wasm cannot be used: ")
	assert.NotContains(t, err.Error(), "good.wasm")

	_, _, err = c.Find(abi.KindRule, "t_bad").Turn(t.Context(), []byte(`{}`), time.Now(), 1)
	require.ErrorContains(t, err, "module file bad.wasm cannot be used: ", "its actions fail with the same words")
	_, _, err = c.Find(abi.KindRule, "t_good").Turn(t.Context(), []byte(`{"v":1,"turn":1}`), time.Now(), 1)
	require.NoError(t, err, "the others work on")
}

func TestAModuleIsLoadedOnceHoweverManyTurnsWantIt(t *testing.T) {
	c, err := load(t, fstest.MapFS{"good.wasm": guest(t, "good", rule("T: Good"), "")})
	require.NoError(t, err)
	m := c.Modules()[0]
	loaded := make([]*sandbox.Module, 8)
	var group sync.WaitGroup
	for i := range loaded {
		group.Go(func() {
			var err error
			loaded[i], err = m.Loaded(t.Context())
			assert.NoError(t, err)
		})
		group.Go(func() { assert.NoError(t, c.Try(t.Context())) })
	}
	group.Wait()
	for _, other := range loaded {
		assert.Same(t, loaded[0], other)
	}
	_, _, err = m.Turn(t.Context(), []byte(`{"v":1,"turn":1}`), time.Now(), 1)
	require.NoError(t, err, "a trial does not take it away")
}

func TestARuleBelongsToOneModule(t *testing.T) {
	for name, test := range map[string]struct {
		one, two *fstest.MapFile
		want     string
	}{
		"rule": {
			guest(t, "one", rule("Test: Both"), ""), guest(t, "two", rule("Test: Own")+","+rule("Test: Both"), ""),
			"module file b.wasm cannot be used: the modules one and two both handle the rule test_both: remove one of them",
		},
		// SOAR's routing name is all that a message has of the title.
		"same routing name": {
			guest(t, "one", rule("Test: Both"), ""), guest(t, "two", rule("Test, both"), ""),
			"module file b.wasm cannot be used: the modules one and two both handle the rule test_both: remove one of them",
		},
		"function": {
			guest(t, "one", "", function("fn_both")), guest(t, "two", "", function("fn_both")),
			"module file b.wasm cannot be used: the modules one and two both handle the function fn_both: remove one of them",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, fstest.MapFS{"a.wasm": test.one, "b.wasm": test.two})
			require.EqualError(t, err, test.want)
		})
	}
}

func TestFindAndNames(t *testing.T) {
	c, err := load(t, fstest.MapFS{
		"b.wasm": guest(t, "second", rule("Test: Zebra")+","+rule("Test: Ant"), function("fn_z")),
		"a.wasm": guest(t, "first", rule("Test: Mole"), function("fn_a")),
		// A function may be called as a rule is.
		"c.wasm": guest(t, "third", "", function("test_mole")),
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"Test: Ant", "Test: Mole", "Test: Zebra"}, c.Names(abi.KindRule))
	assert.Equal(t, []string{"fn_a", "fn_z", "test_mole"}, c.Names(abi.KindFunction))

	var names []string
	for _, m := range c.Modules() {
		names = append(names, m.Manifest().Name)
	}
	assert.Equal(t, []string{"first", "second", "third"}, names, "in the order of the files")

	for _, test := range []struct{ kind, name, want string }{
		{abi.KindRule, "test_ant", "second"},
		{abi.KindRule, "test_zebra", "second"},
		{abi.KindRule, "test_mole", "first"},
		{abi.KindFunction, "test_mole", "third"},
		{abi.KindFunction, "fn_z", "second"},
	} {
		m := c.Find(test.kind, test.name)
		require.NotNil(t, m, test)
		assert.Equal(t, test.want, m.Manifest().Name, test)
	}
	for _, kind := range []string{abi.KindRule, abi.KindFunction, ""} {
		// A module of type *Module that is nil would not be equal to nil.
		assert.True(t, c.Find(kind, "unknown") == nil, kind)
	}
	assert.Nil(t, c.Find(abi.KindRule, "fn_a"))
}

func TestModulePlaysATurnWithItsPermits(t *testing.T) {
	c, err := load(t, fstest.MapFS{"a.wasm": {Data: guestbuild.Tiny{Data: `{"calls":[]}`}.File(t)}})
	require.NoError(t, err)
	m := c.Modules()[0]
	require.NotNil(t, m.Permits())
	answer, log, err := m.Turn(t.Context(), []byte(`{"v":1,"turn":1,"rule":"x"}`), time.Now(), 1)
	require.NoError(t, err)
	assert.Equal(t, `{"calls":[]}`, string(answer))
	assert.Empty(t, log)
}

func TestLogThatWasCutSaysHowMuch(t *testing.T) {
	const all, kept = 20<<16 - 8, 64 << 10
	number := func(n int64) []byte { return append([]byte{guestbuild.OpI32}, guestbuild.Signed(n)...) }
	// Its data is a vector of one part: all of its memory behind that.
	flood := guestbuild.Tiny{
		Data:    string(binary.LittleEndian.AppendUint32([]byte{8, 0, 0, 0}, all)),
		Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "fd_write", 3)}, Imported: 1, Pages: []byte{0, 20},
		Turn: slices.Concat(number(2), number(0), number(1), number(8), []byte{0x10, 0, 0x1a}, guestbuild.Answer(0, 8)),
	}
	c, err := load(t, fstest.MapFS{"a.wasm": {Data: flood.File(t)}})
	require.NoError(t, err)
	_, log, err := c.Modules()[0].Turn(t.Context(), []byte(`{"v":1,"turn":2}`), time.Now(), 1)
	require.NoError(t, err)
	require.NotEmpty(t, log)
	assert.Equal(t, fmt.Sprintf("(%d more bytes)", all-kept), log[len(log)-1])
}

// TestPluginsOfThisProject installs what `make plugins` makes.
func TestPluginsOfThisProject(t *testing.T) {
	out := t.TempDir()
	root := filepath.Join("..", "..")
	built, err := build.Plugins(t.Context(), build.Options{Root: root, Out: out})
	require.NoError(t, err)
	c, err := load(t, os.DirFS(out))
	require.NoError(t, err)
	require.NoError(t, c.Try(t.Context()))
	assert.Len(t, c.Modules(), len(built))
	assert.Subset(t, c.Names(abi.KindRule), []string{"ThreatQ: Sync Incident", "ThreatQ: Sync Indicator"})
	for _, title := range c.Names(abi.KindRule) {
		assert.True(t, strings.HasPrefix(title, "ThreatQ: "), title)
	}
	assert.NotNil(t, c.Find(abi.KindFunction, "threatq_add_indicator"))
	assert.NotNil(t, c.Find(abi.KindRule, "threatq_sync_incident"))
}

func TestBuiltinIsTheFolderItself(t *testing.T) {
	_, err := fs.Stat(catalog.Builtin(), "README.md")
	require.NoError(t, err, "module files stand at the top of it")
}
