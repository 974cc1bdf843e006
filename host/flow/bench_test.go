package flow

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"

	"fn-threatq/abi"

	"context"
)

// BenchmarkWaiting tells what a message that waits costs: bytes of memory, as it
// came and as it is held.
func BenchmarkWaiting(b *testing.B) {
	body, err := os.ReadFile("../../testdata/messages/incident.json")
	if err != nil {
		body = fmt.Appendf(nil, `{"action_id":1,"object_type":0,"incident":{"id":%%d,"org_id":201,"name":%q}}`, bytes.Repeat([]byte("Phishing "), 1000))
	}
	m := mergeable(b, func(ctx context.Context, _ abi.Input) (string, error) { <-ctx.Done(); return "", ctx.Err() })
	bench := newBench(b, modules{m}, func(o *Options) { o.Parallel = 1 })
	bench.flow.Handle(bench.rule("first", 1, 1))
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	b.ResetTimer()
	for i := range b.N {
		d := bench.delivery(fmt.Sprint("m", i), "ActionDataDTO", string(body))
		bench.flow.Handle(&light{m: d.m})
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B-held/message")
	b.ReportMetric(float64(len(body)), "B/message")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = bench.flow.Drain(ctx)
}

// light is a delivery that lets go of its message, as the broker's does.
type light struct{ m Message }

func (d *light) Message() Message {
	m := d.m
	d.m = Message{}
	return m
}
func (d *light) Reply(context.Context, []byte) error  { return nil }
func (d *light) Finish(context.Context, []byte) error { return nil }
func (d *light) Ack(context.Context) error            { return nil }
