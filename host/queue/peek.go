package queue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fn-threatq/host/broker"
)

// Names finds the display name of a rule; "" where it is not known.
type Names func(ctx context.Context, ruleID int64) string

// View is what waited in a message destination at one moment.
type View struct {
	Destination string `json:"destination"`
	// Waiting counts all messages that were looked at, Matching those that the
	// filter means; the rest is about the latter.
	Waiting  int `json:"waiting"`
	Matching int `json:"matching"`
	// Truncated: there are more messages than were to be looked at.
	Truncated bool      `json:"truncated"`
	Groups    []Group   `json:"groups"`
	Messages  []Message `json:"messages"`
}

// Group are the messages of one rule or function, the largest first.
type Group struct {
	Kind     string `json:"kind"`
	RuleID   int64  `json:"rule_id,omitempty"`
	Name     string `json:"name,omitempty"`
	Messages int    `json:"messages"`
	// Oldest and Newest are zero when no message says when it was sent.
	Oldest    time.Time  `json:"oldest,omitzero"`
	Newest    time.Time  `json:"newest,omitzero"`
	Incidents []Incident `json:"incidents"`
}

// Title is how the group's rule or function is shown.
func (g Group) Title() string { return Message{Kind: g.Kind, RuleID: g.RuleID, Name: g.Name}.Title() }

// Incident counts the messages about one; the most first. Its id is 0 for
// messages that name none.
type Incident struct {
	ID       int64 `json:"id"`
	Messages int   `json:"messages"`
}

// Peek looks at the first limit messages (0: at all) and takes none. Errors are
// those of broker.Browse.
func Peek(ctx context.Context, options broker.Options, names Names, filter Filter, limit int) (View, error) {
	v := View{Destination: options.Destination, Groups: []Group{}, Messages: []Message{}}
	var all []Message
	err := broker.Browse(ctx, options, func(d *broker.Delivery) bool {
		if limit > 0 && len(all) == limit {
			v.Truncated = true
			return false
		}
		all = append(all, read(d))
		return true
	})
	if err != nil {
		return v, err
	}
	known := map[int64]string{0: ""}
	for _, m := range all {
		if m.Kind != KindFunction {
			if _, asked := known[m.RuleID]; !asked {
				known[m.RuleID] = names(ctx, m.RuleID)
			}
			m.Name = known[m.RuleID]
		}
		if filter.Fits(m) {
			v.Messages = append(v.Messages, m)
		}
	}
	v.Waiting, v.Matching, v.Groups = len(all), len(v.Messages), group(v.Messages)
	return v, ctx.Err()
}

func group(messages []Message) []Group {
	type key struct {
		kind, name string
		rule       int64
	}
	groups := map[key]*Group{}
	incidents := map[key]map[int64]int{}
	for _, m := range messages {
		k := key{m.Kind, m.Name, m.RuleID}
		g := groups[k]
		if g == nil {
			g = &Group{Kind: m.Kind, RuleID: m.RuleID, Name: m.Name, Incidents: []Incident{}}
			groups[k], incidents[k] = g, map[int64]int{}
		}
		g.Messages++
		incidents[k][m.Incident]++
		if m.Sent.IsZero() {
			continue
		}
		if g.Oldest.IsZero() || m.Sent.Before(g.Oldest) {
			g.Oldest = m.Sent
		}
		if m.Sent.After(g.Newest) {
			g.Newest = m.Sent
		}
	}
	list := []Group{}
	for k, g := range groups {
		for id, n := range incidents[k] {
			g.Incidents = append(g.Incidents, Incident{ID: id, Messages: n})
		}
		slices.SortFunc(g.Incidents, func(a, b Incident) int {
			return cmp.Or(b.Messages-a.Messages, cmp.Compare(a.ID, b.ID))
		})
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(b.Messages-a.Messages, cmp.Compare(a.Title(), b.Title()), cmp.Compare(a.Kind, b.Kind))
	})
	return list
}
