package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/history"
	"fn-threatq/host/scenario"
)

func (p *program) replayCommand() *cobra.Command {
	var f historyFlags
	var with string
	var format *outputFormat
	c := &cobra.Command{
		Use:   "replay --with MODULE.wasm [ID...]",
		Short: "Play recorded actions to another version of a module, and show what differs",
		Long: `Play recorded actions to another version of a module, and show what differs in calls
and replies: differences of the same kind at the same place are shown together, with
counts. Nothing is performed; calls are answered by what was recorded for the same
service, method, path and query. Where nothing was, it says "diverges": what would
follow is not known.

Without ids it plays all that was recorded of the module, or what the filters leave.

Exit code: 0; 1 when something differs, or could not be played.`,
		Example: "  fn-threatq replay --with ./new.wasm --since 24h\n  fn-threatq replay --with ./new.wasm ID:soar-1:2:3",
		RunE: func(c *cobra.Command, args []string) error {
			if with == "" {
				return usagef("want --with MODULE.wasm")
			}
			h, err := p.history(f.stateDir)
			if err != nil {
				return err
			}
			return p.withPlayer(c.Context(), f.stateDir, "", with, func(ctx context.Context, player *scenario.Player) error {
				entries, err := f.entries(h, player.Manifest().Name, args)
				if err != nil {
					return err
				}
				s := replay(ctx, h, player, entries)
				if ctx.Err() != nil {
					return interrupted()
				}
				if format.json {
					err = writeJSON(p.Stdout, s)
				} else {
					printSummary(p.Stdout, s)
				}
				if err == nil && s.Different+s.Failed > 0 {
					return &exit{code: host.ExitFailure}
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&with, "with", "", "the module `FILE` that is played")
	_ = c.MarkFlagFilename("with", "wasm")
	stateDirFlag(c, &f.stateDir)
	f.filters(c)
	format = outputFlag(c)
	return c
}

// entries are the recorded dialogues that are meant: those of ids, with their
// sub-actions, or all of the module that the filters leave.
func (f *historyFlags) entries(h *history.History, module string, ids []string) ([]history.Entry, error) {
	if f.module == "" {
		f.module = module
	}
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(e history.Entry) bool { return e.ID == id }) {
			return nil, &history.NoDialogueError{ID: id}
		}
	}
	all = slices.DeleteFunc(all, func(e history.Entry) bool {
		return !f.fits(e) || len(ids) > 0 && !slices.Contains(ids, e.ID) && !slices.Contains(ids, e.Parent)
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing is recorded of module %s that fits; `fn-threatq history list` shows what is", f.module)
	}
	return all, nil
}

// replay compares each dialogue with what the player makes of it.
func replay(ctx context.Context, h *history.History, player *scenario.Player, entries []history.Entry) *dialogue.Summary {
	s := &dialogue.Summary{Groups: []*dialogue.Group{}}
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		d, err := h.Read(e)
		if err == nil {
			var r scenario.Replayed
			if r, err = player.Compare(ctx, d); err == nil {
				s.Add(e.ID, r.Differences)
				if r.Short > 0 {
					s.Short++
				}
				continue
			}
		}
		s.Fail(fmt.Errorf("%s: %w", e.ID, err))
	}
	return s
}

// printSummary shows what differs.
func printSummary(w io.Writer, s *dialogue.Summary) {
	fmt.Fprintf(w, "%s compared: %d the same, %d different", plural(s.Compared, "action"), s.Same, s.Different)
	if s.Diverged > 0 {
		fmt.Fprintf(w, ", %d of them not to their end", s.Diverged)
	}
	if s.Short > 0 {
		fmt.Fprintf(w, "; %d as far as they are recorded", s.Short)
	}
	fmt.Fprintln(w)
	if s.Failed > 0 {
		fmt.Fprintf(w, "%d could not be played, the first: %s\n", s.Failed, plain(s.FirstFailure))
	}
	for _, g := range s.Groups {
		fmt.Fprintf(w, "\n%s (%s", heading(g), plural(g.Dialogues, "action"))
		if g.Times != g.Dialogues {
			fmt.Fprintf(w, ", %d times", g.Times)
		}
		fmt.Fprintln(w, ")")
		for _, e := range g.Examples {
			turn := ""
			if e.Turn > 0 {
				turn = fmt.Sprintf(", turn %d", e.Turn)
			}
			fmt.Fprintf(w, "  %s%s\n", plain(e.ID), turn)
			for i := range max(len(e.Was), len(e.Is)) {
				place := ""
				if i < len(g.Places) {
					place = g.Places[i] + ": "
				}
				if i < len(e.Was) && e.Was[i] != "" {
					fmt.Fprintf(w, "    - %s%s\n", place, cutAt(plain(e.Was[i]), 300))
				}
				if i < len(e.Is) && e.Is[i] != "" {
					fmt.Fprintf(w, "    + %s%s\n", place, cutAt(plain(e.Is[i]), 300))
				}
			}
		}
	}
	if s.Left > 0 {
		fmt.Fprintf(w, "\n%s of other kinds are not shown\n", plural(s.Left, "difference"))
	}
}

// heading says in words what kind of difference a group is.
func heading(g *dialogue.Group) string {
	call := plain(g.Call)
	switch g.Kind {
	case dialogue.Missing:
		return call + " is not made any more"
	case dialogue.New:
		return call + " is new"
	case dialogue.Order:
		return call + " is made in another order"
	case dialogue.Held:
		return "other keys are held"
	case dialogue.Told:
		return "other progress texts"
	case dialogue.End:
		return "another end"
	case dialogue.Diverges:
		return call + " diverges here: nothing was recorded for it"
	}
	return call + " has other values"
}

// withPlayer opens a player of a module file, or of the module that is installed in
// the state folder.
func (p *program) withPlayer(ctx context.Context, stateDir, name, path string, do func(context.Context, *scenario.Player) error) (err error) {
	var file []byte
	if path != "" {
		if file, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	if stateDir, err = p.state(stateDir); err != nil {
		return err
	}
	player, err := host.NewPlayer(ctx, host.Options{StateDir: stateDir}, name, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, player.Close(context.WithoutCancel(ctx))) }()
	return do(ctx, player)
}
