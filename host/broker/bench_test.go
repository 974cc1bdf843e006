package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker"
	"fn-threatq/host/broker/brokertest"
)

// BenchmarkRoundTrip is publish → deliver → reply → ACK over TLS with 20 KB
// messages, as many in flight as the prefetch allows.
func BenchmarkRoundTrip(b *testing.B) {
	authority := brokertest.NewAuthority()
	server, err := brokertest.Start(brokertest.Options{TLS: authority.ServerConfig()})
	require.NoError(b, err)
	defer server.Stop()
	host, err := broker.New(broker.Options{
		Addr: server.Addr(), TLS: authority.ClientConfig(), Destination: "actions.201.bench",
		Credentials: login("integration", "secret"), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	deliveries := make(chan *broker.Delivery, 1000)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- host.Run(ctx, func(d *broker.Delivery) { deliveries <- d }) }()
	defer func() {
		cancel()
		require.NoError(b, <-ended)
	}()

	body := bytes.Repeat([]byte("x"), 20<<10)
	reply := []byte(`{"message_type":0,"message":"Done","complete":true}`)
	headers := map[string]string{"correlation-id": "invid:1", "reply-to": "/queue/acks.201.bench"}
	b.ResetTimer()
	go func() {
		for range b.N {
			server.Publish("actions.201.bench", headers, body)
		}
	}()
	go func() {
		for {
			select {
			case d := <-deliveries:
				_ = d.Reply(ctx, reply)
				_ = d.Ack(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	for range b.N {
		_, err := server.Receive(ctx, "acks.201.bench")
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
