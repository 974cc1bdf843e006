package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

var update = flag.Bool("update", false, "write the golden files anew")

// stories of the built-in module add-indicator: two that pass, one that fails,
// one that cannot be run.
var stories = map[string]string{
	"passes.txtar": `A value that is no indicator
-- action.json --
{"inputs": {"indicator_value": "just words"}}
-- reply --
failed
No indicator was {*}
results:
{"success": false, "...": "*"}
`,
	"asks.txtar": `A type that ThreatQ does not know is looked for by its name
-- action.json --
{"inputs": {"indicator_value": "a, b; c", "indicator_type": "Mutex"}}
-- turn 1 --
> GET threatq /api/indicator/types?limit=500&offset=0
< unreachable
-- fail --
unreachable retry
ThreatQ could not be reached for GET /api/indicator/types: connection refused
`,
	"fails.txtar": `A value that is no indicator, and what differs
-- action.json --
{"inputs": {"indicator_value": "just words"}}
-- turn 1 --
> GET threatq /api/indicator/types
< 200
-- reply --
success
`,
	"mistake.txtar": `A file with a mistake
-- action.json --
{"inputs": {"indicator_value": "just words"}}
-- turn 2 --
`,
}

// play writes stories into a folder of their own and plays them.
func play(t *testing.T, names []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	folder := filepath.Join(alone(t), "add-indicator", "scenarios")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(stories[name]), 0o644))
	}
	return call(t, append([]string{"plugin", "test"}, args...)...)
}

func TestPluginTest(t *testing.T) {
	golden, err := filepath.Abs("testdata")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		code  int
		names []string
		args  []string
	}{
		"passes":    {host.ExitOK, []string{"passes.txtar", "asks.txtar"}, []string{"./..."}},
		"dialogue":  {host.ExitOK, []string{"passes.txtar", "asks.txtar"}, []string{"add-indicator", "-v"}},
		"fails":     {exitFailed, []string{"passes.txtar", "fails.txtar"}, []string{"add-indicator"}},
		"mistake":   {exitNotRun, []string{"passes.txtar", "fails.txtar", "mistake.txtar"}, []string{"add-indicator"}},
		"updated":   {host.ExitOK, []string{"fails.txtar"}, []string{"--update", "add-indicator"}},
		"no-module": {exitNotRun, []string{"passes.txtar"}, []string{"add-indicator", "--module", "nowhere.wasm"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := play(t, c.names, c.args...)
			assert.Equal(t, c.code, code)
			assert.Empty(t, stderr)
			path := filepath.Join(golden, "plugin-test-"+name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(golden, 0o755))
				require.NoError(t, os.WriteFile(path, []byte(stdout), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), stdout)
		})
	}
}

func TestPluginTestThatCannotBegin(t *testing.T) {
	for args, want := range map[string]string{
		"plugin":                   "fn-threatq plugin: want one of list, install, enable, disable, rollback, remove, shadow, promote, test, new, build, check, doc\nRun 'fn-threatq plugin --help' for how",
		"plugin run":               "fn-threatq plugin: there is no command \"run\"; there is list, install, enable, disable, rollback, remove, shadow, promote, test, new, build, check, doc\n",
		"plugin test":              "fn-threatq plugin test: want a PATH: a scenario, a module or a folder\nRun 'fn-threatq plugin test --help'",
		"plugin test --fast .":     "fn-threatq plugin test: unknown flag: --fast\n",
		"plugin test . --module":   "fn-threatq plugin test: flag needs an argument: --module\n",
		"plugin test .":            "fn-threatq plugin test: no scenarios in .: they are *.txtar files in a folder scenarios beside a plugin's manifest\n",
		"plugin test nowhere":      "fn-threatq plugin test: stat nowhere: no such file or directory\n",
		"plugin test a.txtar -- -": "fn-threatq plugin test: stat a.txtar: no such file or directory\n",
	} {
		t.Run(args, func(t *testing.T) {
			alone(t)
			code, stdout, stderr := call(t, strings.Fields(args)...)
			assert.Equal(t, exitNotRun, code)
			assert.Equal(t, host.ExitUsage, code)
			assert.Empty(t, stdout)
			beginsWith(t, want, stderr)
		})
	}
	alone(t)
	code, stdout, _ := call(t, "plugin", "test", "--help")
	assert.Equal(t, host.ExitOK, code)
	assert.Contains(t, stdout, "fn-threatq plugin test PATH…")
}
