package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/selftest"
)

// selftestReport is what -o json prints.
type selftestReport struct {
	OK       bool              `json:"ok"`
	ExitCode int               `json:"exit_code"`
	Steps    []selftest.Result `json:"steps"`
}

func (p *program) selftestCommand() *cobra.Command {
	var format *outputFormat
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Check step by step that a host can work, and say what to do where not",
		Long: `Check step by step what a host needs: the configuration, the way to the SOAR server,
to its message broker and to ThreatQ (DNS, TCP, TLS), logins, organization, rights,
rules and functions, the message destination, ThreatQ's tables, and the clocks.

Nothing is changed, no message is taken, and a running host is not disturbed. A step
is skipped when one that it needs failed, and a refused login is not tried again. Each
step has the time of selftest_timeout in [resilient].

Exit code: 0 (all that matters works; there may be warnings), else that of the first
failure: 1 (ThreatQ, or no rules on the server), 3 (configuration), 7 (rights), 20
(SOAR not reached), 21 (login refused), 22 and 23 (certificates), 24 (organization),
30 (broker not reached), 31 (its login refused), 32 (message destination).`,
		Example: "  fn-threatq selftest\n  fn-threatq selftest -o json",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.selftest(c.Context(), format.json) },
	}
	p.configFlag(c)
	format = outputFlag(c)
	return c
}

func (p *program) selftest(ctx context.Context, asJSON bool) error {
	report := selftestReport{Steps: []selftest.Result{}}
	show := func(r selftest.Result) {
		report.Steps = append(report.Steps, r)
		if !asJSON {
			p.printStep(r)
		}
	}
	code, err := p.playSelftest(ctx, show)
	if ctx.Err() != nil {
		return &exit{host.ExitInterrupted, fmt.Errorf("interrupted: %s had been played", plural(len(report.Steps), "step"))}
	}
	if err != nil {
		return err
	}
	report.OK, report.ExitCode = code == host.ExitOK, code
	if asJSON {
		if err := writeJSON(p.Stdout, report); err != nil {
			return err
		}
	} else {
		p.printVerdict(report)
	}
	if code != host.ExitOK {
		return &exit{code: code}
	}
	return nil
}

func (p *program) playSelftest(ctx context.Context, show func(selftest.Result)) (code int, err error) {
	c, err := p.load()
	if err != nil {
		r := selftest.NotConfigured(err)
		r.Text = p.redactor.Redact(r.Text)
		show(r)
		return host.ExitCode(err), nil
	}
	o := p.options()
	o.Config = c
	operator, err := host.NewOperator(o)
	if err != nil {
		show(selftest.NotConfigured(err)) // a certificate file
		return host.ExitCode(err), nil
	}
	defer quit(ctx, operator)
	return operator.Selftest(ctx, show)
}

var marks = map[selftest.State]string{selftest.OK: "ok", selftest.Warning: "WARN", selftest.Failed: "FAIL", selftest.Skipped: "–"}

// margin is where the texts of steps begin.
const margin = 35

func (p *program) printStep(r selftest.Result) {
	took := ""
	if r.State != selftest.Skipped {
		took = fmt.Sprintf("%d ms", r.TookMS)
	}
	lines := strings.Split(r.Text, "\n")
	fmt.Fprintf(p.Stdout, "%-4s  %-18s %8s  %s\n", marks[r.State], r.Step, took, plain(lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(p.Stdout, "%*s%s\n", margin, "", plain(line))
	}
	if r.Advice != "" {
		fmt.Fprintf(p.Stdout, "%*s→ %s\n", margin, "", plain(r.Advice))
	}
}

func (p *program) printVerdict(r selftestReport) {
	count := map[selftest.State]int{}
	for _, step := range r.Steps {
		count[step.State]++
	}
	verdict := "a host can work"
	if !r.OK {
		verdict = fmt.Sprintf("a host cannot work as it should (exit code %d)", r.ExitCode)
	}
	fmt.Fprintf(p.Stdout, "\n%s: %d ok, %s, %d failed, %d skipped\n", verdict, count[selftest.OK], plural(count[selftest.Warning], "warning"), count[selftest.Failed], count[selftest.Skipped])
}
