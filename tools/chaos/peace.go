package main

import (
	"context"
	"fmt"
	"strings"

	"fn-threatq/tools/facts"
)

// compareWithPeace plays the same plan on fresh simulators without any fault and
// compares all that ThreatQ holds, also what the model does not tell.
func (s *story) compareWithPeace(ctx context.Context, o options, dir string) error {
	s.w.bridge.close() // the next one reads the same queue
	w, err := newWorld(ctx, dir, o.host, o.account(), s.w.broker, 1)
	if err != nil {
		return err
	}
	defer w.close()
	peace := &story{w: w, plan: newPlan(o.seed, o.actions), tally: newTally(), out: s.out}
	peace.oracle = newOracle(o.seed, 0, false, peace.tally, w.canary)
	peace.villain = newVillain(w, o.seed, o.actions, 0, peace.tally, peace.oracle)
	if err := peace.play(ctx); err != nil {
		return fmt.Errorf("the run in peace: %w", err)
	}
	if !peace.verdict.good() || len(peace.verdict.failed) > 0 {
		peace.tell()
		return fmt.Errorf("the run in peace is not as it must be: that is a fault of the plan, the model or a rule, and tells nothing about crashes")
	}
	s.verdict.peace = facts.Differences(w.snapshot(), s.w.snapshot())
	return nil
}

// snapshot is all that ThreatQ holds as lines, each with the object that it is
// about. Import sessions are left out: opening one again is told apart.
func (w *world) snapshot() (lines []string) {
	text := strings.ReplaceAll(w.threatq.Snapshot(), w.soar.address, "soar")
	object := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "import "):
		case strings.HasPrefix(line, "  "):
			lines = append(lines, object+":"+line)
		default:
			object = line
			lines = append(lines, line)
		}
	}
	return lines
}
