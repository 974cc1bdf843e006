package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// outputFormat is the flag -o of a command whose result people and programs read.
type outputFormat struct{ json bool }

func (f *outputFormat) String() string {
	if f.json {
		return "json"
	}
	return "human"
}

func (f *outputFormat) Set(text string) error {
	if text != "human" && text != "json" {
		return fmt.Errorf("want human or json")
	}
	f.json = text == "json"
	return nil
}

func (*outputFormat) Type() string { return "FORMAT" }

// outputFlag gives a command the flag -o human|json.
func outputFlag(c *cobra.Command) *outputFormat {
	var f outputFormat
	c.Flags().VarP(&f, "output", "o", "human or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"human", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// writeJSON writes a value for a program to read.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
