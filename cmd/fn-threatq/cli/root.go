// Package cli is the command line of fn-threatq, one file for each noun.
//
// What a program would read goes to stdout; what a person or a log collector
// reads goes to stderr. A command that fails says so in one line, beginning with
// the command, and ends with an exit code of package host. A usage error is one
// of the command line itself: it ends with host.ExitUsage and names --help.
package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fn-threatq/host"
	"fn-threatq/host/config"
	"fn-threatq/host/secret"
)

// Streams are what a process is given besides its arguments.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Environ is in the form of os.Environ.
	Environ []string
	// Root is the folder below which the installed service has its files; empty: /. It
	// is for tests.
	Root string
	// Terminal says that a person sits before Stdin and can be asked.
	Terminal bool
}

// System are the streams of this process.
func System() Streams {
	return Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Terminal: term.IsTerminal(int(os.Stdin.Fd()))}
}

// program is what the commands share.
type program struct {
	Streams
	// file and settings are the flags --config and --set of the commands that read the configuration.
	file     string
	settings []string
	// answers are the lines of Stdin, once a question was asked.
	answers *bufio.Reader
	// redactor knows the secrets of the configuration once it is read.
	redactor *secret.Redactor
}

// Run is the program; it returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	p := &program{Streams: s, redactor: secret.NewRedactor()}
	root := p.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return host.ExitOK
	}
	var ended *exit
	if errors.As(err, &ended) {
		if ended.err != nil {
			p.complain(command, ended.err)
		}
		return ended.code
	}
	p.complain(command, err)
	var wrong *usageError
	if errors.As(err, &wrong) || command == root {
		fmt.Fprintf(p.Stderr, "Run '%s --help' for how it is used.\n", command.CommandPath())
		return host.ExitUsage
	}
	return host.ExitCode(err)
}

func (p *program) complain(command *cobra.Command, err error) {
	var mistakes *config.Error
	if errors.As(err, &mistakes) {
		p.report(command, mistakes)
		return
	}
	fmt.Fprintf(p.Stderr, "%s: %s\n", command.CommandPath(), plainLines(p.redactor.Redact(err.Error())))
}

// exit ends a command with a code of its own. Without an error nothing is
// printed: the command has said what there is to say.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// Root is the whole command line, for its documentation.
func Root() *cobra.Command { return (&program{}).root() }

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "fn-threatq",
		Short: "The bridge between IBM SOAR (Resilient) and ThreatQ",
		Long: `The bridge between IBM SOAR (Resilient) and ThreatQ.

The configuration is the app.config of resilient-circuits: the file of --config,
else $APP_CONFIG_FILE, else ./app.config, else ~/.resilient/app.config, else that of
the installed service, ` + config.ServiceFile + `.`,
		Version:       host.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Cobra would run it without a command and say nothing.
		RunE: func(*cobra.Command, []string) error {
			return usagef("a command is missing")
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", args[0])
			}
			return nil
		},
	}
	root.SetVersionTemplate("fn-threatq {{.Version}}\n")
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		p.runCommand(),
		p.configCommand(),
		p.customizeCommand(),
		p.serviceCommand(),
		p.pluginCommand(),
		p.selftestCommand(),
		p.statusCommand(),
		p.listCommand(),
		p.queueCommand(),
		p.packCommand(),
		p.actionsCommand(),
		p.explainCommand(),
		p.simulateCommand(),
		p.historyCommand(),
		p.replayCommand(),
		p.versionCommand(),
	)
	return root
}

// group is a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, args []string) error {
		names := make([]string, len(commands))
		for i, command := range commands {
			names[i] = command.Name()
		}
		if len(args) > 0 {
			return usagef("there is no command %q; there is %s", args[0], strings.Join(names, ", "))
		}
		return usagef("want one of %s", strings.Join(names, ", "))
	}}
	c.AddCommand(commands...)
	return c
}

// noArgs takes no arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// configFlag gives a command that reads the configuration its flags.
func (p *program) configFlag(c *cobra.Command) {
	p.fileFlag(c)
	c.Flags().StringArrayVar(&p.settings, "set", nil, "`SECTION.KEY=VALUE`, which wins over file and environment, such as resilient.loglevel=DEBUG; may be repeated")
	_ = c.RegisterFlagCompletionFunc("set", completeSetting)
}

func (p *program) fileFlag(c *cobra.Command) {
	c.Flags().StringVar(&p.file, "config", "", "the configuration `FILE`")
	c.Flags().StringVar(&p.file, "config-file", "", "as --config")
	// It is the name that resilient-circuits has for it.
	_ = c.Flags().MarkHidden("config-file")
	_ = c.MarkFlagFilename("config")
}

// load reads the configuration; from then on its secrets are masked in errors.
func (p *program) load() (*config.Config, error) { return p.loadAs(config.Options{}) }

func (p *program) loadAs(o config.Options) (*config.Config, error) {
	overrides, err := p.overrides()
	if err != nil {
		return nil, err
	}
	o.Path, o.Environ, o.Overrides, o.Root = p.file, p.Environ, overrides, p.Root
	c, err := config.Load(o)
	if err == nil {
		p.redactor.Add(c.Secrets()...)
	}
	return c, err
}

// overrides reads the flags --set.
func (p *program) overrides() (map[string]string, error) {
	overrides := make(map[string]string)
	for _, setting := range p.settings {
		id, text, found := strings.Cut(setting, "=")
		section, key, dotted := strings.Cut(id, ".")
		if !found || !dotted {
			return nil, usagef("--set wants SECTION.KEY=VALUE, such as resilient.loglevel=DEBUG")
		}
		if field, _ := config.Lookup(section, key); field.Kind == config.KindSecret && text != "" && !secret.IsReference(text) {
			return nil, usagef("--set %s: every user of this machine can read the command line; write a reference such as %s='$NAME'", id, id)
		}
		overrides[id] = text
	}
	return overrides, nil
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, Run: func(*cobra.Command, []string) {
		fmt.Fprintln(p.Stdout, "fn-threatq", host.Version)
	}}
}
