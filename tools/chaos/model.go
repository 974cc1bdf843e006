package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fn-threatq/tools/facts"
)

// source is the custom_source of the app.config, feed one that ThreatQ had before.
const source, feed = "Chaos SOC", "Botnet Feed"

// model is what SOAR and ThreatQ must hold at the end. It is computed from the
// plan alone, after the contract's tables and not by running a rule.
type model struct {
	incidents  []*incident
	indicators map[string]*indicator // by type and value
	seeded     []*indicator          // those of the feed with what is related to them
	historical bool                  // the older incidents are synced
	// How many there are of each, also removed ones.
	artifacts, notes, tasks, files int
}

type incident struct {
	name, severity, text, confidence, campaign string
	at, closedAt                               time.Time
	closed, deleted                            bool
	artifacts                                  []*artifact
	notes                                      []*note
	tasks                                      []*task
	files                                      []*file
	links                                      map[*indicator]bool
}

type artifact struct {
	index, incident int
	kind, value     string
	indicator       *indicator
	used, removed   bool
}

type indicator struct {
	kind, value, status string
	sources             map[string]bool
	attributes          map[string]string
	related             []*indicator
}

type note struct {
	index, incident, task, parent int
	text                          string
	at                            time.Time
}

type task struct {
	index, incident       int
	name, text, status    string
	used, closed, removed bool
}

type file struct {
	index, incident int
	name, content   string
	found           []*indicator
}

func newModel() *model { return &model{indicators: map[string]*indicator{}} }

// indicator finds or makes one; new ones are in Review (contract: D6).
func (m *model) indicator(kind, value string) *indicator {
	key := kind + " " + value
	if m.indicators[key] == nil {
		m.indicators[key] = &indicator{kind: kind, value: value, status: "Review", sources: map[string]bool{}, attributes: map[string]string{}}
	}
	return m.indicators[key]
}

func (i *indicator) source() { i.sources[source] = true }

func (i *indicator) name() string { return i.kind + " " + i.value }

func (inc *incident) link(i *indicator) {
	if inc.links == nil {
		inc.links = map[*indicator]bool{}
	}
	inc.links[i] = true
}

func (inc *incident) artifactOf(kind, value string) *artifact {
	for _, a := range inc.artifacts {
		if a.kind == kind && a.value == value {
			return a
		}
	}
	return nil
}

// missingInSOAR are the indicators of the event that are no artifacts, by name.
func (inc *incident) missingInSOAR() (missing []*indicator) {
	have := map[*indicator]bool{}
	for _, a := range inc.artifacts {
		if !a.removed {
			have[a.indicator] = true
		}
	}
	for i := range inc.links {
		if !have[i] {
			missing = append(missing, i)
		}
	}
	slices.SortFunc(missing, func(a, b *indicator) int { return strings.Compare(a.name(), b.name()) })
	return missing
}

func (inc *incident) hasNoteOn(task int) bool {
	return slices.ContainsFunc(inc.notes, func(n *note) bool { return n.task == task })
}

// expectation collects lines in the form of the facts.
type expectation struct{ lines []string }

func (x *expectation) add(format string, args ...any) {
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
}

// inThreatQ are the facts that must hold in ThreatQ.
func (m *model) inThreatQ(s *soarSide) []string {
	x := &expectation{}
	used := map[string]bool{}
	for i, inc := range m.incidents {
		m.event(x, s, inc, s.incidents[i])
		if inc.campaign != "" {
			used[inc.campaign] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		x.add("campaign: %q, by %s", name, source)
	}
	if m.historical {
		m.olderEvents(x, s)
	}
	for _, i := range m.indicators {
		x.add("indicator: %s %q, %s, by %s", i.kind, i.value, i.status, facts.By(slices.Collect(maps.Keys(i.sources))))
		for name, value := range i.attributes {
			x.add("attribute of %s: %s = %q by %s", i.name(), name, value, source)
		}
		for _, other := range i.related {
			x.add("linked to %s: %s", i.name(), other.name())
		}
	}
	return x.lines
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func (m *model) event(x *expectation, s *soarSide, inc *incident, id int64) {
	event := fmt.Sprintf("Resilient #%d", id)
	x.add("event: Incident %q, %s, by %s", event+": "+inc.name, stamp(inc.at), source)
	x.add("description of %s: <p>%s</p>", event, inc.text)
	status := "Active"
	var more [][2]string
	if inc.closed {
		status = "Closed"
		more = append(more, [][2]string{{"Date Closed", stamp(inc.closedAt)}, {"Resolution", "Resolved"}, {"Resolution Summary", "All is well."}}...)
	}
	if inc.deleted {
		status = "Deleted"
	}
	if inc.confidence != "" {
		more = append(more, [2]string{"Confidence", inc.confidence})
	}
	x.attributes(s, id, inc.severity, status, more...)
	if inc.campaign != "" {
		x.add("linked to %s: campaign %s", event, inc.campaign)
	}
	for i := range inc.links {
		x.add("linked to %s: %s", event, i.name())
	}
	for _, n := range inc.notes {
		on := event
		if n.task >= 0 {
			on = fmt.Sprintf("%s / task %d", event, s.tasks[n.task])
		}
		footer := fmt.Sprintf("[Resilient note #%d by Ada Analyst, %s UTC]", s.notes[n.index], stamp(n.at))
		if n.parent >= 0 {
			footer = fmt.Sprintf("In reply to note #%d\n", s.notes[n.parent]) + footer
		}
		x.add("comment on %s: %q", on, n.text+" Seen.\n\n"+footer)
	}
	for _, t := range inc.tasks {
		x.task(s, id, s.tasks[t.index], t.name, t.status, html(t.text))
	}
	for _, f := range inc.files {
		x.add("file: Generic Text %q, locked false, by %s: %q", fmt.Sprintf("%s / attachment %d: %s", event, s.files[f.index], f.name), source, f.content)
		x.add("linked to %s: file %s", event, f.name)
		for _, i := range f.found {
			x.add("linked to file %s: %s", f.name, i.name())
		}
	}
}

// task adds one; text is its description as ThreatQ has it.
func (x *expectation) task(s *soarSide, incident, id int64, name, status, text string) {
	key := fmt.Sprintf("Resilient #%d / task %d", incident, id)
	link := strings.ReplaceAll(fmt.Sprintf("%s&taskId=%d&tabName=details", s.url(incident), id), "&", "&amp;")
	x.add("task: %q, %s, Medium, due \"\", of %q, by %s: %s", key+": "+name, status, "analyst@example.com", source,
		fmt.Sprintf(`%s<p><a href="%s">%s</a></p>`, text, link, key))
	x.add("linked to Resilient #%d: %s", incident, key)
}

// attributes adds those that every event has, and more.
func (x *expectation) attributes(s *soarSide, id int64, severity, status string, more ...[2]string) {
	for _, a := range append([][2]string{
		{"Resilient Incident ID", fmt.Sprint(id)}, {"Resilient Incident URL", s.url(id)}, {"Resilient Organization", "Test Organization"},
		{"Severity", severity}, {"Status", status}, {"Phase", "Initial"}, {"Owner", "analyst@example.com"}, {"Workspace", "Default workspace"}, {"Confirmed", "No"},
	}, more...) {
		x.add("attribute of Resilient #%d: %s = %q by %s", id, a[0], a[1], source)
	}
}

// olderEvents are those that the historical sync makes.
func (m *model) olderEvents(x *expectation, s *soarSide) {
	for n := range s.olderCount {
		id, created := s.older+int64(n), older.From.Add(time.Duration(n)*older.Every)
		event := fmt.Sprintf("Resilient #%d", id)
		x.add("event: Incident %q, %s, by %s", fmt.Sprintf("%s: Incident %d of many", event, id), stamp(created), source)
		x.add("description of %s: Number <b>%d</b> of many.", event, n+1)
		if (n+1)%older.ClosedEvery == 0 {
			x.attributes(s, id, severities[n%3], "Closed", [2]string{"Date Closed", stamp(created.Add(time.Hour))}, [2]string{"Resolution", "Resolved"})
		} else {
			x.attributes(s, id, severities[n%3], "Active")
		}
		for _, a := range s.sim.Artifacts(id) {
			kind := indicatorKind(fmt.Sprint(a["type"]))
			x.add("indicator: %s %q, Review, by %s", kind, a["value"], source)
			x.add("linked to %s: %s %s", event, kind, a["value"])
		}
		for _, t := range s.sim.Tasks(id) {
			x.task(s, id, t["id"].(int64), fmt.Sprintf("Task 1 of incident %d", id), "To Do", "Handle <b>task 1</b>.")
		}
	}
}

func indicatorKind(artifactKind string) string {
	for _, k := range kinds {
		if k.artifact == artifactKind {
			return k.indicator
		}
	}
	panic("chaos: no indicator type for " + artifactKind)
}

// inSOAR are the facts that must hold in SOAR: what people did, and of the host
// only the artifacts that it was asked to add and to remove.
func (m *model) inSOAR(s *soarSide) []string {
	x := &expectation{}
	for i, inc := range m.incidents {
		id := s.incidents[i]
		if inc.deleted {
			continue
		}
		plan := map[bool]string{false: "A", true: "C"}[inc.closed]
		x.add("incident %d: %q, %s, %s, <p>%s</p>", id, inc.name, inc.severity, plan, inc.text)
		for _, a := range inc.artifacts {
			if !a.removed {
				x.add("artifact of %d: %s %q", id, a.kind, a.value)
			}
		}
		for _, n := range inc.notes {
			x.add("note of %d: <div>%s <b>Seen</b>.</div>", id, n.text)
		}
		for _, t := range inc.tasks {
			if !t.removed {
				x.add("task of %d: %q, %s", id, t.name, map[bool]string{false: "O", true: "C"}[t.closed])
			}
		}
		for _, f := range inc.files {
			x.add("attachment of %d: %q", id, f.name)
		}
	}
	return x.lines
}
