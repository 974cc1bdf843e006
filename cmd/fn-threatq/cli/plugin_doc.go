package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"fn-threatq/host/author"
)

func (p *program) pluginDocCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doc PATH…",
		Short: "Print the reference of a module in Markdown",
		Long: `Print the reference of a module in Markdown: its rules and functions with their
fields, the calls that it may make, and what its scenarios show. PATH is a module
file or a plugin's folder.`,
		Example: "  fn-threatq plugin doc look-up\n  fn-threatq plugin doc look-up/look-up.wasm > reference.md",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("want a PATH: a module or a plugin's folder")
			}
			for _, path := range args {
				text, err := author.Reference(path)
				if err != nil {
					return err
				}
				fmt.Fprint(p.Stdout, text)
			}
			return nil
		},
	}
}
