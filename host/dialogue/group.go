package dialogue

import (
	"cmp"
	"slices"
)

// Example is one difference of a group.
type Example struct {
	ID   string   `json:"id"`
	Turn int      `json:"turn,omitempty"`
	Was  []string `json:"was,omitempty"`
	Is   []string `json:"is,omitempty"`
}

// Group are differences of one kind, at the same places of the same call.
type Group struct {
	Kind   Kind     `json:"kind"`
	Call   string   `json:"call,omitempty"`
	Places []string `json:"places,omitempty"`
	// Dialogues and Times count in how many dialogues, and how often, it was seen.
	Dialogues int `json:"dialogues"`
	Times     int `json:"times"`
	// Examples have values that differ from each other; only the first are kept.
	Examples []Example `json:"examples"`
}

// Bounds of a summary.
const (
	maxExamples = 3
	maxGroups   = 200
)

// Summary counts comparisons and groups what differs.
type Summary struct {
	// Compared dialogues; Same of them are alike, Different are not.
	Compared  int `json:"compared"`
	Same      int `json:"same"`
	Different int `json:"different"`
	// Diverged are those of Different that could not be played to their end.
	Diverged int `json:"diverged"`
	// Short were compared as far as they are recorded.
	Short int `json:"short,omitempty"`
	// Failed could not be compared; FirstFailure says why.
	Failed       int    `json:"failed,omitempty"`
	FirstFailure string `json:"first_failure,omitempty"`
	// Groups are by how often they were seen; Left were more than are kept.
	Groups []*Group `json:"groups"`
	Left   int      `json:"groups_left_out,omitempty"`

	byKey map[string]*Group
}

// Add counts a comparison.
func (s *Summary) Add(id string, differences []Difference) {
	s.Compared++
	if len(differences) == 0 {
		s.Same++
		return
	}
	s.Different++
	if slices.ContainsFunc(differences, func(d Difference) bool { return d.Kind == Diverges }) {
		s.Diverged++
	}
	if s.byKey == nil {
		s.byKey = map[string]*Group{}
		for _, g := range s.Groups {
			s.byKey[Difference{Kind: g.Kind, Call: g.Call, Places: g.Places}.key()] = g
		}
	}
	seen := map[*Group]bool{}
	for _, d := range differences {
		g := s.byKey[d.key()]
		if g == nil {
			if len(s.Groups) >= maxGroups {
				s.Left++
				continue
			}
			g = &Group{Kind: d.Kind, Call: d.Call, Places: d.Places}
			s.byKey[d.key()] = g
			s.Groups = append(s.Groups, g)
		}
		g.Times++
		if !seen[g] {
			seen[g] = true
			g.Dialogues++
		}
		known := slices.ContainsFunc(g.Examples, func(e Example) bool { return slices.Equal(e.Was, d.Was) && slices.Equal(e.Is, d.Is) })
		if !known && len(g.Examples) < maxExamples {
			g.Examples = append(g.Examples, Example{id, d.Turn, d.Was, d.Is})
		}
	}
	slices.SortStableFunc(s.Groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(b.Dialogues, a.Dialogues), cmp.Compare(order(a.Kind), order(b.Kind)))
	})
}

// Fail counts a dialogue that could not be compared.
func (s *Summary) Fail(err error) {
	s.Failed++
	if s.FirstFailure == "" {
		s.FirstFailure = err.Error()
	}
}
