//go:build activemq

package broker_test

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/tools/activemq"
)

type realBroker struct {
	*activemq.Broker
	tls *tls.Config
}

func (r realBroker) Addr() string           { return r.Broker.Addr }
func (r realBroker) ClientTLS() *tls.Config { return r.tls.Clone() }
func (r realBroker) Stop(t testing.TB)      { require.NoError(t, r.Broker.Stop(within(t))) }
func (r realBroker) Restart(t testing.TB)   { require.NoError(t, r.Broker.Restart(within(t))) }

func startReal(t testing.TB) realBroker {
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
	return realBroker{b, config}
}

func BenchmarkFinishOnActiveMQ(b *testing.B) { benchmarkFinish(b, startReal(b)) }

func TestContractOnActiveMQ(t *testing.T) {
	real := startReal(t)
	contract(t, real)
	t.Run("KillMidStream", func(t *testing.T) {
		restartMidStream(t, real, func(t testing.TB) { require.NoError(t, real.Kill(within(t))) })
	})
}
