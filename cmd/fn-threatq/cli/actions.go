package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fn-threatq/host"
)

// actionFlags are the flags of the commands about dead letters.
type actionFlags struct {
	stateDir, output string

	// What letters are meant.
	rule, code string
	incident   int64
	since      time.Duration
	all, yes   bool
}

func (p *program) actionsCommand() *cobra.Command {
	var f actionFlags
	c := group("actions", "Look at actions that finally failed, and do them again",
		p.actionsListCommand(&f), p.actionsShowCommand(&f), p.actionsRetryCommand(&f), p.actionsDiscardCommand(&f))
	c.Long = `Look at actions that finally failed, and do them again.

An action is kept as a dead letter when the host gave it up, when its rule says
that it may succeed later, or when it failed for a reason that is not the user's
own; a message that could not be read is kept too. Its user has been told of the
failure. The commands work while the host runs, and when it is stopped.`
	c.PersistentFlags().StringVar(&f.stateDir, "state-dir", "", "the host's state `FOLDER` ("+stateDefault+")")
	_ = c.MarkPersistentFlagDirname("state-dir")
	return c
}

func (p *program) actionsListCommand(f *actionFlags) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the actions that finally failed, the oldest first", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		return p.withActions(f, func(a host.Actions) error {
			letters, err := f.chosen(a)
			if err != nil {
				return err
			}
			if f.output == "json" {
				return p.printJSON(nonNil(letters))
			}
			return p.listLetters(letters)
		})
	}}
	f.filters(c)
	f.format(c)
	return c
}

func (p *program) actionsShowCommand(f *actionFlags) *cobra.Command {
	c := &cobra.Command{Use: "show NUMBER", Short: "Show one: the message and the calls that were made", Args: someLetters(false), RunE: func(_ *cobra.Command, args []string) error {
		return p.withActions(f, func(a host.Actions) error {
			numbers, err := f.numbers(a, args)
			if err != nil {
				return err
			}
			letter, err := a.Letter(numbers[0])
			if err != nil {
				return err
			}
			if f.output == "json" {
				return p.printJSON(shown(letter))
			}
			return p.showLetter(letter)
		})
	}}
	f.format(c)
	return c
}

func (p *program) actionsRetryCommand(f *actionFlags) *cobra.Command {
	c := &cobra.Command{Use: "retry NUMBER...", Short: "Do actions again and say how they end", Args: someLetters(true),
		Long: `Do actions again and say how they end.

SOAR is not told: the action has been answered. What succeeds is no dead letter
any more. When no host runs, the next one does it as it starts.`,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withActions(f, func(a host.Actions) error { return p.retryLetters(c.Context(), f, a, args) })
		}}
	f.filters(c)
	c.Flags().BoolVar(&f.all, "all", false, "all that the filters leave, instead of numbers")
	return c
}

func (p *program) actionsDiscardCommand(f *actionFlags) *cobra.Command {
	c := &cobra.Command{Use: "discard NUMBER...", Short: "Forget actions that finally failed", Args: someLetters(true), RunE: func(_ *cobra.Command, args []string) error {
		return p.withActions(f, func(a host.Actions) error {
			numbers, err := f.numbers(a, args)
			if err != nil {
				return err
			}
			if f.all && !f.yes {
				return &exit{code: host.ExitDeclined, err: fmt.Errorf("%d would be forgotten for good: add --yes", len(numbers))}
			}
			for _, n := range numbers {
				if err := a.Discard(n); err != nil {
					return err
				}
				fmt.Fprintf(p.Stdout, "%d discarded\n", n)
			}
			return nil
		})
	}}
	f.filters(c)
	c.Flags().BoolVar(&f.all, "all", false, "all that the filters leave, instead of numbers")
	c.Flags().BoolVar(&f.yes, "yes", false, "with --all: do not ask")
	return c
}

func (f *actionFlags) filters(c *cobra.Command) {
	c.Flags().StringVar(&f.rule, "rule", "", "those of rules and functions with this `TEXT` in their name")
	c.Flags().Int64Var(&f.incident, "incident", 0, "those of the incident with this `ID`")
	c.Flags().StringVar(&f.code, "code", "", "those that failed with this `CODE`, such as unreachable")
	c.Flags().DurationVar(&f.since, "since", 0, "those of the last `TIME`, such as 12h")
}

func (f *actionFlags) format(c *cobra.Command) {
	c.Flags().StringVarP(&f.output, "output", "o", "human", "human or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"human", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// someLetters takes numbers of letters; with --all, none.
func someLetters(many bool) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		all := false
		if many {
			all, _ = c.Flags().GetBool("all")
		}
		switch {
		case all && len(args) > 0:
			return usagef("numbers and --all exclude each other")
		case !all && len(args) == 0:
			return usagef("want the number of an action; `fn-threatq actions list` shows them")
		case !many && len(args) > 1:
			return usagef("unexpected argument %q", args[1])
		}
		return nil
	}
}

// withActions opens the dead letters for one command.
func (p *program) withActions(f *actionFlags, do func(host.Actions) error) (err error) {
	if f.output != "" && f.output != "human" && f.output != "json" {
		return usagef("--output %q is neither human nor json", f.output)
	}
	dir, err := p.state(f.stateDir)
	if err != nil {
		return err
	}
	actions, err := host.OpenActions(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, actions.Close()) }()
	return do(actions)
}

func (p *program) getenv(name string) string {
	for i := len(p.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(p.Environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// chosen are the letters that the filters leave.
func (f *actionFlags) chosen(a host.Actions) ([]host.DeadLetter, error) {
	all, err := a.Letters()
	if err != nil {
		return nil, err
	}
	var left []host.DeadLetter
	for _, l := range all {
		switch {
		case f.rule != "" && !strings.Contains(strings.ToLower(l.Title), strings.ToLower(f.rule)),
			f.incident != 0 && l.Incident != f.incident,
			f.code != "" && l.Code != f.code,
			f.since != 0 && time.Since(l.Kept) > f.since:
			continue
		}
		left = append(left, l)
	}
	return left, nil
}

// numbers are the letters that are meant, by number or by message id.
func (f *actionFlags) numbers(a host.Actions, args []string) ([]uint64, error) {
	letters, err := f.chosen(a)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	if f.all {
		for _, l := range letters {
			numbers = append(numbers, l.Number)
		}
		return numbers, nil
	}
	for _, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		found := false
		for _, l := range letters {
			if err == nil && l.Number == n || l.MessageID == arg {
				numbers, found = append(numbers, l.Number), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no dead letter %q; `fn-threatq actions list` shows those there are", arg)
		}
	}
	return numbers, nil
}

func (p *program) retryLetters(ctx context.Context, f *actionFlags, a host.Actions, args []string) error {
	numbers, err := f.numbers(a, args)
	if err != nil {
		return err
	}
	failed := 0
	for _, n := range numbers {
		ended, err := a.Retry(ctx, n)
		switch {
		case err != nil:
			failed++
			fmt.Fprintf(p.Stdout, "%d not tried: %s\n", n, err)
		case ended.Later:
			fmt.Fprintf(p.Stdout, "%d later: %s\n", n, ended.Message)
		case ended.Success:
			fmt.Fprintf(p.Stdout, "%d done: %s\n", n, squeezed(ended.Message))
		case !ended.Kept:
			fmt.Fprintf(p.Stdout, "%d ended: %s\n", n, squeezed(ended.Message))
		default:
			failed++
			fmt.Fprintf(p.Stdout, "%d failed again: %s\n", n, squeezed(ended.Message))
		}
		if ctx.Err() != nil {
			return &exit{code: host.ExitInterrupted}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d did not succeed", failed, len(numbers))
	}
	return nil
}

func (p *program) listLetters(letters []host.DeadLetter) error {
	if len(letters) == 0 {
		fmt.Fprintln(p.Stderr, "no action has finally failed")
		return nil
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tKEPT\tRULE OR FUNCTION\tINCIDENT\tTRIES\tCODE\tREASON")
	for _, l := range letters {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", l.Number, l.Kept.Local().Format(time.DateTime), titleOf(l), incidentOf(l), l.Tries, l.Code, cutAt(squeezed(l.Reason), 80))
	}
	return w.Flush()
}

func (p *program) showLetter(l host.DeadLetter) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("number", strconv.FormatUint(l.Number, 10))
	row("message", l.MessageID)
	row(cmp.Or(l.Kind, "rule"), titleOf(l))
	row("module", l.Module)
	row("incident", incidentOf(l))
	row("sent", moment(l.Sent))
	row("kept", moment(l.Kept))
	row("tries", strconv.Itoa(l.Tries))
	row("code", l.Code)
	row("reason", squeezed(l.Reason))
	row("served too", strings.Join(l.Served, " "))
	if err := w.Flush(); err != nil {
		return err
	}
	if l.Left > 0 {
		fmt.Fprintf(p.Stdout, "\n(%d calls before these)\n", l.Left)
	}
	for _, c := range l.Calls {
		query := ""
		if c.Query != "" {
			query = "?" + c.Query
		}
		fmt.Fprintf(p.Stdout, "\n%s %s %s%s\n", c.Service, c.Method, c.Path, query)
		if c.Body != "" {
			fmt.Fprintf(p.Stdout, "  %s\n", squeezed(c.Body))
		}
		fmt.Fprintf(p.Stdout, "  → %s\n", strings.TrimSpace(fmt.Sprintf("%d %s %s", c.Status, c.Code, squeezed(c.Error))))
	}
	fmt.Fprintf(p.Stdout, "\n%s\n", oneLine(string(l.Body)))
	return nil
}

// shown is a letter with its body as text, which is what it is but for a fault.
func shown(l host.DeadLetter) any {
	body := string(l.Body)
	l.Body = nil
	return struct {
		host.DeadLetter
		Body string `json:"body"`
	}{l, body}
}

func (p *program) printJSON(value any) error {
	e := json.NewEncoder(p.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

func nonNil(letters []host.DeadLetter) []any {
	out := []any{}
	for _, l := range letters {
		out = append(out, shown(l))
	}
	return out
}

func titleOf(l host.DeadLetter) string {
	if l.Unreadable {
		return "(unreadable)"
	}
	return cmp.Or(squeezed(l.Title), "(unknown)")
}

func incidentOf(l host.DeadLetter) string {
	if l.Incident == 0 {
		return ""
	}
	return strconv.FormatInt(l.Incident, 10)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// squeezed is a text of others on one line of a terminal.
func squeezed(text string) string { return strings.Join(strings.Fields(oneLine(text)), " ") }

func cutAt(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
