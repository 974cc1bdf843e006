package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// merges reports whether equal waiting actions may share a run.
func merges(m Module, a *abi.Action) bool {
	rule := ruleOf(m.Manifest(), a)
	return rule != nil && rule.Merge && rule.Lane != "none"
}

func ruleOf(m *manifest.Manifest, a *abi.Action) *manifest.Rule {
	if a.Kind != abi.KindRule {
		return nil
	}
	return m.Rule(a.Name)
}

// same is equal for messages that are of one rule and object. Which fields they
// give is compared later: their labels may have to be asked for.
func (e *envelope) same(m Message) string {
	if e.ActionID == nil || e.Incident == nil || e.isFunction(m) {
		return ""
	}
	a := abi.Action{}
	e.describe(&a)
	return fmt.Sprint(*e.ActionID, e.Operation == "deleted", a.Object, a.IncidentID, a.TaskID, a.NoteID, a.ArtifactID, a.AttachmentID)
}

// join has the run serve all messages that wait in the lane and ask for the same
// as its first: same rule, object and fields, and equally of a deletion or not.
// The run begins now, after the newest of them arrived, and a rule reads its
// object anew: so what each of them tells of is seen. The newest leads, because
// its context token lives longest; the user may be another.
func (f *Flow) join(setup *Setup, modules Modules, r *run, module Module, action *abi.Action) *abi.Action {
	first := r.jobs[0]
	if first.same == "" {
		return action
	}
	type equal struct {
		message  Message
		envelope *envelope
		action   *abi.Action
	}
	found := map[*job]equal{}
	var wanted []*job
	for _, j := range f.lanes.waitingIn(first.lane) {
		if j.same != first.same || j.again != nil {
			continue
		}
		m, e, err := j.open()
		if err != nil {
			continue
		}
		a, other, err := setup.route(f.run, m, e, modules)
		var coded *codedError
		if errors.As(err, &coded) && coded.code == abi.CodeUnreachable {
			break // nor could the others be read
		}
		// What cannot be read now has its own run, and says so there.
		if err != nil || other != module || !asksTheSame(a, action) {
			continue
		}
		found[j] = equal{m, e, a}
		wanted = append(wanted, j)
	}
	joined := f.lanes.withdraw(first.lane, wanted)
	if len(joined) == 0 {
		return action
	}
	newest := slices.MaxFunc(append([]*job{first}, joined...), func(a, b *job) int { return int(a.arrived - b.arrived) })
	r.jobs = []*job{newest}
	for _, j := range append([]*job{first}, joined...) {
		if j != newest {
			r.jobs = append(r.jobs, j)
		}
	}
	if newest == first {
		return action
	}
	lead := found[newest]
	r.message, r.envelope = lead.message, lead.envelope
	return lead.action
}

// asksTheSame compares two actions of the same rule and object.
func asksTheSame(a, b *abi.Action) bool {
	return a.Name == b.Name && maps.EqualFunc(a.Fields, b.Fields, func(x, y abi.JSON) bool {
		return bytes.Equal(x, y) || bytes.Equal(compact(x), compact(y))
	})
}

func compact(value abi.JSON) []byte {
	var out bytes.Buffer
	if json.Compact(&out, value) != nil {
		return value
	}
	return out.Bytes()
}
