// Command buildplugins builds the module files of the plugins.
//
//	go run ./tools/buildplugins [-out DIR] [NAME…]
//
// It writes host/catalog/builtin/<name>.wasm for each plugin, or for those that
// are named, and prints a line for each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"fn-threatq/tools/buildplugins/build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "buildplugins:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("buildplugins", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "folder for the module files (default host/catalog/builtin)")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if *out == "" {
		*out = filepath.Join(root, "host", "catalog", "builtin")
	}
	built, err := build.Plugins(ctx, build.Options{Root: root, Out: *out, Names: flags.Args()})
	for _, b := range built {
		fmt.Fprintln(stdout, b)
	}
	return err
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", fmt.Errorf("no go.mod here or above: run it inside the project")
	}
	return filepath.Dir(file), nil
}
