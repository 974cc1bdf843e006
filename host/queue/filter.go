package queue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fn-threatq/abi/manifest"
)

// Kinds are the values of kind=…
var Kinds = []string{"incident", "task", "note", "milestone", "artifact", "attachment", KindFunction, KindOther, KindUnreadable}

// Filter says which messages are meant; the zero Filter means all. Of several
// values of one key one must fit, and each key that has any.
type Filter struct {
	rules     []string // a display name, a routing name, a rule's id or a function's name
	incidents []int64
	kinds     []string
	before    time.Time // zero: whenever they were sent
}

// NewFilter reads matches of the form rule=…, incident=… and kind=…. Messages
// must have been sent before the given time, unless it is zero; one that does
// not say when it was sent is never before it.
func NewFilter(matches []string, before time.Time) (Filter, error) {
	f := Filter{before: before}
	for _, match := range matches {
		key, value, _ := strings.Cut(match, "=")
		value = strings.TrimSpace(value)
		if value == "" {
			return f, fmt.Errorf("%q is not of the form rule=NAME, incident=NUMBER or kind=KIND", match)
		}
		switch key {
		case "rule":
			f.rules = append(f.rules, value)
		case "incident":
			id, err := strconv.ParseInt(value, 10, 64)
			if err != nil || id < 1 {
				return f, fmt.Errorf("incident %q is not the number of an incident", value)
			}
			f.incidents = append(f.incidents, id)
		case "kind":
			if !slices.Contains(Kinds, value) {
				return f, fmt.Errorf("kind %q is none of %s", value, strings.Join(Kinds, ", "))
			}
			f.kinds = append(f.kinds, value)
		default:
			return f, fmt.Errorf("%q: messages are matched by rule, incident and kind, not by %q", match, key)
		}
	}
	return f, nil
}

// Fits tells whether a message is meant.
func (f Filter) Fits(m Message) bool {
	if len(f.rules) > 0 && !slices.ContainsFunc(f.rules, m.isOf) {
		return false
	}
	if len(f.incidents) > 0 && !slices.Contains(f.incidents, m.Incident) {
		return false
	}
	if len(f.kinds) > 0 && !slices.Contains(f.kinds, m.Kind) {
		return false
	}
	return f.before.IsZero() || !m.Sent.IsZero() && m.Sent.Before(f.before)
}

// isOf compares names as messages are routed.
func (m Message) isOf(rule string) bool {
	if m.RuleID != 0 && rule == strconv.FormatInt(m.RuleID, 10) {
		return true
	}
	return m.Name != "" && manifest.RoutingName(rule) == manifest.RoutingName(m.Name)
}
