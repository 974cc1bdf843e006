package kit

import (
	"strings"

	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/typing"
)

const (
	// bulkFrom is the number of candidates above which the bulk call is used.
	bulkFrom  = 25
	bulkBatch = 200
)

// Tally counts what an import did.
type Tally struct {
	// Done of All were brought over.
	Done, All int
	// Present were there already, Left beyond the limit.
	Present, Left int
	// Indicators in ThreatQ that stand for what was done.
	Indicators int
	// Problems name what failed, at most a few of them.
	Problems []string
}

const shownProblems = 5

func (t *Tally) fail(problem string) {
	switch {
	case len(t.Problems) < shownProblems:
		t.Problems = append(t.Problems, problem)
	case len(t.Problems) == shownProblems:
		t.Problems = append(t.Problems, "and more")
	}
}

// ImportArtifacts brings all artifacts of the incident into ThreatQ and links
// them to the event. An artifact without a counterpart there counts as not done,
// and is no failure.
func (k *Kit) ImportArtifacts(event int64) Tally {
	var artifacts []Artifact
	o := k.TypingOptions()
	k.Together(
		func() { artifacts = k.Artifacts() },
		func() { o.Types = typeSet(k.indicatorTypes()) })

	tally := Tally{All: len(artifacts)}
	var plan importPlan
	for i, a := range artifacts {
		plan.add(i, typing.FromArtifact(a.Artifact, o).Candidates, k.IsOwn(a))
	}
	failed := map[int]bool{}
	var single []plannedCandidate
	if len(plan.found) > bulkFrom {
		single = k.consume(event, plan.found)
		tally.Indicators = len(plan.found) - len(single)
	} else {
		single = plan.found
	}
	for start := 0; start < len(single); start += bulkFrom {
		k.ensurePlanned(event, single[start:min(start+bulkFrom, len(single))], Wish{}, failed, &tally)
	}
	for start := 0; start < len(plan.own); start += bulkFrom {
		k.ensurePlanned(event, plan.own[start:min(start+bulkFrom, len(plan.own))], Wish{NoSource: true}, failed, &tally)
	}
	for i := range artifacts {
		if plan.covered[i] && !failed[i] {
			tally.Done++
		}
	}
	return tally
}

// plannedCandidate remembers the artifacts that a candidate stands for.
type plannedCandidate struct {
	typing.Candidate
	artifacts []int
}

// importPlan holds each candidate once. Own artifacts are kept apart: they get
// no source of ours.
type importPlan struct {
	found, own []plannedCandidate
	covered    map[int]bool
	at         map[[2]string]*int
}

func (p *importPlan) add(artifact int, candidates []typing.Candidate, own bool) {
	if p.covered == nil {
		p.covered, p.at = map[int]bool{}, map[[2]string]*int{}
	}
	list := &p.found
	if own {
		list = &p.own
	}
	for _, c := range candidates {
		p.covered[artifact] = true
		key := [2]string{c.Type + boolKey(own), strings.ToLower(c.Value)}
		if at, ok := p.at[key]; ok {
			(*list)[*at].artifacts = append((*list)[*at].artifacts, artifact)
			continue
		}
		n := len(*list)
		p.at[key] = &n
		*list = append(*list, plannedCandidate{c, []int{artifact}})
	}
}

func boolKey(b bool) string {
	if b {
		return "+"
	}
	return ""
}

func (k *Kit) ensurePlanned(event int64, planned []plannedCandidate, wish Wish, failed map[int]bool, tally *Tally) {
	if len(planned) == 0 {
		return
	}
	candidates := make([]typing.Candidate, len(planned))
	for i, p := range planned {
		candidates[i] = p.Candidate
	}
	// The types are known here, so no candidate has to be typed anew.
	none := func(typing.Options) typing.Outcome { return typing.Outcome{Candidates: candidates} }
	indicators := k.EnsureIndicators(candidates, none, wish)
	k.LinkIndicators(event, indicators)
	for i, indicator := range indicators {
		if indicator.Problem != "" {
			tally.fail(indicator.Line())
		}
		if indicator.ID != 0 {
			tally.Indicators++
		} else {
			for _, a := range planned[i].artifacts {
				failed[a] = true
			}
		}
	}
}

// consume is the bulk form (contract: bulk form): batches, one after the other,
// as the server is easily loaded. It returns what the answers do not name; that
// is done singly.
func (k *Kit) consume(event int64, planned []plannedCandidate) []plannedCandidate {
	k.status(k.indicatorStatuses(), k.DefaultStatus())
	var left []plannedCandidate
	for start := 0; start < len(planned); start += bulkBatch {
		batch := planned[start:min(start+bulkBatch, len(planned))]
		list := make([]jsonvalue.Raw, 0, len(batch))
		for _, p := range batch {
			list = append(list, jsonvalue.Obj(
				"value", p.Value,
				"type", jsonvalue.Obj("name", p.Type),
				"status", jsonvalue.Obj("name", k.DefaultStatus()),
				"sources", k.sources(),
				"events", jsonvalue.Arr(jsonvalue.Obj("id", event))))
		}
		call := write("POST", "/api/indicators/consume", jsonvalue.Arr(list), true)
		call.Slow = true
		result := k.do(call)
		answered := map[string]bool{}
		if result.Err == nil {
			for row := range result.Body.Get("data").Items() {
				if row.Get("id").Int() != 0 {
					answered[strings.ToLower(row.Get("value").Text())] = true
				}
			}
		} else {
			k.Log("bulk import: a batch failed and is done singly: " + result.Err.Error())
		}
		for _, p := range batch {
			if !answered[strings.ToLower(p.Value)] {
				left = append(left, p)
			}
		}
	}
	return left
}
