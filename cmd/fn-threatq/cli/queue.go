package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/config"
	"fn-threatq/host/queue"
)

func (p *program) queueCommand() *cobra.Command {
	return group("queue", "See what waits in the message destination, and clear it", p.queuePeekCommand(), p.queueDrainCommand())
}

// queueFlags say which messages are meant.
type queueFlags struct {
	match     []string
	olderThan time.Duration
}

func (f *queueFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.match, "match", nil, "only messages of `KEY=VALUE`: rule=NAME or its number, incident=NUMBER, kind=KIND; may be repeated: values of one key are alternatives")
	c.Flags().DurationVar(&f.olderThan, "older-than", 0, "only messages sent longer ago than `TIME`, such as 90m or 2h")
	_ = c.RegisterFlagCompletionFunc("match", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		if !strings.HasPrefix(typed, "kind=") {
			return []string{"rule=", "incident=", "kind="}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		}
		kinds := make([]string, len(queue.Kinds))
		for i, kind := range queue.Kinds {
			kinds[i] = "kind=" + kind
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp
	})
}

func (f *queueFlags) filter() (queue.Filter, error) {
	var before time.Time
	if f.olderThan < 0 {
		return queue.Filter{}, usagef("--older-than %s is negative", f.olderThan)
	}
	if f.olderThan > 0 {
		before = time.Now().Add(-f.olderThan)
	}
	filter, err := queue.NewFilter(f.match, before)
	if err != nil {
		return filter, usagef("--match: %w", err)
	}
	return filter, nil
}

func (p *program) queuePeekCommand() *cobra.Command {
	var flags queueFlags
	var format *outputFormat
	var limit int
	var each bool
	c := &cobra.Command{
		Use:   "peek",
		Short: "Show what waits, by rule and incident, and take nothing",
		Long: `Show what waits in the message destination, by rule and incident. Nothing is taken,
answered or marked, and a running host is not disturbed. Messages that a host works
on are shown too, since they stay in the queue until they are acknowledged.

The times are those of the SOAR server's clock.`,
		Example: "  fn-threatq queue peek\n  fn-threatq queue peek --match incident=2095 --messages\n  fn-threatq queue peek --older-than 2h -o json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := flags.filter()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d is negative", limit)
			}
			return p.peek(c.Context(), filter, limit, each, format.json)
		},
	}
	p.configFlag(c)
	flags.add(c)
	format = outputFlag(c)
	c.Flags().IntVar(&limit, "limit", 0, "look at the first `N` messages of the queue only")
	c.Flags().BoolVar(&each, "messages", false, "show each message too")
	return c
}

func (p *program) peek(ctx context.Context, filter queue.Filter, limit int, each, asJSON bool) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	operator, q, err := p.openQueue(ctx, c)
	if err != nil {
		return err
	}
	defer quit(ctx, operator)
	view, err := p.look(ctx, q, filter, limit)
	switch {
	case err != nil:
		return err
	case asJSON:
		return writeJSON(p.Stdout, view)
	}
	return p.printView(view, each)
}

// openQueue logs in; the operator is to be closed by quit.
func (p *program) openQueue(ctx context.Context, c *config.Config) (*host.Operator, *host.Queue, error) {
	o := p.options()
	o.Config = c
	operator, err := host.NewOperator(o)
	if err != nil {
		return nil, nil, err
	}
	q, err := operator.Queue(ctx)
	if err != nil {
		quit(ctx, operator)
		return nil, nil, stopped(ctx, err)
	}
	return operator, q, nil
}

// quit logs out. That it fails need not worry anybody: sessions end by themselves.
func quit(ctx context.Context, operator *host.Operator) {
	_ = operator.Close(context.WithoutCancel(ctx))
}

// stopped makes Ctrl-C of the error of what it interrupted, when that changes nothing.
func stopped(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return interrupted()
}

// look browses, and tells when the names of rules cannot be read.
func (p *program) look(ctx context.Context, q *host.Queue, filter queue.Filter, limit int) (queue.View, error) {
	view, err := q.Peek(ctx, filter, limit)
	if q.Warning != nil {
		fmt.Fprintf(p.Stderr, "rules are known by their numbers only: %s\n", p.redactor.Redact(q.Warning.Error()))
	}
	return view, stopped(ctx, err)
}

func (p *program) printView(v queue.View, each bool) error {
	which := ""
	if v.Matching != v.Waiting {
		which = fmt.Sprintf(", %d of them match", v.Matching)
	}
	more := ""
	if v.Truncated {
		more = " at least; there are more"
	}
	fmt.Fprintf(p.Stdout, "%s: %s%s%s\n", v.Destination, plural(v.Waiting, "message"), more, which)
	if v.Matching == 0 {
		return nil
	}
	rows := [][]string{{"MESSAGES", "RULE OR FUNCTION", "KIND", "OLDEST", "NEWEST", "INCIDENTS (MESSAGES)"}}
	for _, g := range v.Groups {
		rows = append(rows, []string{strconv.Itoa(g.Messages), g.Title(), g.Kind, when(g.Oldest), when(g.Newest), incidents(g.Incidents)})
	}
	if err := printTable(p.Stdout, rows); err != nil || !each {
		return err
	}
	fmt.Fprintln(p.Stdout)
	rows = [][]string{{"SENT", "INCIDENT", "RULE OR FUNCTION", "BYTES", "REDELIVERED", "MESSAGE"}}
	for _, m := range v.Messages {
		incident, again := "–", "no"
		if m.Incident != 0 {
			incident = strconv.FormatInt(m.Incident, 10)
		}
		if m.Redelivered {
			again = "yes"
		}
		rows = append(rows, []string{when(m.Sent), incident, m.Title(), strconv.Itoa(m.Bytes), again, m.ID})
	}
	return printTable(p.Stdout, rows)
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Local().Format(time.DateTime)
}

// incidents names those with the most messages.
func incidents(all []queue.Incident) string {
	const shown = 5
	var texts []string
	for i, incident := range all {
		if i == shown {
			texts = append(texts, fmt.Sprintf("and %d more", len(all)-shown))
			break
		}
		id := "none"
		if incident.ID != 0 {
			id = strconv.FormatInt(incident.ID, 10)
		}
		texts = append(texts, fmt.Sprintf("%s (%d)", id, incident.Messages))
	}
	return cmp.Or(strings.Join(texts, ", "), "–")
}
