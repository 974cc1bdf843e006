package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fn-threatq/host"
)

var listNouns = []string{"modules", "rules", "functions"}

func (p *program) listCommand() *cobra.Command {
	var format *outputFormat
	c := &cobra.Command{
		Use:   "list [modules|rules|functions]",
		Short: "List what is installed, and which module handles what",
		Long: `List the installed modules, the rules and functions they handle, their versions and
states. It reads the program and the folder of installed modules: no configuration,
no network. What a SOAR server knows of them is told by "fn-threatq selftest", what
the states mean by "fn-threatq plugin list --help".`,
		Example:   "  fn-threatq list\n  fn-threatq list rules\n  fn-threatq list functions -o json",
		ValidArgs: listNouns,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(listNouns, args[0]) {
				return usagef("want one of %s, or nothing for all, and not %q", strings.Join(listNouns, ", "), strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return p.list(append(args, "")[0], format.json)
		},
	}
	format = outputFlag(c)
	return c
}

// list prints one of listNouns, or all of them when noun is empty.
func (p *program) list(noun string, asJSON bool) error {
	all, err := host.ListInstalled(p.options())
	if err != nil {
		return err
	}
	tables := map[string][][]string{"modules": moduleRows(all), "rules": ruleRows(all), "functions": functionRows(all)}
	if asJSON {
		switch noun {
		case "modules":
			all = host.Installed{Modules: all.Modules}
		case "rules":
			all = host.Installed{Rules: all.Rules}
		case "functions":
			all = host.Installed{Functions: all.Functions}
		}
		return writeJSON(p.Stdout, all)
	}
	if noun != "" {
		return printTable(p.Stdout, tables[noun])
	}
	for i, name := range listNouns {
		if i > 0 {
			fmt.Fprintln(p.Stdout)
		}
		if err := printTable(p.Stdout, tables[name]); err != nil {
			return err
		}
	}
	return nil
}

func moduleRows(all host.Installed) [][]string {
	rows := [][]string{{"MODULE", "VERSION", "STATE", "RULES", "FUNCTIONS"}}
	for _, m := range all.Modules {
		rows = append(rows, []string{m.Name, m.Version, string(m.State), strconv.Itoa(len(m.Rules)), strconv.Itoa(len(m.Functions))})
	}
	return rows
}

func ruleRows(all host.Installed) [][]string {
	rows := [][]string{{"RULE", "ON", "INSTALLED AS", "MODULE", "VERSION", "STATE"}}
	for _, r := range all.Rules {
		kind := "menu item"
		if r.Automatic {
			kind = "automatic"
		}
		rows = append(rows, []string{r.Title, r.Object, kind, r.Module, r.Version, string(r.State)})
	}
	return rows
}

func functionRows(all host.Installed) [][]string {
	rows := [][]string{{"FUNCTION", "INPUTS", "MODULE", "VERSION", "STATE"}}
	for _, f := range all.Functions {
		rows = append(rows, []string{f.Name, cmp.Or(strings.Join(f.Inputs, ", "), "–"), f.Module, f.Version, string(f.State)})
	}
	return rows
}
