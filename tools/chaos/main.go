// Command chaos shows that the host loses nothing and does nothing twice.
//
//	go run ./tools/chaos run        a stream of actions under fire, judged at its end
//	go run ./tools/chaos hammer     many waiting updates of few incidents: how often are they synced?
//	go run ./tools/chaos soak       many actions in peace: do memory and files stay flat?
//
// Each runs the real host process on simulators of SOAR and ThreatQ and a real
// ActiveMQ, each behind a fault proxy. A plan is the list of deeds, drawn from a
// seed, and the end that must come of them; a deed is what a person does in SOAR and
// makes it publish one message; a blow is what is done to the host, the broker or the
// network; a misdeed is how a service treats one call. The model is what both services
// must hold at the end, computed from the plan alone; peace is the same plan without
// any blow. The verdict is what the checker says of all that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage: chaos run|hammer|soak [flags]

Each flag may also be given as an environment variable, -seed as CHAOS_SEED and so on.

flags:
`

// options are the flags.
type options struct {
	host      string  // path of the binary
	dir       string  // of the run; a new one when empty
	seed      uint64  // 0: a random one
	actions   int     // deeds of the stream
	kills     int     // of the host
	faults    float64 // percent of calls that suffer a misdeed
	hosts     int     // that share the queue
	incidents int     // of hammer
	gentle    bool    // only misdeeds that a patient host overcomes
	baseline  bool    // compare with a run in peace too
	keep      bool    // the folder
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
	var o options
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.StringVar(&o.host, "host", filepath.Join("bin", "fn-threatq"), "`path` of the fn-threatq binary")
	flags.StringVar(&o.dir, "dir", "", "`folder` of the run, which stays; a new one that is removed when empty")
	flags.Uint64Var(&o.seed, "seed", 0, "of everything that is drawn; 0 is a random one. An odd seed logs in with an API key, an even one with a password")
	flags.IntVar(&o.actions, "actions", 1500, "actions in the stream; of soak and hammer: messages")
	flags.IntVar(&o.kills, "kills", 15, "how often the host is killed; the other blows are drawn in proportion")
	flags.Float64Var(&o.faults, "faults", 2, "percent of all calls that suffer a misdeed")
	flags.IntVar(&o.hosts, "hosts", 1, "of run: 1, or 2 that share the queue, each with a state of its own; a blow at the host hits one of them")
	flags.IntVar(&o.incidents, "incidents", 100, "hammer: incidents that are updated")
	flags.BoolVar(&o.gentle, "gentle", false, "only misdeeds after which a patient host gets through: no 409 and no absurd answers")
	flags.BoolVar(&o.baseline, "baseline", true, "play the plan in peace too and compare")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder of the run with all logs")
	if err := fromEnvironment(flags, args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if o.seed == 0 {
		o.seed = uint64(rand.Uint32())
	}
	p := &printer{stdout}
	var err error
	switch {
	case flags.NArg() > 0 || o.hosts < 1 || o.hosts > 2:
		flags.Usage()
		return 2
	case command == "run":
		err = chaos(ctx, o, p)
	case command == "hammer":
		err = hammer(ctx, o, p)
	case command == "soak":
		err = soak(ctx, o, p)
	default:
		flags.Usage()
		return 2
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "chaos: interrupted")
		return 130
	case !errors.Is(err, errReported):
		fmt.Fprintln(stderr, "chaos:", err)
	}
	return 1
}

// errReported is the error of what has been printed already.
var errReported = errors.New("not as it must be")

// fromEnvironment parses the flags over the values of the environment.
func fromEnvironment(flags *flag.FlagSet, args []string) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		name := "CHAOS_" + strings.ToUpper(f.Name)
		if value := os.Getenv(name); value != "" && err == nil {
			if wrong := f.Value.Set(value); wrong != nil {
				err = fmt.Errorf("%s=%s: %w", name, value, wrong)
				fmt.Fprintln(flags.Output(), "chaos:", err)
			}
		}
	})
	if err != nil {
		return err
	}
	return flags.Parse(args)
}
