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
		[]*cobra.Command{p.pluginListCommand(), p.pluginInstallCommand()}, p.pluginStateCommands(),
		[]*cobra.Command{p.pluginShadowCommand(), p.pluginPromoteCommand(), p.pluginTestCommand(), p.pluginNewCommand(), p.pluginBuildCommand(), p.pluginCheckCommand(), p.pluginDocCommand()})...)
}

func (p *program) pluginTestCommand() *cobra.Command {
	var o scenario.Options
	var update, verbose, watch bool
	c := &cobra.Command{
		Use:   "test PATH…",
		Short: "Play scenarios to modules, without SOAR, ThreatQ or a network",
		Long: `Play scenarios to modules, without SOAR, ThreatQ or a network. PATH is a scenario
file, a module file, a folder, or FOLDER/... for all below it.

With --watch they are played again whenever a file of theirs changes, until Ctrl-C;
the folder of a plugin in Go is built before.

Exit code: 0, 1 (a scenario failed), 2 (one could not be run).`,
		Example: "  fn-threatq plugin test ./plugins/...\n  fn-threatq plugin test -v ./plugins/sync-task\n  fn-threatq plugin test --watch my-rule",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("want a PATH: a scenario, a module or a folder")
			}
			o.Paths = args
			play := func(ctx context.Context) error { return p.pluginTest(ctx, o, update, verbose) }
			if watch {
				return p.watch(c.Context(), o.Paths, play)
			}
			return play(c.Context())
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the dialogue of each scenario")
	c.Flags().BoolVar(&update, "update", false, "write the scenario files as the module behaves")
	c.Flags().BoolVar(&watch, "watch", false, "play again when a file changes, until Ctrl-C")
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
