package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/provision"
)

// customizeFlags are the flags of `customize`.
type customizeFlags struct {
	yes, dryRun, resetRules, clean bool
	export                         string
	only                           []string
	format                         *outputFormat
	// packages is -l of resilient-circuits.
	packages []string
}

func (p *program) customizeCommand() *cobra.Command {
	var f customizeFlags
	c := &cobra.Command{
		Use:   "customize",
		Short: "Put rules, functions, fields and the message destination into SOAR",
		Long: `Put into the SOAR organization what the installed modules need: rules, functions,
their fields, the message destination fn_threatq, and this account on the list of
those who may subscribe to it.

The plan is shown first, then one question is asked. The states of a plan are

  new          SOAR does not have it
  changed      something is added or brought up to date, nothing is lost
  overwritten  something that is there is replaced
  same         nothing to do
  kept         an administrator has made something else of the rule: switched off,
               turned into a menu item, other conditions; --reset-rules undoes it
  deprecated   left by a version before 1.1.0; --clean removes it
  conflict     SOAR would refuse it; nothing is written until it is settled

It can be repeated at any time: what is as it should be is not written again, and
what an interrupted run left undone is done. Nothing is ever deleted but by --clean.`,
		Example: `  fn-threatq customize --dry-run
  fn-threatq customize
  fn-threatq customize --yes -o json
  fn-threatq customize --only sync-task --only set-task-status
  fn-threatq customize --export fn_threatq.resz
  fn-threatq customize --clean`,
		Args: func(_ *cobra.Command, args []string) error {
			if f.packages != nil { // -l takes several names
				return nil
			}
			return noArgs(nil, args)
		},
		RunE: func(c *cobra.Command, _ []string) error { return p.customize(c.Context(), f) },
	}
	p.configFlag(c)
	flags := c.Flags()
	flags.BoolVarP(&f.yes, "yes", "y", false, "ask nothing")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the plan and change nothing")
	flags.StringVar(&f.export, "export", "", "write the document that an administrator can import by hand into `FILE` (.resz or .zip: packed; -: stdout), without a configuration or a SOAR")
	flags.StringArrayVar(&f.only, "only", nil, "only what `MODULE` needs; may be repeated")
	flags.BoolVar(&f.resetRules, "reset-rules", false, "write also rules that an administrator has changed")
	flags.BoolVar(&f.clean, "clean", false, "remove what versions 1.0.0 and 1.0.x have left")
	flags.StringArrayVarP(&f.packages, "packages", "l", nil, "as resilient-circuits has it; without effect")
	_ = flags.MarkHidden("packages")
	_ = c.MarkFlagFilename("export", "res", "resz", "zip")
	_ = c.RegisterFlagCompletionFunc("only", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		document, err := host.CustomizationDocument(p.options(), nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return document.Modules(), cobra.ShellCompDirectiveNoFileComp
	})
	f.format = outputFlag(c)
	return c
}

func (p *program) customize(ctx context.Context, f customizeFlags) error {
	if f.packages != nil {
		p.tell("-l has no effect: there is one package here; --only chooses modules")
	}
	switch {
	case f.clean && (f.export != "" || f.only != nil || f.resetRules):
		return usagef("--clean does not go together with --export, --only or --reset-rules")
	case f.export != "" && (f.dryRun || f.resetRules || f.format.json):
		return usagef("--export writes a file and no plan: it does not go together with --dry-run, --reset-rules or -o json")
	case f.export != "":
		return p.exportDocument(ctx, f)
	}
	c, err := p.load()
	if err != nil {
		return err
	}
	o := p.options()
	o.Config = c
	customizer, err := host.NewCustomizer(o, f.only)
	if err != nil {
		return asUsage(err)
	}
	// The session is closed also when Ctrl-C has ended everything else.
	defer func() { _ = customizer.Close(context.WithoutCancel(ctx)) }()
	there, err := customizer.Read(ctx)
	if err != nil {
		return unlessInterrupted(ctx, err, "nothing was changed")
	}
	if f.clean {
		return p.clean(ctx, customizer, there, f)
	}
	plan := customizer.Plan(there, provision.Options{ResetRules: f.resetRules})
	if err := p.showPlan(plan, there, f.format.json); err != nil {
		return err
	}
	if err := plan.Conflicts(); err != nil {
		return err
	}
	if !plan.Writes() {
		p.tell("nothing to do: SOAR has all that is needed")
		return nil
	}
	if f.dryRun {
		return nil
	}
	if err := p.ask(ctx, fmt.Sprintf("Install this in the organization %s?", oneLine(there.Org)), f.yes); err != nil {
		return err
	}
	err = customizer.Apply(ctx, plan, there, func(warnings []string) error {
		for _, w := range warnings {
			p.tell("SOAR warns: " + w)
		}
		return p.ask(ctx, "Install it all the same?", f.yes)
	})
	if err != nil {
		return unlessInterrupted(ctx, err, "run it again: it goes on where this one stopped")
	}
	p.tell(fmt.Sprintf("done and looked at again: %d new, %d changed, %d overwritten",
		plan.Count(provision.New), plan.Count(provision.Changed), plan.Count(provision.Overwritten)))
	return nil
}

// clean removes what former versions have left.
func (p *program) clean(ctx context.Context, customizer *host.Customizer, there *provision.Server, f customizeFlags) error {
	former := customizer.Former(there)
	if err := p.showFormer(former, there, f.format.json); err != nil {
		return err
	}
	if len(former) == 0 {
		p.tell("nothing to do: no version before 1.1.0 has left anything")
		return nil
	}
	if f.dryRun {
		return nil
	}
	question := fmt.Sprintf("Delete %s from the organization %s?", countFormer(former), oneLine(there.Org))
	if err := p.ask(ctx, question, f.yes); err != nil {
		return err
	}
	deleted := 0
	err := customizer.Remove(ctx, there, former, func(f provision.Former, kept error) {
		if kept != nil {
			p.tell(fmt.Sprintf("left: the %s: %s", f, kept))
			return
		}
		deleted++
		p.tell("deleted: the " + f.String())
	})
	if err != nil {
		return unlessInterrupted(ctx, err, "run it again: it goes on where this one stopped")
	}
	p.tell(fmt.Sprintf("done: %d deleted; now run \"fn-threatq customize\"", deleted))
	return nil
}

func countFormer(former []provision.Former) string {
	rules := 0
	for _, f := range former {
		if f.Kind == provision.KindRule {
			rules++
		}
	}
	var parts []string
	if rules > 0 {
		parts = append(parts, plural(rules, "rule"))
	}
	if n := len(former) - rules; n > 0 {
		parts = append(parts, plural(n, "function"))
	}
	return strings.Join(parts, " and ")
}

// tell says something to the person, with the secrets masked.
func (p *program) tell(text string) {
	fmt.Fprintf(p.Stderr, "fn-threatq customize: %s\n", p.redactor.Redact(oneLine(text)))
}

// unlessInterrupted replaces the error of what Ctrl-C has ended.
func unlessInterrupted(ctx context.Context, err error, advice string) error {
	var ended *exit
	if ctx.Err() == nil || errors.As(err, &ended) {
		return err
	}
	return &exit{host.ExitInterrupted, errors.New("interrupted: " + advice)}
}

// asUsage makes a mistake on the command line of a module that there is not.
func asUsage(err error) error {
	var unknown *provision.UnknownModuleError
	if errors.As(err, &unknown) {
		return usagef("--only: %w", err)
	}
	return err
}
