// Command package makes what is given to users: static programs, Debian packages,
// a bill of materials and checksums.
//
// A release is the folder of these files. It is reproducible: the same sources give
// the same bytes in any folder, on any machine, at any time. A target is an
// architecture of Linux. The stage is a folder of what goes into a package, such as
// man pages, before it is packed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fn-threatq/host"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// targets are the architectures, by the names of Go and of Debian alike.
var targets = []string{"amd64", "arm64"}

// run returns 0, 1 when something failed, or 2 for wrong arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("package", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "the folder of the project")
	out := flags.String("out", "bin/dist", "the folder of the release; what is in it is removed")
	same := flags.Bool("reproducible", false, "make the release again in a copy of the sources, with nothing that was built before, and compare")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "package: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	err := release(ctx, *root, *out, stdout)
	if err == nil && *same {
		err = reproduce(ctx, *root, *out, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "package:", err)
		return 1
	}
	return 0
}

// release makes all files.
func release(ctx context.Context, root, out string, stdout io.Writer) error {
	when, err := epoch(ctx, root)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	stage, err := os.MkdirTemp("", "fn-threatq-package-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := documents(stage, when); err != nil {
		return fmt.Errorf("man pages and completion: %w", err)
	}
	var parts []part
	for _, target := range targets {
		program := filepath.Join(out, fmt.Sprintf("fn-threatq-%s-linux-%s", host.Version, target))
		if err := build(ctx, root, program, target); err != nil {
			return err
		}
		of, err := materials(ctx, root, program)
		if err != nil {
			return err
		}
		parts = merge(parts, of)
	}
	if err := writeSBOM(filepath.Join(out, fmt.Sprintf("fn-threatq-%s.cdx.json", host.Version)), parts, when); err != nil {
		return err
	}
	if err := writeCopyright(filepath.Join(stage, "copyright"), root, parts); err != nil {
		return err
	}
	for _, target := range targets {
		if err := debian(ctx, root, out, stage, target, when); err != nil {
			return err
		}
	}
	return writeSums(out, stdout)
}

// epoch is the time that all files of a release have: $SOURCE_DATE_EPOCH, else
// that of the last commit, else 1980, the first year of all archive formats.
func epoch(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "-C", root, "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), nil
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// build makes the static program of one target.
func build(ctx context.Context, root, program, target string) error {
	absolute, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	return command(ctx, root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + target, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS="},
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", absolute, "./cmd/fn-threatq")
}

// command runs a program; what it says is part of the error.
func command(ctx context.Context, dir string, environ []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), environ...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}
