package main

import (
	"fmt"

	"fn-threatq/host/resilient/resilienttest"
)

// Notes, tasks, attachments, and the end of a plan; see plan.go.

func (p *plan) note() bool {
	i, inc := p.anIncident()
	n := &note{index: p.model.notes, incident: i, task: -1, parent: -1, text: fmt.Sprintf("Note %d.", p.number()), at: p.now()}
	if len(inc.tasks) > 0 && p.chance(30) {
		n.task = pick(p, inc.tasks).index
	}
	p.model.notes++
	inc.notes = append(inc.notes, n)
	text := "<div>" + n.text + " <b>Seen</b>.</div>"
	p.add("note added", func(s *soarSide) { s.notes = append(s.notes, s.sim.AddNote(s.incidents[i], s.task(n.task), text)) })
	return true
}

func (p *plan) aNote() *note {
	for range 20 {
		if _, inc := p.anIncident(); len(inc.notes) > 0 {
			return pick(p, inc.notes)
		}
	}
	return nil
}

func (p *plan) editNote() bool {
	n := p.aNote()
	if n == nil {
		return false
	}
	n.text = fmt.Sprintf("Edited %d.", p.number())
	text := "<div>" + n.text + " <b>Seen</b>.</div>"
	p.add("note edited", func(s *soarSide) { s.sim.EditNote(s.notes[n.index], text) })
	return true
}

func (p *plan) reply() bool {
	parent := p.aNote()
	if parent == nil {
		return false
	}
	n := &note{index: p.model.notes, incident: parent.incident, task: parent.task, parent: parent.index, text: fmt.Sprintf("Reply %d.", p.number()), at: p.now()}
	p.model.notes++
	inc := p.model.incidents[n.incident]
	inc.notes = append(inc.notes, n)
	text := "<div>" + n.text + " <b>Seen</b>.</div>"
	p.add("note replied to", func(s *soarSide) { s.notes = append(s.notes, s.sim.ReplyTo(s.notes[parent.index], text)) })
	return true
}

func (p *plan) task() bool {
	i, inc := p.anIncident()
	t := &task{index: p.model.tasks, incident: i, name: fmt.Sprintf("Task %d", p.number()), text: fmt.Sprintf("Do %d.", p.number()), status: "To Do"}
	p.model.tasks++
	inc.tasks = append(inc.tasks, t)
	values := map[string]any{"name": t.name, "instr_text": html(t.text)}
	p.add("task added", func(s *soarSide) { s.tasks = append(s.tasks, s.sim.AddTask(s.incidents[i], values)) })
	return true
}

func (p *plan) aTask() *task {
	for range 20 {
		if _, inc := p.anIncident(); len(inc.tasks) > 0 {
			return pick(p, inc.tasks)
		}
	}
	return nil
}

func (p *plan) updateTask() bool {
	t := p.aTask()
	if t == nil {
		return false
	}
	t.name, t.text = fmt.Sprintf("Task renamed %d", p.number()), fmt.Sprintf("Do now %d.", p.number())
	values := map[string]any{"name": t.name, "instr_text": html(t.text)}
	p.add("task updated", func(s *soarSide) { s.sim.UpdateTask(s.tasks[t.index], values) })
	return true
}

// A task is either closed or given a status: which comes last is left open by the
// contract (D13).
func (p *plan) closeTask() bool {
	t := p.aTask()
	if t == nil || t.used {
		return false
	}
	t.used, t.closed, t.status = true, true, "Done"
	p.add("task closed", func(s *soarSide) { s.sim.CloseTask(s.tasks[t.index]) })
	return true
}

func (p *plan) setTaskStatus() bool {
	t := p.aTask()
	if t == nil || t.used {
		return false
	}
	t.used, t.status = true, pick(p, []string{"In Progress", "Review"})
	status := t.status
	p.add("menu: set task status", func(s *soarSide) {
		s.menuItem("Set Task Status", resilienttest.ActionOptions{TaskID: s.tasks[t.index]}, map[string]any{"threatq_task_status": status})
	})
	return true
}

func (p *plan) attachment() bool {
	i, inc := p.anIncident()
	n := p.number()
	f := &file{index: p.model.files, incident: i, name: fmt.Sprintf("evidence-%d.txt", n)}
	p.model.files++
	host, ip := fmt.Sprintf("in-file-%d.example.org", n), address(172, n)
	f.content = fmt.Sprintf("Seen: %s and %s.\n", host, ip)
	fields := map[string]any{"threatq_attachment_type": "Generic Text", "threatq_parse_indicators": "No"}
	if p.chance(70) {
		fields["threatq_parse_indicators"] = "Yes"
		for _, found := range []*indicator{p.model.indicator("FQDN", host), p.model.indicator("IP Address", ip)} {
			found.source()
			inc.link(found)
			f.found = append(f.found, found)
		}
	}
	inc.files = append(inc.files, f)
	p.add("menu: import attachment", func(s *soarSide) {
		s.files = append(s.files, s.sim.AddAttachment(s.incidents[i], 0, f.name, "text/plain", []byte(f.content)))
		s.menuItem("Import Attachment", resilienttest.ActionOptions{AttachmentID: s.files[f.index]}, fields)
	})
	return true
}

func (p *plan) historicalSync() {
	p.model.historical = true
	p.add("menu: historical sync", func(s *soarSide) {
		s.menuItem("Historical Sync", resilienttest.ActionOptions{IncidentID: s.incidents[0]},
			map[string]any{"threatq_created_after": older.From.UnixMilli(), "threatq_historical_sync_tasks": "Yes"})
	})
}

// ending is what is done when all else is answered, because its effect depends on
// what was there: deletions, and the import of indicators into SOAR.
func (p *plan) ending() {
	add := func(kind string, causes int, do func(*soarSide)) {
		p.last = append(p.last, deed{kind: kind, do: do, causes: causes})
	}
	for i, inc := range p.model.incidents {
		switch {
		case i%5 == 1:
			inc.deleted = true
			add("incident deleted", 0, func(s *soarSide) { s.sim.DeleteIncident(s.incidents[i]) })
		case i%5 == 2:
			missing := inc.missingInSOAR()
			for _, ind := range missing {
				inc.artifacts = append(inc.artifacts, &artifact{incident: i, kind: artifactKind(ind.kind), value: ind.value, indicator: ind, used: true})
			}
			add("menu: sync incident with indicators", len(missing), func(s *soarSide) {
				s.menuItem("Sync Incident", resilienttest.ActionOptions{IncidentID: s.incidents[i]}, map[string]any{"threatq_import_indicators": "Yes"})
			})
		case i%5 == 3:
			for _, a := range inc.artifacts {
				if !a.removed && !a.used {
					a.removed = true
					add("artifact deleted", 0, func(s *soarSide) { s.sim.DeleteArtifact(s.incidents[i], s.artifacts[a.index]) })
					break
				}
			}
			for _, t := range inc.tasks {
				if !inc.hasNoteOn(t.index) {
					t.removed = true
					add("task deleted", 0, func(s *soarSide) { s.sim.DeleteTask(s.tasks[t.index]) })
					break
				}
			}
		}
	}
}

func artifactKind(indicatorKind string) string {
	for _, k := range kinds {
		if k.indicator == indicatorKind {
			return k.artifact
		}
	}
	panic("chaos: no artifact type for " + indicatorKind)
}
