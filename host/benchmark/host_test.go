package benchmark

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// incidents is how many there are, each with one artifact.
const incidents = 128

// world is what the host talks to.
type world struct {
	soar      *resilienttest.Server
	tq        *threatqtest.Server
	broker    *brokertest.Server
	artifacts []int64
}

var theWorld *world

func closeWorld() {
	if w := theWorld; w != nil {
		w.broker.Stop()
		w.tq.Close()
		w.soar.Close()
	}
}

// open makes the world of all benchmarks; all its incidents are synced.
func open(b *testing.B) *world {
	if theWorld != nil {
		theWorld.latency(0)
		return theWorld
	}
	authority := brokertest.NewAuthority()
	broker, err := brokertest.Start(brokertest.Options{TLS: authority.ServerConfig()})
	require.NoError(b, err)
	w := &world{
		broker: broker,
		soar:   resilienttest.New(resilienttest.Options{Authority: authority}),
		tq:     threatqtest.New(threatqtest.Options{Authority: authority, KeepRequests: -1}),
	}
	theWorld = w
	for i := range incidents {
		incident := w.soar.AddIncident(map[string]any{"name": fmt.Sprintf("Incident %d", i)})
		w.artifacts = append(w.artifacts, w.soar.AddArtifact(incident, "IP Address", fmt.Sprintf("198.51.%d.%d", 100+i/200, 1+i%200)))
	}
	c := w.start(b, options{})
	for range 2 {
		w.burst(b, w.syncIndicators(incidents))
	}
	c.stop()
	return w
}

// latency delays the answers of both services from now on.
func (w *world) latency(d time.Duration) {
	w.soar.ClearFaults()
	w.tq.ClearFaults()
	if d > 0 {
		w.soar.Inject(resilienttest.Fault{Delay: d})
		w.tq.Inject(threatqtest.Fault{Delay: d, Times: -1})
	}
}

// appConfig writes the file that the host reads.
func (w *world) appConfig(b *testing.B, settings []string) string {
	dir := b.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(b, os.WriteFile(ca, w.soar.Authority().CAPEM(), 0o600))
	_, soarPort, _ := strings.Cut(w.soar.Addr(), ":")
	_, brokerPort, _ := strings.Cut(w.broker.Addr(), ":")
	text := append([]string{
		"[resilient]", "host=127.0.0.1", "port=" + soarPort, "org=" + resilienttest.DefaultOrg, "cafile=" + ca,
		"api_key_id=" + resilienttest.DefaultAPIKeyID, "api_key_secret=" + resilienttest.DefaultAPIKeySecret,
		"stomp_port=" + brokerPort, "stomp_cafile=" + ca,
		"[fn_threatq]", "host=" + w.tq.URL(), "username=" + threatqtest.DefaultEmail, "password=" + threatqtest.DefaultPassword,
		"cid=" + threatqtest.DefaultClientID, "cafile=" + ca,
	}, settings...)
	path := filepath.Join(dir, "app.config")
	require.NoError(b, os.WriteFile(path, []byte(strings.Join(text, "\n")+"\n"), 0o600))
	return path
}

// syncIndicators are n messages, of one incident after the other.
func (w *world) syncIndicators(n int) (messages []resilienttest.Message) {
	for i := range n {
		messages = append(messages, w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: w.artifacts[i%incidents]}))
	}
	return messages
}

// burst publishes messages at once and waits for the reply to each.
func (w *world) burst(b *testing.B, messages []resilienttest.Message) time.Duration {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	for _, m := range messages {
		w.broker.Publish(m.Queue, m.Headers, m.Body)
	}
	replies := make([][]byte, len(messages))
	for i := range messages {
		m, err := w.broker.Receive(ctx, fmt.Sprintf("acks.%d.%s", w.soar.OrgID(), resilienttest.Destination))
		require.NoError(b, err)
		replies[i] = m.Body
	}
	took := time.Since(begin)
	for _, text := range replies {
		var reply struct {
			Type     int `json:"message_type"`
			Complete bool
		}
		require.NoError(b, json.Unmarshal(text, &reply))
		require.True(b, reply.Complete && reply.Type == 0, "%s", text)
	}
	return took
}

// BenchmarkAction does one action at a time.
func BenchmarkAction(b *testing.B) {
	w := open(b)
	c := w.start(b, options{})
	w.burst(b, w.syncIndicators(incidents))
	c.logged(incidents)
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run(latency.String(), func(b *testing.B) {
			w.latency(latency)
			messages := w.syncIndicators(incidents)
			var whole, own []time.Duration
			for b.Loop() {
				whole = append(whole, w.burst(b, messages[len(whole)%incidents:][:1]))
			}
			actions := c.logged(len(whole))
			for _, a := range actions {
				own = append(own, a.Duration-a.Waited)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(whole)), "p50-ns")
			b.ReportMetric(float64(median(own)), "own-ns")
			b.ReportMetric(float64(actions[0].Turns), "turns")
			b.ReportMetric(float64(actions[0].Calls), "calls")
		})
	}
	c.stop()
}

// BenchmarkThroughput does bursts of actions of all incidents. The simulators
// and the broker need the same processors: host-cpu is the host's own part.
func BenchmarkThroughput(b *testing.B) {
	const size = 4 * incidents
	w := open(b)
	for _, parallel := range []string{"64", "4"} {
		c := w.start(b, options{settings: []string{"max_parallel=" + parallel}})
		w.burst(b, w.syncIndicators(incidents))
		for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
			b.Run(fmt.Sprintf("parallel-%s/%s", parallel, latency), func(b *testing.B) {
				w.latency(latency)
				// The window of requests in flight opens under load.
				w.burst(b, w.syncIndicators(incidents))
				var took, cpu []time.Duration
				for b.Loop() {
					messages := w.syncIndicators(size)
					before := c.cpu()
					took = append(took, w.burst(b, messages))
					cpu = append(cpu, c.cpu()-before)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(size/median(took).Seconds(), "actions/s")
				b.ReportMetric(float64(median(cpu))/size, "host-cpu-ns/action")
			})
		}
		w.latency(0)
		c.stop()
	}
}

// BenchmarkStart takes a host from the start of its process to its subscription.
func BenchmarkStart(b *testing.B) {
	w := open(b)
	for _, cold := range []bool{true, false} {
		name := map[bool]string{true: "cold", false: "warm"}[cold]
		b.Run(name, func(b *testing.B) {
			parts := map[string][]time.Duration{}
			for b.Loop() {
				o := options{}
				if cold {
					o.cache = b.TempDir()
				}
				c := w.start(b, o)
				c.stop()
				between := func(part, from, to string) { parts[part] = append(parts[part], c.at[to].Sub(c.at[from])) }
				between("total-ns", "start", "ready")
				between("process-ns", "start", "begin")
				between("modules-ns", "begin", "prepared")
				between("login-soar-ns", "prepared", "logged in to SOAR")
				between("login-threatq-ns", "logged in to SOAR", "logged in to ThreatQ")
				between("subscribe-ns", "logged in to ThreatQ", "ready")
			}
			b.ReportMetric(0, "ns/op")
			for part, times := range parts {
				b.ReportMetric(float64(median(times)), part)
			}
		})
	}
}

// BenchmarkMemory looks at what the kernel counts as resident.
func BenchmarkMemory(b *testing.B) {
	w := open(b)
	one := b.TempDir()
	module, err := os.ReadFile(filepath.Join(shared.modules, "sync-indicator.wasm"))
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(one, "sync-indicator.wasm"), module, 0o600))
	for _, which := range []struct{ name, modules string }{{"one-module", one}, {"all-modules", shared.modules}} {
		b.Run(which.name, func(b *testing.B) {
			var ready, after, peak []float64
			for b.Loop() {
				c := w.start(b, options{modules: which.modules})
				ready = append(ready, c.memory("VmRSS"))
				w.burst(b, w.syncIndicators(100))
				after, peak = append(after, c.memory("VmRSS")), append(peak, c.memory("VmHWM"))
				c.stop()
			}
			const mb = 1 << 20
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ready)/mb, "ready-MB")
			b.ReportMetric(median(after)/mb, "after-100-MB")
			b.ReportMetric(median(peak)/mb, "peak-MB")
		})
	}
}
