package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is a line of the table: a figure of a benchmark and what it is held to.
type row struct {
	what, benchmark, unit string
	// budget is 0 for a figure without one.
	budget float64
	// atLeast: the budget is a lower bound.
	atLeast bool
}

const (
	ms = float64(time.Millisecond)
	mb = "MB"
)

var rows = []row{
	{what: "sandboxed / native rule, 20 ms REST: sync-incident", benchmark: "Rule/sync-incident/20ms", unit: "sandboxed/native", budget: 1.05},
	{what: "sandboxed / native rule, 20 ms REST: sync-indicator", benchmark: "Rule/sync-indicator/20ms", unit: "sandboxed/native", budget: 1.05},
	{what: "sandboxed / native rule, no latency: sync-incident", benchmark: "Rule/sync-incident/0s", unit: "sandboxed/native"},
	{what: "sandboxed / native rule, no latency: sync-indicator", benchmark: "Rule/sync-indicator/0s", unit: "sandboxed/native"},
	{what: "sandboxed / native turn: sync-incident", benchmark: "Turn/sync-incident", unit: "sandboxed/native"},
	{what: "sandboxed turn: sync-incident", benchmark: "Turn/sync-incident", unit: "sandboxed-ns/turn"},
	{what: "sandboxed / native turn: sync-indicator", benchmark: "Turn/sync-indicator", unit: "sandboxed/native"},
	{what: "sandboxed turn: sync-indicator", benchmark: "Turn/sync-indicator", unit: "sandboxed-ns/turn"},
	{what: "sandboxed / native turn: add-indicator", benchmark: "Turn/add-indicator", unit: "sandboxed/native"},
	{what: "sandboxed turn: add-indicator", benchmark: "Turn/add-indicator", unit: "sandboxed-ns/turn"},
	{what: "host's own time per action beside REST waits, median", benchmark: "Action/20ms", unit: "own-ns", budget: 0.5 * ms},
	{what: "the same without latency", benchmark: "Action/0s", unit: "own-ns", budget: 0.5 * ms},
	{what: "one action from message to reply, 20 ms REST", benchmark: "Action/20ms", unit: "p50-ns"},
	{what: "one action from message to reply, no latency", benchmark: "Action/0s", unit: "p50-ns"},
	{what: "throughput, 20 ms REST, default settings", benchmark: "Throughput/parallel-64/20ms", unit: "actions/s", budget: 1000, atLeast: true},
	{what: "throughput, no latency, default settings", benchmark: "Throughput/parallel-64/0s", unit: "actions/s"},
	{what: "throughput, 20 ms REST, max_parallel=4", benchmark: "Throughput/parallel-4/20ms", unit: "actions/s"},
	{what: "throughput, no latency, max_parallel=4", benchmark: "Throughput/parallel-4/0s", unit: "actions/s"},
	{what: "host's processor time per action, 20 ms REST", benchmark: "Throughput/parallel-64/20ms", unit: "host-cpu-ns/action"},
	{what: "start to subscribed, warm cache", benchmark: "Start/warm", unit: "total-ns", budget: 200 * ms},
	{what: "  of it: modules", benchmark: "Start/warm", unit: "modules-ns"},
	{what: "start to subscribed, cold cache", benchmark: "Start/cold", unit: "total-ns"},
	{what: "resident after 100 actions, all modules", benchmark: "Memory/all-modules", unit: "after-100-MB", budget: 64},
	{what: "  its peak", benchmark: "Memory/all-modules", unit: "peak-MB"},
	{what: "resident when subscribed, all modules", benchmark: "Memory/all-modules", unit: "ready-MB"},
	{what: "resident after 100 actions, one module", benchmark: "Memory/one-module", unit: "after-100-MB"},
	{what: "resident when subscribed, one module", benchmark: "Memory/one-module", unit: "ready-MB"},
	{what: "resident, all modules just used", benchmark: "IdleMemory", unit: "loaded-MB"},
	{what: "  after they were let go of", benchmark: "IdleMemory", unit: "let-go-MB"},
	{what: "  before they were loaded", benchmark: "IdleMemory", unit: "before-MB"},
	{what: "exchange of a module, warm cache", benchmark: "Swap/cached", unit: "swap-ns"},
	{what: "exchange of a module, cold cache", benchmark: "Swap/cold", unit: "swap-ns"},
	{what: "  a look that finds nothing changed", benchmark: "Swap/nothing", unit: "swap-ns"},
	{what: "longest gap between replies, a module exchanged all the time / never", benchmark: "SwapStall/cached", unit: "gap-swap/calm"},
	{what: "  the gap with exchanges", benchmark: "SwapStall/cached", unit: "swap-gap-ns"},
	{what: "  the gap without", benchmark: "SwapStall/cached", unit: "calm-gap-ns"},
	{what: "  the longest time of an action", benchmark: "SwapStall/cached", unit: "longest-swap/calm"},
	{what: "  the median time of an action", benchmark: "SwapStall/cached", unit: "middle-swap/calm"},
	{what: "  actions in a second", benchmark: "SwapStall/cached", unit: "rate-swap/calm"},
	{what: "  one exchange beside the actions", benchmark: "SwapStall/cached", unit: "exchange-ns"},
	{what: "longest gap between replies, beside a compilation / never", benchmark: "SwapStall/cold", unit: "gap-swap/calm"},
	{what: "  the longest time of an action", benchmark: "SwapStall/cold", unit: "longest-swap/calm"},
	{what: "  the median time of an action", benchmark: "SwapStall/cold", unit: "middle-swap/calm"},
	{what: "  actions in a second", benchmark: "SwapStall/cold", unit: "rate-swap/calm"},
	{what: "  one exchange beside the actions", benchmark: "SwapStall/cold", unit: "exchange-ns"},
	{what: "historical sync of 5,000 incidents", benchmark: "Historical", unit: "incidents/s"},
	{what: "  resident after 500 of them", benchmark: "Historical", unit: "after-500-MB"},
	{what: "  resident after all", benchmark: "Historical", unit: "after-5000-MB"},
}

// figures are values by benchmark, then by unit.
type figures map[string]map[string]float64

var resultName = regexp.MustCompile(`^Benchmark(.*?)(-\d+)?$`)

// parse reads lines of `go test -bench`: a name, a count, then pairs of value
// and unit. Other lines are ignored.
func parse(text string) figures {
	all := figures{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		values := map[string]float64{}
		for pair := fields[2:]; len(pair) >= 2; pair = pair[2:] {
			if value, err := strconv.ParseFloat(pair[0], 64); err == nil {
				values[pair[1]] = value
			}
		}
		all[resultName.FindStringSubmatch(fields[0])[1]] = values
	}
	return all
}

// printTable writes the rows that there are figures for. The ratio is figure to
// budget, turned round for a lower bound: over 1 is over the budget.
func printTable(w io.Writer, all figures) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what\tbudget\tfigure\tratio\t")
	for _, r := range rows {
		value, ok := all[r.benchmark][r.unit]
		if !ok {
			continue
		}
		budget, ratio, verdict := "-", "-", ""
		if r.budget != 0 {
			share := value / r.budget
			budget, verdict = "≤ "+show(r.budget, r.unit), "ok"
			if r.atLeast {
				share, budget = r.budget/value, "≥ "+show(r.budget, r.unit)
			}
			if share > 1 {
				verdict = "over"
			}
			ratio = fmt.Sprintf("%.2f", share)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.what, budget, show(value, r.unit), ratio, verdict)
	}
	return table.Flush()
}

// show writes a figure with its unit.
func show(value float64, unit string) string {
	switch {
	case strings.HasSuffix(unit, mb):
		return fmt.Sprintf("%.1f MB", value)
	case unit == "actions/s" || unit == "incidents/s":
		return fmt.Sprintf("%.0f /s", value)
	case strings.Contains(unit, "/native"), strings.HasSuffix(unit, "swap/calm"):
		return fmt.Sprintf("%.2f ×", value)
	case value < ms:
		return fmt.Sprintf("%.0f µs", value/1000)
	default:
		return fmt.Sprintf("%.1f ms", value/ms)
	}
}
