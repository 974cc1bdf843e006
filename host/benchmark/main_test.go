package benchmark

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fn-threatq/tools/buildplugins/build"
)

// shared is made once for all benchmarks of a run.
var shared struct{ modules, cache string }

func TestMain(m *testing.M) {
	if os.Getenv(childIdle) != "" {
		if err := runIdle(); err != nil {
			fmt.Fprintln(os.Stderr, "benchmark:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(childConfig) != "" {
		os.Exit(runChild())
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir := os.Getenv("FN_THREATQ_BENCH_DIR")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "fn-threatq-bench-"); err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	shared.modules, shared.cache = filepath.Join(dir, "modules"), filepath.Join(dir, "cache")
	if _, err := os.Stat(shared.modules); errors.Is(err, fs.ErrNotExist) {
		if _, err := build.Plugins(context.Background(), build.Options{Root: filepath.Join("..", ".."), Out: shared.modules}); err != nil {
			return 1, err
		}
	}
	defer closeWorld()
	return m.Run(), nil
}

// median of at least one value.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// pair are the times of the same work done both ways.
type pair struct{ sandboxed, native []time.Duration }

// report gives the medians and their ratio.
func (p pair) report(b *testing.B, per string) {
	sandboxed, native := median(p.sandboxed), median(p.native)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sandboxed), "sandboxed-ns/"+per)
	b.ReportMetric(float64(native), "native-ns/"+per)
	b.ReportMetric(float64(sandboxed)/float64(native), "sandboxed/native")
}
