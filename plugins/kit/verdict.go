package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/typing"
)

// Verdict is what users say of an indicator. It is kept as an attribute of
// value Yes, and contradicts its opposite (contract: decision on false and true
// positives).
type Verdict struct{ Name, opposite string }

// The two verdicts, by the names of their attributes.
var (
	FalsePositive = Verdict{"False Positive", "True Positive"}
	TruePositive  = Verdict{"True Positive", "False Positive"}
)

const verdictYes = "Yes"

// Marking is what became of the indicators of an artifact or value.
type Marking struct {
	// Indicators carry a Problem where the verdict could not be written.
	Indicators []Indicator
	// Reason is a sentence that says why there was nothing to mark, else empty.
	Reason  string
	outcome typing.Outcome
}

// OK reports whether every indicator has the verdict now.
func (m Marking) OK() bool {
	for _, i := range m.Indicators {
		if i.Problem != "" {
			return false
		}
	}
	return m.Reason == ""
}

// MarkArtifact writes the verdict on the indicators that the artifact stands
// for. Those that ThreatQ lacks are made and linked to the incident's event.
func (k *Kit) MarkArtifact(a Artifact, v Verdict) Marking {
	outcome := k.Candidates(a)
	f := k.newFinder(verdictWith)
	literal := k.literalOf(a)
	f.look(append(spellingsOf(outcome.Candidates), literal)...)
	return k.mark(v, f.matches(literal, outcome.Candidates, false), FromArtifact(a), a.Description, true, outcome)
}

// MarkValue writes the verdict on all indicators of a value, of whatever type.
// When there are none, it makes those that the value stands for in an artifact
// of the action's type, else by its shape. The artifact is looked at when the
// action names one; new indicators are linked to the event when it names an
// incident that can be read.
func (k *Kit) MarkValue(value string, v Verdict) Marking {
	typed := func(o typing.Options) typing.Outcome { return typing.FromText(value, o) }
	f := k.newFinder(verdictWith)
	outcome := typed(k.TypingOptions())
	description, incident := "", k.IncidentID != 0
	k.Together(
		func() { f.look(append(spellingsOf(outcome.Candidates), value)...) },
		func() {
			if k.IncidentID == 0 || k.ArtifactID == 0 {
				return
			}
			a, ok := k.Artifact()
			if !ok {
				_, err := k.TryIncident()
				incident = err == nil
				return
			}
			a.Value = value
			typed, outcome, description = FromArtifact(a), k.Candidates(a), a.Description
		})
	if !f.has(value) {
		f.look(spellingsOf(outcome.Candidates)...)
	}
	return k.mark(v, f.matches(value, outcome.Candidates, true), typed, description, incident, outcome)
}

// mark writes the verdict on what was found, and makes the rest.
func (k *Kit) mark(v Verdict, matches []match, again Typing, description string, linked bool, outcome typing.Outcome) Marking {
	m := Marking{outcome: outcome}
	var found []foundIndicator
	var absent []typing.Candidate
	// A host and a URL of it may be one indicator.
	marked := map[int64]bool{}
	for _, match := range matches {
		switch {
		case match.err != nil:
			m.Indicators = append(m.Indicators, Indicator{Type: match.candidate.Type, Value: match.candidate.Value,
				Problem: "it cannot be looked up: " + match.err.Error()})
		case len(match.found) == 0:
			absent = append(absent, match.candidate)
		default:
			for _, f := range match.found {
				if !marked[f.ID] {
					marked[f.ID] = true
					found = append(found, f)
				}
			}
		}
	}
	if len(matches) == 0 {
		m.Reason = outcome.Reason
	}
	var made []Indicator
	strands := []func(){func() {
		made = k.makeMarked(v, absent, unlessFound(again, found), Wish{Description: description}, linked)
	}}
	for i := range found {
		strands = append(strands, func() { k.markOne(v, &found[i]) })
	}
	k.Together(strands...)
	for _, f := range found {
		m.Indicators = append(m.Indicators, f.Indicator)
	}
	m.Indicators = append(m.Indicators, made...)
	return m
}

// unlessFound keeps a second typing from making what was found by the first.
func unlessFound(again Typing, found []foundIndicator) Typing {
	return func(o typing.Options) typing.Outcome {
		outcome := again(o)
		var rest []typing.Candidate
		for _, c := range outcome.Candidates {
			if !hasValue(found, c) {
				rest = append(rest, c)
			}
		}
		outcome.Candidates = rest
		return outcome
	}
}

func hasValue(found []foundIndicator, c typing.Candidate) bool {
	for _, f := range found {
		for _, value := range spellings(c) {
			if strings.EqualFold(f.Value, value) {
				return true
			}
		}
	}
	return false
}

// makeMarked makes indicators, links them to the event and writes the verdict:
// what a user says must not get lost because ThreatQ does not know the value.
func (k *Kit) makeMarked(v Verdict, absent []typing.Candidate, again Typing, wish Wish, linked bool) []Indicator {
	if len(absent) == 0 {
		return nil
	}
	var indicators []Indicator
	var event int64
	k.Together(
		func() { indicators = k.EnsureIndicators(absent, again, wish) },
		func() {
			if linked {
				event = k.EnsureEvent().ID
			}
		})
	found := make([]foundIndicator, len(indicators))
	var strands []func()
	var ids []int64
	for n, i := range indicators {
		found[n] = foundIndicator{Indicator: i, attributesKnown: !i.Existing}
		if i.ID == 0 {
			continue
		}
		if isNew(i) {
			ids = append(ids, i.ID)
		}
		strands = append(strands, func() { k.markOne(v, &found[n]) })
	}
	var unlinked *guest.CallError
	strands = append(strands, func() {
		if event != 0 {
			unlinked = k.link(event, "indicators", ids)
		}
	})
	k.Together(strands...)
	for n := range found {
		indicators[n] = found[n].Indicator
		switch i := &indicators[n]; {
		case i.ID == 0 || event == 0 || !isNew(*i):
		case unlinked != nil:
			i.problem("not linked to event " + id(event) + ": " + unlinked.Error())
		default:
			i.note("linked to event " + id(event))
		}
	}
	return indicators
}

// isNew holds too for what somebody else may have made a moment ago.
func isNew(i Indicator) bool { return !i.Existing || i.posted }

// markOne adds our verdict where it does not stand, and takes the opposite one
// back where it was ours alone. That is tidying up: its failure is only told.
func (k *Kit) markOne(v Verdict, i *foundIndicator) {
	path := "/api/indicators/" + id(i.ID)
	if !i.attributesKnown {
		list, err := k.rows(path+"/attributes", "attribute")
		if err != nil {
			i.problem("its attributes cannot be read: " + err.Error())
			return
		}
		i.attributes = attributeRows(list)
	}
	verdict, opposite := verdictRows(i.attributes, v.Name, verdictYes), verdictRows(i.attributes, v.opposite, "")
	failed := false
	add := func() {
		if err := k.addAttribute(path, v.Name, verdictYes); err != nil {
			if err.Status == 403 {
				k.GiveUp(err)
			}
			failed = true
			i.problem("not marked as " + v.Name + ": " + err.Error())
		}
	}
	absent := len(verdict) == 0
	k.Together(
		func() {
			if absent {
				add()
			}
		},
		func() { verdict, opposite = k.withOwners(path, verdict, opposite) })
	ours := k.hasOurs(verdict)
	if !absent && !ours {
		add()
	}
	if failed {
		return
	}
	i.note("marked as " + v.Name)
	if ours {
		i.Note += " already"
	}
	var strands []func()
	for _, row := range opposite {
		if k.onlyOurs(row) {
			strands = append(strands, func() {
				if err := k.deleteAttribute(path, row.id); err != nil {
					i.note("its attribute " + v.opposite + " could not be removed")
					k.Log("indicator " + id(i.ID) + ": attribute " + v.opposite + " could not be removed: " + err.Error())
				}
			})
		}
	}
	k.Together(strands...)
}

// withOwners reads the sources of rows where the list did not tell them. Only
// the expanded record does, which is heavy (contract: with).
func (k *Kit) withOwners(path string, verdict, opposite []attributeRow) (v, o []attributeRow) {
	for _, row := range append(verdict[:len(verdict):len(verdict)], opposite...) {
		if row.sources != nil {
			continue
		}
		details := k.do(get(abi.ThreatQ, path+"/details", nil))
		if details.Err != nil {
			break
		}
		var full []jsonvalue.Value
		for attribute := range details.Body.Get("data", "attributes").Items() {
			full = append(full, attribute)
		}
		rows := attributeRows(full)
		return withSources(verdict, rows), withSources(opposite, rows)
	}
	return verdict, opposite
}

func (k *Kit) hasOurs(rows []attributeRow) bool {
	for _, row := range rows {
		for _, source := range row.sources {
			if strings.EqualFold(source, k.Source) {
				return true
			}
		}
	}
	return false
}

// verdictRows are the rows of a name; of one value unless it is empty.
func verdictRows(rows []attributeRow, name, value string) []attributeRow {
	var list []attributeRow
	for _, row := range rows {
		if strings.EqualFold(row.name, name) && (value == "" || strings.EqualFold(row.value, value)) {
			list = append(list, row)
		}
	}
	return list
}

func (i *Indicator) note(text string) { i.Note = joined(i.Note, text) }

func (i *Indicator) problem(text string) { i.Problem = joined(i.Problem, text) }

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// ArtifactOrFail reads the action's artifact. The user pointed at it, so that one
// that is gone ends the action as an error.
func (k *Kit) ArtifactOrFail() Artifact {
	a, ok := k.Artifact()
	if ok {
		return a
	}
	if _, err := k.TryIncident(); err != nil {
		k.Fail(abi.CodeNotFound, IncidentGone)
	}
	k.Fail(abi.CodeNotFound, "Artifact "+id(k.ArtifactID)+" no longer exists in SOAR; nothing done in ThreatQ.")
	return a
}

// RemoveArtifact removes the action's artifact from its incident; one that is
// gone counts as removed. Whatever goes wrong, even with the service itself, is
// told together with what was marked before.
func (k *Kit) RemoveArtifact(m Marking) (problem string) {
	result := k.Do(guest.Call{Service: abi.Resilient, Method: "DELETE", Idempotent: true,
		Path: "/incidents/" + id(k.IncidentID) + "/artifacts/" + id(k.ArtifactID)})
	if result.Err == nil {
		return ""
	}
	problem = "But the artifact could not be removed from the incident: " + result.Err.Error()
	if result.Status == 403 {
		problem = advised(problem, "Give the integration's SOAR account the right to do this.")
	}
	problem = k.MarkingText(m, problem)
	switch result.Err.Code {
	case abi.CodeHTTP:
	case abi.CodeLogin:
		k.Fail(abi.CodeLogin, problem)
	default:
		k.Retry(result.Err.Code, problem)
	}
	return problem
}

// MarkingText tells the user what was marked and what was not, with a sentence
// behind it unless that is empty.
func (k *Kit) MarkingText(m Marking, sentence string) string {
	if m.Reason != "" {
		return strings.TrimSpace(m.Reason + " " + sentence)
	}
	var done, failed []string
	link := ""
	for _, i := range m.Indicators {
		if i.Problem != "" {
			failed = append(failed, i.Line())
		} else {
			done = append(done, i.Line())
		}
		if i.ID != 0 && link == "" {
			link = k.IndicatorURL(i.ID)
		}
	}
	for _, s := range m.outcome.Skipped {
		done = append(done, quote(s.Value)+" skipped: it "+s.Reason)
	}
	if m.outcome.Dropped > 0 {
		done = append(done, Count(m.outcome.Dropped, "further value")+" left out")
	}
	text := Joined(done)
	if len(failed) > 0 {
		text = "Failed: " + Joined(failed)
		if len(done) > 0 {
			text = advised(text, "Done: "+Joined(done))
		}
	}
	if sentence != "" {
		text = advised(text, sentence)
	}
	return Linked(text, link) + k.Hint()
}

// MarkingResults are the marked indicators as a function's result lists them.
func (k *Kit) MarkingResults(m Marking) jsonvalue.Raw {
	var rows []jsonvalue.Raw
	for _, i := range m.Indicators {
		if i.ID != 0 {
			rows = append(rows, jsonvalue.Obj("id", i.ID, "value", i.Value, "type", i.Type, "status", i.Status,
				"existing", i.Existing, "url", k.IndicatorURL(i.ID)))
		}
	}
	return jsonvalue.Arr(rows)
}
