package typing

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/publicsuffix"
)

// show renders an outcome in one line: "Type=Value (note), …", then skips after "!", then the reason after "?".
func show(o Outcome) string {
	var parts []string
	for _, c := range o.Candidates {
		part := c.Type + "=" + c.Value
		if c.Note != "" {
			part += " (" + c.Note + ")"
		}
		parts = append(parts, part)
	}
	for _, s := range o.Skipped {
		parts = append(parts, "!"+s.Value+" "+s.Reason)
	}
	if o.Reason != "" {
		parts = append(parts, "?"+o.Reason)
	}
	return strings.Join(parts, " | ")
}

const (
	md5Hex    = "d41d8cd98f00b204e9800998ecf8427e"
	sha1Hex   = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	sha256Hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	ssdeep    = "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C"
)

var (
	sha384Hex = strings.Repeat("ab", 48)
	sha512Hex = strings.Repeat("cd", 64)
)

func TestEveryArtifactType(t *testing.T) {
	tests := []struct {
		id    int64
		label string
		value string
		want  string
	}{
		{1, "IP Address", "198.51.100.7", "IP Address=198.51.100.7"},
		{2, "DNS Name", "Bad.Example.COM.", "FQDN=bad.example.com"},
		{3, "URL", "http://Bad.example.com/A?b=C", "URL=http://bad.example.com/A?b=C"},
		{4, "RFC 822 Email Message File", "mail.eml", `?Artifact type "RFC 822 Email Message File" is a file; use Import Attachment.`},
		{5, "Email Subject", "Your invoice, http://x.example.com", "Email Subject=Your invoice, http://x.example.com"},
		{6, "Email Body", "click hxxp://bad[.]example[.]com/x now", "URL=http://bad.example.com/x"},
		{7, "Email Attachment", "invoice.doc", `?Artifact type "Email Attachment" is a file; use Import Attachment.`},
		{8, "Email Attachment Name", "invoice.doc", "Email Attachment=invoice.doc"},
		{9, "Email Sender", "Ann <Ann@Example.com>", "Email Address=Ann@example.com"},
		{12, "Malware Sample", "evil.exe", `?Artifact type "Malware Sample" is a file; use Import Attachment.`},
		{13, "Malware MD5 Hash", strings.ToUpper(md5Hex), "MD5=" + md5Hex},
		{14, "Malware SHA-1 Hash", sha1Hex, "SHA-1=" + sha1Hex},
		{15, "Log File", "a.log", `?Artifact type "Log File" is a file; use Import Attachment.`},
		{16, "Other File", "a.bin", `?Artifact type "Other File" is a file; use Import Attachment.`},
		{19, "Email Sender Name", "CEO ceo@example.com", "Email Address=ceo@example.com"},
		{20, "Email Recipient", "bob@example.com", "Email Address=bob@example.com"},
		{22, "Malware Sample Fuzzy Hash", ssdeep, "Fuzzy Hash=" + ssdeep},
		{23, "User Account", "Bob@example.com", "Username=Bob@example.com"},
		{24, "Registry Key", `HKLM\Software\Evil`, `Registry Key=HKLM\Software\Evil`},
		{25, "System Name", "Host1.Corp.example.com", "FQDN=host1.corp.example.com"},
		{26, "Process Name", "svchost.exe", "Filename=svchost.exe"},
		{27, "Port", "8080", `?Artifact type "Port" has no ThreatQ counterpart; nothing done.`},
		{28, "Service", "EvilSvc", "Service Name=EvilSvc"},
		{29, "String", "just words", "String=just words"},
		{30, "Mutex", `Global\Evil Mutex, 1`, `Mutex=Global\Evil Mutex, 1`},
		{31, "File Name", "Evil Report.exe", "Filename=Evil Report.exe"},
		{32, "Password", "hunter2", "?Passwords are not synced (setting sync_passwords is off); nothing done."},
		{34, "HTTP Request Header", "User-Agent: Evil/1.0 (x; y)", "User-agent=Evil/1.0 (x; y)"},
		{35, "HTTP Response Header", "Location: http://bad.example.com/", "URL=http://bad.example.com/"},
		{36, "X509 Certificate File", "a.pem", `?Artifact type "X509 Certificate File" is a file; use Import Attachment.`},
		{37, "File Path", "/tmp/evil", "File Path=/tmp/evil"},
		{38, "Malware SHA-256 Hash", "0x" + sha256Hex, "SHA-256=" + sha256Hex},
		{39, "MAC Address", "00-1B-44-11-3A-B7", "MAC Address=00-1B-44-11-3A-B7"},
		{40, "URL Referer", "https://bad.example.com/", "URL=https://bad.example.com/"},
		{41, "User Agent", "Mozilla/5.0 (Windows; U), like Gecko", "User-agent=Mozilla/5.0 (Windows; U), like Gecko"},
		{42, "URI Path", "/A/b.php?x=1", "URL Path=/A/b.php?x=1"},
		{43, "Threat CVE ID", "cve-2021-44228", "CVE=CVE-2021-44228"},
		{44, "Network CIDR Range", "198.51.100.0/24", "CIDR Block=198.51.100.0/24"},
		{45, "Malware Family/Variant", "Emotet", `?Artifact type "Malware Family/Variant" is a name and not an indicator, so it has no ThreatQ counterpart; nothing done.`},
		{46, "Observed Data", "seen 198.51.100.7", "IP Address=198.51.100.7"},
		{47, "Network Traffic", "to 198.51.100.7:443", "IP Address=198.51.100.7 (port 443 dropped)"},
		{48, "Malware SHA-512 Hash", sha512Hex, "SHA-512=" + sha512Hex},
	}
	require.Len(t, tests, len(rows), "every row of the table has a case")
	for _, tt := range tests {
		t.Run(tt.label, func(t *testing.T) {
			byBoth := FromArtifact(Artifact{TypeID: tt.id, TypeName: tt.label, Value: tt.value}, Options{})
			assert.Equal(t, tt.want, show(byBoth), "id and label")
			byID := FromArtifact(Artifact{TypeID: tt.id, Value: tt.value}, Options{})
			assert.Equal(t, byBoth, byID, "label missing")
			byLabel := FromArtifact(Artifact{TypeName: tt.label, Value: tt.value}, Options{})
			assert.Equal(t, byBoth, byLabel, "id missing")
			localised := FromArtifact(Artifact{TypeID: tt.id, TypeName: "Übersetzt", Value: tt.value}, Options{})
			assert.Equal(t, byBoth.Candidates, localised.Candidates, "label localised")
		})
	}
}

func TestArtifactValues(t *testing.T) {
	const (
		ip, dns, url, body, sender, md5, fuzzy        = 1, 2, 3, 6, 9, 13, 22
		system, process, str, header, mac, cve, cidr_ = 25, 26, 29, 34, 39, 43, 44
	)
	tests := map[string]struct {
		id    int64
		value string
		want  string
	}{
		"IP: several, every separator":      {ip, "198.51.100.1, 198.51.100.2;198.51.100.3\n198.51.100.4 198.51.100.1", "IP Address=198.51.100.1 | IP Address=198.51.100.2 | IP Address=198.51.100.3 | IP Address=198.51.100.4"},
		"IP: IPv6 in capitals":              {ip, "2001:0DB8:0:0::0001", "IPv6 Address=2001:db8::1"},
		"IP: mapped to IPv6":                {ip, "::ffff:198.51.100.7", "IP Address=198.51.100.7"},
		"IP: zone":                          {ip, "fe80::1%eth0", "IPv6 Address=fe80::1"},
		"IP: port":                          {ip, "198.51.100.7:8080", "IP Address=198.51.100.7 (port 8080 dropped)"},
		"IP: IPv6 with port":                {ip, "[2001:db8::1]:443", "IPv6 Address=2001:db8::1 (port 443 dropped)"},
		"IP: IPv6 in brackets":              {ip, "[2001:db8::1]", "IPv6 Address=2001:db8::1"},
		"IP: impossible port":               {ip, "198.51.100.7:99999", "!198.51.100.7:99999 is not an address | ?\"198.51.100.7:99999\" is not an address; nothing done."},
		"IP: leading zeros":                 {ip, "010.001.002.000", "IP Address=10.1.2.0"},
		"IP: block":                         {ip, "10.0.0.0/8", "CIDR Block=10.0.0.0/8"},
		"IP: block of one":                  {ip, "198.51.100.7/32", "IP Address=198.51.100.7 (/32 dropped)"},
		"IP: IPv6 block of one":             {ip, "2001:db8::1/128", "IPv6 Address=2001:db8::1 (/128 dropped)"},
		"IP: block too long":                {ip, "198.51.100.7/33", "!198.51.100.7/33 is not an address | ?\"198.51.100.7/33\" is not an address; nothing done."},
		"IP: defanged":                      {ip, "198[.]51(.)100{.}7, 198\\.51\\.100\\.8", "IP Address=198.51.100.7 | IP Address=198.51.100.8"},
		"IP: domain filed as IP":            {ip, "bad.example.com", "FQDN=bad.example.com (typed FQDN by its shape)"},
		"IP: URL filed as IP":               {ip, "http://u:secret@bad.example.com/", "URL=http://bad.example.com/ (user information dropped; typed URL by its shape)"},
		"IP: partial success":               {ip, "198.51.100.7 999.1.1.1", "IP Address=198.51.100.7 | !999.1.1.1 is not an address"},
		"CIDR: block of one stays":          {cidr_, "198.51.100.7/32", "CIDR Block=198.51.100.7/32"},
		"CIDR: IPv6 block of one stays":     {cidr_, "2001:DB8::1/128", "CIDR Block=2001:db8::1/128"},
		"CIDR: bare address":                {cidr_, "198.51.100.7", "IP Address=198.51.100.7"},
		"CIDR: mapped block":                {cidr_, "::ffff:198.51.100.0/120", "CIDR Block=198.51.100.0/24"},
		"DNS: list with blanks":             {dns, "a.example.com b.example.com,c.example.com", "FQDN=a.example.com | FQDN=b.example.com | FQDN=c.example.com"},
		"DNS: is an address":                {dns, "198.51.100.7", "IP Address=198.51.100.7"},
		"DNS: with scheme":                  {dns, "hxxps[:]//bad[.]example[.]com", "URL=https://bad.example.com"},
		"DNS: with path":                    {dns, "bad.example.com/x", "URL=bad.example.com/x (typed URL because of its path)"},
		"DNS: with port":                    {dns, "bad.example.com:8443", "FQDN=bad.example.com (port 8443 dropped)"},
		"DNS: international":                {dns, "BÜCHER.example", "FQDN=xn--bcher-kva.example"},
		"DNS: international, refused":       {dns, "a\u2024\u00fc-.example", "String=a\u2024\u00fc-.example (not a valid international domain name)"},
		"DNS: in capitals, punycode":        {dns, "XN--BCHER-KVA.example", "FQDN=xn--bcher-kva.example"},
		"DNS: file-like name is a domain":   {dns, "report.zip", "FQDN=report.zip"},
		"DNS: underscore":                   {dns, "_dmarc.example.com", "FQDN=_dmarc.example.com"},
		"DNS: single label":                 {dns, "localhost", "!localhost is a host name without a domain | ?\"localhost\" is a host name without a domain; nothing done."},
		"DNS: words for dots":               {dns, "bad dot example DOT com", "FQDN=bad.example.com"},
		"DNS: all bracket forms":            {dns, "a[dot]b(dot)c[.]d(.)e{.}example[DOT]com", "FQDN=a.b.c.d.e.example.com"},
		"DNS: nested brackets":              {dns, "bad[[.]]example.com", "FQDN=bad.example.com"},
		"DNS: zero-width and direction":     {dns, "\u202Ebad\u200b.exa\u200dmple\ufeff.com\u200f", "FQDN=bad.example.com"},
		"DNS: quoted":                       {dns, "\"bad.example.com\" 'worse.example.com' <x.example.com>", "FQDN=bad.example.com | FQDN=worse.example.com | FQDN=x.example.com"},
		"DNS: e-mail filed as DNS":          {dns, "a[@]example.com", "Email Address=a@example.com (typed Email Address by its shape)"},
		"DNS: impossible":                   {dns, "*.example.com", "!*.example.com is not a host name | ?\"*.example.com\" is not a host name; nothing done."},
		"URL: bare domain":                  {url, "Bad.example.com", "FQDN=bad.example.com"},
		"URL: bare address":                 {url, "198.51.100.7", "IP Address=198.51.100.7"},
		"URL: bare address with port":       {url, "198.51.100.7:80", "IP Address=198.51.100.7 (port 80 dropped)"},
		"URL: without scheme":               {url, "Bad.example.com/A", "URL=bad.example.com/A"},
		"URL: without path":                 {url, "http://bad.example.com", "URL=http://bad.example.com"},
		"URL: protocol-relative":            {url, "//bad.example.com/x", "URL=bad.example.com/x"},
		"URL: user information":             {url, "ftp://user:p%40ss@Bad.example.com:2121/f", "URL=ftp://bad.example.com:2121/f (user information dropped)"},
		"URL: comma and percent stay":       {url, "http://bad.example.com/a,b?c=%20d", "URL=http://bad.example.com/a,b?c=%20d"},
		"URL: blanks are not separators":    {url, "http://bad.example.com/a b", "URL=http://bad.example.com/a b"},
		"URL: lines are separators":         {url, "http://a.example.com/\r\nhttp://b.example.com/", "URL=http://a.example.com/ | URL=http://b.example.com/"},
		"URL: every scheme spelling":        {url, "hxxp://a.example.com\nhXXps://b.example.com\nh**p://c.example.com\nmeow://d.example.com\nhttp[://]e.example.com", "URL=http://a.example.com | URL=https://b.example.com | URL=http://c.example.com | URL=http://d.example.com | URL=http://e.example.com"},
		"URL: international host":           {url, "http://bücher.example/Ü", "URL=http://xn--bcher-kva.example/Ü"},
		"URL: international host, refused":  {url, "http://\u00fc-.example/A", "String=http://\u00fc-.example/A (not a valid international domain name)"},
		"URL: IPv6 host":                    {url, "http://[2001:DB8::1]:8080/A", "URL=http://[2001:db8::1]:8080/A"},
		"URL: file":                         {url, "file:///C:/evil.exe", "URL=file:///C:/evil.exe"},
		"URL: words":                        {url, "not a url", "!not a url is not a URL | ?\"not a url\" is not a URL; nothing done."},
		"URL: too long":                     {url, "http://bad.example.com/" + strings.Repeat("a", 2000), "!http://bad.example.com/" + strings.Repeat("a", 56) + "… is longer than 2000 characters | ?\"http://bad.example.com/" + strings.Repeat("a", 56) + "…\" is longer than 2000 characters; nothing done."},
		"sender: several with names":        {sender, `"Doe, Ann" <ann@example.com>; Bob <bob@example.com>, carl@example.com`, "Email Address=ann@example.com | Email Address=bob@example.com | Email Address=carl@example.com"},
		"sender: address in the name":       {sender, `"boss@example.com" <evil@Bad.Example.com>`, "Email Address=evil@bad.example.com"},
		"sender: local part keeps case":     {sender, "Ann.Lee+X@EXAMPLE.com", "Email Address=Ann.Lee+X@example.com"},
		"sender: defanged":                  {sender, "ann[at]example(dot)com", "Email Address=ann@example.com"},
		"sender: mailto":                    {sender, "mailto:ann@example.com?subject=x", "Email Address=ann@example.com"},
		"sender: international domain":      {sender, "ann@bücher.example", "Email Address=ann@xn--bcher-kva.example"},
		"sender: no address":                {sender, "Ann", "!Ann is not an e-mail address | ?\"Ann\" is not an e-mail address; nothing done."},
		"hash: length wins":                 {md5, sha256Hex, "SHA-256=" + sha256Hex + " (typed SHA-256 by its length)"},
		"hash: SHA-384":                     {md5, sha384Hex, "SHA-384=" + sha384Hex + " (typed SHA-384 by its length)"},
		"hash: prefixes":                    {md5, "MD5: " + md5Hex + "\nmd5:0x" + md5Hex[:31] + "f", "MD5=" + md5Hex + " | MD5=" + md5Hex[:31] + "f | !MD5: is not a hash"},
		"hash: odd length":                  {md5, md5Hex[:31], "!" + md5Hex[:31] + " is not a hash: no hash has 31 hex digits | ?\"" + md5Hex[:31] + "\" is not a hash: no hash has 31 hex digits; nothing done."},
		"hash: ssdeep filed as MD5":         {md5, ssdeep, "Fuzzy Hash=" + ssdeep + " (typed Fuzzy Hash by its shape)"},
		"hash: not hex":                     {md5, "hello", "!hello is not a hash | ?\"hello\" is not a hash; nothing done."},
		"fuzzy hash that is a SHA-1":        {fuzzy, sha1Hex, "SHA-1=" + sha1Hex + " (typed SHA-1 by its length)"},
		"fuzzy hash: TLSH":                  {fuzzy, "T1" + strings.Repeat("0A", 35), "Fuzzy Hash=T1" + strings.Repeat("0A", 35)},
		"system name: single label":         {system, "DESKTOP-1", "String=DESKTOP-1"},
		"system name: words":                {system, "Ann's PC. Old", "String=Ann's PC. Old"},
		"process with path":                 {process, `C:\Windows\svchost.exe`, `File Path=C:\Windows\svchost.exe`},
		"string: single label":              {str, "localhost", "String=localhost"},
		"string: one indicator is no text":  {str, "bad.example.com", "FQDN=bad.example.com"},
		"string: 2,000 runes":               {str, strings.Repeat("ü", 2000), "String=" + strings.Repeat("ü", 2000)},
		"string: too long":                  {str, strings.Repeat("ü ", 1001), "!" + strings.Repeat("ü ", 39) + "ü… is longer than 2000 characters and holds no indicator | ?\"" + strings.Repeat("ü ", 39) + "ü…\" is longer than 2000 characters and holds no indicator; nothing done."},
		"string: no split at commas":        {str, "one, two; three", "String=one, two; three"},
		"string: emoji and Arabic":          {str, "😀 مرحبا", "String=😀 مرحبا"},
		"string: findings keep words out":   {str, "call\nbad.example.com\nnow", "FQDN=bad.example.com"},
		"body: nothing in it":               {body, "hello\nworld", `?No indicator was recognised in the artifact of type "Email Body"; nothing done.`},
		"header: lines":                     {header, "user-agent: A/1\nHost: bad.example.com\nAccept: */*", "User-agent=A/1 | FQDN=bad.example.com"},
		"MAC: list":                         {mac, "00:1b:44:11:3a:b7;001B.4411.3AB8", "MAC Address=00:1b:44:11:3a:b7 | MAC Address=001B.4411.3AB8"},
		"MAC: wrong":                        {mac, "00:1b:44", "!00:1b:44 is not a MAC address | ?\"00:1b:44\" is not a MAC address; nothing done."},
		"sender: endless local part":        {sender, strings.Repeat("a", 65) + "@b.example.com", "!" + strings.Repeat("a", 65) + "@b.example.com is not an e-mail address | ?\"" + strings.Repeat("a", 65) + "@b.example.com\" is not an e-mail address; nothing done."},
		"DNS: longest name":                 {dns, strings.Repeat("a.", 126) + "b", "FQDN=" + strings.Repeat("a.", 126) + "b"},
		"DNS: name too long":                {dns, strings.Repeat("a.", 126) + "bb", "!" + strings.Repeat("a.", 39) + "a… is not a host name | ?\"" + strings.Repeat("a.", 39) + "a…\" is not a host name; nothing done."},
		"DNS: label too long":               {dns, strings.Repeat("a", 64) + ".b", "!" + strings.Repeat("a", 64) + ".b is not a host name | ?\"" + strings.Repeat("a", 64) + ".b\" is not a host name; nothing done."},
		"CVE: list with a wrong one":        {cve, "CVE-2021-44228 2021-44228", "CVE=CVE-2021-44228 | !2021-44228 is not a CVE id"},
		"empty":                             {ip, "", "?The artifact is empty; nothing done."},
		"white space and invisible is none": {str, " \u200b\t\n", "?The artifact is empty; nothing done."},
		"invalid UTF-8":                     {str, "a\xffb", "String=a\uFFFDb"},
		"control characters":                {str, "a\x00b\x1bc\td", "String=abc d"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, show(FromArtifact(Artifact{TypeID: tt.id, Value: tt.value}, Options{})))
		})
	}
}

func TestCustomArtifactTypes(t *testing.T) {
	tests := map[string]struct {
		label, value string
		types        TypeSet
		want         string
	}{
		"named like a ThreatQ type":           {"x509_serial", "01:02", nil, "x509 Serial=01:02"},
		"named like one, typed like one":      {"sha 384", strings.ToUpper(sha384Hex), nil, "SHA-384=" + sha384Hex},
		"named like a type of this instance":  {"ja3 hash", "abc", NewTypeSet("JA3 Hash", "String"), "JA3 Hash=abc"},
		"with another name, has an indicator": {"Crown Jewel", "on bad.example.com", nil, "FQDN=bad.example.com"},
		"with another name, has none":         {"Crown Jewel", "the vault", nil, `?No indicator was recognised in the artifact of type "Crown Jewel"; nothing done.`},
		"not on this instance":                {"JA3", "the vault", NewTypeSet("String"), `?No indicator was recognised in the artifact of type "JA3"; nothing done.`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := FromArtifact(Artifact{TypeID: 1003, TypeName: tt.label, Value: tt.value}, Options{Types: tt.types})
			assert.Equal(t, tt.want, show(got))
		})
	}
	file := FromArtifact(Artifact{TypeID: 1004, TypeName: "Memory Dump", Value: "dump.zip", IsFile: true}, Options{})
	assert.Equal(t, `?Artifact type "Memory Dump" is a file; use Import Attachment.`, show(file))
	unknown := FromArtifact(Artifact{TypeID: 1005, Value: "words"}, Options{})
	assert.Equal(t, `?No indicator was recognised in the artifact of type "#1005"; nothing done.`, show(unknown))
}

func TestPasswordsNeedConsentAndAreNeverShown(t *testing.T) {
	const secret = "correct horse, battery; staple"
	artifact := Artifact{TypeID: 32, Value: secret}
	off := FromArtifact(artifact, Options{})
	assert.Empty(t, off.Candidates)
	assert.NotContains(t, show(off), "horse")
	on := FromArtifact(artifact, Options{SyncPasswords: true})
	assert.Equal(t, []Candidate{{Type: TypePassword, Value: secret}}, on.Candidates)
	missing := FromArtifact(artifact, Options{SyncPasswords: true, Types: NewTypeSet("FQDN")})
	assert.Equal(t, "! cannot be stored: this ThreatQ has no indicator type Password | ?the value cannot be stored: this ThreatQ has no indicator type Password; nothing done.", show(missing))
	assert.Empty(t, FromTyped("Password", secret, Options{}).Candidates, "a named type is no consent")
}

func TestUserInformationOfURLsIsNeverShown(t *testing.T) {
	for _, value := range []string{"http://ann:s3cret@bad.example.com/x", "hxxp://ann:s3cret[@]bad.example.com/x", "ann:s3cret@bad.example.com/x"} {
		for _, id := range []int64{1, 2, 3, 9, 29} {
			got := FromArtifact(Artifact{TypeID: id, Value: value}, Options{})
			for _, c := range got.Candidates {
				assert.NotContains(t, c.Value+c.Note+c.Original, "s3cret", "%d %s", id, value)
			}
		}
	}
}

func TestMissingTypesFallBack(t *testing.T) {
	bare := NewTypeSet("fqdn", "string", "FILE NAME", "Filename")
	none := NewTypeSet("FQDN")
	tests := []struct {
		id             int64
		value          string
		want, withNone string
	}{
		{1, "2001:db8::1", "string=2001:db8::1 (typed string, this ThreatQ has no type IPv6 Address)", "IPv6 Address"},
		{44, "10.0.0.0/8", "string=10.0.0.0/8 (typed string, this ThreatQ has no type CIDR Block)", "CIDR Block"},
		{8, "a.doc", "Filename=a.doc (typed Filename, this ThreatQ has no type Email Attachment)", "Email Attachment"},
		{28, "svc", "string=svc (typed string, this ThreatQ has no type Service Name)", "Service Name"},
		{39, "00:1b:44:11:3a:b7", "string=00:1b:44:11:3a:b7 (typed string, this ThreatQ has no type MAC Address)", "MAC Address"},
		{43, "CVE-2021-44228", "string=CVE-2021-44228 (typed string, this ThreatQ has no type CVE)", "CVE"},
		{22, ssdeep, "string=" + ssdeep + " (typed string, this ThreatQ has no type Fuzzy Hash)", "Fuzzy Hash"},
	}
	for _, tt := range tests {
		artifact := Artifact{TypeID: tt.id, Value: tt.value}
		assert.Equal(t, tt.want, show(FromArtifact(artifact, Options{Types: bare})))
		got := FromArtifact(artifact, Options{Types: none})
		assert.Empty(t, got.Candidates)
		assert.Contains(t, got.Reason, "this ThreatQ has no indicator type "+tt.withNone)
	}
	assert.Equal(t, "fqdn=a.example.com", show(FromArtifact(Artifact{TypeID: 2, Value: "a.example.com"}, Options{Types: bare})),
		"the instance's spelling is used")
	assert.Contains(t, FromArtifact(Artifact{TypeID: 13, Value: md5Hex}, Options{Types: bare}).Reason, "no indicator type MD5",
		"a type without a substitute is skipped")
}

func TestPrivateAddressesAreSkippedOnlyWhenAsked(t *testing.T) {
	private := "10.1.2.3 172.16.0.1 192.168.1.1 127.0.0.1 169.254.1.1 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 ::1 fe80::1 fd00::1 10.0.0.0/8"
	artifact := Artifact{TypeID: 1, Value: private + " 9.9.9.9"}
	assert.Len(t, FromArtifact(artifact, Options{}).Candidates, 14)
	got := FromArtifact(artifact, Options{SkipPrivateIPs: true})
	assert.Equal(t, []Candidate{{Type: TypeIP, Value: "9.9.9.9", Original: "9.9.9.9"}}, got.Candidates)
	assert.Len(t, got.Skipped, 13)
	assert.Contains(t, got.Skipped[0].Reason, "skip_private_ips")
	old := Options{SkipPrivateIPs: true, Types: NewTypeSet("String")}
	assert.Empty(t, FromArtifact(Artifact{TypeID: 1, Value: "fe80::1"}, old).Candidates, "also where it would become a String")
}

func TestAtMost200Values(t *testing.T) {
	var list strings.Builder
	for i := range 450 {
		list.WriteString("h" + strconv.Itoa(i%250) + ".example.com ")
	}
	for _, id := range []int64{2, 6} {
		got := FromArtifact(Artifact{TypeID: id, Value: list.String()}, Options{})
		assert.Len(t, got.Candidates, MaxValues)
		assert.Equal(t, 50, got.Dropped, "distinct ones beyond the limit")
		assert.Equal(t, "h0.example.com", got.Candidates[0].Value)
	}
	bad := FromArtifact(Artifact{TypeID: 43, Value: list.String()}, Options{})
	assert.Len(t, bad.Skipped, MaxValues)
	assert.Equal(t, 50, bad.Dropped)
	assert.Contains(t, bad.Reason, "None of 250 values")
}

func TestTypedByName(t *testing.T) {
	tests := map[string]struct {
		typ, value string
		want       string
	}{
		"ThreatQ name":                         {"FQDN", "Bad[.]example.com", "FQDN=bad.example.com"},
		"ThreatQ name, other spelling":         {"ip_address", "198.51.100.7", "IP Address=198.51.100.7"},
		"artifact label":                       {"Malware MD5 Hash", md5Hex, "MD5=" + md5Hex},
		"label that is a ThreatQ name as well": {"Email Attachment", "a.doc", "Email Attachment=a.doc"},
		"String stays a String":                {"String", "bad.example.com", "String=bad.example.com"},
		"no splitting":                         {"IP Address", "198.51.100.7, 198.51.100.8", "!198.51.100.7, 198.51.100.8 is not an address | ?\"198.51.100.7, 198.51.100.8\" is not an address; nothing done."},
		"no splitting at lines":                {"Mutex", "a\nb", "Mutex=a b"},
		"no splitting of e-mail addresses":     {"Email Address", "a@example.com, b@example.com", "!a@example.com, b@example.com holds 2 e-mail addresses; give one | ?\"a@example.com, b@example.com\" holds 2 e-mail addresses; give one; nothing done."},
		"unknown name is parsed":               {"Hostname", "see bad.example.com and 198.51.100.7", "FQDN=bad.example.com | IP Address=198.51.100.7"},
		"no name is parsed":                    {"", "bad.example.com", "FQDN=bad.example.com"},
		"no name, nothing in it":               {"", "words", "?No indicator was recognised in the value; name its type."},
		"label without a counterpart":          {"Port", "80", `?Artifact type "Port" has no ThreatQ counterpart; nothing done.`},
		"empty":                                {"FQDN", " ", "?The value is empty; nothing done."},
		"empty without type":                   {"", " ", "?The value is empty; nothing done."},
		"CIDR of one stays":                    {"CIDR Block", "198.51.100.7/32", "CIDR Block=198.51.100.7/32"},
		"path given as file name":              {"Filename", `C:\a\b`, `File Path=C:\a\b`},
		"text by label":                        {"Email Body", "a.example.com b.example.com", "FQDN=a.example.com | FQDN=b.example.com"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, show(FromTyped(tt.typ, tt.value, Options{})))
		})
	}
}

func TestArtifactTypeReverses(t *testing.T) {
	tests := []struct{ typ, value, want string }{
		{"IP Address", "198.51.100.7", "IP Address"}, {"IPv6 Address", "::1", "IP Address"}, {"CIDR Block", "10.0.0.0/8", "Network CIDR Range"},
		{"FQDN", "a.example.com", "DNS Name"}, {"URL", "http://a.example.com", "URL"}, {"URL Path", "/a b", "URI Path"},
		{"Email Address", "a@b.c", "Email Sender"}, {"Email Subject", "x y", "Email Subject"}, {"Email Attachment", "a b.doc", "Email Attachment Name"},
		{"Filename", "a b.exe", "File Name"}, {"File Path", `C:\a b`, "File Path"}, {"MD5", md5Hex, "Malware MD5 Hash"},
		{"SHA-1", sha1Hex, "Malware SHA-1 Hash"}, {"SHA-256", sha256Hex, "Malware SHA-256 Hash"}, {"SHA-512", sha512Hex, "Malware SHA-512 Hash"},
		{"Fuzzy Hash", ssdeep, "Malware Sample Fuzzy Hash"}, {"Mutex", "m", "Mutex"}, {"Registry Key", `HKLM\x`, "Registry Key"},
		{"MAC Address", "00:1b:44:11:3a:b7", "MAC Address"}, {"CVE", "CVE-2021-44228", "Threat CVE ID"}, {"Username", "u", "User Account"},
		{"User-agent", "a b", "User Agent"}, {"Service Name", "s", "Service"}, {"SHA-384", sha384Hex, "String"}, {"ASN", "1", "String"},
		{"x509 Serial", "1", "String"}, {"String", "s", "String"}, {"JA3", "x", "String"}, {"Password", "p", ""},
		{"URL", "http://a.example.com/a b", "String"}, {"FQDN", "a b", "String"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, ArtifactType(tt.typ, tt.value, Reverse{}), tt.typ)
	}
	assert.Equal(t, "Password", ArtifactType("Password", "p", Reverse{SyncPasswords: true}))
	older := Reverse{HasArtifactType: func(label string) bool { return label != "Malware SHA-512 Hash" }}
	assert.Equal(t, "String", ArtifactType("SHA-512", sha512Hex, older))
	assert.Equal(t, "Malware MD5 Hash", ArtifactType("MD5", md5Hex, older))
}

func TestTopLevelDomainsAreThoseOfTheICANNList(t *testing.T) {
	require.Greater(t, len(tlds), 1400)
	require.IsIncreasing(t, tlds)
	for _, tld := range tlds {
		_, icann := publicsuffix.PublicSuffix("x." + tld)
		assert.True(t, icann, tld)
	}
	for _, host := range []string{"a.com", "a.co.uk", "a.xn--p1ai", "a.onion", "a.ck", "a.zip"} {
		assert.True(t, hasKnownTLD(host), host)
	}
	for _, host := range []string{"a.local", "a.example", "a.exe", "a.corp", "a.co m"} {
		assert.False(t, hasKnownTLD(host), host)
	}
}
