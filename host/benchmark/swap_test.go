package benchmark

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/admin"
	"fn-threatq/host/catalog"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
)

const swapped = "sync-indicator"

// versionOf is the module sync-indicator with another version in its manifest.
func versionOf(b *testing.B, version string) []byte {
	file, err := os.ReadFile(filepath.Join(shared.modules, swapped+".wasm"))
	require.NoError(b, err)
	about, found, err := modulefile.Section(file, abi.SectionManifest)
	require.NoError(b, err)
	require.True(b, found)
	var fields map[string]any
	require.NoError(b, json.Unmarshal(about, &fields))
	fields["version"] = version
	about, err = json.Marshal(fields)
	require.NoError(b, err)
	file, err = modulefile.WithSection(file, abi.SectionManifest, about)
	require.NoError(b, err)
	return file
}

func use(b *testing.B, s *store.Store, version string, file []byte) {
	require.NoError(b, s.Change(func(state *store.State) error {
		if state.Modules[swapped] == nil {
			state.Modules[swapped] = &store.Module{}
		}
		digest, err := s.PutModule(file)
		state.Modules[swapped].Use(store.Version{Version: version, Digest: digest})
		return err
	}))
}

// BenchmarkSwap is how long a change takes from the look at the store to the
// switch: nothing changed, what was compiled kept on disk, and nothing kept. The
// former version works on until then.
func BenchmarkSwap(b *testing.B) {
	files := [][]byte{versionOf(b, "1.1.1"), versionOf(b, "1.1.2")}
	for _, which := range []string{"nothing", "cached", "cold"} {
		b.Run(which, func(b *testing.B) {
			var took []time.Duration
			n := 0
			for b.Loop() {
				cache := shared.cache
				if which == "cold" {
					cache = b.TempDir()
				}
				box, err := sandbox.New(b.Context(), sandbox.Options{CacheDir: cache})
				require.NoError(b, err)
				s := store.Open(b.TempDir())
				c, err := catalog.Open(b.Context(), catalog.Options{Box: box, Builtin: os.DirFS(shared.modules), Store: s})
				require.NoError(b, err)
				if which != "nothing" {
					use(b, s, fmt.Sprintf("1.1.%d", 1+n%2), files[n%2])
				}
				if n++; which == "cached" && n <= 2 {
					_, err := c.Reload(b.Context())
					require.NoError(b, err)
					require.NoError(b, box.Close(context.Background()))
					continue
				}
				begin := time.Now()
				changes, err := c.Reload(b.Context())
				took = append(took, time.Since(begin))
				require.NoError(b, err)
				if which != "nothing" {
					require.Len(b, changes, 1)
					require.NoError(b, changes[0].Err)
				}
				require.NoError(b, box.Close(context.Background()))
			}
			b.ReportMetric(0, "ns/op")
			if len(took) > 0 {
				b.ReportMetric(float64(median(took)), "swap-ns")
			}
		})
	}
}

// BenchmarkSwapStall plays a stream of actions while a module is exchanged, again
// and again, and then as many without, in the same host. What the exchange costs is
// the ratio: of the longest time between two replies, of the longest time of an
// action, of what the middle action takes, and of the actions in a second. What was
// compiled is kept on disk (cached), or each version is compiled anew (cold).
func BenchmarkSwapStall(b *testing.B) {
	w := open(b)
	w.latency(5 * time.Millisecond)
	defer w.latency(0)
	for _, which := range []struct {
		name  string
		swaps int // in a round
	}{{"cached", 8}, {"cold", 1}} {
		b.Run(which.name, func(b *testing.B) {
			c := w.start(b, options{})
			defer c.stop()
			s := &swapper{b: b, store: store.Open(filepath.Join(c.state, "plugins")), cold: which.name == "cold"}
			var err error
			s.client, err = admin.Dial(filepath.Join(c.state, admin.SocketName))
			require.NoError(b, err)
			// The host has its modules, its window of requests is open, and a cached
			// exchange finds what the ones before it have compiled.
			w.burst(b, w.syncIndicators(4*incidents))
			if !s.cold {
				s.swap(2)
			}
			var ratios struct{ gap, longest, middle, rate []float64 }
			var calmGap, swapGap, took []time.Duration
			for b.Loop() {
				begin := time.Now()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					s.swap(which.swaps)
				}()
				swapped := w.stream(b, func(int) bool {
					select {
					case <-ended:
						return false
					default:
						return true
					}
				})
				<-ended
				took = append(took, time.Since(begin)/time.Duration(which.swaps))
				require.NoError(b, s.err)
				calm := w.stream(b, func(sent int) bool { return sent < len(swapped.times) })
				ratio := func(a, b time.Duration) float64 { return float64(a) / float64(b) }
				ratios.gap = append(ratios.gap, ratio(swapped.gap, calm.gap))
				ratios.longest = append(ratios.longest, ratio(slices.Max(swapped.times), slices.Max(calm.times)))
				ratios.middle = append(ratios.middle, ratio(median(swapped.times), median(calm.times)))
				ratios.rate = append(ratios.rate, ratio(calm.took, swapped.took))
				calmGap, swapGap = append(calmGap, calm.gap), append(swapGap, swapped.gap)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(took)), "exchange-ns")
			b.ReportMetric(float64(median(calmGap)), "calm-gap-ns")
			b.ReportMetric(float64(median(swapGap)), "swap-gap-ns")
			b.ReportMetric(median(ratios.gap), "gap-swap/calm")
			b.ReportMetric(median(ratios.longest), "longest-swap/calm")
			b.ReportMetric(median(ratios.middle), "middle-swap/calm")
			b.ReportMetric(median(ratios.rate), "rate-swap/calm")
		})
	}
}

// swapper exchanges the module in a host that runs.
type swapper struct {
	b      *testing.B
	store  *store.Store
	client *admin.Client
	cold   bool
	done   int
	err    error
}

// swap exchanges it n times, each time for a version that the host does not use.
func (s *swapper) swap(n int) {
	for range n {
		s.done++
		number := 1 + s.done%2
		if s.cold {
			number = s.done
		}
		file := versionOf(s.b, fmt.Sprintf("1.1.%d", number))
		if s.cold {
			// The name of a module is part of what is compiled.
			name := fmt.Sprint(time.Now().UnixNano())
			subsection := append([]byte{0, byte(len(name) + 1), byte(len(name))}, name...)
			if file, s.err = modulefile.WithSection(file, "name", subsection); s.err != nil {
				return
			}
		}
		use(s.b, s.store, fmt.Sprintf("1.1.%d", number), file)
		told, err := s.client.ReloadModules(s.b.Context())
		for _, change := range told.Changes {
			if change.Failed != "" {
				err = errors.New(change.Failed)
			}
		}
		if err == nil && len(told.Changes) != 1 {
			err = fmt.Errorf("%d modules were exchanged, want 1", len(told.Changes))
		}
		if s.err = err; err != nil {
			return
		}
	}
}

// streamed is what a stream of actions took: each of them, all of them, and the
// longest time between two replies.
type streamed struct {
	times     []time.Duration
	took, gap time.Duration
}

// stream plays actions, 16 of them at a time, while there are to be more.
func (w *world) stream(b *testing.B, more func(sent int) bool) (all streamed) {
	const together = 16
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	begin, sent, began := time.Now(), 0, map[string]time.Time{}
	send := func() {
		m := w.soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: w.artifacts[sent%incidents]})
		began[m.Headers["correlation-id"]] = time.Now()
		w.broker.Publish(m.Queue, m.Headers, m.Body)
		sent++
	}
	for sent < together {
		send()
	}
	last := begin
	for len(all.times) < sent {
		m, err := w.broker.Receive(ctx, fmt.Sprintf("acks.%d.%s", w.soar.OrgID(), resilienttest.Destination))
		require.NoError(b, err)
		require.Contains(b, string(m.Body), `"message_type":0`)
		now := time.Now()
		all.times = append(all.times, now.Sub(began[m.Headers["correlation-id"]]))
		if len(all.times) > 1 {
			all.gap = max(all.gap, now.Sub(last))
		}
		if last = now; more(sent) {
			send()
		}
	}
	all.took = time.Since(begin) / time.Duration(sent)
	return all
}

// childIdle makes the process load all modules and let go of them.
const childIdle = "FN_THREATQ_BENCH_IDLE"

var residentForm = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func resident() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	return residentForm.FindStringSubmatch(string(text))[1]
}

// runIdle prints what is resident before, with all modules loaded, and after they
// were let go of, in KB.
func runIdle() error {
	ctx := context.Background()
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: os.Getenv(childCache)})
	if err != nil {
		return err
	}
	c, err := catalog.Open(ctx, catalog.Options{Box: box, Builtin: os.DirFS(os.Getenv(childModules)), Idle: 2 * time.Second})
	if err != nil {
		return err
	}
	before := resident()
	for _, m := range c.Modules() {
		if _, err := m.Loaded(ctx); err != nil {
			return err
		}
	}
	debug.FreeOSMemory()
	loaded := resident()
	for box.Loaded() > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	debug.FreeOSMemory()
	fmt.Println(before, loaded, resident())
	return box.Close(ctx)
}

// BenchmarkIdleMemory is what the kernel counts as resident with all modules just
// used, and after they were let go of.
func BenchmarkIdleMemory(b *testing.B) {
	child := func() []byte {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childIdle+"=1", childModules+"="+shared.modules, childCache+"="+shared.cache)
		out, err := child.Output()
		require.NoError(b, err)
		return out
	}
	child() // compiles what is not compiled yet
	var figures [3][]float64
	for b.Loop() {
		out := child()
		fields := strings.Fields(string(out))
		require.Len(b, fields, len(figures))
		for i, field := range fields {
			kilobytes, err := strconv.ParseFloat(field, 64)
			require.NoError(b, err)
			figures[i] = append(figures[i], kilobytes/1024)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, unit := range []string{"before-MB", "loaded-MB", "let-go-MB"} {
		b.ReportMetric(median(figures[i]), unit)
	}
}
