package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fn-threatq/host/config"
)

func (p *program) configShow() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "show [KEY...]",
		Short: "Show the effective values and where each comes from",
		Long: `Show the effective values and where each comes from: the file with its line, a
variable of the environment, the command line, or the default. A secret is shown
as ***, a reference to one as it is written.

A KEY is written as SECTION.KEY, or as KEY for those of all sections. Keys without
a value and keys without effect are shown when they are named, or by --all.

A configuration with mistakes is shown as far as it can be read; the mistakes go
to stderr, and the exit code is that of a configuration that cannot be used.`,
		Example: `  fn-threatq config show
  fn-threatq config show fn_threatq.host timeout
  fn-threatq config show -o json | jq -r '.settings[] | select(.origin != "default") | .key'`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var ids []cobra.Completion
			for _, field := range config.Fields() {
				if !slices.Contains(args, field.ID()) {
					ids = append(ids, describe(field, field.ID()))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
	p.configFlag(c)
	c.Flags().BoolVar(&all, "all", false, "also keys without a value and keys without effect")
	format := outputFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error { return p.showConfig(args, all, format) }
	return c
}

// describe is a completion with the meaning of the field.
func describe(field config.Field, text string) cobra.Completion {
	doc := field.Doc
	if field.Ignored != "" {
		doc = "no effect: " + field.Ignored
	}
	return cobra.CompletionWithDesc(text, strings.ReplaceAll(doc, "`", ""))
}

// completeSetting completes SECTION.KEY=VALUE.
func completeSetting(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	id, _, valued := strings.Cut(begun, "=")
	if !valued {
		var ids []cobra.Completion
		for _, field := range config.Fields() {
			if field.Ignored == "" {
				ids = append(ids, describe(field, field.ID()+"="))
			}
		}
		return ids, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	section, key, _ := strings.Cut(id, ".")
	field, _ := config.Lookup(section, key)
	values := field.Choices
	switch field.Kind {
	case config.KindBoolean:
		values = []string{"true", "false"}
	case config.KindPath, config.KindTrust:
		return nil, cobra.ShellCompDirectiveDefault
	}
	var completions []cobra.Completion
	for _, value := range values {
		completions = append(completions, id+"="+value)
	}
	return completions, cobra.ShellCompDirectiveNoFileComp
}

// shownSetting is a setting for programs.
type shownSetting struct {
	Section string `json:"section"`
	Key     string `json:"key"`
	// Value is as it was written; a secret is ***.
	Value string `json:"value"`
	// Origin is default, file, environment or command line; Name is the file, the variable or the key of --set.
	Origin string `json:"origin"`
	Name   string `json:"name,omitempty"`
	Line   int    `json:"line,omitempty"`
	Secret bool   `json:"secret,omitempty"`
	// WithoutEffect says why a key has none.
	WithoutEffect string `json:"without_effect,omitempty"`
}

func (p *program) showConfig(keys []string, all bool, format *outputFormat) error {
	for _, key := range keys {
		if err := knownKey(key); err != nil {
			return err
		}
	}
	c, err := p.loadAs(config.Options{Inspect: true})
	var mistakes *config.Error
	var settings []config.Setting
	switch {
	case err == nil:
		settings = c.Settings
	case errors.As(err, &mistakes) && len(mistakes.Settings) > 0:
		settings = mistakes.Settings
	default:
		return err
	}
	settings = slices.DeleteFunc(slices.Clone(settings), func(s config.Setting) bool {
		if len(keys) > 0 {
			return !slices.Contains(keys, s.Key) && !slices.Contains(keys, s.ID())
		}
		return !all && (s.Text == "" || s.Ignored != "")
	})
	if format.json {
		shown := make([]shownSetting, len(settings))
		for i, s := range settings {
			shown[i] = shownSetting{Section: s.Section, Key: s.Key, Value: s.Text, Origin: string(s.Origin.Kind), Name: s.Origin.Name,
				Line: s.Origin.Line, Secret: s.Kind == config.KindSecret, WithoutEffect: s.Ignored}
		}
		writing := writeJSON(p.Stdout, struct {
			Settings []shownSetting `json:"settings"`
		}{shown})
		return errors.Join(writing, err)
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		text, origin := oneLine(s.Text), s.Origin.String()
		if text == "" {
			text, origin = "–", "not set"
		}
		if s.Ignored != "" {
			origin += ", without effect"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.ID(), text, origin)
	}
	return errors.Join(table.Flush(), err)
}

// knownKey tells of a key that is not there.
func knownKey(key string) error {
	for _, field := range config.Fields() {
		if key == field.Key || key == field.ID() {
			return nil
		}
	}
	if meant := config.Nearest(key); meant != "" {
		return usagef("there is no key %q; did you mean %s?", key, meant)
	}
	return usagef("there is no key %q", key)
}
