package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/config"
	"fn-threatq/host/install"
)

// changeFlags are those of all commands that change what is installed.
type changeFlags struct {
	yes, dryRun, downgrade bool
	stateDir               string
	// back says how a change is taken back that the running host refuses.
	back string
}

func (f *changeFlags) add(c *cobra.Command) {
	stateDirFlag(c, &f.stateDir)
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the plan and change nothing")
}

const takenOver = `A host that runs takes the change over at once: actions under way finish on the
version they began with.`

func (p *program) pluginInstallCommand() *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "install MODULE.wasm",
		Short: "Install a single module, after it was tried",
		Long: `Install a single module. It is loaded and run once, and plays the scenarios in the
folder scenarios beside it, before anything is changed; a module of the same name
makes way, and comes back by "plugin rollback". What the module may do is shown
first. ` + takenOver,
		Example: "  fn-threatq plugin install ./sighting.wasm --dry-run",
		Args:    oneArg("the file of a module (*.wasm)"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), f.stateDir, func(ctx context.Context, m *host.Modules) error {
				file, err := os.ReadFile(args[0])
				if err != nil {
					return err
				}
				plan, err := m.Plans().Module(file, f.downgrade)
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				if !plan.Empty() {
					if err := m.TryFile(ctx, args[0], file); err != nil {
						return fmt.Errorf("%s cannot be used, and nothing was changed: %w", args[0], err)
					}
				}
				return p.change(ctx, m, plan, f)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "let an older version take the place of a newer one")
	return c
}

// pluginStateCommand is one of the commands that take the name of a module.
func (p *program) pluginStateCommand(use, short, long string, plan func(*install.Installer, string) (*install.Plan, error)) *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use: use + " MODULE", Short: short, Long: strings.TrimSpace(long + "\n\n" + takenOver),
		Example: "  fn-threatq plugin " + use + " sync-task",
		Args:    oneArg("the name of a module"),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.moduleNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), f.stateDir, func(ctx context.Context, m *host.Modules) error {
				plan, err := plan(m.Plans(), args[0])
				if err != nil {
					return err
				}
				return p.change(ctx, m, plan, f)
			})
		},
	}
	f.add(c)
	return c
}

func (p *program) pluginStateCommands() []*cobra.Command {
	return []*cobra.Command{
		p.pluginStateCommand("enable", "Let a module take actions again", "Let a module take actions that was disabled.",
			func(in *install.Installer, name string) (*install.Plan, error) { return in.Enable(name, true) }),
		p.pluginStateCommand("disable", "Let a module take no actions",
			"Let a module take no actions. Messages for its rules and functions are answered with an error.",
			func(in *install.Installer, name string) (*install.Plan, error) { return in.Enable(name, false) }),
		p.pluginStateCommand("rollback", "Bring back the version of a module that was in use before",
			"Bring back the version of a module that was in use before. A second rollback undoes the first.",
			(*install.Installer).Rollback),
		p.pluginStateCommand("remove", "Remove a single module",
			"Remove a module that was installed by itself. What was in use before it comes back.",
			(*install.Installer).RemoveModule),
	}
}

func (p *program) pluginListCommand() *cobra.Command {
	var format *outputFormat
	var stateDir string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the installed modules with their states",
		Long: `List the installed modules with their states, in one word each:

  active       in use
  local        in use; neither built in nor from a pack
  outdated     in use; a newer version is at hand
  disabled     takes no actions, because somebody said so
  failed       cannot be used; what is in use instead is told
  tampered     the file is not the one that was installed
  quarantined  put aside for a while, as it kept failing by its own fault

The states are those of the running host; when none runs, those that the next
start finds, before it tries anything. Modules can also be put by hand, as *.wasm
files, into the folder that is named below the list.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withModules(c.Context(), stateDir, func(ctx context.Context, m *host.Modules) error {
				status, running, err := m.Status(ctx)
				if err != nil {
					return err
				}
				if format.json {
					return writeJSON(p.Stdout, status)
				}
				rows := [][]string{{"MODULE", "VERSION", "STATE", "ORIGIN", "HANDLES"}}
				for _, s := range status {
					rows = append(rows, []string{s.Name, cmp.Or(s.Version, "–"), string(s.State), s.Origin, strings.Join(append(s.Rules, s.Functions...), ", ")})
				}
				if err := printTable(p.Stdout, rows); err != nil {
					return err
				}
				for _, s := range status {
					if s.Reason != "" {
						fmt.Fprintf(p.Stdout, "\n%s: %s\n", s.Name, s.Reason)
					}
				}
				who := "as the next host finds it; none is running"
				if running {
					who = "as the running host has it"
				}
				fmt.Fprintf(p.Stdout, "\n%s\nfolder: %s\n", who, m.Folder())
				return nil
			})
		},
	}
	stateDirFlag(c, &stateDir)
	format = outputFlag(c)
	return c
}

func stateDirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "state-dir", "", "the host's state `FOLDER` ("+stateDefault+")")
	_ = c.MarkFlagDirname("state-dir")
}

// stateDefault says which folder is taken when none is named.
const stateDefault = "default: $XDG_STATE_HOME/fn-threatq, else ~/.local/state/fn-threatq, else " + config.ServiceState + " if it is there"

// state is the state folder that a command looks into: the named one, or the default.
func (p *program) state(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	return host.CommandStateDir(p.getenv, p.Root)
}

// options are those of a host as a command looks at it, not as the host itself.
func (p *program) options() host.Options {
	dir, _ := p.state("") // without one the host says what is missing
	return host.Options{StateDir: dir, Redactor: p.redactor}
}

func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("want %s", what)
		}
		return nil
	}
}

// withModules opens the installed modules for a command.
func (p *program) withModules(ctx context.Context, stateDir string, do func(context.Context, *host.Modules) error) (err error) {
	if stateDir, err = p.state(stateDir); err != nil {
		return err
	}
	m, err := host.OpenModules(ctx, "", stateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(context.WithoutCancel(ctx))) }()
	return do(ctx, m)
}

func (p *program) moduleNames(ctx context.Context) (names []string) {
	_ = p.withModules(ctx, "", func(ctx context.Context, m *host.Modules) error {
		status, _, err := m.Status(ctx)
		for _, s := range status {
			names = append(names, s.Name)
		}
		return err
	})
	return names
}

// change shows a plan, asks, and carries it out.
func (p *program) change(ctx context.Context, m *host.Modules, plan *install.Plan, f changeFlags) error {
	if plan.Empty() {
		fmt.Fprintln(p.Stdout, "There is nothing to do.")
		return nil
	}
	printPlan(p.Stdout, plan)
	if f.dryRun {
		fmt.Fprintln(p.Stderr, "Nothing was changed (--dry-run).")
		return nil
	}
	if err := p.ask(ctx, "Do that?", f.yes); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return interrupted()
	}
	if err := m.Do(plan); err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout, "Done.")
	return p.tellHost(ctx, m, plan, cmp.Or(f.back, "`fn-threatq plugin rollback`, or `remove`, takes the change back"))
}

// tellHost has the running host take a change over, and prints what it did.
func (p *program) tellHost(ctx context.Context, m *host.Modules, plan *install.Plan, back string) error {
	told, err := m.Tell(ctx, plan)
	if err != nil {
		return &exit{host.ExitModules, fmt.Errorf("the change is made, but the running host has not taken it over: %w", err)}
	}
	if !told.Running {
		fmt.Fprintln(p.Stdout, "No host is running; the next start uses it.")
		return nil
	}
	for _, text := range told.Done {
		fmt.Fprintf(p.Stdout, "  %s\n", text)
	}
	if len(told.Refused) > 0 {
		return &exit{host.ExitModules, fmt.Errorf("%s (%s)", strings.Join(told.Refused, "; "), back)}
	}
	return nil
}

func printPlan(w io.Writer, plan *install.Plan) {
	for _, s := range plan.Steps {
		switch s.Do {
		case install.Replace:
			fmt.Fprintf(w, "  %-8s %s %s → %s\n", s.Do, s.Module, s.From, s.To)
		default:
			fmt.Fprintf(w, "  %-8s %s %s\n", s.Do, s.Module, cmp.Or(s.To, s.From))
		}
		if len(s.Handles) > 0 {
			fmt.Fprintf(w, "           handles %s\n", plain(strings.Join(s.Handles, ", ")))
		}
	}
	if granted := plan.Granted; !granted.None() {
		fmt.Fprintln(w, "  newly permitted:")
		for _, call := range granted.Calls {
			fmt.Fprintf(w, "    call   %s\n", plain(call))
		}
		for _, action := range granted.Actions {
			fmt.Fprintf(w, "    start  %s\n", plain(action))
		}
		for _, setting := range granted.Settings {
			fmt.Fprintf(w, "    read   %s of [fn_threatq]\n", plain(setting))
		}
	} else if !plan.Permissions.None() {
		fmt.Fprintln(w, "  nothing is newly permitted")
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", plain(warning))
	}
}

// since is a time for a table.
func since(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Local().Format(time.DateTime)
}
