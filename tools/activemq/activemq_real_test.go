//go:build activemq

package activemq_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/tools/activemq"
)

func TestPersistentMessagesOutliveKillAndRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := activemq.Start(ctx, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	config, err := b.ClientTLS()
	require.NoError(t, err)
	addr := b.Addr

	c, err := brokertest.Dial(addr, config, activemq.SOARUser, activemq.SOARPasscode)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send(ctx, "actions.1.q", map[string]string{"persistent": "true"}, []byte("kept")))
	require.NoError(t, b.Kill(ctx))
	_, err = brokertest.Dial(addr, config, activemq.SOARUser, activemq.SOARPasscode)
	require.Error(t, err, "it is down")
	require.NoError(t, b.Restart(ctx))

	c, err = brokertest.Dial(addr, config, activemq.OddUser, activemq.OddPasscode)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Subscribe(ctx, "actions.1.q", "auto", 0))
	m, err := c.Receive(ctx)
	require.NoError(t, err, b.Log())
	assert.Equal(t, "kept", string(m.Body))
}

func TestFailureShowsTheScriptsWords(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "bin", "activemq.jar"), []byte("no jar"), 0o600))
	t.Setenv("AMQ_HOME", home)
	_, err := activemq.Start(t.Context(), t.TempDir())
	assert.ErrorContains(t, err, "ActiveMQ ended at once")
}
