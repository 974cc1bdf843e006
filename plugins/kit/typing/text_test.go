package typing

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFromText(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		// one indicator as the whole value
		"whole: CIDR":                    {"10.0.0.0/8", "CIDR Block=10.0.0.0/8"},
		"whole: CIDR of one address":     {"198.51.100.7/32", "IP Address=198.51.100.7 (/32 dropped)"},
		"whole: IPv6 CIDR":               {"2001:DB8::/32", "CIDR Block=2001:db8::/32"},
		"whole: URL":                     {"hxxp://bad[.]example[.]com/a", "URL=http://bad.example.com/a"},
		"whole: URL without scheme":      {"bad.example.com/a.php", "URL=bad.example.com/a.php"},
		"whole: e-mail":                  {"ann[at]example[dot]com", "Email Address=ann@example.com"},
		"whole: IPv4":                    {"198[.]51[.]100[.]7", "IP Address=198.51.100.7"},
		"whole: IPv4 with zeros":         {"198.051.100.007", "IP Address=198.51.100.7"},
		"whole: IPv6":                    {"2001:DB8::A", "IPv6 Address=2001:db8::a"},
		"whole: IPv6 with port":          {"[2001:db8::1]:443", "IPv6 Address=2001:db8::1 (port 443 dropped)"},
		"whole: IPv6 with zone":          {"fe80::1%eth0", "IPv6 Address=fe80::1"},
		"whole: FQDN":                    {"Bad.Example.com.", "FQDN=bad.example.com"},
		"whole: FQDN in words":           {"bad dot example dot com", "FQDN=bad.example.com"},
		"whole: FQDN, international":     {"bücher.com", "FQDN=xn--bcher-kva.com"},
		"whole: FQDN, international TLD": {"пример.рф", "FQDN=xn--e1afmkfd.xn--p1ai"},
		"whole: CVE":                     {"cve-2021-44228", "CVE=CVE-2021-44228"},
		"whole: MD5":                     {strings.ToUpper(md5Hex), "MD5=" + md5Hex},
		"whole: SHA-1":                   {sha1Hex, "SHA-1=" + sha1Hex},
		"whole: SHA-256 with prefix":     {"sha256:" + sha256Hex, "SHA-256=" + sha256Hex},
		"whole: SHA-384":                 {sha384Hex, "SHA-384=" + sha384Hex},
		"whole: SHA-512":                 {"0x" + sha512Hex, "SHA-512=" + sha512Hex},
		"whole: Windows path":            {`C:\Program Files\My App\a b.exe`, `File Path=C:\Program Files\My App\a b.exe`},
		"whole: network path":            {`\\server\share\x.exe`, `File Path=\\server\share\x.exe`},
		"whole: path keeps its dots":     {`C:\Users\.ssh\id`, `File Path=C:\Users\.ssh\id`},
		"whole: Unix path":               {"/usr/local/bin/evil.sh", "File Path=/usr/local/bin/evil.sh"},
		"whole: registry key":            {`HKLM\Software\Run\evil.exe`, `Registry Key=HKLM\Software\Run\evil.exe`},
		"whole: registry key, long":      {`hkey_local_machine\Software\a b`, `Registry Key=hkey_local_machine\Software\a b`},
		"whole: file name":               {"Invoice.PDF", "Filename=Invoice.PDF"},
		"whole: file name, zip":          {"report.zip", "Filename=report.zip"},
		"whole: file name, md":           {"readme.md", "Filename=readme.md"},
		"whole: Moldovan domain":         {"www.gov.md", "FQDN=www.gov.md"},
		"whole: quoted":                  {`"bad.example.com"`, "FQDN=bad.example.com"},

		// nothing
		"none: single label":         {"localhost", "?No indicator was recognised in the value; name its type."},
		"none: unknown TLD":          {"foo.barbaz", "?No indicator was recognised in the value; name its type."},
		"none: version":              {"v1.2.3.4 and 1.2.3 and 1.2.3.4.5", "?No indicator was recognised in the value; name its type."},
		"none: address out of range": {"999.1.1.1", "?No indicator was recognised in the value; name its type."},
		"none: time and MAC":         {"12:34:56 00:1b:44:11:3a:b7 00:1b:44:11:3a:b7:00:01", "?No indicator was recognised in the value; name its type."},
		"none: C++":                  {"std::vector a::b ::", "?No indicator was recognised in the value; name its type."},
		"none: hash of odd length":   {md5Hex + "0", "?No indicator was recognised in the value; name its type."},
		"none: dot as a word":        {"polka dot pattern, join the dot com crowd", "?No indicator was recognised in the value; name its type."},
		"none: CVE in a word":        {"xCVE-2021-44228", "?No indicator was recognised in the value; name its type."},
		"none: flag":                 {"/help", "?No indicator was recognised in the value; name its type."},
		"none: URL of dots":          {"see http://... or http://", "?No indicator was recognised in the value; name its type."},

		// running text
		"text: every kind, in order": {
			"From 10.0.0.0/8 to http://bad.example.com/x, mail ann@example.com, 198.51.100.7 and 2001:db8::1; worse.example.com. " +
				"CVE-2021-44228 " + md5Hex + ` C:\Temp\a.exe setup.exe`,
			"CIDR Block=10.0.0.0/8 | URL=http://bad.example.com/x | Email Address=ann@example.com | IP Address=198.51.100.7 | " +
				"IPv6 Address=2001:db8::1 | FQDN=worse.example.com | CVE=CVE-2021-44228 | MD5=" + md5Hex +
				` | File Path=C:\Temp\a.exe | Filename=setup.exe`},
		"text: inside a URL":                  {"x http://198.51.100.7/bad.example.com/a@example.com/evil.exe y", "URL=http://198.51.100.7/bad.example.com/a@example.com/evil.exe"},
		"text: inside an e-mail address":      {"x ann.example.com@bad.example.com y", "Email Address=ann.example.com@bad.example.com"},
		"text: inside a CIDR":                 {"x 198.51.100.0/24 y", "CIDR Block=198.51.100.0/24"},
		"text: hash in a domain":              {"x " + md5Hex + ".example.com y", "FQDN=" + md5Hex + ".example.com"},
		"text: hash in a file name":           {"x " + md5Hex + ".exe y", "Filename=" + md5Hex + ".exe"},
		"text: name in a path":                {`x C:\a\198.51.100.7\evil.exe y`, `File Path=C:\a\198.51.100.7\evil.exe`},
		"text: address with path":             {"x 198.51.100.7/index y", "IP Address=198.51.100.7"},
		"text: punctuation after":             {"http://a.example.com/x. (http://b.example.com/y) <http://c.example.com/z>, [d.example.com]!", "URL=http://a.example.com/x | URL=http://b.example.com/y | URL=http://c.example.com/z | FQDN=d.example.com"},
		"text: brackets that belong":          {"http://a.example.com/x_(y) z", "URL=http://a.example.com/x_(y)"},
		"text: URLs without blanks":           {"http://a.example.com/,http://b.example.com/", "URL=http://a.example.com/ | URL=http://b.example.com/"},
		"text: URL in a URL":                  {"go http://a.example.com/?u=http://b.example.com/ now", "URL=http://a.example.com/?u=http://b.example.com/"},
		"text: HTML":                          {`<a href="http://a.example.com/x">b.example.com</a>`, "URL=http://a.example.com/x | FQDN=b.example.com"},
		"text: user information":              {"x http://ann:pw@a.example.com/ y", "URL=http://a.example.com/ (user information dropped)"},
		"text: ports":                         {"x a.example.com:8443, 198.51.100.7:80, [2001:db8::1]:53.", "FQDN=a.example.com (port 8443 dropped) | IP Address=198.51.100.7 (port 80 dropped) | IPv6 Address=2001:db8::1 (port 53 dropped)"},
		"text: unknown scheme":                {"x tcp://a.example.com:443 y", "FQDN=a.example.com (port 443 dropped)"},
		"text: label before IPv6":             {"IP:2001:db8::1 and 2001:db8::2: gone", "IPv6 Address=2001:db8::1 | IPv6 Address=2001:db8::2"},
		"text: last part of a path":           {`src/main.rs and dir\main.rs`, "?No indicator was recognised in the value; name its type."},
		"text: path with blanks":              {`ran C:\Program Files\Evil Corp\a.exe and C:\b.exe`, `File Path=C:\Program Files\Evil Corp\a.exe | File Path=C:\b.exe`},
		"text: path in quotes":                {`ran "C:\My Files\a b" now`, `File Path=C:\My Files\a b`},
		"text: sentence that begins so":       {`C:\Windows\evil.exe was started`, `File Path=C:\Windows\evil.exe`},
		"text: path with hidden folder":       {`in C:\Users\.ssh\id now`, `File Path=C:\Users\.ssh\id`},
		"text: defanged":                      {`hxxps[:]//a[.]example[.]com/x b(dot)example.com ann[@]example{.}com 198\.51\.100\.7`, "URL=https://a.example.com/x | FQDN=b.example.com | Email Address=ann@example.com | IP Address=198.51.100.7"},
		"text: ellipsis":                      {"a.example.com...and b.example.com", "FQDN=a.example.com | FQDN=b.example.com"},
		"text: words before and after, CJK":   {"请访问evil.com下载 或 a@b.example.com的", "FQDN=evil.com | Email Address=a@b.example.com"},
		"text: word before, CJK":              {"请访问evil.com", "FQDN=evil.com"},
		"text: file name between words, CJK":  {"下载setup.exe了，report.zip了", "Filename=setup.exe | Filename=report.zip"},
		"text: file name after two dots":      {"see..~readme.md+", "Filename=readme.md"},
		"text: emphasis":                      {"is *a.example.com* or b.example.com_", "FQDN=a.example.com | FQDN=b.example.com"},
		"text: network path":                  {`copied to \\srv\share\x.exe now`, `File Path=\\srv\share\x.exe`},
		"text: CVE of four digits":            {"fixes (CVE-2021-4034)", "CVE=CVE-2021-4034"},
		"text: internal mail domain":          {"x ann@corp.local y", "Email Address=ann@corp.local"},
		"text: duplicates":                    {"a.example.com A.example.com\na.EXAMPLE.com", "FQDN=a.example.com"},
		"text: each line may be a whole":      {"/usr/bin/evil\nHKCU\\Run\\x y\nsee a.example.com", `File Path=/usr/bin/evil | Registry Key=HKCU\Run\x y | FQDN=a.example.com`},
		"text: only the address of a mailbox": {"Ann <ann@example.com>", "Email Address=ann@example.com"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, show(FromText(tt.text, Options{})))
		})
	}
}

func TestOriginalIsWhatTheAnalystTyped(t *testing.T) {
	got := FromArtifact(Artifact{TypeID: 2, Value: "bad[.]example[.]com, worse.example.com"}, Options{})
	require.Len(t, got.Candidates, 2)
	assert.Equal(t, "bad[.]example[.]com", got.Candidates[0].Original)
	assert.Equal(t, "worse.example.com", got.Candidates[1].Original)
}

// hostile texts are those that make careless scanners slow.
var hostile = map[string]string{
	"prose":          "The host a.example.com asked 198.51.100.7 for http://b.example.com/x?y=z and mailed ann@example.com. ",
	"letters":        "abcdefgh",
	"hex and colons": "a1:b2:",
	"digits, dots":   "1.2.3.",
	"schemes":        "http:///",
	"at signs":       "a@",
	"brackets":       "[",
	"nested dots":    "[[[.",
	"backslashes":    `\.a`,
	"path words":     `C:\a b c d `,
	"one path":       `C:\a b `,
	"hyphens":        "a-.",
	"umlauts":        "ü.",
	"dots":           "..",
	"dot words":      " dot ",
	"quotes":         `"'`,
	"angles":         "<@",
	"closing":        "http://a.b/)",
	"plus":           "a+b.c..",
	"CVE":            "cve-2021-",
	"CJK":            "访问a.com",
}

// TestHostileTextEnds is about time too: what is quadratic or worse takes minutes.
func TestHostileTextEnds(t *testing.T) {
	for name, unit := range hostile {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat(unit, 120_000/len(unit)+1)
			assert.LessOrEqual(t, len(FromText(text, Options{}).Candidates), 200)
			for _, kind := range []int64{9, 2, 3} {
				assert.LessOrEqual(t, len(FromArtifact(Artifact{TypeID: kind, Value: text}, Options{}).Candidates), 200)
			}
		})
	}
}

// BenchmarkHostileText reports how much longer four times the text takes: 4 is
// linear, 16 quadratic.
func BenchmarkHostileText(b *testing.B) {
	for name, unit := range hostile {
		b.Run(name, func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				for i, size := range []int{30_000, 120_000} {
					text := strings.Repeat(unit, size/len(unit)+1)
					start := time.Now()
					FromText(text, Options{})
					took[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(took[1])/float64(took[0]), "120KB/30KB")
		})
	}
}

func BenchmarkFromText(b *testing.B) {
	for name, size := range map[string]int{"2KB": 2_000, "60KB": 60_000} {
		text := strings.Repeat(hostile["prose"], size/len(hostile["prose"])+1)[:size]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				FromText(text, Options{})
			}
		})
	}
}

func FuzzTyping(f *testing.F) {
	for _, r := range rows {
		f.Add(r.id, "198.51.100.7 bad[.]example.com")
	}
	for id, value := range map[int64]string{
		1: "[2001:db8::1]:443/32", 2: "BÜCHER.example", 3: "hxxp://u:p@a[.]b/c", 9: `"A, B" <a@b.c>`, 13: "0xmd5:" + md5Hex,
		22: ssdeep, 29: `C:\a b\c.exe "x`, 34: "User-Agent: User-Agent: x", 1003: "a\u200b dot b\x00<c>",
	} {
		f.Add(id, value)
	}
	for _, unit := range hostile {
		f.Add(int64(29), unit+unit)
		f.Add(int64(2), unit+unit)
	}
	f.Fuzz(func(t *testing.T, id int64, value string) {
		options := Options{SyncPasswords: true}
		for _, got := range []Outcome{FromArtifact(Artifact{TypeID: id, Value: value}, options), FromText(value, options)} {
			require.LessOrEqual(t, len(got.Candidates), MaxValues)
			require.LessOrEqual(t, len(got.Skipped), MaxValues)
			require.Equal(t, len(got.Candidates) == 0, got.Reason != "", "a reason exactly when there is nothing: %v", got)
			for _, c := range got.Candidates {
				require.NotEmpty(t, c.Value)
				require.True(t, utf8.ValidString(c.Value), "%q", c.Value)
				require.LessOrEqual(t, utf8.RuneCountInString(c.Value), MaxValueRunes)
				require.Equal(t, c.Value, clean(c.Value))
				again := FromTyped(c.Type, c.Value, options)
				require.Len(t, again.Candidates, 1, "typing %q as %s again: %v", c.Value, c.Type, again)
				require.Equal(t, c.Value, again.Candidates[0].Value, "typed %s again", c.Type)
			}
		}
	})
}
