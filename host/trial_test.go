package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host"
	"fn-threatq/host/catalog"
	"fn-threatq/host/pack"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
	"fn-threatq/testdata/guests/guestbuild"
)

// TestTrialOfPlaysTheScenariosOfTheModulesOwnVersion: the pack in the store may
// be a later one than that which brought the module, after a rollback.
func TestTrialOfPlaysTheScenariosOfTheModulesOwnVersion(t *testing.T) {
	module := func(version string) []byte {
		return guestbuild.Tiny{Manifest: `{"abi":1,"name":"sighting","version":"` + version + `","description":"d",` +
			`"functions":[{"name":"sighting","title":"T","description":"d","inputs":[]}]}`}.File(t)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pack.json": `{"pack":1,"name":"sightings","version":"1.1.0"}`, "README.md": "x", "modules/sighting.wasm": string(module("1.1.0")),
		"scenarios/sighting/main.txtar": "It succeeds\n\n-- action.json --\n{\"function\": \"sighting\", \"inputs\": {}}\n\n-- reply --\nsuccess\nDone.\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	p, _, err := pack.Build(dir)
	require.NoError(t, err)
	s := store.Open(t.TempDir())
	require.NoError(t, s.Change(func(state *store.State) error {
		state.Packs["sightings"] = &store.Pack{Version: "1.1.0", Digest: p.Digest, Modules: []string{"sighting"}}
		return s.PutPack("sightings", p.Bytes())
	}))
	of := func(version string) error {
		file := module(version)
		about, err := sandbox.Inspect(file)
		require.NoError(t, err)
		return host.Trial{CacheDir: t.TempDir(), Store: s}.Of(t.Context(), catalog.Candidate{Manifest: about, File: file, Pack: "sightings"})
	}
	require.ErrorContains(t, of("1.1.0"), "1 of its 1 scenarios fail")
	require.NoError(t, of("1.0.0"), "its own scenarios were those of another pack")

	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "packs", "sightings.ftqpack"), []byte("x"), 0o600))
	require.ErrorIs(t, of("1.1.0"), store.ErrTampered)
}
