package sandbox_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

// builtin gives the module files of the built-in rules by name. They must have
// been built (make plugins).
func builtin(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "catalog", "builtin", "*.wasm"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, "no modules are built in: run `make plugins`")
	files := map[string][]byte{}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		files[strings.TrimSuffix(filepath.Base(path), ".wasm")] = file
	}
	return files
}

// recorded are the inputs of a rule's warm-up, turns as they really come, the
// shortest first.
func recorded(t testing.TB, name string) (inputs []json.RawMessage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "plugins", name, "warmup.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &inputs))
	require.NotEmpty(t, inputs)
	slices.SortFunc(inputs, func(a, b json.RawMessage) int { return len(a) - len(b) })
	return inputs
}

// grown makes an input larger by a key that a module must ignore, of the shape
// that answers of the services have.
func grown(input []byte, size int) []byte {
	const item = `{"id":2095,"name":"Phishing mail to finance","tags":["a","b"],"score":7.5,"closed":false},`
	long := append(bytes.Clone(bytes.TrimSuffix(bytes.TrimSpace(input), []byte("}"))), `,"later":[`...)
	for len(long) < size {
		long = append(long, item...)
	}
	return append(bytes.TrimSuffix(long, []byte(",")), "]}"...)
}

// meters are the sandboxes to compare, by what stops a guest in them.
func meters(b *testing.B) map[string]*sandbox.Sandbox {
	made := map[string]*sandbox.Sandbox{}
	for name, open := range map[string]func(context.Context, sandbox.Options) (*sandbox.Sandbox, error){
		"fuel": sandbox.New, "deadline": sandbox.NewWithDeadlines, "nothing": sandbox.NewUnmetered,
	} {
		s, err := open(b.Context(), sandbox.Options{CacheDir: testrun.Modules(), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, s.Close(context.Background())) })
		made[name] = s
	}
	return made
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkMeters plays turns of the real rules with the three meters side by
// side. The ratios are to a guest that nothing stops.
func BenchmarkMeters(b *testing.B) {
	boxes := meters(b)
	for name, file := range builtin(b) {
		b.Run(name, func(b *testing.B) {
			modules := map[string]*sandbox.Module{}
			for meter, box := range boxes {
				m, err := box.Load(b.Context(), file, sandbox.Limits{})
				require.NoError(b, err)
				defer m.Close(context.Background())
				modules[meter] = m
			}
			inputs := recorded(b, name)
			for _, kb := range []int{1, 4, 20} {
				b.Run(strconv.Itoa(kb)+"KB", func(b *testing.B) {
					in := sandbox.TurnInput{Input: grown(inputs[0], kb<<10), Now: someTime, Seed: 1}
					if kb == 1 {
						in.Input = inputs[0]
					}
					times := map[string][]time.Duration{}
					var fuel int64
					for b.Loop() {
						for meter, m := range modules {
							begin := time.Now()
							out, err := m.Turn(b.Context(), in)
							times[meter] = append(times[meter], time.Since(begin))
							require.NoError(b, err)
							fuel = max(fuel, out.Fuel)
						}
					}
					nothing := float64(median(times["nothing"]))
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(nothing, "unmetered-ns")
					b.ReportMetric(float64(median(times["deadline"]))/nothing, "deadline/unmetered")
					b.ReportMetric(float64(median(times["fuel"]))/nothing, "fuel/unmetered")
					b.ReportMetric(float64(median(times["deadline"]))/float64(median(times["fuel"])), "deadline/fuel")
					b.ReportMetric(float64(fuel), "fuel")
				})
			}
		})
	}
}

// BenchmarkStall measures how long a garbage collection of the host takes while
// a guest computes for some tenths of a second, and while none does.
func BenchmarkStall(b *testing.B) {
	boxes := meters(b)
	rounds := append([]byte{0x03, 0x40, 0x41, 0x80, 0x20, 0x41, 0x80, 0x20, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, 0x41, 0x80, 0x20, 0x28, 2, 0, 0x41},
		append(guestbuild.Signed(100_000_000), 0x49, 0x0d, 0, 0x0b)...)
	limits := guestbuild.Manifest("tiny", `{"turn_ms":600000,"turn_fuel":100000}`)
	spin := guestbuild.Tiny{Manifest: limits, Turn: append(append([]byte{0x20, 0, 0x41, 4, 0x46, 0x04, 0x40}, append(rounds, 0x0b)...), guestbuild.Answer(0, 12)...)}.File(b)
	for _, meter := range []string{"no guest", "fuel", "deadline", "nothing"} {
		b.Run(meter, func(b *testing.B) {
			var m *sandbox.Module
			if box := boxes[meter]; box != nil {
				var err error
				m, err = box.Load(b.Context(), spin, sandbox.Limits{TurnFuel: 1e15, TurnTime: time.Hour})
				require.NoError(b, err)
				defer m.Close(context.Background())
			}
			var collections []time.Duration
			for b.Loop() {
				ended := make(chan error, 1)
				if m == nil {
					ended <- nil
				} else {
					go func() { _, err := turn(b.Context(), m, "four"); ended <- err }()
				}
				for done := false; !done; {
					begin := time.Now()
					runtime.GC()
					collections = append(collections, time.Since(begin))
					select {
					case err := <-ended:
						require.NoError(b, err)
						done = true
					default:
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(median(collections)), "median-ns")
			b.ReportMetric(float64(slices.Max(collections)), "worst-ns")
		})
	}
}
