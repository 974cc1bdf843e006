// Command lab runs fn-threatq in a world of its own.
//
//	go run ./tools/lab demo                     a phishing incident, shown and checked
//	go run ./tools/lab up                       the same world, kept until Ctrl-C
//	go run ./tools/lab send WHAT [flags]        something that a person does in the world of up
//	go run ./tools/lab show [ID]                what SOAR and ThreatQ hold in the world of up
//	go run ./tools/lab install FILE             puts a module into the running host of up
//
// The world is a SOAR simulator, a ThreatQ simulator and a message broker, all in
// this process on loopback ports with TLS, and the real host process as a child
// that knows them from an app.config alone. A story is the list of things that
// people do in SOAR, in chapters; a deed is one of them; an action is one message
// that SOAR publishes, because of a deed or of what the host itself wrote in SOAR;
// a fact is a line about the end of the story; an expectation is all facts that must
// hold there and no other, written down without the help of any rule.
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
	"strings"
	"syscall"
	"time"
)

// timeLimit is how long the host may log nothing before a demo says what it waits for.
const timeLimit = 2 * time.Minute

const usage = `usage: lab [flags] COMMAND

  demo        play a phishing incident, show each action, check the end; exit 1 when something is wrong
  up          run the world until Ctrl-C
  send WHAT   something that a person does in the world of "up"; "send help" lists it
  show [ID]   what SOAR and ThreatQ hold in the world of "up", or of one incident
  install FILE
              put a module into the running host of "up", in place of one of its name

flags:
`

// options are the flags.
type options struct {
	host    string // path of the binary
	dir     string // folder of up, send and show
	verbose bool
	empty   bool  // up: no host, and a SOAR in which nothing is installed
	modules files // up: module files that are installed besides those of the host
	limit   time.Duration
	// tamper changes the end state before it is checked; for tests.
	tamper func(*world)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything handed in; it returns the exit code: 0 all is right,
// 1 something is wrong, 2 the command line is, 130 interrupted.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := options{limit: timeLimit}
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.StringVar(&o.host, "host", defaultHost(), "`path` of the fn-threatq binary")
	flags.StringVar(&o.dir, "dir", defaultDir(), "`folder` of up, in which send and show find it")
	flags.BoolVar(&o.empty, "empty", false, "up: the simulators alone, with a SOAR in which nothing is installed")
	flags.Var(&o.modules, "module", "up: a module `file` to install, with its rules and functions in SOAR; may be repeated")
	flags.BoolVar(&o.verbose, "v", false, "up: show every call in the log")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	command, rest := flags.Arg(0), flags.Args()
	if command != "send" && len(rest) > 1 {
		// Flags may stand behind the command too; those of send are its own.
		if err := flags.Parse(rest[1:]); errors.Is(err, flag.ErrHelp) {
			return 0
		} else if err != nil {
			return 2
		}
		rest = append([]string{command}, flags.Args()...)
	}
	p := newPrinter(stdout)
	var err error
	switch {
	case command == "demo" && len(rest) == 1:
		err = demo(ctx, o, p)
	case command == "up" && len(rest) == 1 && o.empty:
		err = upEmpty(ctx, o, p)
	case command == "up" && len(rest) == 1:
		err = up(ctx, o, p)
	case command == "install" && len(rest) == 2:
		if rest[1], err = filepath.Abs(rest[1]); err == nil {
			err = ask(ctx, o.dir, rest, p)
		}
	case command == "show" && len(rest) <= 2, command == "send" && len(rest) > 1:
		err = ask(ctx, o.dir, rest, p)
	default:
		flags.Usage()
		return 2
	}
	return exitCode(err, stderr)
}

// files is a flag that may be repeated.
type files []string

func (f *files) String() string { return strings.Join(*f, ", ") }

func (f *files) Set(file string) error {
	*f = append(*f, file)
	return nil
}

// exitCode tells the error to the person, if there is one that has not been told.
func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "lab: interrupted")
		return 130
	case !errors.Is(err, errReported):
		fmt.Fprintln(stderr, "lab:", err)
	}
	return 1
}

// errReported is the error of what has been printed already.
var errReported = errors.New("not as expected")

// defaultHost is the binary beside this one, where both were built into bin; else
// where `make build` puts it.
func defaultHost() string {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), "fn-threatq")
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return filepath.Join("bin", "fn-threatq")
}

func defaultDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("fn-threatq-lab-%d", os.Getuid()))
}
