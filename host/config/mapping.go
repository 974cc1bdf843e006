package config

import (
	"errors"
	"fmt"
	"strings"
)

// Pair maps one incident field to a name in ThreatQ.
type Pair struct {
	Field string // programmatic name, with an optional prefix "properties."
	Name  string // attribute name or object name
}

// String returns "FIELD=NAME".
func (p Pair) String() string { return p.Field + "=" + p.Name }

// ParseMapping reads the value of custom_attributes or custom_objects: pairs FIELD=NAME with commas between them,
// split at the first "=", blanks around each part dropped, empty pairs ignored (contract: Grammar of
// custom_attributes and custom_objects). The error names every pair that is wrong; the good pairs are returned with it.
func ParseMapping(text string) ([]Pair, error) {
	var pairs []Pair
	var mistakes []error
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimFunc(part, isSpace)
		field, name, found := strings.Cut(part, "=")
		field, name = strings.TrimFunc(field, isSpace), strings.TrimFunc(name, isSpace)
		switch {
		case part == "":
		case strings.Contains(part, "\n"):
			mistakes = append(mistakes, fmt.Errorf("pair %q goes over several lines: a comma is missing between them", part))
		case !found:
			mistakes = append(mistakes, fmt.Errorf("pair %q has no \"=\"", part))
		case field == "":
			mistakes = append(mistakes, fmt.Errorf("pair %q has no field before its \"=\"", part))
		case name == "":
			mistakes = append(mistakes, fmt.Errorf("pair %q has no name after its \"=\"", part))
		default:
			pairs = append(pairs, Pair{Field: field, Name: name})
		}
	}
	return pairs, errors.Join(mistakes...)
}

// formatMapping writes pairs in the form that ParseMapping reads.
func formatMapping(pairs []Pair) string {
	texts := make([]string, len(pairs))
	for i, pair := range pairs {
		texts[i] = pair.String()
	}
	return strings.Join(texts, ",")
}
