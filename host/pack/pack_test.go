package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
)

// module is a module file of which only the manifest is looked at.
func module(t testing.TB, name, version string, calls ...string) []byte {
	t.Helper()
	list, err := json.Marshal(calls)
	require.NoError(t, err)
	text := fmt.Sprintf(`{"abi":1,"name":%q,"version":%q,"description":"d","functions":[{"name":%q,"title":"T","description":"d","inputs":[]}],"calls":%s}`,
		name, version, strings.ReplaceAll(name, "-", "_"), list)
	if len(calls) == 0 {
		text = strings.Replace(text, `"calls":null`, `"calls":[]`, 1)
	}
	file, err := modulefile.WithSection([]byte("\x00asm\x01\x00\x00\x00"), abi.SectionManifest, []byte(text))
	require.NoError(t, err)
	return file
}

// folder is the source of a pack.
func folder(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	all := map[string]string{
		"pack.json":                     `{"pack":1,"name":"sightings","version":"1.2.3","description":"Reports sightings.","author":"Example"}`,
		"README.md":                     "# Sightings\n",
		"modules/sighting.wasm":         string(module(t, "sighting", "1.2.3", "threatq POST /api/events")),
		"scenarios/common.txtar":        "common\n",
		"scenarios/sighting/main.txtar": "A story\n",
	}
	maps.Copy(all, files)
	for name, text := range all {
		if text == "" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func build(t testing.TB, files map[string]string) *Pack {
	t.Helper()
	p, _, err := Build(folder(t, files))
	require.NoError(t, err)
	return p
}

func TestBuiltPackIsReadAsItWasMade(t *testing.T) {
	dir := folder(t, map[string]string{"modules/notes.txt": "to do", ".git/config": "x"})
	p, skipped, err := Build(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"modules/notes.txt"}, skipped)
	assert.Equal(t, "sightings-1.2.3.ftqpack", p.FileName())
	assert.Equal(t, "# Sightings\n", p.README())
	assert.Equal(t, []string{"README.md", "modules/sighting.json", "modules/sighting.wasm", "scenarios/common.txtar", "scenarios/sighting/main.txtar"}, p.Paths())
	assert.Equal(t, map[string][]byte{"common.txtar": []byte("common\n"), "sighting/main.txtar": []byte("A story\n")}, p.Scenarios("sighting"))
	require.Len(t, p.Modules, 1)
	assert.Equal(t, "sighting", p.Modules[0].Manifest.Name)
	assert.Equal(t, module(t, "sighting", "1.2.3", "threatq POST /api/events"), p.Modules[0].Bytes)

	again, _, err := Build(dir)
	require.NoError(t, err)
	assert.Equal(t, p.Bytes(), again.Bytes(), "the same files give the same bytes")
	path := filepath.Join(t.TempDir(), p.FileName())
	require.NoError(t, os.WriteFile(path, p.Bytes(), 0o600))
	read, err := Open(path)
	require.NoError(t, err)
	assert.Equal(t, p.Digest, read.Digest)
	assert.False(t, read.Signed())
}

func TestModulesInFoldersOfTheirOwn(t *testing.T) {
	other := build(t, nil)
	dir := folder(t, map[string]string{
		"modules/sighting.wasm": "", "scenarios/common.txtar": "", "scenarios/sighting/main.txtar": "",
		"sighting/sighting.wasm": string(module(t, "sighting", "1.2.3", "threatq POST /api/events")), "sighting/rule.go": "package sighting",
		"sighting/manifest.json": "{}", "sighting/scenarios/main.txtar": "A story\n", "common.txtar": "common\n",
	})
	p, skipped, err := Build(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"sighting/manifest.json", "sighting/rule.go"}, skipped)
	assert.Equal(t, other.Bytes(), p.Bytes(), "it is the same pack")

	require.NoError(t, os.Mkdir(filepath.Join(dir, "modules"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules", "sighting.wasm"), module(t, "sighting", "1.0.0"), 0o600))
	_, _, err = Build(dir)
	require.ErrorContains(t, err, "there is another file for modules/sighting.wasm")
}

func TestSourcesThatAreNoPack(t *testing.T) {
	other := string(module(t, "other", "1.0.0"))
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no pack.json":        {map[string]string{"pack.json": ""}, "pack.json"},
		"no JSON":             {map[string]string{"pack.json": "{"}, "is not the JSON object"},
		"format":              {map[string]string{"pack.json": `{"pack":2,"name":"a","version":"1.0.0"}`}, "is of format 2, this host reads format 1"},
		"name":                {map[string]string{"pack.json": `{"pack":1,"name":"../a","version":"1.0.0"}`}, `name "../a": want lower-case words`},
		"version":             {map[string]string{"pack.json": `{"pack":1,"name":"a","version":"1.0"}`}, `version "1.0": want MAJOR.MINOR.PATCH`},
		"no README":           {map[string]string{"README.md": ""}, "no README.md: say what the pack is for"},
		"no module":           {map[string]string{"modules/sighting.wasm": ""}, "no modules: they are modules/NAME.wasm"},
		"no WASM":             {map[string]string{"modules/sighting.wasm": "MZ"}, "modules/sighting.wasm: module file: not a WASM core module"},
		"no manifest":         {map[string]string{"modules/sighting.wasm": "\x00asm\x01\x00\x00\x00"}, "modules/sighting.wasm: no manifest"},
		"other name":          {map[string]string{"modules/sighting.wasm": other}, "holds the module other: name it modules/other.wasm"},
		"scenario of no body": {map[string]string{"scenarios/ghost/a.txtar": "x"}, "scenarios/ghost/a.txtar belongs to the module ghost, which is not in the pack"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Build(folder(t, c.files))
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// repack writes the archive of a pack anew after change had its way with it.
func repack(t *testing.T, p *Pack, change func(listing *Listing, files map[string][]byte)) []byte {
	t.Helper()
	listing, files := p.Listing, maps.Clone(p.files)
	listing.Files = maps.Clone(p.Files)
	change(&listing, files)
	text, err := json.Marshal(listing)
	require.NoError(t, err)
	raw, err := archive(text, p.signature, files)
	require.NoError(t, err)
	return raw
}

func TestFilesThatAreNotAsListed(t *testing.T) {
	p := build(t, nil)
	for name, c := range map[string]struct {
		change func(*Listing, map[string][]byte)
		want   string
	}{
		"altered":    {func(_ *Listing, f map[string][]byte) { f["README.md"] = []byte("# sightings\n") }, "README.md was altered"},
		"longer":     {func(_ *Listing, f map[string][]byte) { f["README.md"] = []byte("# Sightings\n\n") }, "README.md was altered"},
		"unlisted":   {func(_ *Listing, f map[string][]byte) { f["scenarios/sighting/b.txtar"] = []byte("x") }, "scenarios/sighting/b.txtar is not listed"},
		"missing":    {func(_ *Listing, f map[string][]byte) { delete(f, "scenarios/common.txtar") }, "scenarios/common.txtar is missing"},
		"strange":    {func(_ *Listing, f map[string][]byte) { f["run.sh"] = []byte("x") }, `file "run.sh" has no place in a pack`},
		"outside":    {func(_ *Listing, f map[string][]byte) { f["modules/../../x.wasm"] = []byte("x") }, `path "modules/../../x.wasm" is not one that a pack may have`},
		"absolute":   {func(_ *Listing, f map[string][]byte) { f["/etc/x.txtar"] = []byte("x") }, `path "/etc/x.txtar" is not one`},
		"two at all": {func(_ *Listing, f map[string][]byte) { f["README.md"] = nil; delete(f, "scenarios/common.txtar") }, "README.md was altered; scenarios/common.txtar is missing"},
		"manifest of another": {func(l *Listing, f map[string][]byte) {
			text := []byte(`{"abi":1}`)
			f["modules/sighting.json"], l.Files["modules/sighting.json"] = text, File{int64(len(text)), digestOf(text)}
		}, "modules/sighting.json is not the manifest of the module sighting"},
		"manifest missing": {func(l *Listing, f map[string][]byte) {
			delete(f, "modules/sighting.json")
			delete(l.Files, "modules/sighting.json")
		}, "modules/sighting.json is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(repack(t, p, c.change))
			var wrong *InvalidError
			require.ErrorAs(t, err, &wrong)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

// tarball is a gzipped archive of any headers.
func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, h := range headers {
		require.NoError(t, archive.WriteHeader(&h))
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return out.Bytes()
}

func TestFilesThatAreNoPackAtAll(t *testing.T) {
	whole := build(t, nil).Bytes()
	broken := bytes.Clone(whole)
	broken[len(broken)-5] ^= 1
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"empty":         {nil, "it is not a gzip file"},
		"text":          {[]byte("hello"), "it is not a gzip file"},
		"cut":           {whole[:len(whole)/2], "unexpected EOF"},
		"checksum":      {broken, "checksum"},
		"link":          {tarball(t, tar.Header{Name: "README.md", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), `"README.md" is not a regular file`},
		"twice":         {tarball(t, tar.Header{Name: "README.md", Typeflag: tar.TypeReg}, tar.Header{Name: "README.md", Typeflag: tar.TypeReg}), `"README.md" stands in it twice`},
		"nothing in it": {tarball(t), "it has no pack.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.text)
			var wrong *InvalidError
			require.ErrorAs(t, err, &wrong)
			assert.Contains(t, err.Error(), c.want)
		})
	}
	_, err := Read(make([]byte, MaxBytes+1))
	assert.ErrorContains(t, err, "larger than")
}

func TestArchiveThatUnpacksToTooMuchIsRefusedEarly(t *testing.T) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: "README.md", Typeflag: tar.TypeReg, Size: MaxBytes + 1}))
	require.NoError(t, zipped.Flush())
	_, err := Read(out.Bytes())
	assert.ErrorContains(t, err, "its files are larger than")
}

// keyPair makes a key pair and returns the secret key as text.
func keyPair(t testing.TB) (Key, []byte) {
	t.Helper()
	public, secret, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := secret.MarshalText()
	require.NoError(t, err)
	key, err := ParseKey(public.String(), "test")
	require.NoError(t, err)
	return key, text
}

func noPassword() (string, error) { return "", fmt.Errorf("nobody to ask") }

func TestSignature(t *testing.T) {
	key, secret := keyPair(t)
	other, _ := keyPair(t)
	p := build(t, nil)
	_, err := p.Verify([]Key{key})
	require.ErrorIs(t, err, ErrUnsigned)

	signed, err := p.Sign(secret, noPassword)
	require.NoError(t, err)
	by, err := signed.Verify([]Key{other, key})
	require.NoError(t, err)
	assert.Equal(t, key.ID(), by.ID())
	assert.Equal(t, key.ID(), signed.SignerID())
	assert.Equal(t, p.Paths(), signed.Paths())
	_, err = signed.Verify([]Key{other})
	require.ErrorIs(t, err, ErrUntrusted)
	assert.ErrorContains(t, err, key.ID(), "so that it can be looked up")

	again, err := signed.Sign(secret, noPassword)
	require.NoError(t, err, "a signature can be replaced")
	_, err = again.Verify([]Key{key})
	require.NoError(t, err)
}

func TestSignatureOfAnAlteredPack(t *testing.T) {
	key, secret := keyPair(t)
	signed, err := build(t, nil).Sign(secret, noPassword)
	require.NoError(t, err)
	text := []byte("# Anything else\n")
	altered, err := Read(repack(t, signed, func(l *Listing, f map[string][]byte) {
		f["README.md"], l.Files["README.md"] = text, File{int64(len(text)), digestOf(text)}
	}))
	require.NoError(t, err, "its listing fits its files")
	_, err = altered.Verify([]Key{key})
	require.ErrorIs(t, err, ErrSignature)

	raw, err := archive(signed.listing, []byte("nonsense"), signed.files)
	require.NoError(t, err)
	broken, err := Read(raw)
	require.NoError(t, err)
	_, err = broken.Verify([]Key{key})
	require.ErrorIs(t, err, ErrSignature)
}

// encrypted is a secret key behind a password, in the form of minisign. Unlike
// minisign it asks scrypt for little work, which the file says.
func encrypted(t *testing.T, plain []byte, password string) []byte {
	t.Helper()
	_, line, _ := strings.Cut(string(plain), "\n")
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	require.NoError(t, err)
	binary.LittleEndian.PutUint64(key[38:], 1<<15)
	binary.LittleEndian.PutUint64(key[46:], 1<<24)
	copy(key[2:], "Sc")
	sum := blake2b.Sum256(append([]byte("Ed"), key[54:126]...))
	copy(key[126:], sum[:])
	stream, err := scrypt.Key([]byte(password), key[6:38], 1024, 8, 1, 104)
	require.NoError(t, err)
	subtle.XORBytes(key[54:], key[54:], stream)
	return []byte("untrusted comment: minisign encrypted secret key\n" + base64.StdEncoding.EncodeToString(key))
}

func TestSecretKeyWithAPassword(t *testing.T) {
	key, plain := keyPair(t)
	text := encrypted(t, plain, "c4nary")
	p := build(t, nil)
	_, err := p.Sign(text, func() (string, error) { return "wrong", nil })
	require.ErrorIs(t, err, ErrPassword)
	_, err = p.Sign(text, noPassword)
	require.ErrorContains(t, err, "nobody to ask")
	signed, err := p.Sign(text, func() (string, error) { return "c4nary", nil })
	require.NoError(t, err)
	_, err = signed.Verify([]Key{key})
	require.NoError(t, err)

	_, err = p.Sign([]byte("c4nary-not-a-key"), noPassword)
	require.ErrorContains(t, err, "not a secret key of minisign")
	assert.NotContains(t, err.Error(), "c4nary")
}

func TestPublicKeys(t *testing.T) {
	key, _ := keyPair(t)
	text, err := key.public.MarshalText()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "minisign.pub")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	read, err := ReadKey(file)
	require.NoError(t, err)
	assert.Equal(t, key.ID(), read.ID())
	read, err = ReadKey(key.public.String())
	require.NoError(t, err)
	assert.Equal(t, key.ID(), read.ID())
	_, err = ReadKey("/nowhere/minisign.pub")
	require.ErrorContains(t, err, "/nowhere/minisign.pub")
	require.NoError(t, os.WriteFile(file, []byte("hello"), 0o600))
	_, err = ReadKey(file)
	require.ErrorContains(t, err, "not a public key of minisign")
}

// TestSignatureIsOneOfMinisign lets the program of that name look at it, where
// it is installed.
func TestSignatureIsOneOfMinisign(t *testing.T) {
	program, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("minisign is not installed; the library's own tests hold the two together")
	}
	key, secret := keyPair(t)
	signed, err := build(t, nil).Sign(secret, noPassword)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pack.json"), signed.listing, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pack.json.minisig"), signed.signature, 0o600))
	out, err := exec.CommandContext(t.Context(), program, "-V", "-P", key.public.String(), "-m", filepath.Join(dir, "pack.json")).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "fn-threatq pack sightings 1.2.3")
}

func TestPermissionsThatAreNew(t *testing.T) {
	p := build(t, map[string]string{
		"modules/sighting.wasm": string(module(t, "sighting", "1.0.0", "threatq GET /api/events", "threatq POST /api/events")),
		"modules/second.wasm":   string(module(t, "second", "1.0.0", "threatq GET /api/events")),
	})
	all := PermissionsOf(p.Modules[0].Manifest, p.Modules[1].Manifest)
	assert.Equal(t, []string{"threatq GET /api/events", "threatq POST /api/events"}, all.Calls)
	second := PermissionsOf(p.Modules[0].Manifest)
	assert.Equal(t, []string{"threatq POST /api/events"}, all.Beyond(second).Calls)
	assert.True(t, second.Beyond(all).None())
}

func FuzzRead(f *testing.F) {
	f.Add(build(f, nil).Bytes())
	f.Add(tarball(f, tar.Header{Name: "pack.json", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Read(text)
		if err != nil {
			return
		}
		again, err := archive(p.listing, p.signature, p.files)
		require.NoError(t, err)
		same, err := Read(again)
		require.NoError(t, err)
		assert.Equal(t, p.Paths(), same.Paths())
	})
}

func TestBuildTakesNoLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "id_ed25519")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	dir := folder(t, map[string]string{"README.md": ""})
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "README.md")))
	_, _, err := Build(dir)
	require.ErrorContains(t, err, "README.md is a link or no regular file")
}
