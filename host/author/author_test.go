package author_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/author"
	"fn-threatq/host/author/build"
	"fn-threatq/host/internal/testrun"
)

func TestMain(m *testing.M) { testrun.Main(m) }

// newPlugin makes a plugin and its module.
func newPlugin(t *testing.T) (dir, module string) {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	dir, err := author.New(author.NewOptions{Name: "look-up", Dir: t.TempDir(), Version: "1.1.0"})
	require.NoError(t, err)
	built, err := build.Build(t.Context(), build.Options{Source: dir})
	require.NoError(t, err)
	return dir, built.Path
}

func check(t *testing.T, module string) author.CheckReport {
	t.Helper()
	r, err := author.Check(t.Context(), author.CheckOptions{Module: module, CacheDir: testrun.Modules()})
	require.NoError(t, err)
	return r
}

func reasons(r author.CheckReport) (list []string) {
	for _, c := range r.Checks {
		if c.Reason != "" {
			list = append(list, c.Name+": "+c.Reason)
		}
	}
	return list
}

func TestANewPluginIsCompleteWithoutANetwork(t *testing.T) {
	dir, module := newPlugin(t)
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=vendor", "GOWORK=off", "GOMODCACHE="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v: %s", args, out)
	}
	formatted, err := exec.Command("gofmt", "-l", dir).CombinedOutput()
	require.NoError(t, err)
	assert.Empty(t, string(formatted))
	assert.Empty(t, reasons(check(t, module)))
	// The copy is for the author, so what only tests this project stays here.
	for _, pattern := range []string{"*_test.go", "source.go"} {
		found, err := filepath.Glob(filepath.Join(dir, "vendor", "fn-threatq", "abi", pattern))
		require.NoError(t, err)
		assert.Empty(t, found)
	}
}

// TestAPluginTakesTheKitFromAClone does what plugins/README.md says, with no more than
// the libraries of this project.
func TestAPluginTakesTheKitFromAClone(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "plugins", "README.md"))
	require.NoError(t, err)
	_, block, found := strings.Cut(string(readme), "<!-- first-rule: kit -->\n```sh\n")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "```")
	t.Setenv("GOPROXY", "off")
	dir, err := author.New(author.NewOptions{Name: "look-up", Dir: t.TempDir(), Version: "1.1.0"})
	require.NoError(t, err)
	file := filepath.Join(dir, "rule.go")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	withKit := strings.NewReplacer("\"fn-threatq/abi/guest\"\n", "\"fn-threatq/abi/guest\"\n\t\"fn-threatq/plugins/kit\"\n",
		"lookUp(a *guest.Action) guest.Reply {\n", "lookUp(a *guest.Action) guest.Reply {\n\tkit.New(a).IsOwn(kit.Artifact{})\n").Replace(string(text))
	require.Equal(t, 2, strings.Count(withKit, "kit.")-strings.Count(string(text), "kit."))
	require.NoError(t, os.WriteFile(file, []byte(withKit), 0o600))
	cmd := exec.Command("sh", "-e", "-c", block)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CLONE="+root, "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	// The clone is not needed any more, nor are libraries.
	t.Setenv("GOMODCACHE", t.TempDir())
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(gomod), root)
	built, err := build.Build(t.Context(), build.Options{Source: dir})
	require.NoError(t, err)
	assert.FileExists(t, built.Path)
}

func TestCheckTakesTheActionsOfScenarios(t *testing.T) {
	dir, module := newPlugin(t)
	assert.Equal(t, 5, check(t, module).Subjects)
	story := "Another artifact\n-- action.json --\n{\"incident_id\": 7, \"artifact_id\": 8}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scenarios", "other.txtar"), []byte(story), 0o600))
	assert.Equal(t, 6, check(t, module).Subjects)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "scenarios", "other.txtar"), []byte("no action\n"), 0o600))
	_, err := author.Check(t.Context(), author.CheckOptions{Module: module, CacheDir: testrun.Modules()})
	require.ErrorContains(t, err, "other.txtar:1: there is no section action.json")
	_, err = author.Check(t.Context(), author.CheckOptions{Module: module, Scenarios: filepath.Join(dir, "gone"), CacheDir: testrun.Modules()})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestCheckFindsWhatAModuleDoesWrong breaks the rule in ways that its author may
// not see, because the scenarios still pass.
func TestCheckFindsWhatAModuleDoesWrong(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"permit": {`"/api/indicators"`, `"/api/indicator/types"`, "no permit of the manifest allows it"},
		"trap":   {`guest.Failed("The artifact has no value to look up.")`, `(func() guest.Reply { panic("no value") })()`, "panic: no value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOPROXY", "off")
			dir, err := author.New(author.NewOptions{Name: "look-up", Dir: t.TempDir(), Version: "1.1.0"})
			require.NoError(t, err)
			file := filepath.Join(dir, "rule.go")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Contains(t, string(text), c.old)
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600))
			if name == "permit" {
				// Every call is answered with {}, so the artifact needs a value to get there.
				text := strings.Replace(strings.Replace(string(text), c.old, c.new, 1), `value := artifact.Body.Get("value").Text()`, `value := "x"`, 1)
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			}
			built, err := build.Build(t.Context(), build.Options{Source: dir})
			require.NoError(t, err)
			assert.Contains(t, strings.Join(reasons(check(t, built.Path)), "\n"), c.want)
		})
	}
}

func TestCodeOfAnyCompilerIsSealed(t *testing.T) {
	dir := t.TempDir()
	code := filepath.Join(dir, "code.wasm")
	empty := []byte("\x00asm\x01\x00\x00\x00")
	require.NoError(t, os.WriteFile(code, empty, 0o600))
	manifest := `{"abi":1,"name":"m","version":"1.0.0","description":"d","functions":[{"name":"f","title":"F","inputs":[]}]}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600))
	built, err := build.Build(t.Context(), build.Options{Source: code})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "m.wasm"), built.Path)
	sealed, err := os.ReadFile(built.Path)
	require.NoError(t, err)
	assert.Equal(t, string(empty), string(sealed[:len(empty)]))
	assert.Contains(t, string(sealed), "fn-threatq.manifest"+manifest)

	again, err := build.Build(t.Context(), build.Options{Source: built.Path})
	require.NoError(t, err)
	assert.False(t, again.Changed, "a manifest that is there is replaced")

	// The host refuses it with a reason, which the check tells.
	assert.Contains(t, reasons(check(t, built.Path))[0], "load: ")
}
