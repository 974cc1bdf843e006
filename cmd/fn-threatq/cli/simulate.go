package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/dialogue"
)

func (p *program) simulateCommand() *cobra.Command {
	var f planFlags
	var module, recording, stateDir string
	var whole bool
	c := &cobra.Command{
		Use:   "simulate MESSAGE",
		Short: "Show every call that a message would lead to, and write nothing",
		Long: `Show every call that a message would lead to, and write nothing. The module runs.
What it reads is read from the real servers, or from a recording; what it would
write is shown, and answered by a stand-in: with the values that were sent, and ids
from 990000001 on. A later read of the same object sees what was written before,
as far as that is simple: an object by its path, what was added to it, and lists that
ask for equal values. All else is as the server has it. What a parser would find in
a file is not known.

` + messageForms + `

Exit code: 0; 1 when the action would fail, or no module would take it.`,
		Example: "  fn-threatq simulate message.json\n  fn-threatq simulate message.json --module ./new.wasm\n  fn-threatq simulate message.json --recording ID:soar-1:2:3 -o json",
		Args:    oneArg("the file of a message, or -"),
		RunE: func(c *cobra.Command, args []string) error {
			m, err := p.message(args[0])
			if err != nil {
				return err
			}
			o := host.PlanOptions{Offline: f.offline || recording != "", Rule: f.rule}
			o.StateDir = stateDir
			if module != "" {
				if o.Module, err = os.ReadFile(module); err != nil {
					return err
				}
			}
			if recording != "" {
				if o.Recording, err = p.recording(recording, stateDir); err != nil {
					return err
				}
			}
			return p.withPlanner(c.Context(), o, func(ctx context.Context, planner *host.Planner) error {
				s, err := planner.Simulate(ctx, m)
				if err != nil {
					return stopped(ctx, err)
				}
				return p.showSimulation(s, f.format.json, whole)
			})
		},
	}
	f.add(p, c)
	c.Flags().StringVar(&module, "module", "", "play the module `FILE` in place of the installed one")
	c.Flags().StringVar(&recording, "recording", "", "answer reads from a recording: `FILE` of \"history show -o json\", or the id of an action in the history")
	stateDirFlag(c, &stateDir)
	wholeFlag(c, &whole)
	_ = c.MarkFlagFilename("module", "wasm")
	return c
}

// recording is a dialogue by its file or its id.
func (p *program) recording(name, stateDir string) (*dialogue.Dialogue, error) {
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		h, err := p.history(stateDir)
		if err != nil {
			return nil, err
		}
		entry, err := h.Find(name)
		if err != nil {
			return nil, err
		}
		return h.Read(entry)
	}
	if err != nil {
		return nil, err
	}
	var d dialogue.Dialogue
	if err := json.Unmarshal(text, &d); err != nil || d.Action.Name == "" {
		return nil, fmt.Errorf("%s is no recording, as `fn-threatq history show ID -o json` writes it", name)
	}
	return &d, nil
}

func (p *program) showSimulation(s *host.Simulation, asJSON, whole bool) error {
	failed := s.Problem != ""
	if asJSON {
		if err := writeJSON(p.Stdout, s); err != nil {
			return err
		}
	}
	for i, d := range s.Dialogues {
		outcome, _ := d.Outcome()
		failed = failed || outcome != "done" && d.Parent() == ""
		if asJSON {
			continue
		}
		if i > 0 {
			fmt.Fprintln(p.Stdout)
		}
		if err := p.showDialogue(d, true, whole); err != nil {
			return err
		}
	}
	if !asJSON {
		if s.Problem != "" {
			fmt.Fprintln(p.Stdout, squeezed(s.Problem))
		}
		fmt.Fprintf(p.Stderr, "%s performed; %s would have been made. Nothing was written.\n", plural(s.Reads, "read"), plural(s.Writes, "write"))
	}
	if failed {
		return &exit{code: host.ExitFailure}
	}
	return nil
}
