package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
)

// Listener is given what actions and their modules have said to each other. Its
// methods are called from the actions and must not block.
type Listener interface {
	// Wants says whether the dialogues of a module are to be kept. It is asked when
	// an action begins.
	Wants(module string) bool
	// Ended takes a dialogue that nobody else changes; others may read it. Those of
	// sub-actions come before their parent's, abandoned ones not at all.
	Ended(d *dialogue.Dialogue)
}

// listen begins the dialogue of an action, if somebody wants it.
func (f *Flow) listen(p *performance) {
	m := p.module.Manifest()
	if f.o.Listener == nil || !f.o.Listener.Wants(m.Name) {
		return
	}
	p.dialogue = &dialogue.Dialogue{
		ID: p.action.ID, Began: time.Now(), Module: m.Name, Version: m.Version, Observed: p.run.rehearsal != nil,
		Action: *p.action, Now: p.now.UnixMilli(), Settings: settingsOf(m, p.setup.Settings), Site: p.setup.Site,
	}
	if p.action.Parent == "" {
		for _, j := range p.run.jobs[1:] {
			p.dialogue.Serves = append(p.dialogue.Serves, j.message.ID)
		}
	}
}

// note keeps a turn.
func (p *performance) note(out *abi.Output, results []abi.Result, log []string) {
	if p.dialogue == nil {
		return
	}
	p.dialogue.Add(dialogue.Turn{
		Hold: out.Hold, Progress: out.Progress, State: len(out.State) > 0,
		Calls: out.Calls, Actions: out.Actions, Results: results, Log: log,
	})
}

// tell hands the dialogue over.
func (f *Flow) tell(p *performance, o outcome) {
	if p.dialogue == nil || o.abandoned {
		return
	}
	d := p.dialogue
	d.TookMS, d.Reply, d.Fail = time.Since(d.Began).Milliseconds(), o.reply, o.fail
	f.o.Listener.Ended(d)
}

// observed is what the user of an action is told that only rehearsed. A workflow
// reads results, and must not take stand-ins for what is in ThreatQ: a function
// ends as a handled failure without any.
func (r *run) observed(o outcome) outcome {
	if r.rehearsal == nil || o.abandoned {
		return o
	}
	written := map[string]map[string]int{}
	for _, c := range r.rehearsal.Written() {
		if written[c.Service] == nil {
			written[c.Service] = map[string]int{}
		}
		written[c.Service][c.Method]++
	}
	var services []string
	for _, service := range slices.Sorted(maps.Keys(written)) {
		var counts []string
		for _, method := range slices.Sorted(maps.Keys(written[service])) {
			counts = append(counts, fmt.Sprintf("%d %s", written[service][method], method))
		}
		services = append(services, service+": "+strings.Join(counts, ", "))
	}
	text := "Observed only: nothing was written. It would have made " + count(len(r.rehearsal.Written()), "write")
	if len(services) > 0 {
		text += " (" + strings.Join(services, "; ") + ")"
	}
	text += " after " + count(r.rehearsal.Asked(), "read") + ", and said: " + o.text()
	return outcome{observed: true, reply: &abi.Reply{Success: r.story.action.Kind != abi.KindFunction, Message: cut(text)}}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
