// Package text turns the texts of an incident into the texts that ThreatQ takes.
//
// Rich text is the HTML that SOAR keeps for descriptions, instructions and notes; some of it is plain after all. Plain
// text is what comments and attributes hold. A description is the small part of HTML that ThreatQ shows for events and
// tasks. Astral characters are those above U+FFFF, such as emoji, which some databases refuse.
package text

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of what is sent (contract: text, time, sizes). An indicator value is never cut; a longer one is skipped.
const (
	EventTitleRunes     = 255
	TaskNameRunes       = 255
	ObjectValueRunes    = 255
	SourceNameRunes     = 200
	AttributeNameRunes  = 200
	AttributeValueRunes = 10_000
	IndicatorValueRunes = 2_000
	CommentBytes        = 60_000
	DescriptionBytes    = 65_500
)

const ellipsis = "…"

// CutRunes shortens s to n characters. A shortened text ends with "…", which is counted.
func CutRunes(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	for i := range s {
		if n--; n == 0 {
			return s[:i] + ellipsis
		}
	}
	return s
}

// CutBytes shortens s to n bytes at the edge of a character. A shortened text ends with "…", which is counted and is
// left out where there is no room for it.
func CutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := ellipsis
	if n < len(end) {
		end = ""
	}
	n = max(n-len(end), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + end
}

// Clean removes control characters other than TAB and LF and replaces invalid UTF-8 by U+FFFD.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// ReplaceAstral replaces characters above U+FFFF by U+FFFD, for a server that refused them.
func ReplaceAstral(s string) string {
	return strings.Map(func(r rune) rune {
		if r > 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, s)
}

// SameDescription tells whether two descriptions say the same. The server cleans the HTML that it is given, so only the
// plain texts are compared, in Unicode normal form C and without regard to the kind of white space.
func SameDescription(a, b string) bool {
	a, b = comparable(a), comparable(b)
	if a == b {
		return true
	}
	// A text that was refused was stored with its astral characters replaced.
	if strings.ContainsRune(a, utf8.RuneError) || strings.ContainsRune(b, utf8.RuneError) {
		return ReplaceAstral(a) == ReplaceAstral(b)
	}
	return false
}

func comparable(s string) string {
	return Normal(strings.Join(strings.Fields(Plain(s)), " "))
}

// Normal brings a text into the normal form (NFC) in which texts are compared.
func Normal(s string) string { return norm.NFC.String(s) }

// Time writes milliseconds since 1970 as "YYYY-MM-DD HH:MM:SS" in UTC, the form in which ThreatQ reads and writes time.
// Years without four digits give "".
func Time(ms int64) string { return format(ms, time.DateTime) }

// Date writes milliseconds since 1970 as "YYYY-MM-DD" in UTC. Years without four digits give "".
func Date(ms int64) string { return format(ms, time.DateOnly) }

func format(ms int64, layout string) string {
	t := time.UnixMilli(ms).UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		return ""
	}
	return t.Format(layout)
}
