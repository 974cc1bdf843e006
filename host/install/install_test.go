package install_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/install"
	"fn-threatq/host/pack"
	"fn-threatq/host/store"
)

// about is the manifest of a module that handles the function of its name.
func about(t *testing.T, name, version string, calls ...string) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"abi": 1, "name": name, "version": version, "description": "d", "calls": calls,
		"functions": []any{map[string]any{"name": strings.ReplaceAll(name, "-", "_"), "title": "T", "description": "d", "inputs": []any{}}},
	})
	require.NoError(t, err)
	return text
}

func module(t *testing.T, about []byte) []byte {
	t.Helper()
	file, err := modulefile.WithSection([]byte("\x00asm\x01\x00\x00\x00"), abi.SectionManifest, about)
	require.NoError(t, err)
	return file
}

// makePack builds a pack of modules, given by their manifests.
func makePack(t *testing.T, version string, abouts ...[]byte) *pack.Pack {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "modules"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pack.json"), fmt.Appendf(nil, `{"pack":1,"name":"sightings","version":%q}`, version), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("x"), 0o600))
	for _, a := range abouts {
		m, err := manifest.Parse(a)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "modules", m.Name+".wasm"), module(t, a), 0o600))
	}
	p, _, err := pack.Build(dir)
	require.NoError(t, err)
	return p
}

type signer struct {
	key    pack.Key
	secret []byte
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, secret, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := secret.MarshalText()
	require.NoError(t, err)
	key, err := pack.ParseKey(public.String(), "test")
	require.NoError(t, err)
	return signer{key, text}
}

func (s signer) sign(t *testing.T, p *pack.Pack) *pack.Pack {
	t.Helper()
	signed, err := p.Sign(s.secret, nil)
	require.NoError(t, err)
	return signed
}

// installer has sync-task 1.1.0 built in.
func installer(t *testing.T) *install.Installer {
	t.Helper()
	m, err := manifest.Parse(about(t, "sync-task", "1.1.0", "threatq GET /api/tasks"))
	require.NoError(t, err)
	return &install.Installer{Store: store.Open(t.TempDir()), Builtin: []*manifest.Manifest{m}}
}

// steps are the steps of a plan as text, one a line.
func steps(p *install.Plan) (all []string) {
	for _, s := range p.Steps {
		all = append(all, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s > %s", s.Do, s.Module, s.From, s.To)), " "))
	}
	return all
}

func do(t *testing.T, in *install.Installer, p *install.Plan, err error) {
	t.Helper()
	require.NoError(t, err)
	require.NoError(t, in.Do(p))
}

func current(t *testing.T, in *install.Installer, name string) *store.Module {
	t.Helper()
	state, err := in.Store.State()
	require.NoError(t, err)
	return state.Modules[name]
}

var unsigned = install.PackOptions{AllowUnsigned: true}

func TestPackIsInstalledUpgradedAndRemoved(t *testing.T) {
	in, by := installer(t), newSigner(t)
	o := install.PackOptions{Keys: []pack.Key{by.key}}
	first := by.sign(t, makePack(t, "1.0.0", about(t, "sighting", "1.0.0", "threatq GET /api/events"), about(t, "sync-task", "2.0.0", "threatq GET /api/tasks")))
	plan, err := in.Pack(first, o)
	require.NoError(t, err)
	assert.Equal(t, []string{"add sighting > 1.0.0 (pack sightings)", "replace sync-task 1.1.0 (built in) > 2.0.0 (pack sightings)"}, steps(plan))
	assert.Equal(t, []string{"threatq GET /api/events", "threatq GET /api/tasks"}, plan.Permissions.Calls)
	assert.Equal(t, []string{"threatq GET /api/events"}, plan.Granted.Calls, "sync-task could do that before")
	assert.Empty(t, plan.Warnings)
	assert.Nil(t, current(t, in, "sighting"), "a plan writes nothing")
	do(t, in, plan, nil)

	again, err := in.Pack(first, o)
	require.NoError(t, err)
	assert.True(t, again.Empty(), "installing it again changes nothing")

	second := by.sign(t, makePack(t, "1.1.0", about(t, "sighting", "1.1.0", "threatq GET /api/events", "threatq POST /api/events")))
	o.Upgrade = true
	plan, err = in.Pack(second, o)
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sighting 1.0.0 (pack sightings) > 1.1.0 (pack sightings)", "replace sync-task 2.0.0 (pack sightings) > 1.1.0 (built in)"}, steps(plan))
	assert.Equal(t, []string{"threatq POST /api/events"}, plan.Granted.Calls)
	do(t, in, plan, nil)
	state, err := in.Store.State()
	require.NoError(t, err)
	assert.Equal(t, by.key.ID(), state.Packs["sightings"].Key)
	kept, err := in.Store.Pack("sightings", second.Digest)
	require.NoError(t, err)
	assert.Equal(t, second.Bytes(), kept)

	plan, err = in.RemovePack("sightings")
	require.NoError(t, err)
	assert.Equal(t, []string{"remove sighting 1.1.0 (pack sightings) >"}, steps(plan))
	do(t, in, plan, nil)
	state, err = in.Store.State()
	require.NoError(t, err)
	assert.Empty(t, state.Modules)
	assert.Empty(t, state.Packs)
	_, err = in.RemovePack("sightings")
	require.ErrorContains(t, err, `the pack "sightings" is not installed`)
}

func TestTrust(t *testing.T) {
	in, by, other := installer(t), newSigner(t), newSigner(t)
	plain := makePack(t, "1.0.0", about(t, "sighting", "1.0.0"))
	signed := by.sign(t, plain)
	for name, c := range map[string]struct {
		pack *pack.Pack
		o    install.PackOptions
		want string
	}{
		"unsigned":  {plain, install.PackOptions{Keys: []pack.Key{by.key}}, "is not signed: trust its key (trusted_keys in [fn_threatq]), or say --allow-unsigned"},
		"untrusted": {signed, install.PackOptions{Keys: []pack.Key{other.key}}, "a key that is not trusted: " + by.key.ID()},
		"no keys":   {signed, install.PackOptions{}, "a key that is not trusted"},
	} {
		_, err := in.Pack(c.pack, c.o)
		require.ErrorContains(t, err, c.want, name)
		c.o.AllowUnsigned = true
		plan, err := in.Pack(c.pack, c.o)
		require.NoError(t, err, name)
		require.Len(t, plan.Warnings, 1, name)
		assert.Contains(t, plan.Warnings[0], "nobody vouches for the pack sightings 1.0.0", name)
	}
	do(t, in, mustPlan(in.Pack(signed, install.PackOptions{Keys: []pack.Key{by.key}})), nil)
	plan, err := in.Pack(makePack(t, "1.0.1", about(t, "sighting", "1.0.1")), unsigned)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(plan.Warnings, "\n"), "version 1.0.0 was signed with the key "+by.key.ID()+", this one is not")
}

func mustPlan(p *install.Plan, err error) *install.Plan {
	if err != nil {
		panic(err)
	}
	return p
}

func TestNoSilentDowngrade(t *testing.T) {
	in := installer(t)
	_, err := in.Pack(makePack(t, "9.0.0", about(t, "sync-task", "1.0.9")), unsigned)
	require.ErrorIs(t, err, install.ErrDowngrade, "older than the one that is built in")
	do(t, in, mustPlan(in.Pack(makePack(t, "1.10.0", about(t, "sighting", "1.0.0")), unsigned)), nil)
	older := makePack(t, "1.9.0", about(t, "sighting", "0.9.0"))
	_, err = in.Pack(older, unsigned)
	require.ErrorIs(t, err, install.ErrDowngrade)
	assert.ErrorContains(t, err, "pack sightings 1.10.0 is installed, and 1.9.0 is older")
	allowed := unsigned
	allowed.AllowDowngrade = true
	plan, err := in.Pack(older, allowed)
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sighting 1.0.0 (pack sightings) > 0.9.0 (pack sightings)"}, steps(plan))

	plan, err = in.Pack(makePack(t, "1.10.0", about(t, "sighting", "1.0.1")), unsigned)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(plan.Warnings, "\n"), "version 1.10.0 is installed already, with other contents")
}

func TestUpgradeWantsAnInstalledPack(t *testing.T) {
	o := unsigned
	o.Upgrade = true
	_, err := installer(t).Pack(makePack(t, "1.0.0", about(t, "sighting", "1.0.0")), o)
	require.ErrorContains(t, err, "the pack sightings is not installed: use `pack install`")
}

func TestTwoModulesForOneFunction(t *testing.T) {
	in := installer(t)
	clashing := []byte(strings.Replace(string(about(t, "other", "1.0.0")), `"name":"other","title"`, `"name":"sync_task","title"`, 1))
	_, err := in.Pack(makePack(t, "1.0.0", clashing), unsigned)
	require.ErrorContains(t, err, "the modules other and sync-task would both handle the function sync_task: disable or remove one of them first")
	do(t, in, mustPlan(in.Enable("sync-task", false)), nil)
	do(t, in, mustPlan(in.Pack(makePack(t, "1.0.0", clashing), unsigned)), nil)
	_, err = in.Enable("sync-task", true)
	require.ErrorContains(t, err, "would both handle")
}

func TestModuleOfAPackIsNotTakenByAnother(t *testing.T) {
	in := installer(t)
	do(t, in, mustPlan(in.Pack(makePack(t, "1.0.0", about(t, "sighting", "1.0.0")), unsigned)), nil)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "modules"), 0o755))
	for name, text := range map[string]string{"pack.json": `{"pack":1,"name":"rival","version":"1.0.0"}`, "README.md": "x", "modules/sighting.wasm": string(module(t, about(t, "sighting", "2.0.0")))} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	rival, _, err := pack.Build(dir)
	require.NoError(t, err)
	_, err = in.Pack(rival, unsigned)
	require.ErrorContains(t, err, "module sighting belongs to the pack sightings: remove that pack first")
}

func TestSingleModuleAndRollback(t *testing.T) {
	in := installer(t)
	plan, err := in.Module(module(t, about(t, "sync-task", "1.2.0", "threatq GET /api/tasks", "threatq PUT /api/tasks/{id}")), false)
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sync-task 1.1.0 (built in) > 1.2.0 (single module)"}, steps(plan))
	assert.Equal(t, []string{"threatq PUT /api/tasks/{id}"}, plan.Granted.Calls)
	assert.Contains(t, plan.Warnings[0], "nobody vouches for sync-task 1.2.0")
	do(t, in, plan, nil)
	_, err = in.Module(module(t, about(t, "sync-task", "1.1.9")), false)
	require.ErrorIs(t, err, install.ErrDowngrade)

	plan, err = in.Rollback("sync-task")
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sync-task 1.2.0 (single module) > 1.1.0 (built in)"}, steps(plan))
	do(t, in, plan, nil)
	plan, err = in.Rollback("sync-task")
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sync-task 1.1.0 (built in) > 1.2.0 (single module)"}, steps(plan), "a second one undoes the first")
	do(t, in, plan, nil)

	plan, err = in.RemoveModule("sync-task")
	require.NoError(t, err)
	assert.Equal(t, []string{"replace sync-task 1.2.0 (single module) > 1.1.0 (built in)"}, steps(plan))
	do(t, in, plan, nil)
	assert.Nil(t, current(t, in, "sync-task"), "nothing differs from what is built in")
	for name, want := range map[string]string{"sync-task": "is built in and cannot be removed: disable it", "ghost": `there is no module "ghost"`} {
		_, err = in.RemoveModule(name)
		require.ErrorContains(t, err, want)
	}
	_, err = in.Rollback("sync-task")
	require.ErrorContains(t, err, "module sync-task has no former version")
	_, err = in.Rollback("ghost")
	require.ErrorContains(t, err, `there is no module "ghost"`)
}

func TestSingleModuleThatIsNew(t *testing.T) {
	in := installer(t)
	do(t, in, mustPlan(in.Module(module(t, about(t, "mine", "1.0.0")), false)), nil)
	assert.Empty(t, current(t, in, "mine").Former, "there is nothing to go back to")
	do(t, in, mustPlan(in.RemoveModule("mine")), nil)
	assert.Nil(t, current(t, in, "mine"))
	_, err := in.Module([]byte("hello"), false)
	require.Error(t, err)
}

func TestEnableAndDisable(t *testing.T) {
	in := installer(t)
	plan, err := in.Enable("sync-task", false)
	require.NoError(t, err)
	assert.Equal(t, []string{"disable sync-task > 1.1.0 (built in)"}, steps(plan))
	do(t, in, plan, nil)
	assert.True(t, current(t, in, "sync-task").Disabled)
	same, err := in.Enable("sync-task", false)
	require.NoError(t, err)
	assert.True(t, same.Empty())
	plan, err = in.Enable("sync-task", true)
	require.NoError(t, err)
	assert.Equal(t, []string{"enable sync-task > 1.1.0 (built in)"}, steps(plan))
	do(t, in, plan, nil)
	assert.Nil(t, current(t, in, "sync-task"))
	_, err = in.Enable("ghost", true)
	require.ErrorContains(t, err, `there is no module "ghost"`)
}

func TestPlanFitsOneStateOnly(t *testing.T) {
	in := installer(t)
	plan := mustPlan(in.Enable("sync-task", false))
	do(t, in, mustPlan(in.Module(module(t, about(t, "mine", "1.0.0")), false)), nil)
	require.ErrorIs(t, in.Do(plan), install.ErrChanged)
	assert.Nil(t, current(t, in, "sync-task"), "nothing was done")
}

func TestModuleThatWasTamperedWithCanBeReplaced(t *testing.T) {
	in := installer(t)
	do(t, in, mustPlan(in.Module(module(t, about(t, "mine", "1.0.0")), false)), nil)
	digest := current(t, in, "mine").Current.Digest
	require.NoError(t, os.WriteFile(filepath.Join(in.Store.Dir(), "modules", digest+".wasm"), []byte("x"), 0o600))
	plan, err := in.Module(module(t, about(t, "mine", "1.0.1", "threatq GET /api/events")), false)
	require.NoError(t, err)
	assert.Equal(t, []string{"threatq GET /api/events"}, plan.Granted.Calls, "what it had cannot be known")
	do(t, in, plan, nil)
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"1.0.0", "1.0.0", 0}, {"1.10.0", "1.9.9", 1}, {"0.9.0", "1.0.0", -1}, {"1.0.010", "1.0.9", 1}} {
		got := install.Compare(c.a, c.b)
		assert.Equal(t, c.want, max(-1, min(1, got)), "%s %s", c.a, c.b)
	}
}

// TestWhatWasInstalledIsPutBack: to install the same again is how a person mends
// a file that was altered.
func TestWhatWasInstalledIsPutBack(t *testing.T) {
	in := installer(t)
	p := makePack(t, "1.0.0", about(t, "sighting", "1.0.0", "threatq GET /api/events"))
	unsigned := install.PackOptions{AllowUnsigned: true}
	plan, err := in.Pack(p, unsigned)
	require.NoError(t, err)
	require.NoError(t, in.Do(plan))
	plan, err = in.Pack(p, unsigned)
	require.NoError(t, err)
	assert.True(t, plan.Empty())

	digest := p.Modules[0].Digest
	for name, c := range map[string]struct {
		path string
		want string
	}{
		"module": {filepath.Join("modules", digest+".wasm"), "repair sighting 1.0.0 (pack sightings) > 1.0.0 (pack sightings)"},
		"pack":   {filepath.Join("packs", "sightings.ftqpack"), "repair the pack sightings itself, > 1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(in.Store.Dir(), c.path)
			good, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
			plan, err := in.Pack(p, unsigned)
			require.NoError(t, err)
			assert.Equal(t, []string{c.want}, steps(plan))
			assert.False(t, plan.Empty())
			require.NoError(t, in.Do(plan))
			back, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, good, back)
		})
	}

	plan, err = in.Enable("sighting", false)
	require.NoError(t, err)
	require.NoError(t, in.Do(plan))
	plan, err = in.Pack(makePack(t, "1.1.0", about(t, "sighting", "1.1.0")), unsigned)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(plan.Warnings, "\n"), "module sighting is disabled and stays so")
}

// entries are the files of a pack in their order.
func entries(t *testing.T, p *pack.Pack) (names []string, texts map[string][]byte) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(p.Bytes()))
	require.NoError(t, err)
	texts = map[string][]byte{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, texts
		}
		require.NoError(t, err)
		names = append(names, header.Name)
		texts[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}

func TestWrongSignatureIsNeverAccepted(t *testing.T) {
	in, by := installer(t), newSigner(t)
	const signature = "pack.json.minisig"
	_, signed := entries(t, by.sign(t, makePack(t, "1.0.0", about(t, "sighting", "1.0.0"))))
	names, texts := entries(t, by.sign(t, makePack(t, "1.1.0", about(t, "sighting", "1.1.0", "threatq DELETE /api/events/{id}"))))
	texts[signature] = signed[signature]
	var raw bytes.Buffer
	zipped := gzip.NewWriter(&raw)
	archive := tar.NewWriter(zipped)
	for _, name := range names {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(texts[name]))}))
		_, err := archive.Write(texts[name])
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(archive.Close(), zipped.Close()))
	forged, err := pack.Read(raw.Bytes())
	require.NoError(t, err, "its files are as its listing says")
	for _, allow := range []bool{false, true} {
		_, err := in.Pack(forged, install.PackOptions{Keys: []pack.Key{by.key}, AllowUnsigned: allow})
		require.ErrorIs(t, err, pack.ErrSignature, "allowed unsigned: %t", allow)
	}
}
