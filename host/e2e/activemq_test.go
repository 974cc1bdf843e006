//go:build activemq

package e2e

import (
	"context"
	"crypto/tls"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/tools/activemq"
)

// onActiveMQ makes all tests run on a real ActiveMQ: one for all, since each
// test has queues of its own, and another for those that stop it.
func init() {
	startBroker, startOwnBroker, endSharedBroker = theActiveMQ, startActiveMQ, endActiveMQ
}

type realBroker struct {
	*activemq.Broker
	tls *tls.Config
}

func (r realBroker) Addr() string           { return r.Broker.Addr }
func (r realBroker) CAFile() string         { return r.Broker.CAFile }
func (r realBroker) ClientTLS() *tls.Config { return r.tls.Clone() }
func (r realBroker) Stop(t testing.TB)      { require.NoError(t, r.Broker.Stop(within(t))) }
func (r realBroker) Restart(t testing.TB)   { require.NoError(t, r.Broker.Restart(within(t))) }

var one struct {
	sync.Mutex
	broker *realBroker
	dir    string
}

func theActiveMQ(t *testing.T) messageBroker {
	one.Lock()
	defer one.Unlock()
	if one.broker == nil {
		dir, err := os.MkdirTemp("", "fn-threatq-e2e-activemq-")
		require.NoError(t, err)
		b := runActiveMQ(t, dir)
		one.broker, one.dir = &b, dir
	}
	return *one.broker
}

func endActiveMQ() {
	if one.broker != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = one.broker.Broker.Stop(ctx)
		_ = os.RemoveAll(one.dir)
	}
}

func startActiveMQ(t *testing.T) messageBroker {
	b := runActiveMQ(t, t.TempDir())
	t.Cleanup(func() { require.NoError(t, b.Broker.Stop(context.Background())) })
	return b
}

func runActiveMQ(t *testing.T, dir string) realBroker {
	b, err := activemq.Start(within(t), dir)
	require.NoError(t, err)
	config, err := b.ClientTLS()
	require.NoError(t, err)
	return realBroker{b, config}
}
