package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// without has no tool in PATH but those of Go.
func without(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
}

func TestAMissingToolchainIsToldWithWhatToInstall(t *testing.T) {
	without(t)
	for name, want := range map[string]string{
		"c":              "apt-get install clang lld wasi-libc",
		"assemblyscript": "apt-get install nodejs npm",
	} {
		w := workshop{root: filepath.Join("..", ".."), out: t.TempDir(), stdout: &bytes.Buffer{}}
		for _, l := range languages {
			if l.name != name {
				continue
			}
			err := w.language(t.Context(), l)
			var missing *missingError
			require.ErrorAs(t, err, &missing, name)
			assert.Contains(t, err.Error(), want)
		}
	}
}

func TestAModuleThatBreaksTheContractFails(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, filepath.FromSlash(tagEvent)), os.DirFS(filepath.Join("..", "..", filepath.FromSlash(tagEvent)))))
	var out bytes.Buffer
	w := workshop{root: root, out: t.TempDir(), stdout: &out}
	// Exports all that it must, and answers nothing.
	code := filepath.Join(root, "code.wasm")
	require.NoError(t, os.WriteFile(code, silent, 0o600))
	err := w.language(t.Context(), language{"silent", func(context.Context, string, string) (string, error) { return code, nil }})
	require.ErrorContains(t, err, "checks and 11 scenarios fail")
	assert.Contains(t, out.String(), "FAIL silent: unknown rule\n")
}

// silent is (module (memory (export "memory") 1) (func (export "ftq1_input")
// (param i32) (result i32) i32.const 0) (func (export "ftq1_turn") (param i32)
// (result i64) i64.const 0)).
var silent = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x0b\x02\x60\x01\x7f\x01\x7f\x60\x01\x7f\x01\x7e" +
	"\x03\x03\x02\x00\x01" +
	"\x05\x03\x01\x00\x01" +
	"\x07\x23\x03\x06memory\x02\x00\x0aftq1_input\x00\x00\x09ftq1_turn\x00\x01" +
	"\x0a\x0b\x02\x04\x00\x41\x00\x0b\x04\x00\x42\x00\x0b")

func TestWrongArguments(t *testing.T) {
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 2, run(t.Context(), []string{"more"}, &stdout, &stderr))
	assert.Equal(t, 2, run(t.Context(), []string{"-nothing"}, &stdout, &stderr))
}
