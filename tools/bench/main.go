// Command bench runs the benchmarks of the joined parts and holds their figures
// to the budgets.
//
//	go run ./tools/bench [-run REGEXP] [-profile FILE]
//
// It prints one table, then the lines of `go test -bench` that it was made of.
// A figure over its budget is no failure: machines differ. Ratios, which were
// measured within one run, are comparable between machines.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"fn-threatq/tools/buildplugins/build"
)

// runs are the benchmarks with their counts, which together take some minutes on
// two cores.
var runs = []struct{ pattern, count string }{
	{"BenchmarkTurn", "50x"},
	{"BenchmarkRule", "40x"},
	{"BenchmarkAction", "100x"},
	{"BenchmarkThroughput", "2x"},
	{"BenchmarkStart/cold", "2x"},
	{"BenchmarkStart/warm", "5x"},
	{"BenchmarkMemory", "3x"},
	{"BenchmarkIdleMemory", "2x"},
	{"BenchmarkSwap/nothing", "5x"},
	{"BenchmarkSwap/cached", "7x"},
	{"BenchmarkSwap/cold", "2x"},
	{"BenchmarkSwapStall/cached", "8x"},
	{"BenchmarkSwapStall/cold", "5x"},
	{"BenchmarkHistorical", "1x"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("run", "", "run only the benchmarks that match")
	profile := flags.String("profile", "", "write a processor profile of the (last) host process; combine with -run")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fn-threatq-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintln(stderr, "building …")
	if _, err := build.Plugins(ctx, build.Options{Root: root, Out: filepath.Join(dir, "modules")}); err != nil {
		return err
	}
	binary := filepath.Join(dir, "bench.test")
	if out, err := command(ctx, root, "go", "test", "-c", "-o", binary, "./host/benchmark").CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c ./host/benchmark: %w\n%s", err, out)
	}
	var raw bytes.Buffer
	for _, r := range runs {
		if !wanted.MatchString(r.pattern) {
			continue
		}
		fmt.Fprintln(stderr, r.pattern, "…")
		cmd := command(ctx, filepath.Join(root, "host", "benchmark"), binary,
			"-test.run", "^$", "-test.bench", exactly(r.pattern), "-test.benchtime", r.count, "-test.timeout", "20m")
		cmd.Env = append(os.Environ(), "FN_THREATQ_BENCH_DIR="+dir)
		if *profile != "" {
			path, err := filepath.Abs(*profile)
			if err != nil {
				return err
			}
			cmd.Env = append(cmd.Env, "FN_THREATQ_BENCH_PROFILE="+path)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", r.pattern, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Benchmark") {
				raw.WriteString(line)
			}
		}
	}
	if err := printTable(stdout, parse(raw.String())); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\n%s", raw.String())
	return err
}

// exactly is the pattern of one benchmark: each element of its name is meant in full.
func exactly(name string) string {
	return "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return cmd
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("no go.mod here or above: run it inside the project")
	}
	return filepath.Dir(file), nil
}
