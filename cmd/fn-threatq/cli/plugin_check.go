package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fn-threatq/host/author"
)

func (p *program) pluginCheckCommand() *cobra.Command {
	var o author.CheckOptions
	verbose := false
	c := &cobra.Command{
		Use:   "check MODULE…",
		Short: "Hold modules of any language against the contract (the conformance kit)",
		Long: `Hold modules of any language against the contract of abi/README.md: that each loads,
answers every action of its manifest and of its scenarios in good and in bad
weather, the same way each time, with nothing that its manifest does not permit.
The scenarios are those in the folder scenarios beside the module; only their
actions are used. What a rule is for is not looked at: see plugin test.

Exit code: 0, 1 (a module fails), 2 (one could not be checked).`,
		Example: "  fn-threatq plugin check look-up/look-up.wasm\n  fn-threatq plugin check --verbose tag-event.wasm --scenarios stories",
	}
	format := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("want a MODULE: a *.wasm file")
		}
		reports := []author.CheckReport{}
		failed, unchecked := false, false
		for _, path := range args {
			o.Module = path
			r, err := author.Check(c.Context(), o)
			if err != nil {
				unchecked = true
				fmt.Fprintf(p.Stderr, "%s: %s: %s\n", c.CommandPath(), path, err)
				continue
			}
			reports = append(reports, r)
			failed = failed || r.Failed() > 0
			if !format.json {
				fmt.Fprint(p.Stdout, checkText(r, verbose))
			}
		}
		if format.json {
			if err := writeJSON(p.Stdout, reports); err != nil {
				return err
			}
		}
		switch {
		case unchecked:
			return &exit{code: exitNotRun}
		case failed:
			return &exit{code: exitFailed}
		}
		return nil
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the checks that passed too")
	c.Flags().StringVar(&o.Scenarios, "scenarios", "", "the `DIR` of the module's scenarios")
	_ = c.MarkFlagDirname("scenarios")
	return c
}

// checkText is a report for people: what failed, and a line for the module.
func checkText(r author.CheckReport, verbose bool) string {
	var b strings.Builder
	for _, check := range r.Checks {
		switch {
		case check.Reason != "":
			fmt.Fprintf(&b, "FAIL %s\n     %s\n", check.Name, strings.ReplaceAll(check.Reason, "\n", "\n     "))
		case verbose:
			fmt.Fprintf(&b, "ok   %s\n", check.Name)
		}
	}
	name, word := r.Path, "ok  "
	if r.Module != "" {
		name += " (" + r.Module + " " + r.Version + ")"
	}
	if r.Failed() > 0 {
		word = "FAIL"
	}
	fmt.Fprintf(&b, "%s %s: %d of %d checks passed, with %d actions\n", word, name, len(r.Checks)-r.Failed(), len(r.Checks), r.Subjects)
	return b.String()
}
