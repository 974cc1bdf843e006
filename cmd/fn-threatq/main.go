// Command fn-threatq is the bridge between IBM SOAR and ThreatQ: it takes the
// actions of a message destination to ThreatQ, and its replies back.
//
// What a program would read goes to stdout, what a person or a log collector
// reads goes to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"fn-threatq/host"
)

const usage = `fn-threatq - the bridge between IBM SOAR (Resilient) and ThreatQ

Usage:
  fn-threatq run [--config FILE] [--log-level LEVEL] [--log-format auto|text|json]
      Works on actions until it is stopped by SIGINT or SIGTERM.
  fn-threatq plugin test [-v] [--update] [--module FILE] [--scenarios DIR] PATH…
      Plays scenarios to modules, without SOAR, ThreatQ or a network. PATH is a
      scenario file, a module file, a folder, or FOLDER/... for all below it.
      -v shows the dialogue, --update writes the files as the module behaves.
      Exit code: 0, 1 (a scenario failed), 2 (one could not be run).
  fn-threatq version

The configuration is the app.config of resilient-circuits: FILE, else
$APP_CONFIG_FILE, else ./app.config, else ~/.resilient/app.config.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; the exit codes are those of package host.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return host.ExitUsage
	}
	switch command, rest := args[0], args[1:]; command {
	case "run":
		return serve(ctx, rest, stderr)
	case "plugin":
		return plugin(ctx, rest, stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, "fn-threatq", host.Version)
		return host.ExitOK
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return host.ExitOK
	default:
		fmt.Fprintf(stderr, "fn-threatq: there is no command %q\n\n%s", command, usage)
		return host.ExitUsage
	}
}

// parse reads flags; its messages go to stderr.
func parse(set *flag.FlagSet, args []string, stderr io.Writer) error {
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, usage)
	case err != nil:
		fmt.Fprintf(stderr, "fn-threatq %s: %s\n\n%s", set.Name(), err, usage)
	}
	return err
}

// level reads a level as resilient-circuits writes it.
func level(name string) (slog.Level, error) {
	switch name {
	case "WARNING", "warning":
		name = "WARN"
	case "CRITICAL", "critical":
		name = "ERROR"
	}
	var l slog.Level
	err := l.UnmarshalText([]byte(name))
	return l, err
}
