package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTableHoldsFiguresToBudgets(t *testing.T) {
	all := parse(`goos: linux
BenchmarkRule/sync-incident/20ms-2   40   1.310 sandboxed/native   42500168 native-ns/action
BenchmarkAction/20ms-16              90   250000 own-ns
BenchmarkThroughput/parallel-64/20ms 3    2000 actions/s
BenchmarkMemory/all-modules-2        3    80.04 after-100-MB
PASS
`)
	var out strings.Builder
	require.NoError(t, printTable(&out, all))
	table := map[string]string{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		for i, f := range fields {
			if f == "≤" || f == "≥" {
				table[strings.Join(fields[:i], " ")] = strings.Join(fields[i:], " ")
			}
		}
	}
	assert.Equal(t, map[string]string{
		"sandboxed / native rule, 20 ms REST: sync-incident":   "≤ 1.05 × 1.31 × 1.25 over",
		"host's own time per action beside REST waits, median": "≤ 500 µs 250 µs 0.50 ok",
		"throughput, 20 ms REST, default settings":             "≥ 1000 /s 2000 /s 0.50 ok",
		"resident after 100 actions, all modules":              "≤ 64.0 MB 80.0 MB 1.25 over",
	}, table)
}

func TestEachRowHasItsBenchmarkRun(t *testing.T) {
	for _, r := range rows {
		found := false
		for _, run := range runs {
			name := strings.TrimPrefix(run.pattern, "Benchmark")
			found = found || r.benchmark == name || strings.HasPrefix(r.benchmark, name+"/")
		}
		assert.True(t, found, "%s: no run makes %s", r.what, r.benchmark)
	}
}
