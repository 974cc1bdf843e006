package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/pack"
)

func somePack(t *testing.T) *pack.Pack {
	t.Helper()
	module, err := modulefile.WithSection([]byte("\x00asm\x01\x00\x00\x00"), abi.SectionManifest,
		[]byte(`{"abi":1,"name":"sighting","version":"1.0.0","description":"d","functions":[{"name":"f","title":"T","description":"d","inputs":[]}]}`))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "modules"), 0o755))
	for name, text := range map[string]string{"pack.json": `{"pack":1,"name":"sightings","version":"1.0.0","description":"d"}`, "README.md": "x", "modules/sighting.wasm": string(module)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	p, _, err := pack.Build(dir)
	require.NoError(t, err)
	return p
}

func TestPlaces(t *testing.T) {
	for text, want := range map[string]Place{
		"oci://registry.example.com/soc/packs:1.0":      {repository: "registry.example.com/soc/packs", tag: "1.0"},
		"oci://registry.example.com:5000/sightings:1.0": {repository: "registry.example.com:5000/sightings", tag: "1.0"},
		"oci:packs:1.0":            {layout: "packs", tag: "1.0"},
		"oci:/media/usb/packs:1.0": {layout: "/media/usb/packs", tag: "1.0"},
	} {
		got, err := ParsePlace(text)
		require.NoError(t, err, text)
		want.text = text
		assert.Equal(t, want, got)
		assert.Equal(t, text, got.String())
	}
	for _, text := range []string{"", "packs:1.0", "oci:", "oci::1", "oci:packs", "oci:packs:", "oci://registry.example.com:5000/packs", "oci://registry:1.0", "oci:///packs:1"} {
		_, err := ParsePlace(text)
		assert.ErrorContains(t, err, "want oci://HOST/REPOSITORY:TAG or oci:FOLDER:TAG", text)
	}
	assert.True(t, Is("oci:packs:1.0"))
	assert.False(t, Is("packs/oci:1"))
}

func place(t *testing.T, text string) Place {
	t.Helper()
	p, err := ParsePlace(text)
	require.NoError(t, err)
	return p
}

func TestLayoutFolder(t *testing.T) {
	p, dir := somePack(t), filepath.Join(t.TempDir(), "packs")
	_, err := Pull(t.Context(), place(t, "oci:"+dir+":1.0.0"), Options{})
	require.ErrorContains(t, err, dir)
	assert.NoDirExists(t, dir, "looking makes nothing")
	digest, err := Push(t.Context(), place(t, "oci:"+dir+":1.0.0"), p, Options{})
	require.NoError(t, err)
	again, err := Push(t.Context(), place(t, "oci:"+dir+":latest"), p, Options{})
	require.NoError(t, err)
	assert.Equal(t, digest, again)
	for _, tag := range []string{"1.0.0", "latest"} {
		got, err := Pull(t.Context(), place(t, "oci:"+dir+":"+tag), Options{})
		require.NoError(t, err)
		assert.Equal(t, p.Bytes(), got.Bytes())
	}
	_, err = Pull(t.Context(), place(t, "oci:"+dir+":2.0.0"), Options{})
	require.ErrorContains(t, err, "2.0.0")

	blob := filepath.Join(dir, "blobs", "sha256", p.Digest)
	text, err := os.ReadFile(blob)
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.Chmod(blob, 0o600))
	require.NoError(t, os.WriteFile(blob, text, 0o600))
	_, err = Pull(t.Context(), place(t, "oci:"+dir+":1.0.0"), Options{})
	require.ErrorContains(t, err, "mismatch")
}

// registry is as much of a registry as a push and a pull need (OCI distribution
// specification 1.1, chapters Pull and Push).
type registry struct {
	mu      sync.Mutex
	content map[string][]byte // by digest, and manifests by tag too
	types   map[string]string
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := strings.Split(q.URL.Path, "/")
	name := parts[len(parts)-1]
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		text, ok := r.content[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Docker-Content-Digest", digestOf(text))
		w.Header().Set("Content-Type", r.types[name])
		_, _ = w.Write(text)
	case http.MethodPost:
		w.Header().Set("Location", strings.TrimSuffix(q.URL.Path, "/")+"/upload")
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		text, err := io.ReadAll(q.Body)
		digest := digestOf(text)
		if wanted := q.URL.Query().Get("digest"); err != nil || wanted != "" && wanted != digest {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, key := range []string{name, digest} {
			r.content[key], r.types[key] = text, q.Header.Get("Content-Type")
		}
		w.Header().Set("Docker-Content-Digest", digest)
		w.WriteHeader(http.StatusCreated)
	}
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestRegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(&registry{content: map[string][]byte{}, types: map[string]string{}})
	defer server.Close()
	at := place(t, "oci://"+strings.TrimPrefix(server.URL, "http://")+"/soc/sightings:1.0.0")
	p := somePack(t)
	digest, err := Push(t.Context(), at, p, Options{PlainHTTP: true, UserAgent: "fn-threatq/test"})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(digest, "sha256:"))
	got, err := Pull(t.Context(), at, Options{PlainHTTP: true})
	require.NoError(t, err)
	assert.Equal(t, p.Digest, got.Digest)
	_, err = Pull(t.Context(), place(t, at.String()+"-missing"), Options{PlainHTTP: true})
	require.ErrorContains(t, err, "1.0.0-missing")
}

func TestArtifactThatIsNoPack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "other")
	at := place(t, "oci:"+dir+":1")
	_, err := Push(t.Context(), at, somePack(t), Options{})
	require.NoError(t, err)
	// The layer's type is what tells a pack from a container image.
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	require.NoError(t, err)
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	for _, blob := range blobs {
		text, err := os.ReadFile(blob)
		require.NoError(t, err)
		if !strings.Contains(string(text), LayerType) {
			continue
		}
		changed := strings.ReplaceAll(string(text), LayerType, strings.Replace(LayerType, "pack", "dump", 1))
		digest := digestOf([]byte(changed))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")), []byte(changed), 0o600))
		index = []byte(strings.ReplaceAll(string(index), digestOf(text), digest))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600))
	_, err = Pull(t.Context(), at, Options{})
	require.ErrorContains(t, err, "there is an artifact, but it is no pack")
}
