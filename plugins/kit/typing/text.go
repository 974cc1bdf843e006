package typing

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// text recognises indicators line by line. A line that is one indicator as a whole brings only that one.
func (c *collector) text(value string) {
	for _, line := range lines(value) {
		if line = clean(line); line != "" {
			c.textLine(line)
		}
	}
}

func (c *collector) textLine(line string) {
	if candidate, ok := shape(line); ok {
		candidate.Original = line
		c.add(candidate)
		return
	}
	if indexFold(line, dotWord) >= 0 {
		// " dot " is a word of prose too, so it counts only where it makes the whole line one indicator.
		if candidate, ok := whole(line); ok {
			candidate.Original = originalOf(candidate, line)
			c.add(candidate)
			return
		}
	}
	text := refangText(line)
	if candidate, ok := parseSchemelessURL(text, isKnownHost); ok && !strings.ContainsFunc(text, unicode.IsSpace) {
		if _, isAddress := parseAddress(text, false); !isAddress {
			candidate.Original = originalOf(candidate, line)
			c.add(candidate)
			return
		}
	}
	for _, f := range scan(text) {
		f.candidate.Original = originalOf(f.candidate, text[f.start:f.end])
		c.add(f.candidate)
	}
}

// whole recognises a value that is one indicator from its first byte to its last.
func whole(value string) (Candidate, bool) {
	if candidate, ok := shape(value); ok {
		return candidate, true
	}
	plain := refangValue(value)
	if found := scan(plain); len(found) == 1 && found[0].start == 0 && found[0].end == len(plain) {
		return found[0].candidate, true
	}
	return Candidate{}, false
}

var registryHives = []string{"HKLM\\", "HKCU\\", "HKCR\\", "HKU\\", "HKCC\\", "HKLM:\\", "HKCU:\\", "HKCR:\\", "HKU:\\", "HKCC:\\", "HKEY_"}

// shape knows the forms that are recognised only where they are the whole value, because they may hold blanks.
func shape(value string) (Candidate, bool) {
	for _, hive := range registryHives {
		if hasPrefixFold(value, hive) && strings.Contains(value, "\\") {
			return Candidate{Type: TypeRegistryKey, Value: value}, true
		}
	}
	if isWindowsPath(value) || isUnixPath(value) {
		return Candidate{Type: TypeFilePath, Value: value}, true
	}
	return Candidate{}, false
}

func isWindowsPath(s string) bool {
	body := ""
	switch {
	case len(s) > 3 && isAlpha(s[0]) && s[1:3] == `:\`:
		body = s[3:]
	case len(s) > 3 && s[:2] == `\\` && isWordByte(s[2]) && strings.Contains(s[3:], `\`):
		body = s[2:]
	}
	if body == "" || len(s) > 4*MaxValueRunes || strings.ContainsAny(body, `<>:"|?*`) {
		return false
	}
	// "C:\evil.exe was started" is a sentence.
	for part := range strings.SplitSeq(body, `\`) {
		for i := range len(part) {
			if part[i] == ' ' && isFileName(part[:i]) {
				return false
			}
		}
	}
	return true
}

func isUnixPath(s string) bool {
	if len(s) < 4 || s[0] != '/' || s[1] == '/' || s[1] == ' ' {
		return false
	}
	first, rest, ok := strings.Cut(s[1:], "/")
	return ok && rest != "" && rest[0] != '/' && rest[0] != ' ' && !strings.Contains(first, " ") && !strings.Contains(s, "://")
}

// finding is a candidate at its place in a text. rank is its place in the order of precedence.
type finding struct {
	start, end int
	rank       uint8
	candidate  Candidate
}

const (
	rankCIDR uint8 = iota
	rankURL
	rankEmail
	rankIPv4
	rankIPv6
	rankFQDN
	rankCVE
	rankHash
	rankPath
	rankFile
)

type scanner struct {
	text  string
	found []finding
}

// scan finds indicators in running text, in the order of the text. A finding inside a longer one is left out, so a
// domain in a URL does not count. Each scanner goes over the text once; look-behind and look-ahead are bounded.
func scan(text string) []finding {
	s := &scanner{text: text}
	s.urls()
	s.emails()
	s.ipv4()
	s.ipv6()
	s.words()
	s.cves()
	s.hashes()
	s.paths()
	slices.SortFunc(s.found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end), cmp.Compare(a.rank, b.rank))
	})
	kept := s.found[:0]
	end := 0
	for _, f := range s.found {
		if f.start >= end {
			kept, end = append(kept, f), f.end
		}
	}
	return kept
}

func (s *scanner) emit(start, end int, rank uint8, c Candidate) {
	s.found = append(s.found, finding{start, end, rank, c})
}

// at returns the byte at i, 0 outside of the text.
func (s *scanner) at(i int) byte {
	if i < 0 || i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// run returns the end of the run of bytes that begins at i.
func (s *scanner) run(i int, in func(byte) bool) int {
	for i < len(s.text) && in(s.text[i]) {
		i++
	}
	return i
}

// eachRun calls f for every longest run of bytes.
func (s *scanner) eachRun(in func(byte) bool, f func(start, end int)) {
	for i := 0; i < len(s.text); {
		if !in(s.text[i]) {
			i++
			continue
		}
		end := s.run(i, in)
		f(i, end)
		i = end
	}
}
