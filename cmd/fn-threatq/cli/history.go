package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fn-threatq/host/dialogue"
	"fn-threatq/host/history"
	"fn-threatq/host/scenario"
)

// historyFlags say which recorded dialogues are meant.
type historyFlags struct {
	stateDir     string
	rule, module string
	incident     int64
	since        time.Duration
}

func (f *historyFlags) filters(c *cobra.Command) {
	c.Flags().StringVar(&f.rule, "rule", "", "those of rules and functions with this `TEXT` in their name")
	c.Flags().StringVar(&f.module, "module", "", "those of the module of this `NAME`")
	c.Flags().Int64Var(&f.incident, "incident", 0, "those of the incident with this `ID`")
	c.Flags().DurationVar(&f.since, "since", 0, "those of the last `TIME`, such as 12h")
}

func (f *historyFlags) fits(e history.Entry) bool {
	text := strings.ToLower(f.rule)
	return (strings.Contains(strings.ToLower(e.Title), text) || strings.Contains(e.Name, text)) &&
		(f.module == "" || e.Module == f.module) && (f.incident == 0 || e.Incident == f.incident) && (f.since == 0 || time.Since(e.Began) <= f.since)
}

// history opens the recorded dialogues of a state folder.
func (p *program) history(stateDir string) (*history.History, error) {
	stateDir, err := p.state(stateDir)
	if err != nil {
		return nil, err
	}
	return history.Open(filepath.Join(stateDir, history.Folder)), nil
}

func (p *program) historyCommand() *cobra.Command {
	c := group("history", "Look at what actions asked and were told", p.historyListCommand(), p.historyShowCommand(), p.historyScenarioCommand())
	c.Long = `Look at what actions asked and were told: each call, its answer, and the reply.

It is kept with record=true in [fn_threatq], without the secrets that the host
knows, for record_days and in record_mb. The commands work while the host runs, and
when it is stopped.`
	return c
}

func (p *program) historyListCommand() *cobra.Command {
	var f historyFlags
	var format *outputFormat
	c := &cobra.Command{
		Use: "list", Short: "List the recorded actions, the oldest first", Args: noArgs,
		Example: "  fn-threatq history list --rule 'sync incident' --since 2h",
		RunE: func(*cobra.Command, []string) error {
			h, err := p.history(f.stateDir)
			if err != nil {
				return err
			}
			all, err := h.List()
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(e history.Entry) bool { return !f.fits(e) })
			if format.json {
				return writeJSON(p.Stdout, append([]history.Entry{}, all...))
			}
			if len(all) == 0 {
				fmt.Fprintln(p.Stderr, "nothing is recorded that fits; record=true in [fn_threatq] records")
				return nil
			}
			rows := [][]string{{"BEGAN", "RULE OR FUNCTION", "INCIDENT", "MODULE", "TURNS", "CALLS", "OUTCOME", "ACTION"}}
			for _, e := range all {
				outcome := e.Outcome
				if e.Observed {
					outcome += " (observed)"
				}
				incident := "–"
				if e.Incident != 0 {
					incident = strconv.FormatInt(e.Incident, 10)
				}
				rows = append(rows, []string{when(e.Began), cmp.Or(e.Title, e.Name), incident, e.Module + " " + e.Version, strconv.Itoa(e.Turns), strconv.Itoa(e.Calls), outcome, e.ID})
			}
			return printTable(p.Stdout, rows)
		},
	}
	stateDirFlag(c, &f.stateDir)
	f.filters(c)
	format = outputFlag(c)
	return c
}

func (p *program) historyShowCommand() *cobra.Command {
	var stateDir string
	var whole bool
	var format *outputFormat
	c := &cobra.Command{
		Use: "show ID", Short: "Show what one action asked and was told", Args: oneArg("the id of an action; `fn-threatq history list` shows them"),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := p.recorded(stateDir, args[0])
			if err != nil {
				return err
			}
			if format.json {
				return writeJSON(p.Stdout, d)
			}
			return p.showDialogue(d, false, whole)
		},
	}
	stateDirFlag(c, &stateDir)
	wholeFlag(c, &whole)
	format = outputFlag(c)
	return c
}

func wholeFlag(c *cobra.Command, whole *bool) {
	c.Flags().BoolVarP(whole, "verbose", "v", false, "show long answers whole")
}

func (p *program) recorded(stateDir, id string) (*dialogue.Dialogue, error) {
	h, err := p.history(stateDir)
	if err != nil {
		return nil, err
	}
	entry, err := h.Find(id)
	if err != nil {
		return nil, err
	}
	return h.Read(entry)
}

func (p *program) historyScenarioCommand() *cobra.Command {
	var stateDir, title string
	c := &cobra.Command{
		Use: "to-scenario ID", Short: "Write a scenario file of a recorded action",
		Long: `Write a scenario of a recorded action to standard output, for "plugin test". It is
played to the installed module first; on standard error is said when that does not
do the same any more. Secrets stay masked, each in the same way everywhere. Names
and values of people are in it as they were recorded: look before you share it.`,
		Example: "  fn-threatq history to-scenario ID:soar-1:2:3 > plugins/sync-task/scenarios/closed-twice.txtar",
		Args:    oneArg("the id of an action; `fn-threatq history list` shows them"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := p.recorded(stateDir, args[0])
			if err != nil {
				return err
			}
			return p.withPlayer(c.Context(), stateDir, d.Module, "", func(ctx context.Context, player *scenario.Player) error {
				text, err := scenario.Story(d, cmp.Or(title, "Recorded: "+d.Action.Title+" "+d.ID), player.Manifest())
				if err != nil {
					return err
				}
				if _, err := p.Stdout.Write(text); err != nil {
					return err
				}
				if err := player.Passes(ctx, text); err != nil {
					fmt.Fprintf(p.Stderr, "the installed module %s %s does not do the same: %s\n", d.Module, player.Manifest().Version, err)
				}
				return nil
			})
		},
	}
	stateDirFlag(c, &stateDir)
	c.Flags().StringVar(&title, "title", "", "the first line of the file: one sentence that says what the story shows")
	return c
}

// answerLines is how much is shown of an answer that is not asked for whole.
const answerLines = 8

// showDialogue prints a dialogue as a scenario has it.
func (p *program) showDialogue(d *dialogue.Dialogue, simulated, whole bool) error {
	about := fmt.Sprintf("%s, %s %s", cmp.Or(d.Action.Title, d.Action.Name), d.Module, d.Version)
	if d.Action.IncidentID != 0 {
		about += fmt.Sprintf(", incident %d", d.Action.IncidentID)
	}
	switch {
	case d.Parent() != "":
		about += ", started by " + d.Parent()
	case simulated:
		about += " (simulated: writes were not made, and are answered by stand-ins)"
	case d.Observed:
		about += " (observed: writes were not made, and are answered by stand-ins)"
	}
	most := answerLines
	if whole {
		most = 0
	}
	text, err := scenario.Spoken(d, most)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "# %s\n# %s\n%s", plain(d.ID), plain(about), text)
	if d.Cut {
		fmt.Fprintln(p.Stdout, "# the answers of the last turns were too long to be recorded")
	}
	return nil
}
