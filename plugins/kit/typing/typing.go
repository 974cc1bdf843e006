// Package typing turns what an analyst typed into what ThreatQ stores.
//
// An artifact is a typed value of an incident. A candidate is one ThreatQ indicator (type and value) that an artifact
// stands for: none, one or several per artifact. Refanging undoes the spellings that keep addresses from being clicked
// ("hxxp", "[.]"). A finding is a candidate that was recognised inside free text by its shape alone.
//
// Everything here is a pure function of its arguments.
package typing

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxValues is the most candidates that one artifact may bring; what is beyond is counted in Outcome.Dropped.
	MaxValues = 200
	// MaxValueRunes is the longest indicator value. Longer ones are skipped, never cut.
	MaxValueRunes = 2000

	shownRunes = 80
)

// Options are the settings and the state of the ThreatQ instance that typing depends on.
type Options struct {
	// SyncPasswords lets passwords through (setting sync_passwords).
	SyncPasswords bool
	// SkipPrivateIPs leaves private and reserved addresses out (setting skip_private_ips).
	SkipPrivateIPs bool
	// Types are the indicator types of the instance. Empty means unknown: all are assumed to exist.
	Types TypeSet
}

// Artifact is the part of an artifact that typing looks at.
type Artifact struct {
	TypeID   int64  // 0 when unknown; ids below 1000 are built in and win over the label, which may be localised
	TypeName string // label
	Value    string
	IsFile   bool
}

// Candidate is an indicator that the artifact stands for.
type Candidate struct {
	Type  string // as the instance spells it
	Value string // cleaned, refanged
	// Note tells the user what was changed beyond cleaning, for example "port 8080 dropped". Empty in most cases.
	Note string
	// Original is the piece of the artifact that became this candidate, before refanging where that is known.
	// It never holds the user information of a URL.
	Original string
}

// Skip is a value that became no candidate. Reason completes the sentence `"value" …`.
type Skip struct {
	Value  string // shortened for display; empty for a password
	Reason string
}

// Outcome is what typing made of an artifact.
type Outcome struct {
	Candidates []Candidate
	Skipped    []Skip
	// Reason is a sentence for the user when there is no candidate, else empty.
	Reason string
	// Dropped counts distinct values beyond MaxValues.
	Dropped int
}

// FromArtifact applies the type table to an artifact: cleaning, splitting of lists, regex-like recognition in free text.
func FromArtifact(a Artifact, o Options) Outcome {
	c := newCollector(o)
	r, ok := rowOf(a)
	if a.IsFile && (!ok || r.kind != kindFile) {
		r, ok = row{label: r.label, kind: kindFile}, true
	}
	label := firstNonEmpty(a.TypeName, r.label, "#"+strconv.FormatInt(a.TypeID, 10))
	if !ok {
		// A custom type that is named like a ThreatQ type means that type.
		if name, known := o.Types.find(a.TypeName); known {
			r = rowOfThreatQType(name)
		} else {
			r = row{kind: kindText}
		}
	}
	if c.refuses(r.kind, label) {
		return c.out
	}
	if isBlank(a.Value) {
		c.out.Reason = "The artifact is empty; nothing done."
		return c.out
	}
	switch r.kind {
	case kindString, kindText:
		c.text(a.Value)
		if c.nothing() && r.kind == kindString {
			c.wholeString(a.Value)
		}
	default:
		for _, value := range split(a.Value, r.kind) {
			c.convert(r, value)
		}
	}
	return c.finish(`No indicator was recognised in the artifact of type "` + label + `"; nothing done.`)
}

// FromText recognises indicators in a text of unknown kind.
func FromText(value string, o Options) Outcome {
	c := newCollector(o)
	if isBlank(value) {
		c.out.Reason = "The value is empty; nothing done."
		return c.out
	}
	c.text(value)
	return c.finish("No indicator was recognised in the value; name its type.")
}

// FromTyped takes one value whose type somebody named: a ThreatQ type name, else an artifact label. The value is never
// split. With any other name it is recognised as by FromText.
func FromTyped(typeName, value string, o Options) Outcome {
	c := newCollector(o)
	c.single = true
	var r row
	if name, ok := o.Types.find(typeName); ok {
		r = rowOfThreatQType(name)
	} else if labelled, ok := rowsByLabel[fold(typeName)]; ok {
		r = labelled
	} else {
		return FromText(value, o)
	}
	if c.refuses(r.kind, typeName) {
		return c.out
	}
	if isBlank(value) {
		c.out.Reason = "The value is empty; nothing done."
		return c.out
	}
	c.convert(r, value)
	return c.finish("No indicator was recognised in the value.")
}

// collector gathers candidates: each once, at most MaxValues, none too long, all of types that the instance has.
type collector struct {
	o      Options
	out    Outcome
	single bool // the value stands for one indicator only
	seen   map[[2]string]struct{}
}

func newCollector(o Options) *collector {
	return &collector{o: o, seen: make(map[[2]string]struct{})}
}

func (c *collector) nothing() bool {
	return len(c.out.Candidates) == 0 && len(c.out.Skipped) == 0
}

// refuses ends the artifact types that are no indicators whatever their value is.
func (c *collector) refuses(k kind, label string) bool {
	switch {
	case k == kindFile:
		c.out.Reason = `Artifact type "` + label + `" is a file; use Import Attachment.`
	case k == kindNone:
		c.out.Reason = `Artifact type "` + label + `" has no ThreatQ counterpart; nothing done.`
	case k == kindFamily:
		c.out.Reason = `Artifact type "` + label + `" is a name and not an indicator, so it has no ThreatQ counterpart; nothing done.`
	case k == kindPassword && !c.o.SyncPasswords:
		c.out.Reason = "Passwords are not synced (setting sync_passwords is off); nothing done."
	default:
		return false
	}
	return true
}

func (c *collector) finish(nothing string) Outcome {
	if len(c.out.Candidates) > 0 {
		return c.out
	}
	switch n := len(c.out.Skipped) + c.out.Dropped; n {
	case 0:
		c.out.Reason = nothing
	case 1:
		c.out.Reason = c.out.Skipped[0].sentence() + "; nothing done."
	default:
		c.out.Reason = "None of " + strconv.Itoa(n) + " values became an indicator, the first because " +
			c.out.Skipped[0].sentence() + "; nothing done."
	}
	return c.out
}

func (s Skip) sentence() string {
	if s.Value == "" {
		return "the value " + s.Reason
	}
	return `"` + s.Value + `" ` + s.Reason
}

func (c *collector) skip(value, reason string) {
	value = shorten(value)
	if !c.isNew("", value) {
		return
	}
	if len(c.out.Skipped) >= MaxValues {
		c.out.Dropped++
		return
	}
	c.out.Skipped = append(c.out.Skipped, Skip{Value: value, Reason: reason})
}

func (c *collector) add(candidate Candidate) {
	if candidate.Value == "" {
		return
	}
	shown := candidate.Value
	if candidate.Type == TypePassword {
		shown = ""
	}
	if utf8.RuneCountInString(candidate.Value) > MaxValueRunes {
		c.skip(shown, "is longer than "+strconv.Itoa(MaxValueRunes)+" characters")
		return
	}
	if c.o.SkipPrivateIPs && isPrivate(candidate) {
		c.skip(shown, "is a private or reserved address (setting skip_private_ips)")
		return
	}
	wanted := candidate.Type
	name, ok := c.o.Types.resolve(wanted)
	if !ok {
		c.skip(shown, "cannot be stored: this ThreatQ has no indicator type "+wanted)
		return
	}
	candidate.Type = name
	if fold(name) != fold(wanted) {
		candidate.note("typed " + name + ", this ThreatQ has no type " + wanted)
	}
	if !c.isNew(candidate.Type, candidate.Value) {
		return
	}
	if len(c.out.Candidates) >= MaxValues {
		c.out.Dropped++
		return
	}
	c.out.Candidates = append(c.out.Candidates, candidate)
}

func (c *collector) isNew(typ, value string) bool {
	key := [2]string{typ, value}
	if _, known := c.seen[key]; known {
		return false
	}
	c.seen[key] = struct{}{}
	return true
}

func (c *Candidate) note(text string) {
	if c.Note != "" {
		c.Note += "; "
	}
	c.Note += text
}

func shorten(value string) string {
	n := 0
	for i := range value {
		if n == shownRunes-1 && utf8.RuneCountInString(value[i:]) > 1 {
			return value[:i] + "…"
		}
		n++
	}
	return value
}

func isBlank(value string) bool { return clean(value) == "" }

func firstNonEmpty(values ...string) string {
	for _, value := range values {
		if value = strings.TrimSpace(value); value != "" {
			return value
		}
	}
	return ""
}
