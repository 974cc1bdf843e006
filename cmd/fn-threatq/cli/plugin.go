package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"fn-threatq/host/scenario"
)

// Exit codes of `plugin test`, as those of other test runners.
const (
	exitFailed = 1
	exitNotRun = 2
)

func (p *program) pluginCommand() *cobra.Command {
	return group("plugin", "Work with rule modules", slices.Concat(
		[]*cobra.Command{p.pluginListCommand(), p.pluginInstallCommand()}, p.pluginStateCommands(), []*cobra.Command{p.pluginTestCommand()})...)
}

func (p *program) pluginTestCommand() *cobra.Command {
	var o scenario.Options
	var update, verbose bool
	c := &cobra.Command{
		Use:   "test PATH…",
		Short: "Play scenarios to modules, without SOAR, ThreatQ or a network",
		Long: `Play scenarios to modules, without SOAR, ThreatQ or a network. PATH is a scenario
file, a module file, a folder, or FOLDER/... for all below it.

Exit code: 0, 1 (a scenario failed), 2 (one could not be run).`,
		Example: "  fn-threatq plugin test ./plugins/...\n  fn-threatq plugin test -v ./plugins/sync-task",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("want a PATH: a scenario, a module or a folder")
			}
			o.Paths = args
			return p.pluginTest(c.Context(), o, update, verbose)
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the dialogue of each scenario")
	c.Flags().BoolVar(&update, "update", false, "write the scenario files as the module behaves")
	c.Flags().StringVar(&o.Module, "module", "", "play to the module `FILE` instead of the scenarios' own")
	c.Flags().StringVar(&o.Scenarios, "scenarios", "", "the `DIR` of a module's scenarios")
	return c
}

// pluginTest plays scenarios and reports them on stdout.
func (p *program) pluginTest(ctx context.Context, o scenario.Options, update, verbose bool) error {
	suite, err := scenario.Open(ctx, o)
	if err != nil {
		return &exit{exitNotRun, err}
	}
	defer func() {
		if err := suite.Close(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintf(p.Stderr, "fn-threatq plugin test: %s\n", err)
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
		fmt.Fprint(p.Stdout, r.Text(verbose))
	})
	fmt.Fprintf(p.Stdout, "%d passed, %d failed, %d could not be run\n", passed, failed, notRun)
	switch {
	case notRun > 0:
		return &exit{code: exitNotRun}
	case failed > 0:
		return &exit{code: exitFailed}
	}
	return nil
}
