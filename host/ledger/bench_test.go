package ledger_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"strconv"

	"fn-threatq/host/ledger"
)

// BenchmarkRecord records outcomes from as many goroutines as there are actions
// side by side by default, and from one, where each waits for a commit of its
// own. Their ratio is what the common commits bring.
func BenchmarkRecord(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(strconv.Itoa(parallel), func(b *testing.B) {
			l, err := ledger.Open(ledger.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			reply := []byte(`{"message_type":0,"message":"Synced to ThreatQ event 55 (3 attributes changed).","complete":true}`)
			var next atomic.Int64
			var group sync.WaitGroup
			before := l.Commits()
			b.ResetTimer()
			for range parallel {
				group.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						id := "ID:soar.example.com-" + strconv.FormatInt(i, 10)
						l.Received(id)
						if err := l.Record(ledger.Outcome{ID: id, Reply: reply}); err != nil {
							b.Error(err)
							return
						}
						l.Replied(id)
						l.Acknowledged(id)
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(l.Commits()-before)/float64(b.N), "commits/op")
		})
	}
}
