package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"fn-threatq/host"
)

func (p *program) pluginShadowCommand() *cobra.Command {
	var stateDir string
	c := &cobra.Command{
		Use:   "shadow MODULE.wasm",
		Short: "Have a candidate run beside the module of its name, without effect",
		Long: `Have a candidate run beside the installed module of its name. A host that runs plays
each action of the module to the candidate too, after it has ended and with what it
was answered, and compares what both ask for. Nothing of the candidate is performed,
and no action waits for it; what comes faster than it can play is left out and
counted. "plugin shadow report" says how often and where they differ, "plugin
promote" makes it live, "plugin shadow stop" ends it.`,
		Example: "  fn-threatq plugin shadow ./sync-task.wasm\n  fn-threatq plugin shadow report\n  fn-threatq plugin promote sync-task",
		Args:    oneArg("the file of a module (*.wasm), or report, or stop"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), stateDir, func(ctx context.Context, m *host.Modules) error {
				file, err := os.ReadFile(args[0])
				if err != nil {
					return err
				}
				about, err := m.Shadow(ctx, file)
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				fmt.Fprintf(p.Stdout, "%s %s runs beside the installed one; nothing that it asks for is performed\n", about.Name, about.Version)
				return nil
			})
		},
	}
	stateDirFlag(c, &stateDir)
	c.AddCommand(p.shadowReportCommand(), p.shadowStopCommand())
	return c
}

func (p *program) shadowReportCommand() *cobra.Command {
	var stateDir string
	var format *outputFormat
	c := &cobra.Command{
		Use: "report [MODULE]", Short: "Say how often and where candidates differ from what is live",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("want the name of one module, or none")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), stateDir, func(_ context.Context, m *host.Modules) error {
				all, err := m.Shadows()
				if err != nil {
					return err
				}
				if len(args) == 1 {
					if all[args[0]] == nil {
						return &host.NoShadowError{Module: args[0]}
					}
					all = map[string]*host.ShadowReport{args[0]: all[args[0]]}
				}
				if format.json {
					return writeJSON(p.Stdout, all)
				}
				if len(all) == 0 {
					fmt.Fprintln(p.Stderr, "no candidate runs beside a module")
				}
				for _, name := range slices.Sorted(maps.Keys(all)) {
					p.printShadow(all[name])
				}
				return nil
			})
		},
	}
	stateDirFlag(c, &stateDir)
	format = outputFlag(c)
	return c
}

func (p *program) printShadow(r *host.ShadowReport) {
	fmt.Fprintf(p.Stdout, "%s %s beside %s, since %s\n", r.Module, r.Candidate, choose(r.Live == "", "what is live", r.Live), when(r.Since))
	switch {
	case r.Problem != "":
		fmt.Fprintf(p.Stdout, "it cannot be played: %s\n\n", plain(r.Problem))
		return
	case r.Updated.IsZero():
		fmt.Fprintf(p.Stdout, "no host has looked at it yet\n\n")
		return
	case r.Dropped > 0:
		fmt.Fprintf(p.Stdout, "%s actions were left out, since they came too fast\n", strconv.FormatInt(r.Dropped, 10))
	}
	printSummary(p.Stdout, &r.Summary)
	fmt.Fprintln(p.Stdout)
}

func (p *program) shadowStopCommand() *cobra.Command {
	var stateDir string
	c := &cobra.Command{
		Use: "stop MODULE", Short: "End a candidate and forget its report", Args: oneArg("the name of a module"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), stateDir, func(_ context.Context, m *host.Modules) error {
				if err := m.StopShadow(args[0]); err != nil {
					return err
				}
				fmt.Fprintf(p.Stdout, "no candidate runs beside %s any more\n", args[0])
				return nil
			})
		},
	}
	stateDirFlag(c, &stateDir)
	return c
}

func (p *program) pluginPromoteCommand() *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "promote MODULE",
		Short: "Make the candidate live that runs beside a module",
		Long: `Make the candidate live that runs beside a module. What is newly permitted is shown
first; the module that was live comes back by "plugin rollback". ` + takenOver,
		Example: "  fn-threatq plugin promote sync-task",
		Args:    oneArg("the name of a module"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), f.stateDir, func(ctx context.Context, m *host.Modules) error {
				file, err := m.ShadowFile(args[0])
				if err != nil {
					return err
				}
				plan, err := m.Plans().Module(file, f.downgrade)
				if err != nil {
					return err
				}
				if err := p.change(ctx, m, plan, f); err != nil || f.dryRun {
					return err
				}
				return m.StopShadow(args[0])
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "let an older version take the place of a newer one")
	return c
}
