package author

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/tck"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/scenario"
)

// CheckOptions say what is held against the conformance kit.
type CheckOptions struct {
	// Module is the file.
	Module string
	// Scenarios is the folder of its scenarios, whose actions are played too;
	// empty for the folder scenarios beside the file, if it is there.
	Scenarios string
	// CacheDir keeps compiled modules; empty for the host's own.
	CacheDir string
}

// CheckReport is how a module did.
type CheckReport struct {
	Path    string `json:"path"`
	Module  string `json:"module"`
	Version string `json:"version"`
	// Subjects is how many actions were played.
	Subjects int            `json:"subjects"`
	Checks   []CheckOutcome `json:"checks"`
}

// CheckOutcome is one check of the kit.
type CheckOutcome struct {
	Name string `json:"name"`
	// Reason says what the contract wants and the module does not do; empty when
	// it passed.
	Reason string `json:"reason,omitempty"`
}

// Failed is how many checks failed.
func (r CheckReport) Failed() (n int) {
	for _, c := range r.Checks {
		if c.Reason != "" {
			n++
		}
	}
	return n
}

// Check holds a module, of any language, against the conformance kit: with
// actions made from its manifest, and with those of its scenarios. A module that
// the host would refuse to load is a report with one check, load, that failed;
// an error says that nothing could be checked.
func Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	r := CheckReport{Path: o.Module}
	module, err := scenario.LoadModule(ctx, o.Module, o.CacheDir)
	if err != nil {
		var refused *sandbox.Error
		if !errors.As(err, &refused) {
			return r, err
		}
		r.Module, r.Version = refused.Module, refused.Version
		r.Checks = []CheckOutcome{{Name: "load", Reason: refused.Error()}}
		return r, nil
	}
	defer module.Close(context.WithoutCancel(ctx))
	m := module.Manifest()
	r.Module, r.Version = m.Name, m.Version
	subjects, err := subjectsOf(ctx, module, o.Scenarios)
	if err != nil {
		return r, err
	}
	r.Subjects = len(subjects)
	r.Checks = append(r.Checks, CheckOutcome{Name: "load"})
	for _, c := range tck.Checks(player{ctx, module}, m, subjects...) {
		outcome := CheckOutcome{Name: c.Name}
		if err := c.Run(); err != nil {
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			outcome.Reason = err.Error()
		}
		r.Checks = append(r.Checks, outcome)
	}
	return r, nil
}

// subjectsOf makes the actions: from the manifest, and from scenarios, each
// once.
func subjectsOf(ctx context.Context, module *scenario.ModuleFile, folder string) ([]tck.Subject, error) {
	subjects := tck.Subjects(module.Manifest())
	scenarios, err := module.Scenarios(folder)
	if err != nil {
		return nil, err
	}
	var seen []abi.Input
	for _, s := range scenarios {
		in, err := s.Input(ctx, module)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(seen, func(other abi.Input) bool { return reflect.DeepEqual(other, in) }) {
			seen = append(seen, in)
			subjects = append(subjects, tck.Subject{Name: "scenario " + s.Name(), Input: in})
		}
	}
	return subjects, nil
}

// player is a module of the sandbox as the kit wants it.
type player struct {
	ctx    context.Context
	module scenario.Module
}

// Turn gives the module the clock and the chance of its input, as the host does.
func (p player) Turn(input []byte) ([]byte, error) {
	var in struct {
		Now  int64  `json:"now"`
		Seed string `json:"seed"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	seed, err := strconv.ParseUint(in.Seed, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("input: seed: %w", err)
	}
	answer, _, err := p.module.Turn(p.ctx, input, time.UnixMilli(in.Now), seed)
	return answer, err
}
