//go:build activemq

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A short stream under fire, with a seed that never changes. Longer ones, and other
// seeds, are for "make chaos".
func TestShortChaos(t *testing.T) {
	modules, err := filepath.Glob(filepath.Join("..", "..", "host", "catalog", "builtin", "*.wasm"))
	require.NoError(t, err)
	require.NotEmpty(t, modules, `the modules are not built: run "make plugins"`)
	host := filepath.Join(t.TempDir(), "fn-threatq")
	built, err := exec.Command("go", "build", "-o", host, "fn-threatq/cmd/fn-threatq").CombinedOutput()
	require.NoError(t, err, string(built))
	for _, seed := range []string{"20", "21"} { // by password, by API key
		var out bytes.Buffer
		code := run(t.Context(), []string{"run", "-host", host, "-dir", t.TempDir(), "-seed", seed,
			"-actions", "40", "-kills", "2", "-faults", "2", "-gentle", "-baseline=false"}, &out, &out)
		assert.Zero(t, code, out.String())
		t.Log(out.String())
	}
}
