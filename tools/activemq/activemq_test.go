package activemq_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/tools/activemq"
)

func TestMissingActiveMQSaysWhatToInstall(t *testing.T) {
	t.Setenv("AMQ_HOME", filepath.Join(t.TempDir(), "nothing"))
	_, err := activemq.Start(t.Context(), t.TempDir())
	require.ErrorIs(t, err, activemq.ErrNotInstalled)
	assert.ErrorContains(t, err, "apt-get install -y --no-install-recommends activemq")
}

func TestFailureShowsTheScriptsWords(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "bin", "activemq.jar"), []byte("no jar"), 0o600))
	t.Setenv("AMQ_HOME", home)
	t.Setenv("PATH", "/usr/bin:/bin")
	_, err := activemq.Start(t.Context(), t.TempDir())
	assert.ErrorContains(t, err, "ActiveMQ ended at once")
}
