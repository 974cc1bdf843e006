package kit

import (
	"strconv"
	"strings"

	"fn-threatq/plugins/kit/typing"
)

// Count writes a number with its noun: 1 artifact, 3 artifacts.
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// IncidentGone is said of an incident that SOAR answers 404 for. It may also
// stand in a workspace that is closed to us, so nothing is concluded from it.
const IncidentGone = "The incident no longer exists in SOAR, or its workspace is closed to the integration's account; nothing done in ThreatQ."

// shown names a value for people. A password is a secret also where it is synced.
func shown(kind, value string) string {
	if strings.EqualFold(kind, typing.TypePassword) {
		return kind
	}
	return strings.TrimSpace(kind + " " + value)
}

// Line tells the user what became of an indicator.
func (i Indicator) Line() string {
	line := shown(i.Type, i.Value)
	switch {
	case i.ID == 0 && i.Problem != "":
		return line + ": " + i.Problem
	case i.ID == 0:
		return line + ": not known in ThreatQ"
	case i.Existing:
		line += ": existing"
	default:
		line += ": created"
	}
	if i.Status != "" {
		line += " (" + i.Status + ")"
	}
	for _, more := range []string{i.Note, i.Problem} {
		if more != "" {
			line += ", " + more
		}
	}
	return line
}

// Hint tells the user when a weak role made us work with less; else it is empty.
func (k *Kit) Hint() string {
	if !k.weakRole {
		return ""
	}
	return " ThreatQ did not show its types or statuses: the role of the integration's account is too weak."
}

// advised adds what the person can do to what went wrong; the words of a server
// may come without a full stop.
func advised(problem, advice string) string {
	if !strings.HasSuffix(problem, ".") {
		problem += "."
	}
	return problem + " " + advice
}

// Linked puts an address behind a text, whose last full stop goes. Without an
// address the text stays without it too.
func Linked(text, url string) string {
	text = strings.TrimSuffix(text, ".")
	if url == "" {
		return text
	}
	return text + "; " + url
}

// Joined writes a list of lines as one text, the first few in full.
func Joined(lines []string) string {
	const shown = 20
	if len(lines) > shown {
		lines = append(lines[:shown:shown], "and "+strconv.Itoa(len(lines)-shown)+" more")
	}
	return clauses(lines)
}

// clauses makes one text of several, all but the last of which lose their full stop.
func clauses(texts []string) string {
	var b strings.Builder
	for i, text := range texts {
		if i < len(texts)-1 {
			text = strings.TrimSuffix(text, ".") + "; "
		}
		b.WriteString(text)
	}
	return b.String()
}
