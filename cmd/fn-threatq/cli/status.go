package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fn-threatq/host"
)

func (p *program) statusCommand() *cobra.Command {
	var stateDir string
	var format *outputFormat
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell how the running host stands: broker, services, actions",
		Long: `Tell how the running host stands: whether it is subscribed, which service is down,
how many actions wait, run and have ended, and which modules need a person. It asks the
host by its control socket and does not touch the network.

The exit code is 0 when the host can work, and 1 when none runs, it is not subscribed or
a service is down: for monitoring.`,
		Example: "  fn-threatq status\n  fn-threatq status -o json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := p.state(stateDir)
			if err != nil {
				return err
			}
			s, err := host.AskStatus(c.Context(), dir)
			if errors.Is(err, host.ErrNotRunning) {
				return fmt.Errorf("%w: start it by \"fn-threatq run\" or \"systemctl start fn-threatq\"; another state folder than the default is named by --state-dir", err)
			}
			if err != nil {
				return err
			}
			if format.json {
				err = writeJSON(p.Stdout, s)
			} else {
				p.printStatus(s, time.Now())
			}
			if err == nil && !s.Works {
				err = &exit{code: host.ExitFailure}
			}
			return err
		},
	}
	stateDirFlag(c, &stateDir)
	format = outputFlag(c)
	return c
}

func (p *program) printStatus(s host.Status, now time.Time) {
	ago := func(t time.Time) string { return now.Sub(t).Round(time.Second).String() }
	line := func(name, format string, args ...any) {
		fmt.Fprintf(p.Stdout, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	mode := ""
	if s.Observe {
		mode += ", observes only: nothing is written"
	}
	if s.Standby {
		mode += ", standby: one of several hosts gets messages"
	}
	line("host", "fn-threatq %s, process %d, for %s%s", s.Version, s.PID, ago(s.Started), mode)
	if s.Broker.Connected {
		line("broker", "subscribed to %s for %s", s.Broker.Destination, ago(s.Broker.Since))
	} else {
		line("broker", "no session for %s, trying again: %s", ago(s.Broker.Since), s.Broker.Reason)
	}
	if len(s.Down) == 0 {
		line("services", "no outage known")
	}
	for _, d := range s.Down {
		line(d.Service, "down for %s: %s", ago(d.Since), d.Reason)
	}
	waiting := ""
	if s.Traffic.Oldest != nil {
		waiting = fmt.Sprintf(" (the oldest for %s)", ago(*s.Traffic.Oldest))
	}
	line("actions", "%d waiting%s, %d running, %d of them held by an outage; since the start %d done, %d failed",
		s.Traffic.Waiting, waiting, s.Traffic.Running, s.Traffic.Held, s.Traffic.Done, s.Traffic.Failed)
	if s.DeadLetters > 0 {
		line("dead letters", `%d: see "fn-threatq actions list"`, s.DeadLetters)
	} else {
		line("dead letters", "none")
	}
	for _, m := range s.Modules {
		line("module", "%s %s is %s: %s", m.Name, m.Version, m.State, m.Reason)
	}
	line("process", "%d goroutines, %.1f MB of Go heap", s.Goroutines, float64(s.HeapBytes)/(1<<20))
}
