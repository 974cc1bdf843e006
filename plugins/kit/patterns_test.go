package kit

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patternValues are what the patterns of the test are held against.
var patternValues = []string{
	"", "a", "A", "ab", "aab", "abc", "xabcx", "b", "é", "日本", "1", "12", "123", "1234", "1.2.3.4", "198.51.100.7", "2001:db8::1",
	"bad.example.com", "-bad-", "_x", "a b", " ", "\t", "http://a.example.com/x", "hxxp://a", "HTTP://a", "https://[::1]/", "x=1&y=2",
	`HKLM\Software`, "HKLM", "HKEY_USERS\\x", "x HKLM", strings.Repeat("a1", 16), strings.Repeat("g", 32), "0x" + strings.Repeat("ab", 16),
	"CVE-2020-0001", "cve-2020-12345", "CVE-20-1", "00-50-56-C0-00-08", "00:50:56", "a-b", "]", "^", "$", ".", `\`, "a.b", "aXb", "a\nb", "foo)", "{1}", "a|b",
}

// TestPatternsMeanWhatRegexpMeans: of what it understands, every pattern finds
// what package regexp finds.
func TestPatternsMeanWhatRegexpMeans(t *testing.T) {
	for _, text := range []string{
		`(http|https|file|gopher|ftp):\/\/[^\s]+`,
		`[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]+`,
		`^(0x)?[0-9A-Fa-f]{32}$`, `\A(0x)?[0-9A-Fa-f]{32}\z`, `(0x)?[0-9A-Fa-f]{128}`,
		`^(HKEY_LOCAL_MACHINE|HKEY_USERS|HKLM)(\\.*)?$`,
		`[Cc][Vv][Ee]-[0-9]{4}-[0-9]{4,}`, `(?i)cve-\d{4}-\d{4,}`, `(?i)^[a-z]+$`,
		`^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$`,
		`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]+)*\.?$`,
		``, `a`, `a*`, `a+b`, `^a?b$`, `^a??b$`, `^a*?b$`, `a{2}`, `^a{0}b$`, `a{1,}b`, `^(a|ab)(c|bcd)?$`, `^(?:a|b)+$`, `^(|a)b$`, `^()*b$`, `(a*)*`, `(a*)+b`,
		`^.$`, `^..$`, `a.b`, `^\w+$`, `^\W$`, `^\d+$`, `^\D+$`, `^\s$`, `^\S+$`, `^[\w.]+$`, `^[^\w]$`, `^[\D]+$`, `^[^\d.]+$`,
		`^[a-]+$`, `^[-a]$`, `^[.\]^$\\]$`, `^[\x41-\x43]$`, `^\x{41}$`, `\.`, `\$`, `\t`, `[\t ]`, `^[é日本]+$`, `^[^a-z]$`, `$^`, `a$|^b`, `\/`, `\-`, `[\-]`, `x=\d&y`,
	} {
		t.Run(text, func(t *testing.T) {
			p := compilePattern(text)
			if strings.Contains(text, `\x{`) {
				require.Nil(t, p, "Java's braces are not read")
				return
			}
			require.NotNil(t, p)
			want := regexp.MustCompile(text)
			for _, value := range patternValues {
				assert.Equal(t, want.MatchString(value), p.mayFit(value), "%q", value)
			}
		})
	}
}

// TestPatternsThatAreNotUnderstoodFitEverything: SOAR checks them then.
func TestPatternsThatAreNotUnderstoodFitEverything(t *testing.T) {
	for _, text := range []string{
		`(?<!x)a`, `(?<name>a)`, `(?=a)`, `(?!a)`, `(?>a)`, `(?s)a`, `a(?i)b`, `a++`, `a*+`, `a?+`, `a{2}+`, `a**`, `a{2}{3}`, `\bx`, `\Qa\E`, `\p{Alpha}`, `\P{L}`,
		`(a)\1`, `\k<n>`, `[a&&b]`, `[a[b]]`, `[[:alpha:]]`, `[]a]`, `[b-a]`, `[a-\d]`, `[a`, `(a`, `a)`, `*a`, `+`, `?`, `{1}`, `a{`, `a{x}`, `a{2,1}`, `a{-1}`, `\`, `\xZZ`, `\x4`,
		`\u12`, `\h`, `\R`, `a{2000}`, `(a{100}){100}`, `((((){900}){900}){900}){900}`, strings.Repeat("(", 60) + "a" + strings.Repeat(")", 60), strings.Repeat("a", 1001),
	} {
		p := compilePattern(text)
		assert.Nil(t, p, "%.40s", text)
		assert.True(t, p.mayFit("anything"))
	}
	assert.True(t, compilePattern(`^a+$`).mayFit(strings.Repeat("b", maxCheckedRunes+1)), "long values are left to SOAR")
	assert.False(t, compilePattern(`^a+$`).mayFit(strings.Repeat("b", maxCheckedRunes)))
}

func FuzzPatterns(f *testing.F) {
	f.Add(`(http|https):\/\/[^\s]+`, "http://a")
	f.Add(`^([a-z]{1,3}|\d+)*?$`, "abc")
	f.Fuzz(func(t *testing.T, text, value string) {
		p := compilePattern(text)
		if p == nil || strings.ToValidUTF8(text, "") != text || strings.ToValidUTF8(value, "") != value || p.fold {
			return
		}
		want, err := regexp.Compile(text)
		if err != nil || len([]rune(value)) > maxCheckedRunes {
			return
		}
		// Java's dot stops at both line ends, Go's at one.
		if strings.ContainsAny(value, "\r\v") {
			return
		}
		assert.Equal(t, want.MatchString(value), p.mayFit(value), "%q %q", text, value)
	})
}
