package activemq_test

import (
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
