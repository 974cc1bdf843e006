package threatqtest

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// finding is one value that the parser saw in a text.
type finding struct{ typ, value string }

var (
	refang = strings.NewReplacer("hxxp", "http", "hXXp", "http", "[.]", ".", "(.)", ".", "[:]", ":", "[@]", "@")

	// In the order of the search: what an earlier pattern took is not seen by a later one.
	scanners = []struct {
		typ     string
		pattern *regexp.Regexp
	}{
		{"URL", regexp.MustCompile(`(?i)\bhttps?://[^\s"'<>,;]+`)},
		{"Email Address", regexp.MustCompile(`(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+\b`)},
		{"IP Address", regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)},
		{"SHA-512", regexp.MustCompile(`(?i)\b[0-9a-f]{128}\b`)},
		{"SHA-384", regexp.MustCompile(`(?i)\b[0-9a-f]{96}\b`)},
		{"SHA-256", regexp.MustCompile(`(?i)\b[0-9a-f]{64}\b`)},
		{"SHA-1", regexp.MustCompile(`(?i)\b[0-9a-f]{40}\b`)},
		{"MD5", regexp.MustCompile(`(?i)\b[0-9a-f]{32}\b`)},
		{"FQDN", regexp.MustCompile(`(?i)\b([a-z0-9-]+\.)+[a-z]{2,}\b`)},
	}
	fileNames = regexp.MustCompile(`(?i)\.(exe|dll|txt|pdf|docx?|xlsx?|zip|js|ps1|bat)$`)
)

// scan plays the Generic Text parser: each value once, in the order of the text.
func scan(text string) []finding {
	text = refang.Replace(text)
	type place struct {
		at int
		finding
	}
	var found []place
	seen := map[string]bool{}
	rest := []byte(text)
	for _, s := range scanners {
		for _, span := range s.pattern.FindAllIndex(rest, -1) {
			value := strings.TrimRight(text[span[0]:span[1]], ".)")
			if !validValue(s.typ, value) || s.typ == "FQDN" && fileNames.MatchString(value) {
				continue
			}
			copy(rest[span[0]:span[1]], bytes.Repeat([]byte{'\n'}, span[1]-span[0]))
			if key := s.typ + strings.ToLower(value); !seen[key] {
				seen[key] = true
				found = append(found, place{span[0], finding{s.typ, value}})
			}
		}
	}
	slices.SortFunc(found, func(a, b place) int { return a.at - b.at })
	out := make([]finding, len(found))
	for i, f := range found {
		out[i] = f.finding
	}
	return out
}

// unreadable says why the parser refuses a content, or nothing.
func unreadable(content []byte) string {
	switch {
	case bytes.HasPrefix(content, []byte(lockedMagic)):
		return "The file is locked as malware and cannot be parsed."
	case bytes.HasPrefix(content, []byte("%PDF")) && bytes.Contains(content, []byte("/Encrypt")):
		return "The file is encrypted and cannot be parsed."
	case !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0:
		return "The file holds no text that could be parsed."
	}
	return ""
}
