package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"fn-threatq/host"
	"fn-threatq/host/scenario"
)

// Exit codes of `plugin test`, as those of other test runners.
const (
	exitFailed = 1
	exitNotRun = 2
)

// plugin is `fn-threatq plugin`.
func plugin(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] != "test" {
		fmt.Fprintf(stderr, "fn-threatq plugin: want the subcommand test\n\n%s", usage)
		return host.ExitUsage
	}
	var o scenario.Options
	flags := flag.NewFlagSet("plugin test", flag.ContinueOnError)
	flags.StringVar(&o.Module, "module", "", "")
	flags.StringVar(&o.Scenarios, "scenarios", "", "")
	update := flags.Bool("update", false, "")
	verbose := flags.Bool("v", false, "")
	paths, err := parseMixed(flags, args[1:])
	if err == nil && len(paths) == 0 {
		err = errors.New("want a PATH: a scenario, a module or a folder")
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return host.ExitOK
	case err != nil:
		fmt.Fprintf(stderr, "fn-threatq plugin test: %s\n\n%s", err, usage)
		return host.ExitUsage
	}
	o.Paths = paths
	return pluginTest(ctx, o, *update, *verbose, stdout, stderr)
}

// parseMixed reads flags before, between and behind paths.
func parseMixed(flags *flag.FlagSet, args []string) (paths []string, err error) {
	flags.SetOutput(io.Discard)
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) == 0 {
			return paths, nil
		}
		paths, args = append(paths, args[0]), args[1:]
	}
}

// pluginTest plays scenarios and reports them on stdout.
func pluginTest(ctx context.Context, o scenario.Options, update, verbose bool, stdout, stderr io.Writer) (code int) {
	suite, err := scenario.Open(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "fn-threatq plugin test: %s\n", err)
		return exitNotRun
	}
	defer func() {
		if err := suite.Close(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintf(stderr, "fn-threatq plugin test: %s\n", err)
		}
	}()
	passed, failed, notRun := 0, 0, 0
	suite.Run(ctx, update, func(r scenario.Report) {
		switch {
		case r.Err != nil:
			notRun++
		case r.Failure != "":
			failed++
		default:
			passed++
		}
		fmt.Fprint(stdout, r.Text(verbose))
	})
	fmt.Fprintf(stdout, "%d passed, %d failed, %d could not be run\n", passed, failed, notRun)
	switch {
	case notRun > 0:
		return exitNotRun
	case failed > 0:
		return exitFailed
	}
	return host.ExitOK
}
