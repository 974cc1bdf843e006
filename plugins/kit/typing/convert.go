package typing

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// convert types one value of a known kind.
func (c *collector) convert(r row, raw string) {
	value := clean(raw)
	if value == "" {
		return
	}
	switch r.kind {
	case kindPlain:
		c.add(Candidate{Type: r.typ, Value: value, Original: value})
	case kindPassword:
		c.add(Candidate{Type: TypePassword, Value: value})
	case kindAddress, kindCIDR:
		c.address(value, r.kind == kindCIDR)
	case kindHost:
		c.host(value)
	case kindURL:
		c.url(value)
	case kindEmail:
		c.email(value)
	case kindHash, kindFuzzy:
		c.hash(value, r)
	case kindCVE:
		c.cve(value)
	case kindMAC:
		if !isMAC(value) {
			c.skip(value, "is not a MAC address")
			return
		}
		c.add(Candidate{Type: TypeMAC, Value: value, Original: value})
	case kindFileName:
		c.add(Candidate{Type: fileType(value), Value: value, Original: value})
	case kindSystemName:
		c.systemName(value)
	case kindUserAgent:
		agent, _ := userAgent(value)
		c.add(Candidate{Type: TypeUserAgent, Value: agent, Original: value})
	case kindHeader:
		if agent, ok := userAgent(value); ok {
			c.add(Candidate{Type: TypeUserAgent, Value: agent, Original: value})
			return
		}
		c.textLine(value)
	case kindText, kindString:
		c.textLine(value)
	}
}

func (c *collector) address(value string, keepSingle bool) {
	plain := refangValue(value)
	if candidate, ok := parseAddress(plain, keepSingle); ok {
		candidate.Original = value
		c.add(candidate)
		return
	}
	c.byShape(value, "an address")
}

func (c *collector) host(value string) {
	plain := refangValue(value)
	if candidate, ok := parseAddress(plain, false); ok {
		candidate.Original = value
		c.add(candidate)
		return
	}
	if strings.Contains(plain, "://") {
		c.url(value)
		return
	}
	if candidate, ok := parseSchemelessURL(plain, isTypedHost); ok {
		candidate.Original = originalOf(candidate, value)
		candidate.note("typed URL because of its path")
		c.add(candidate)
		return
	}
	c.bareHost(plain, value, "a host name")
}

// bareHost takes a name with or without a port.
func (c *collector) bareHost(plain, original, what string) {
	host, port := cutPort(plain)
	name, state := hostName(host)
	candidate := Candidate{Type: TypeFQDN, Value: name, Original: original}
	switch state {
	case notHost:
		c.byShape(original, what)
		return
	case singleLabel:
		c.skip(original, "is a host name without a domain")
		return
	case badUnicode:
		candidate.Type, candidate.Value = TypeString, plain
		candidate.note("not a valid international domain name")
	case qualifiedHost:
		if port != "" {
			candidate.note(portNote(port))
		}
	}
	c.add(candidate)
}

func (c *collector) url(value string) {
	plain := refangValue(value)
	if strings.Contains(plain, "://") {
		if candidate, state := parseURL(plain); state != notHost {
			candidate.Original = originalOf(candidate, value)
			c.add(candidate)
			return
		}
	}
	if candidate, ok := parseAddress(plain, false); ok {
		candidate.Original = value
		c.add(candidate)
		return
	}
	plain = strings.TrimPrefix(plain, "//")
	if candidate, ok := parseSchemelessURL(plain, isTypedHost); ok {
		candidate.Original = originalOf(candidate, value)
		c.add(candidate)
		return
	}
	c.bareHost(plain, value, "a URL")
}

// isTypedHost accepts any host with a dot and any address where the analyst said that the value is a host or URL.
func isTypedHost(host string) bool {
	if _, ok := parseIP(host); ok {
		return true
	}
	_, state := hostName(host)
	return state == qualifiedHost
}

func isKnownHost(host string) bool {
	if _, ok := parseIP(host); ok {
		return true
	}
	name, state := hostName(host)
	return state == qualifiedHost && hasKnownTLD(name) && !isFileName(name)
}

// originalOf keeps passwords of URLs out of what is shown.
func originalOf(candidate Candidate, value string) string {
	if strings.Contains(value, "@") || strings.Contains(refangValue(value), "@") {
		return candidate.Value
	}
	return value
}

func (c *collector) email(value string) {
	found := emails(refangValue(value))
	switch {
	case len(found) == 0:
		c.byShape(value, "an e-mail address")
	case len(found) > 1 && c.single:
		c.skip(value, "holds "+strconv.Itoa(len(found))+" e-mail addresses; give one")
	default:
		for _, candidate := range found {
			c.add(candidate)
		}
	}
}

func (c *collector) systemName(value string) {
	plain := refangValue(value)
	if candidate, ok := parseAddress(plain, false); ok {
		candidate.Original = value
		c.add(candidate)
		return
	}
	if name, state := hostName(plain); state == qualifiedHost {
		c.add(Candidate{Type: TypeFQDN, Value: name, Original: value})
		return
	}
	c.add(Candidate{Type: TypeString, Value: value, Original: value})
}

// byShape saves a value that was filed under the wrong network type, if its shape is beyond doubt.
func (c *collector) byShape(value, expected string) {
	if candidate, ok := whole(value); ok {
		candidate.Original = originalOf(candidate, value)
		candidate.note("typed " + candidate.Type + " by its shape")
		c.add(candidate)
		return
	}
	shown := value
	if strings.Contains(value, "@") && strings.Contains(value, "://") {
		shown = "" // may hold a password
	}
	c.skip(shown, "is not "+expected)
}

var hashPrefixes = []string{"0x", "md5:", "sha1:", "sha-1:", "sha256:", "sha-256:", "sha384:", "sha-384:", "sha512:", "sha-512:", "ssdeep:"}

func hashTypeOfLength(digits int) string {
	switch digits {
	case 32:
		return TypeMD5
	case 40:
		return TypeSHA1
	case 64:
		return TypeSHA256
	case 96:
		return TypeSHA384
	case 128:
		return TypeSHA512
	}
	return ""
}

func (c *collector) hash(value string, r row) {
	digest := stripHashPrefix(value)
	declared := r.typ
	if r.kind == kindFuzzy {
		declared = TypeFuzzyHash
	}
	candidate := Candidate{Value: digest, Original: value}
	digits := allHex(digest)
	switch {
	case digits && hashTypeOfLength(len(digest)) != "":
		candidate.Type, candidate.Value = hashTypeOfLength(len(digest)), strings.ToLower(digest)
		if candidate.Type != declared {
			candidate.note("typed " + candidate.Type + " by its length")
		}
	case isSSDeep(digest), r.kind == kindFuzzy && isTLSH(digest):
		candidate.Type = TypeFuzzyHash
		if candidate.Type != declared {
			candidate.note("typed " + candidate.Type + " by its shape")
		}
	case digits:
		c.skip(value, "is not a hash: no hash has "+strconv.Itoa(len(digest))+" hex digits")
		return
	default:
		c.skip(value, "is not a hash")
		return
	}
	c.add(candidate)
}

func stripHashPrefix(value string) string {
	for again := true; again; {
		again = false
		for _, prefix := range hashPrefixes {
			if hasPrefixFold(value, prefix) {
				value, again = strings.TrimSpace(value[len(prefix):]), true
			}
		}
	}
	return value
}

func allHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isHex(s[i]) {
			return false
		}
	}
	return s != ""
}

// isSSDeep knows "block size:hash:hash" with Base64 digits.
func isSSDeep(s string) bool {
	size, hashes, ok := strings.Cut(s, ":")
	if !ok || size == "" || len(size) > 12 || strings.Trim(size, "0123456789") != "" {
		return false
	}
	first, second, ok := strings.Cut(hashes, ":")
	return ok && first+second != "" && isBase64(first) && isBase64(second)
}

func isBase64(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlpha(s[i]) && !isDigit(s[i]) && s[i] != '+' && s[i] != '/' {
			return false
		}
	}
	return true
}

func isTLSH(s string) bool {
	return len(s) == 72 && hasPrefixFold(s, "t1") && allHex(s[2:]) || len(s) == 70 && allHex(s)
}

func (c *collector) cve(value string) {
	if n := cveLength(value); n == 0 || n != len(value) {
		c.skip(value, "is not a CVE id")
		return
	}
	c.add(Candidate{Type: TypeCVE, Value: strings.ToUpper(value), Original: value})
}

// cveLength returns how many bytes at the start of s are a CVE id, 0 if none.
func cveLength(s string) int {
	const yearEnd = len("CVE-2021")
	if !hasPrefixFold(s, "cve-") || len(s) < yearEnd+5 || s[yearEnd] != '-' || strings.Trim(s[4:yearEnd], "0123456789") != "" {
		return 0
	}
	n := yearEnd + 1
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if digits := n - yearEnd - 1; digits < 4 || digits > 19 {
		return 0
	}
	return n
}

func isMAC(s string) bool {
	digits := 0
	for i := 0; i < len(s); i++ {
		switch {
		case isHex(s[i]):
			digits++
		case s[i] != ':' && s[i] != '-' && s[i] != '.':
			return false
		}
	}
	return digits == 12
}

func fileType(value string) string {
	if strings.ContainsAny(value, `\/`) {
		return TypeFilePath
	}
	return TypeFilename
}

func userAgent(line string) (agent string, ok bool) {
	const header = "user-agent:"
	for hasPrefixFold(line, header) {
		line, ok = clean(line[len(header):]), true
	}
	return line, ok
}

// wholeString stores a text without any finding as it is.
func (c *collector) wholeString(value string) {
	if utf8.RuneCountInString(strings.TrimSpace(value)) > MaxValueRunes {
		c.skip(value, "is longer than "+strconv.Itoa(MaxValueRunes)+" characters and holds no indicator")
		return
	}
	for _, line := range lines(value) {
		if text := clean(line); text != "" {
			c.add(Candidate{Type: TypeString, Value: text, Original: text})
		}
	}
}
