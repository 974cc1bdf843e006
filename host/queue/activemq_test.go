//go:build activemq

package queue_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/tools/activemq"
)

func TestOnActiveMQ(t *testing.T) {
	b, err := activemq.Start(within(t), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.Log())
		}
		require.NoError(t, b.Stop(context.Background()))
	})
	config, err := b.ClientTLS()
	require.NoError(t, err)
	contract(t, &world{addr: b.Addr, tls: config})
}
