package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

func (p *program) configCommand() *cobra.Command {
	c := group("config", "Create, update, check and show the configuration",
		p.configCreate(), p.configUpdate(), p.configCheck(), p.configShow())
	c.Long = `Create, update, check and show the configuration.

The configuration is the app.config of resilient-circuits, with a section
[resilient] for the SOAR server, [fn_threatq] for ThreatQ, and [integrations]
for what all apps share. Sections of other apps are left alone.

For those who come from resilient-circuits, -c and -u are short for create and
update.`
	c.Example = `  fn-threatq config create
  fn-threatq config check
  fn-threatq config show resilient.host
  fn-threatq config -u /etc/fn-threatq/app.config`
	var create, update, yes bool
	c.Flags().BoolVarP(&create, "create", "c", false, "as config create")
	c.Flags().BoolVarP(&update, "update", "u", false, "as config update")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "with -c: overwrite without a question")
	c.MarkFlagsMutuallyExclusive("create", "update")
	p.fileFlag(c)
	listed := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case !create && !update:
			return listed(c, args)
		case len(args) > 1:
			return usagef("unexpected argument %q", args[1])
		case create:
			return p.createConfig(c, args, yes)
		}
		return p.updateConfig(args)
	}
	return c
}

func (p *program) configCreate() *cobra.Command {
	var yes, show bool
	c := &cobra.Command{
		Use:   "create [FILE]",
		Short: "Write a new configuration file",
		Long: `Write a new configuration file with every key, what it means and its default.
Keys that must be filled in stand there without a value.

The file is FILE, else $APP_CONFIG_FILE, else ~/.resilient/app.config. It gets
the mode 0600, and a folder that is missing the mode 0700. An existing file is
overwritten only after a question; to add what it lacks, use update. The file is
written whole or not at all.`,
		Example: `  fn-threatq config create
  fn-threatq config create /etc/fn-threatq/app.config
  fn-threatq config create --print | less`,
		Args: oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			if show {
				_, err := p.Stdout.Write(config.Template())
				return err
			}
			return p.createConfig(c, args, yes)
		},
	}
	p.fileFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "overwrite without a question")
	c.Flags().BoolVar(&show, "print", false, "print the file and write none")
	return c
}

func (p *program) configUpdate() *cobra.Command {
	c := &cobra.Command{
		Use:   "update [FILE]",
		Short: "Add missing sections and keys to a configuration file",
		Long: `Add the sections and keys that a configuration file lacks, each with what it means.
Added keys are commented out with their defaults, but for those that must be
filled in, which stand there without a value. What is there is not changed by a
byte; a key counts as there when it is commented out, so that a second update
changes nothing.

The file is FILE, else $APP_CONFIG_FILE, else ~/.resilient/app.config. It keeps
its mode, its owner and the links that lead to it, and is replaced whole or not
at all.`,
		Example: `  fn-threatq config update
  fn-threatq config update ./app.config`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error { return p.updateConfig(args) },
	}
	p.fileFlag(c)
	return c
}

func (p *program) configCheck() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell of every mistake in the configuration",
		Long: `Tell of every mistake in the configuration, each in one line with file, line, key
and what to write instead, and of what works and deserves a look (warning). No
server is asked; for that there is selftest.

The exit code is 0 without mistakes, 1 with some, and 3 when there is no file
that can be read. Warnings do not count.`,
		Example: `  fn-threatq config check
  fn-threatq config check /etc/fn-threatq/app.config -o json`,
		Args: oneFile,
	}
	p.configFlag(c)
	format := outputFlag(c)
	c.RunE = func(_ *cobra.Command, args []string) error { return p.checkConfig(args, format) }
	return c
}

// oneFile takes at most one argument.
func oneFile(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("unexpected argument %q", args[1])
	}
	return nil
}

// fileArgument takes FILE as it would --config.
func (p *program) fileArgument(args []string) error {
	switch {
	case len(args) == 0:
	case p.file != "":
		return usagef("the file is named twice, by %q and by --config", args[0])
	case args[0] == "":
		return usagef("the name of the file is empty")
	default:
		p.file = args[0]
	}
	return nil
}

// target opens the file that is to be written.
func (p *program) target(args []string) (*config.File, error) {
	if err := p.fileArgument(args); err != nil {
		return nil, err
	}
	path := config.Target(config.Options{Path: p.file, Environ: p.Environ})
	if path == "" {
		return nil, usagef("there is no home directory ($HOME): name the file")
	}
	return config.OpenFile(path)
}

func (p *program) createConfig(c *cobra.Command, args []string, yes bool) error {
	file, err := p.target(args)
	if err != nil {
		return err
	}
	if file.Exists {
		question := fmt.Sprintf("%s exists; update would only add what it lacks. Overwrite it?", file.Path)
		if err := p.ask(c.Context(), question, yes); err != nil {
			return err
		}
	}
	if err := file.Write(config.Template(), false); err != nil {
		return err
	}
	fmt.Fprintf(p.Stderr, "Wrote %s. Fill in the keys without a value, then: fn-threatq config check %s\n", file.Path, file.Path)
	p.noteOther(file)
	return nil
}

func (p *program) updateConfig(args []string) error {
	file, err := p.target(args)
	if err != nil {
		return err
	}
	if !file.Exists {
		return &exit{host.ExitConfig, fmt.Errorf("there is no file %s: make one by fn-threatq config create %s", file.Path, file.Path)}
	}
	text, additions, err := config.Update(file.Path, file.Data)
	if err != nil {
		return err
	}
	if len(additions) == 0 {
		fmt.Fprintf(p.Stderr, "%s has every section and key.\n", file.Path)
	} else {
		if err := file.Write(text, true); err != nil {
			return err
		}
		for _, addition := range additions {
			fmt.Fprintf(p.Stderr, "Added %s.\n", addition)
		}
		fmt.Fprintf(p.Stderr, "Wrote %s. Look at what was added, then: fn-threatq config check %s\n", file.Path, file.Path)
	}
	if problem := file.WideMode(); problem != nil {
		fmt.Fprintln(p.Stderr, "warning:", problem)
	}
	p.noteOther(file)
	return nil
}

// noteOther says when the file that was written is not the one that is read from here.
func (p *program) noteOther(written *config.File) {
	if p.file != "" {
		return
	}
	if other, err := config.OpenFile(config.Located(config.Options{Environ: p.Environ, Root: p.Root})); err == nil && other.Exists {
		a, errA := filepath.Abs(other.Path)
		b, errB := filepath.Abs(written.Path)
		if errA == nil && errB == nil && a != b {
			fmt.Fprintf(p.Stderr, "warning: the other commands read ./%s in this folder, and not this file; name it by --config\n", filepath.Base(other.Path))
		}
	}
}

// finding is a problem for programs.
type finding struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Section string `json:"section,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

func findings(problems []config.Problem) []finding {
	list := make([]finding, len(problems)) // [] and not null
	for i, p := range problems {
		list[i] = finding{p.File, p.Line, p.Section, p.Key, p.Message, p.Advice}
	}
	return list
}

func (p *program) checkConfig(args []string, format *outputFormat) error {
	if err := p.fileArgument(args); err != nil {
		return err
	}
	c, err := p.loadAs(config.Options{Inspect: true})
	var mistakes *config.Error
	switch {
	case err == nil:
		mistakes = &config.Error{Warnings: c.Warnings}
	case !errors.As(err, &mistakes), errors.Is(err, config.ErrNoFile):
		return err
	}
	if format.json {
		err := writeJSON(p.Stdout, struct {
			Mistakes []finding `json:"mistakes"`
			Warnings []finding `json:"warnings"`
		}{findings(mistakes.Problems), findings(mistakes.Warnings)})
		if err != nil {
			return err
		}
	} else {
		listProblems(p.Stdout, "", mistakes)
		fmt.Fprintf(p.Stderr, "%s, %s\n", count(len(mistakes.Problems), "mistake"), count(len(mistakes.Warnings), "warning"))
	}
	if len(mistakes.Problems) > 0 {
		return &exit{code: host.ExitFailure}
	}
	return nil
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// report says why a command cannot work with the configuration.
func (p *program) report(command *cobra.Command, mistakes *config.Error) {
	if len(mistakes.Problems) == 1 && len(mistakes.Warnings) == 0 {
		fmt.Fprintf(p.Stderr, "%s: %s\n", command.CommandPath(), mistakes.Problems[0])
		return
	}
	fmt.Fprintf(p.Stderr, "%s: the configuration has mistakes:\n", command.CommandPath())
	listProblems(p.Stderr, "  ", mistakes)
}

// listProblems prints each problem on a line of its own.
func listProblems(w io.Writer, indent string, problems *config.Error) {
	for _, problem := range problems.Problems {
		fmt.Fprintln(w, indent+oneLine(problem.String()))
	}
	for _, warning := range problems.Warnings {
		fmt.Fprintln(w, indent+"warning: "+oneLine(warning.String()))
	}
}

// oneLine makes blanks of line ends and of what a terminal would act on.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
