package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// plan is a stream of deeds and what must be there at its end. Two plans of the
// same seed and size are the same.
type plan struct {
	// stream is done as fast as the backlog allows, last when all of it is answered.
	stream, last []deed
	model        *model
	older        int // incidents that only the historical sync knows

	rand *rand.Rand
	// numbers of values that are used once.
	unique int
}

// deed is one thing that a person does in SOAR; it makes SOAR publish one message.
type deed struct {
	kind string
	do   func(*soarSide)
	// causes is how many more messages follow from what the host writes in SOAR.
	causes int
}

// began is when the first deed is done by SOAR's clock; the n-th is n seconds later.
var began = time.Date(2026, 2, 1, 8, 0, 0, 0, time.UTC)

// older are the incidents of before the integration was installed.
var older = resilienttest.Bulk{From: time.Date(2025, 7, 1, 8, 0, 0, 0, time.UTC), Every: 6 * time.Hour, Artifacts: 2, Tasks: 1, ClosedEvery: 4}

// newPlan draws a plan of about n actions. Every deed is one whose effect does not
// depend on when the host comes to it, so that the end can be told beforehand.
func newPlan(seed uint64, n int) *plan {
	p := &plan{model: newModel(), rand: rand.New(rand.NewPCG(seed, 1)), older: max(3, n/100)}
	incidents := max(4, n/40)
	for range incidents / 4 {
		p.incident()
	}
	for len(p.stream) < n {
		if len(p.model.incidents) < incidents && p.chance(12) {
			p.incident()
		} else if len(p.stream) == n*6/10 {
			p.historicalSync()
		} else {
			p.anything()
		}
	}
	p.ending()
	return p
}

// actions is how many messages SOAR publishes in all.
func (p *plan) actions() (n int) {
	for _, deeds := range [][]deed{p.stream, p.last} {
		for _, d := range deeds {
			n += 1 + d.causes
		}
	}
	return n
}

func (p *plan) chance(percent int) bool { return p.rand.IntN(100) < percent }

func (p *plan) number() int { p.unique++; return p.unique }

func pick[T any](p *plan, of []T) T { return of[p.rand.IntN(len(of))] }

// now is when the next deed is done.
func (p *plan) now() time.Time { return clock(len(p.stream) + len(p.last)) }

func clock(n int) time.Time { return began.Add(time.Duration(n) * time.Second) }

func (p *plan) add(kind string, do func(*soarSide)) *deed {
	p.stream = append(p.stream, deed{kind: kind, do: do})
	return &p.stream[len(p.stream)-1]
}

// anything draws a deed by weight; one that lacks its object becomes an artifact.
func (p *plan) anything() {
	weights := []struct {
		weight int
		draw   func() bool
	}{
		{18, p.update}, {22, p.artifact}, {10, p.note}, {6, p.editNote}, {3, p.reply}, {6, p.task}, {5, p.updateTask}, {2, p.closeTask},
		{4, p.setTaskStatus}, {4, p.attachment}, {5, p.importArtifacts}, {6, p.syncIndicator}, {3, p.falsePositive}, {3, p.truePositive},
		{3, p.findRelated}, {2, p.addIndicatorFunction}, {1, p.markFunctions}, {1, p.relatedFunction}, {1, p.closeIncident},
	}
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	at := p.rand.IntN(total)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			if !w.draw() {
				p.artifact()
			}
			return
		}
	}
}

var severities, confidences, campaigns = []string{"Low", "Medium", "High"}, []string{"Low", "High"}, []string{"Invoice Storm", "Night Owl", "Paper Tiger"}

func (p *plan) incident() {
	at, i := p.now(), len(p.model.incidents)
	inc := &incident{name: fmt.Sprintf("Case %d, 40%% of \"mail\"", i), severity: pick(p, severities), text: fmt.Sprintf("Report %d.", p.number()), at: at}
	p.model.incidents = append(p.model.incidents, inc)
	values := map[string]any{"name": inc.name, "severity_code": inc.severity, "description": html(inc.text)}
	p.add("incident created", func(s *soarSide) { s.incidents = append(s.incidents, s.sim.AddIncident(values)) })
}

func html(text string) string { return "<p>" + text + "</p>" }

func (p *plan) anIncident() (int, *incident) {
	i := p.rand.IntN(len(p.model.incidents))
	return i, p.model.incidents[i]
}

func (p *plan) update() bool {
	i, inc := p.anIncident()
	inc.severity, inc.text, inc.confidence = pick(p, severities), fmt.Sprintf("Update %d.", p.number()), pick(p, confidences)
	values := map[string]any{"severity_code": inc.severity, "description": html(inc.text), "properties": map[string]any{"internal_confidence": inc.confidence}}
	if p.chance(30) {
		// The link of an object stays when the field changes, so that each one is set at most once.
		if inc.campaign == "" {
			inc.campaign = pick(p, campaigns)
			values["properties"].(map[string]any)["internal_campaign"] = inc.campaign
		}
	}
	if p.chance(20) {
		inc.name = fmt.Sprintf("Case %d renamed %d", i, p.number())
		values["name"] = inc.name
	}
	p.add("incident updated", func(s *soarSide) { s.sim.UpdateIncident(s.incidents[i], values) })
	return true
}

func (p *plan) closeIncident() bool {
	i, inc := p.anIncident()
	if inc.closed {
		return false
	}
	inc.closed, inc.closedAt, inc.text = true, p.now(), fmt.Sprintf("Closed by update %d.", p.number())
	values := map[string]any{"plan_status": "C", "resolution_id": "Resolved", "resolution_summary": "All is well.", "description": html(inc.text)}
	p.add("incident closed", func(s *soarSide) { s.sim.UpdateIncident(s.incidents[i], values) })
	return true
}

// kinds of artifacts with the type that they become in ThreatQ (contract: artifact to indicator).
var kinds = []struct{ artifact, indicator string }{
	{"DNS Name", "FQDN"}, {"IP Address", "IP Address"}, {"Malware SHA-256 Hash", "SHA-256"}, {"URL", "URL"}, {"Email Sender", "Email Address"},
}

func valueOf(kind string, n int) string {
	switch kind {
	case "IP Address":
		return address(10, n)
	case "SHA-256":
		sum := sha256.Sum256(fmt.Append(nil, "chaos ", n))
		return hex.EncodeToString(sum[:])
	case "URL":
		return fmt.Sprintf("https://site-%d.example.com/gate?n=%d", n, n)
	case "Email Address":
		return fmt.Sprintf("sender-%d@example.org", n)
	}
	return fmt.Sprintf("host-%d.example.com", n)
}

func address(first, n int) string {
	return fmt.Sprintf("%d.%d.%d.%d", first, n>>16&255, n>>8&255, n&255)
}

func (p *plan) artifact() bool {
	if p.chance(15) { // one that other incidents may have too
		i, inc := p.anIncident()
		p.newArtifact(i, inc, "DNS Name", "FQDN", fmt.Sprintf("shared-%d.example.net", p.rand.IntN(12)), true)
		return true
	}
	i, inc := p.anIncident()
	kind := pick(p, kinds)
	p.newArtifact(i, inc, kind.artifact, kind.indicator, valueOf(kind.indicator, p.number()), false)
	return true
}

// newArtifact makes an artifact and its indicator; one that is shared is never
// the object of another deed.
func (p *plan) newArtifact(i int, inc *incident, kind, indicatorKind, value string, shared bool) *artifact {
	if inc.artifactOf(kind, value) != nil {
		kind, indicatorKind, shared = "DNS Name", "FQDN", false
		value = valueOf(indicatorKind, p.number())
	}
	a := &artifact{index: p.model.artifacts, incident: i, kind: kind, value: value, indicator: p.model.indicator(indicatorKind, value), used: shared}
	p.model.artifacts++
	a.indicator.source()
	inc.artifacts = append(inc.artifacts, a)
	inc.link(a.indicator)
	p.add("artifact added", func(s *soarSide) { s.artifacts = append(s.artifacts, s.sim.AddArtifact(s.incidents[i], kind, value)) })
	return a
}

// freshArtifact is one that no menu item has been used on.
func (p *plan) freshArtifact() *artifact {
	for range 20 {
		_, inc := p.anIncident()
		if len(inc.artifacts) == 0 {
			continue
		}
		if a := pick(p, inc.artifacts); !a.used {
			a.used = true
			return a
		}
	}
	return nil
}

func (p *plan) syncIndicator() bool {
	a := p.freshArtifact()
	if a == nil {
		return false
	}
	a.indicator.status = pick(p, []string{"Active", "Indirect", "Whitelisted", "Expired"})
	fields := map[string]any{"threatq_indicator_status": a.indicator.status}
	if p.chance(50) {
		confidence := pick(p, severities)
		a.indicator.attributes["Confidence"] = confidence
		fields["threatq_indicator_confidence"] = confidence
	}
	p.add("menu: sync indicator", func(s *soarSide) {
		s.menuItem("Sync Indicator", resilienttest.ActionOptions{ArtifactID: s.artifacts[a.index]}, fields)
	})
	return true
}

func (p *plan) falsePositive() bool {
	a := p.freshArtifact()
	if a == nil {
		return false
	}
	a.indicator.attributes["False Positive"] = "Yes"
	remove := p.chance(50)
	fields := map[string]any{"threatq_remove_artifact": "No"}
	if remove {
		a.removed, fields["threatq_remove_artifact"] = true, "Yes"
	}
	d := p.add("menu: false positive", func(s *soarSide) {
		s.menuItem("Mark as False Positive", resilienttest.ActionOptions{ArtifactID: s.artifacts[a.index]}, fields)
	})
	if remove { // fires Sync Indicator, which does nothing
		d.causes = 1
	}
	return true
}

func (p *plan) truePositive() bool {
	a := p.freshArtifact()
	if a == nil {
		return false
	}
	a.indicator.attributes["True Positive"] = "Yes"
	p.add("menu: true positive", func(s *soarSide) {
		s.menuItem("Mark as True Positive", resilienttest.ActionOptions{ArtifactID: s.artifacts[a.index]}, nil)
	})
	return true
}

func (p *plan) importArtifacts() bool {
	i, _ := p.anIncident()
	p.add("menu: sync incident with artifacts", func(s *soarSide) {
		s.menuItem("Sync Incident", resilienttest.ActionOptions{IncidentID: s.incidents[i]}, map[string]any{"threatq_import_artifacts": "Yes"})
	})
	return true
}

// related are two indicators of a feed that are related to a third one.
func (p *plan) related(value string) []*indicator {
	known := p.model.indicator("FQDN", value)
	known.status, known.sources[feed] = "Active", true
	p.model.seeded = append(p.model.seeded, known)
	for range 2 {
		n := p.number()
		other := p.model.indicator("FQDN", fmt.Sprintf("related-%d.example.net", n))
		other.status, other.sources[feed] = "Active", true
		known.related = append(known.related, other)
	}
	return known.related
}

// imports makes the related indicators artifacts of the incident.
func (inc *incident) imports(i int, others []*indicator) {
	for _, other := range others {
		inc.artifacts = append(inc.artifacts, &artifact{incident: i, kind: "DNS Name", value: other.value, indicator: other, used: true})
		inc.link(other)
	}
}

func (p *plan) findRelated() bool {
	i, inc := p.anIncident()
	value := fmt.Sprintf("known-%d.example.com", p.number())
	others := p.related(value)
	a := p.newArtifact(i, inc, "DNS Name", "FQDN", value, true)
	inc.imports(i, others)
	d := p.add("menu: find related", func(s *soarSide) {
		s.menuItem("Find Related Indicators", resilienttest.ActionOptions{ArtifactID: s.artifacts[a.index]}, nil)
	})
	d.causes = len(others)
	return true
}

func (p *plan) relatedFunction() bool {
	i, inc := p.anIncident()
	value := fmt.Sprintf("asked-%d.example.com", p.number())
	others := p.related(value)
	inc.imports(i, others)
	d := p.add("function: find related", func(s *soarSide) {
		s.function("threatq_find_related_indicators", map[string]any{"incident_id": s.incidents[i], "indicator_value": value})
	})
	d.causes = len(others)
	return true
}

func (p *plan) addIndicatorFunction() bool {
	value := fmt.Sprintf("function-%d.example.com", p.number())
	added := p.model.indicator("FQDN", value)
	added.source()
	added.status = "Active"
	added.attributes["Confidence"] = "High"
	p.add("function: add indicator", func(s *soarSide) {
		s.function("threatq_add_indicator", map[string]any{"indicator_value": value, "indicator_status": "Active", "indicator_confidence": "High"})
	})
	return true
}

func (p *plan) markFunctions() bool {
	value := fmt.Sprintf("judged-%d.example.com", p.number())
	judged := p.model.indicator("FQDN", value)
	judged.source()
	judged.attributes["True Positive"] = "Yes"
	p.add("function: true positive", func(s *soarSide) {
		s.function("threatq_mark_as_true_positive", map[string]any{"indicator_value": value})
	})
	return true
}
