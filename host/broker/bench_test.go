package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

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
				go func() { _ = d.Finish(ctx, reply) }() // as the flow does
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

// BenchmarkFinish is what one final reply in one transaction costs, against a
// reply and an ACK that nobody confirms: answers per second of the one by those of
// the other, measured by turns.
func BenchmarkFinish(b *testing.B) { benchmarkFinish(b, startEmbedded(b)) }

func benchmarkFinish(b *testing.B, w world) {
	const round = 500
	server := soar(b, w)
	o := options(b, w)
	o.Logger, o.Prefetch = slog.New(slog.DiscardHandler), round
	h := run(b, o)
	ctx := b.Context()
	answer := func(answer func(*broker.Delivery) error) time.Duration {
		for i := range round {
			publish(b, server, i, []byte("{}"))
		}
		deliveries := make([]*broker.Delivery, round)
		for i := range deliveries {
			deliveries[i] = h.next(b)
		}
		begin := time.Now()
		var group sync.WaitGroup
		for _, d := range deliveries {
			group.Go(func() { require.NoError(b, answer(d)) })
		}
		group.Wait()
		// A message that passes through the queue proves that all before it has arrived.
		publish(b, server, round, []byte("{}"))
		require.NoError(b, h.next(b).Finish(ctx, []byte("{}")))
		return time.Since(begin)
	}
	plain := func(d *broker.Delivery) error {
		if err := d.Reply(ctx, []byte("{}")); err != nil {
			return err
		}
		return d.Ack(ctx)
	}
	transaction := func(d *broker.Delivery) error { return d.Finish(ctx, []byte("{}")) }
	answer(plain) // warms the broker up
	answer(transaction)
	var unconfirmed, finished time.Duration
	for b.Loop() {
		unconfirmed += answer(plain)
		finished += answer(transaction)
	}
	answers := float64(b.N * round)
	b.ReportMetric(answers/unconfirmed.Seconds(), "plain/s")
	b.ReportMetric(answers/finished.Seconds(), "finished/s")
	b.ReportMetric(unconfirmed.Seconds()/finished.Seconds(), "finished-by-plain")
}
