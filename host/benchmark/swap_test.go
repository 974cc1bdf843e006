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

// BenchmarkSwapStall is the longest time without a completion in a stream of
// actions, with a module exchanged again and again and without.
func BenchmarkSwapStall(b *testing.B) {
	w := open(b)
	w.latency(5 * time.Millisecond)
	defer w.latency(0)
	files := [][]byte{versionOf(b, "1.1.1"), versionOf(b, "1.1.2")}
	c := w.start(b, options{})
	w.burst(b, w.syncIndicators(incidents))
	s := store.Open(filepath.Join(c.state, "plugins"))
	client, err := admin.Dial(filepath.Join(c.state, admin.SocketName))
	require.NoError(b, err)
	const actions = 1500
	var calm, exchanged []time.Duration
	for b.Loop() {
		calm = append(calm, w.gap(b, actions))
		stop, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				use(b, s, fmt.Sprintf("1.1.%d", 1+n%2), files[n%2])
				done, err := client.ReloadModules(b.Context())
				for _, change := range done.Changes {
					if change.Failed != "" {
						err = errors.New(change.Failed)
					}
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}()
		exchanged = append(exchanged, w.gap(b, actions))
		close(stop)
		require.NoError(b, <-ended)
	}
	c.stop()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(calm)), "calm-gap-ns")
	b.ReportMetric(float64(median(exchanged)), "swap-gap-ns")
	b.ReportMetric(float64(median(exchanged))/float64(median(calm)), "swap/calm")
}

// gap plays n actions, 16 of them at a time, and is the longest time between two
// replies.
func (w *world) gap(b *testing.B, n int) (longest time.Duration) {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	messages := w.syncIndicators(n)
	publish := func(m resilienttest.Message) { w.broker.Publish(m.Queue, m.Headers, m.Body) }
	for _, m := range messages[:16] {
		publish(m)
	}
	var last time.Time
	for i := range n {
		m, err := w.broker.Receive(ctx, fmt.Sprintf("acks.%d.%s", w.soar.OrgID(), resilienttest.Destination))
		require.NoError(b, err)
		require.Contains(b, string(m.Body), `"message_type":0`)
		now := time.Now()
		if i > 0 {
			longest = max(longest, now.Sub(last))
		}
		last = now
		if i+16 < n {
			publish(messages[i+16])
		}
	}
	return longest
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
