package benchmark

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// BenchmarkHistorical syncs 5,000 incidents in one run and looks at the memory
// of the host after the first pages and at the end.
func BenchmarkHistorical(b *testing.B) {
	const size = 5000
	w := open(b)
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var early, late, rate []float64
	for b.Loop() {
		w.soar.AddIncidents(size, resilienttest.Bulk{From: begin})
		c := w.start(b, options{})
		m := w.soar.ActionMessage("ThreatQ: Historical Sync", resilienttest.ActionOptions{
			IncidentID: resilienttest.DefaultIncident, MenuItem: true, Fields: map[string]any{"Created After Date": begin.UnixMilli()},
		})
		// A sync back to the future is refused; SOAR sent this message later.
		m.Headers["timestamp"] = fmt.Sprint(begin.AddDate(1, 0, 0).UnixMilli())
		started := time.Now()
		w.broker.Publish(m.Queue, m.Headers, m.Body)
		for done := false; !done; {
			var reply struct {
				Type     int `json:"message_type"`
				Message  string
				Complete bool
			}
			received, err := w.broker.Receive(context.Background(), fmt.Sprintf("acks.%d.%s", w.soar.OrgID(), resilienttest.Destination))
			require.NoError(b, err)
			require.NoError(b, json.Unmarshal(received.Body, &reply))
			require.Zero(b, reply.Type, reply.Message)
			if strings.HasPrefix(reply.Message, "500 of") {
				early = append(early, c.memory("VmRSS"))
			}
			done = reply.Complete
		}
		rate = append(rate, size/time.Since(started).Seconds())
		late = append(late, c.memory("VmRSS"))
		c.stop()
		begin = begin.AddDate(1, 0, 0)
	}
	const mb = 1 << 20
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(early)/mb, "after-500-MB")
	b.ReportMetric(median(late)/mb, "after-5000-MB")
	b.ReportMetric(median(rate), "incidents/s")
}
