package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host"
)

func TestArguments(t *testing.T) {
	var stderr bytes.Buffer
	assert.Equal(t, 2, run(t.Context(), []string{"x"}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "unexpected argument")
}

func TestDocumentsFollowFromTheCommandsAndAreReproducible(t *testing.T) {
	when := time.Unix(1_700_000_000, 0).UTC()
	one, two := t.TempDir(), t.TempDir()
	require.NoError(t, documents(one, when))
	require.NoError(t, documents(two, when))
	require.NoError(t, filepath.WalkDir(one, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(one, path)
		require.NoError(t, err)
		assert.Equal(t, read(t, path), read(t, filepath.Join(two, name)), name)
		return nil
	}))
	main := unpacked(t, filepath.Join(one, "man", "fn-threatq.1.gz"))
	assert.Contains(t, main, "fn-threatq-run(1)", "the pages of the commands are named")
	assert.Contains(t, main, ".SH EXIT STATUS")
	assert.Contains(t, main, "SOAR refused the login")
	assert.Contains(t, main, "Nov 2023")
	install := unpacked(t, filepath.Join(one, "man", "fn-threatq-service-install.1.gz"))
	assert.Contains(t, install, "--print")
	assert.NotContains(t, install, "--root", "hidden flags are for tests")
	for name, text := range map[string]string{"fn-threatq.bash": "__start_fn-threatq", "_fn-threatq": "#compdef fn-threatq", "fn-threatq.fish": "complete -c fn-threatq"} {
		assert.Contains(t, read(t, filepath.Join(one, name)), text, name)
	}
	unit := read(t, filepath.Join(one, "fn-threatq.service"))
	assert.Contains(t, unit, "\nUser=fn-threatq\n")
	assert.Contains(t, unit, "\nExecReload=")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func unpacked(t *testing.T, path string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(read(t, path)))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(text)
}

// The test program holds some of the modules that the host does.
func TestMaterialsAreThoseOfTheProgramAndOfTheModulesInside(t *testing.T) {
	own, err := os.Executable()
	require.NoError(t, err)
	parts, err := materials(t.Context(), "../..", own)
	require.NoError(t, err)
	byPath := map[string]part{}
	for _, p := range parts {
		assert.NotContains(t, byPath, p.Path, "each once")
		byPath[p.Path] = p
	}
	assert.Contains(t, byPath, "stdlib")
	assert.Contains(t, byPath, "github.com/tetratelabs/wazero")
	assert.Contains(t, byPath, "golang.org/x/text", "of the WASM modules")
	assert.NotContains(t, byPath, "fn-threatq")
	assert.True(t, strings.HasPrefix(byPath["github.com/spf13/cobra"].Sum, "h1:"))

	dir := t.TempDir()
	require.NoError(t, writeSBOM(filepath.Join(dir, "sbom"), parts, time.Unix(0, 0).UTC()))
	var bom struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Component struct{ Version string } }
		Components             []struct{ Name, Version, PURL string }
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, filepath.Join(dir, "sbom"))), &bom))
	assert.Equal(t, "CycloneDX 1.5", bom.BOMFormat+" "+bom.SpecVersion)
	assert.Equal(t, host.Version, bom.Metadata.Component.Version)
	assert.Len(t, bom.Components, len(parts))

	require.NoError(t, writeCopyright(filepath.Join(dir, "copyright"), "../..", parts))
	text := read(t, filepath.Join(dir, "copyright"))
	for _, p := range parts {
		assert.Contains(t, text, p.Path+" "+p.Version)
	}
	assert.Contains(t, text, "Apache License")
}

func TestSumsAreThoseOfSha256sum(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("abc"), 0o644))
	require.NoError(t, writeSums(dir, io.Discard))
	assert.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n", read(t, filepath.Join(dir, sumsFile)))
}
