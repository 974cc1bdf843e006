package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

// messageForms says what MESSAGE is, for the commands that take one.
const messageForms = `MESSAGE is a file, or - for standard input: a message with its headers
({"headers": …, "body": …}), a line of what "queue drain" kept, what
"actions show NUMBER -o json" prints, or the body of a message alone.`

// planFlags are those of the commands that look at a message beforehand.
type planFlags struct {
	offline bool
	rule    string
	format  *outputFormat
}

func (f *planFlags) add(p *program, c *cobra.Command) {
	p.configFlag(c)
	c.Flags().BoolVar(&f.offline, "offline", false, "ask no server, although there is a configuration")
	c.Flags().StringVar(&f.rule, "rule", "", "the display `NAME` of the message's rule, which itself only says its number")
	f.format = outputFlag(c)
}

func (p *program) explainCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:   "explain MESSAGE",
		Short: "Say which rule and module take a message, and why",
		Long: `Say what the host would make of a message, and do nothing of it: which rule or
function it is, how its fields are read, which incident it is about, which module
takes it, and what that module may do.

` + messageForms + `

A message names its rule, and some values, by numbers that only SOAR can resolve. It
is asked when there is a configuration; --offline asks nobody.

Exit code: 0; 1 when no module would take it.`,
		Example: "  fn-threatq explain message.json\n  fn-threatq actions show 7 -o json | fn-threatq explain -\n  fn-threatq explain message.json --offline --rule 'ThreatQ: Sync Incident'",
		Args:    oneArg("the file of a message, or -"),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := p.message(args[0])
			if err != nil {
				return err
			}
			o := host.PlanOptions{Offline: f.offline, Rule: f.rule}
			return p.withPlanner(c.Context(), o, func(ctx context.Context, planner *host.Planner) error {
				x := planner.Explain(ctx, m)
				if f.format.json {
					err = writeJSON(p.Stdout, x)
				} else {
					err = printExplanation(p.Stdout, x)
				}
				if err == nil && x.Problem != "" {
					return &exit{code: host.ExitFailure}
				}
				return err
			})
		},
	}
	f.add(p, c)
	return c
}

// message reads the file of a message; - is standard input.
func (p *program) message(name string) (*host.Message, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(p.Stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	m, err := host.ReadMessage(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// withPlanner opens a planner for one command; without a configuration file it asks
// no server.
func (p *program) withPlanner(ctx context.Context, o host.PlanOptions, do func(context.Context, *host.Planner) error) (err error) {
	c, err := p.load()
	switch {
	case errors.Is(err, config.ErrNoFile) && p.file == "":
		o.Offline = true
	case err != nil:
		return err
	}
	o.Config, o.Redactor = c, p.redactor
	if o.StateDir == "" {
		o.StateDir = p.options().StateDir
	}
	planner, err := host.NewPlanner(ctx, o)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, planner.Close(context.WithoutCancel(ctx))) }()
	return do(ctx, planner)
}

func printExplanation(to io.Writer, x host.Explanation) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		if text := plain(fmt.Sprintf(format, args...)); strings.TrimSpace(text) != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, text)
		}
	}
	switch {
	case x.Kind == "":
	case x.RuleID != 0 && x.Title != "":
		row("rule", "%s (%d, name from %s)", x.Title, x.RuleID, x.NameFrom)
	case x.RuleID != 0:
		row("rule", "number %d", x.RuleID)
	default:
		row(x.Kind, "%s", cmp.Or(x.Title, x.Name, "not named"))
	}
	row("name", "%s", x.Name)
	if a := x.Action; a != nil {
		row("message", "%s", a.ID)
		row("operation", "%s", strings.TrimSpace(a.Operation+" "+a.Object))
		for _, object := range []struct {
			name string
			id   int64
		}{{"incident", a.IncidentID}, {"task", a.TaskID}, {"note", a.NoteID}, {"artifact", a.ArtifactID}, {"attachment", a.AttachmentID}} {
			if object.id != 0 {
				row(object.name, "%d", object.id)
			}
		}
		row("user", "%s", a.User)
	}
	if x.Module == "" {
		row("module", "none")
	} else {
		row("module", "%s %s (%s)%s", x.Module, x.Version, x.Origin, prefixed(", ", string(x.State)))
		row("because", "its manifest lists the %s %s", x.Kind, x.Name)
		row("", "%s", x.Reason)
		row("waits in", "%s", laneText(x))
		row("priority", "%s", choose(x.Urgent, "before automatic actions: somebody waits for it", "as an automatic action"))
		row("merged", "%s", choose(x.Merges, "with others that wait for the same object with the same fields", "no"))
		row("exclusive", "%s", choose(x.Exclusive, "yes: refused while another action of the rule runs", "no"))
		row("shared reads", "%s", choose(x.SharesReads, "it may be given what others of its incident have just read", "no"))
		row("limits", "%d turns, %d calls, %d calls in a turn", x.Limits.Turns, x.Limits.Calls, x.Limits.TurnCalls)
		row("mode", "%s", choose(x.Observe, "observe: nothing is written", "act"))
	}
	row("problem", "%s", prefixed(string(x.Code)+": ", x.Problem))
	if err := w.Flush(); err != nil {
		return err
	}
	if len(x.Fields) > 0 {
		fmt.Fprintln(to, "\nfields")
		rows := [][]string{{"  FIELD", "SENT", "READ AS", "HOW"}}
		for _, f := range x.Fields {
			rows = append(rows, []string{"  " + f.Name, cmp.Or(cutAt(string(f.Sent), 60), "–"), cmp.Or(cutAt(string(f.Value), 60), "–"), f.How})
		}
		if err := printTable(to, rows); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		name  string
		lines []string
	}{{"not read, since the manifest does not name them", x.Unread}, {"may call", x.Permits}, {"may start", x.Starts}, {"is given", settingLines(x.Settings)}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(to, "\n%s\n", part.name)
			for _, line := range part.lines {
				fmt.Fprintln(to, "  "+plain(line))
			}
		}
	}
	return nil
}

func laneText(x host.Explanation) string {
	kind, id, _ := strings.Cut(x.Lane, ":")
	text := "a lane of its own"
	if kind == "incident" {
		text = "the lane of incident " + id + ", one action at a time"
	}
	if x.NoLane {
		text += "; it leaves it, since it only starts other actions"
	}
	return text
}

func settingLines(settings map[string]string) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		lines = append(lines, name+" = "+settings[name])
	}
	return lines
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
