// Command examples builds the example packs, and holds each module against the
// contract and its scenarios.
//
//	go run ./tools/examples [-require] [-out DIR]
//
// A toolchain that is not there is told with what to install, and its example
// left out; with -require that is a failure. A language is one in which the same
// rule, ThreatQ: Tag Event, is written; its code is what its compiler makes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"fn-threatq/host/author"
	"fn-threatq/host/author/build"
	"fn-threatq/host/pack"
	"fn-threatq/host/scenario"
)

// Where the examples are, below the folder of the project.
const (
	tagEvent  = "plugins/examples/tag-event"
	sightings = "plugins/examples/sightings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns 0 when all that was built is as it should be, 1 when something is
// not, 2 for wrong arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("examples", flag.ContinueOnError)
	flags.SetOutput(stderr)
	w := workshop{stdout: stdout}
	flags.StringVar(&w.root, "root", ".", "the `folder` of the project")
	flags.StringVar(&w.out, "out", filepath.Join("bin", "examples"), "`folder` for the modules")
	flags.BoolVar(&w.require, "require", false, "fail when a toolchain is missing")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || flags.NArg() > 0 {
		return 2
	}
	if err := w.all(ctx); err != nil {
		fmt.Fprintln(stderr, "examples:", err)
		return 1
	}
	return 0
}

// workshop builds and checks.
type workshop struct {
	root, out string
	require   bool
	stdout    io.Writer
}

// all tries each example; the error joins what failed.
func (w workshop) all(ctx context.Context) error {
	if err := os.MkdirAll(w.out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, l := range languages {
		err := w.language(ctx, l)
		var missing *missingError
		if errors.As(err, &missing) && !w.require {
			fmt.Fprintf(w.stdout, "%-16s left out: %s\n", l.name, missing)
			err = nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := w.pack(ctx); err != nil {
		errs = append(errs, fmt.Errorf("sightings: %w", err))
	}
	return errors.Join(errs...)
}

// language makes the module of one language and checks it.
func (w workshop) language(ctx context.Context, l language) error {
	folder := filepath.Join(w.root, filepath.FromSlash(tagEvent))
	temp, err := os.MkdirTemp("", "fn-threatq-examples-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	code, err := l.compile(ctx, filepath.Join(folder, l.name), temp)
	if err != nil {
		return err
	}
	built, err := build.Build(ctx, build.Options{
		Source: code, Manifest: filepath.Join(folder, build.ManifestFile), Out: filepath.Join(w.out, "tag-event-"+l.name+build.Extension),
	})
	if err != nil {
		return err
	}
	return w.check(ctx, l.name, built, filepath.Join(folder, scenario.Folder))
}

// pack makes the pack of sightings, as a third party would.
func (w workshop) pack(ctx context.Context) error {
	folder := filepath.Join(w.root, filepath.FromSlash(sightings))
	modules, err := filepath.Glob(filepath.Join(folder, "*", filepath.FromSlash(build.MainFile)))
	if err != nil {
		return err
	}
	for _, main := range modules {
		module := filepath.Dir(filepath.Dir(main))
		built, err := build.Build(ctx, build.Options{Source: module})
		if err != nil {
			return err
		}
		if err := w.check(ctx, "sightings", built, filepath.Join(module, scenario.Folder)); err != nil {
			return err
		}
	}
	p, _, err := pack.Build(folder)
	if err != nil {
		return err
	}
	file := filepath.Join(w.out, p.FileName())
	if err := os.WriteFile(file, p.Bytes(), 0o644); err != nil {
		return err
	}
	// What a stranger gets is what counts.
	if p, err = pack.Open(file); err != nil {
		return err
	}
	if len(p.Modules) != len(modules) {
		return fmt.Errorf("%s has %d modules, want %d", file, len(p.Modules), len(modules))
	}
	fmt.Fprintf(w.stdout, "%-16s %5d KB  pack %s %s, %d files\n", "sightings", (len(p.Bytes())+1023)/1024, p.Name, p.Version, len(p.Paths()))
	return nil
}

// check holds a module against the kit and its scenarios.
func (w workshop) check(ctx context.Context, name string, built build.Built, scenarios string) (err error) {
	report, err := author.Check(ctx, author.CheckOptions{Module: built.Path, Scenarios: scenarios})
	if err != nil {
		return err
	}
	for _, c := range report.Checks {
		if c.Reason != "" {
			fmt.Fprintf(w.stdout, "FAIL %s: %s\n     %s\n", name, c.Name, c.Reason)
		}
	}
	suite, err := scenario.Open(ctx, scenario.Options{Paths: []string{built.Path}, Scenarios: scenarios})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, suite.Close(context.WithoutCancel(ctx))) }()
	played, failed := 0, 0
	suite.Run(ctx, false, func(r scenario.Report) {
		played++
		if !r.Passed() {
			failed++
			fmt.Fprint(w.stdout, r.Text(false))
		}
	})
	fmt.Fprintf(w.stdout, "%-16s %5d KB  %d of %d checks, %d of %d scenarios\n", name, (built.Size+1023)/1024,
		len(report.Checks)-report.Failed(), len(report.Checks), played-failed, played)
	if report.Failed() > 0 || failed > 0 {
		return fmt.Errorf("%d checks and %d scenarios fail", report.Failed(), failed)
	}
	return nil
}
