package config

import (
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testcert"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestReference(t *testing.T) {
	golden(t, filepath.Join("testdata", "reference.md"), Reference())
}

// TestMistakes loads each testdata/mistakes/NAME.config and compares what is said of it with NAME.txt. Every secret in
// these files holds the word C4NARY.
func TestMistakes(t *testing.T) {
	directory, err := filepath.Abs(filepath.Join("testdata", "mistakes"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(directory, "*.config"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus") // there is no keyring
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".config")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			t.Chdir(t.TempDir())
			writeCertificates(t)
			require.NoError(t, os.WriteFile("app.config", data, 0o600))

			config, err := Load(Options{Environ: []string{}, Home: "/home/integration"})
			var said strings.Builder
			var warnings []Problem
			if err == nil {
				said.WriteString("loads\n")
				warnings = config.Warnings
			} else {
				said.WriteString(err.Error() + "\n")
				var all *Error
				require.ErrorAs(t, err, &all)
				warnings = all.Warnings
			}
			for _, warning := range warnings {
				said.WriteString("warning: " + warning.String() + "\n")
			}
			assert.NotContains(t, said.String(), "C4NARY", "a secret is shown")
			golden(t, filepath.Join(directory, name+".txt"), said.String())
		})
	}
}

// writeCertificates puts files into the working directory that a cafile may name.
func writeCertificates(t *testing.T) {
	t.Helper()
	authority := testcert.New("soar.example.com")
	block, _ := pem.Decode(authority.CAPEM())
	require.NotNil(t, block)
	for name, data := range map[string][]byte{
		"ca.pem": authority.CAPEM(), "server.pem": authority.CertPEM(), "server.key": authority.KeyPEM(),
		"other.key": testcert.New("other.example.com").KeyPEM(), "server.der": block.Bytes, "empty.pem": nil,
	} {
		require.NoError(t, os.WriteFile(name, data, 0o600))
	}
}
