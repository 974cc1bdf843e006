package typing

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var (
	tlds      = strings.Fields(tldList)
	extension = map[string]bool{}

	sharedAddresses   = netip.MustParsePrefix("100.64.0.0/10")
	thisNetwork       = netip.MustParsePrefix("0.0.0.0/8")
	reservedAddresses = netip.MustParsePrefix("240.0.0.0/4")
)

// fileExtensions are what makes a word a file name rather than a domain (contract: regex fallback). "md" is read
// that way in names with one dot only, since it is a country too.
const fileExtensions = "exe dll scr vbs js ps1 bat cmd lnk doc docx docm xls xlsx xlsm ppt pptx rtf pdf zip rar 7z jar iso img apk hta"

func init() {
	for _, ext := range strings.Fields(fileExtensions) {
		extension[ext] = true
	}
	// Builds the tables of the IDNA profile while the module starts.
	_, _ = idna.Lookup.ToASCII("bücher.example")
}

func isFileName(word string) bool {
	i := strings.LastIndexByte(word, '.')
	if i <= 0 || i == len(word)-1 {
		return false
	}
	ext := strings.ToLower(word[i+1:])
	return extension[ext] || ext == "md" && strings.Count(word, ".") == 1
}

// parseIP reads an address with what people put around it. The zone and a mapping to IPv6 are removed.
func parseIP(s string) (netip.Addr, bool) {
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
	}
	if i := strings.IndexByte(s, '%'); i > 0 && strings.Contains(s[:i], ":") {
		s = s[:i]
	}
	addr, err := netip.ParseAddr(stripLeadingZeros(s))
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// stripLeadingZeros mends the parts of an IPv4 address, which netip refuses with them.
func stripLeadingZeros(s string) string {
	if !strings.Contains(s, "0") || strings.Trim(s, "0123456789.") != "" {
		return s
	}
	parts := strings.Split(s, ".")
	for i, part := range parts {
		if part != "" {
			parts[i] = part[:len(part)-1]
			parts[i] = strings.TrimLeft(parts[i], "0") + part[len(part)-1:]
		}
	}
	return strings.Join(parts, ".")
}

// parseAddress reads an address, an address with a port, or a block. A block of one address becomes that address
// unless keepSingle is set.
func parseAddress(s string, keepSingle bool) (Candidate, bool) {
	s = strings.TrimSuffix(s, ".")
	if addr, bits, ok := strings.Cut(s, "/"); ok {
		return parseBlock(addr, bits, keepSingle)
	}
	if addr, ok := parseIP(s); ok {
		return addressCandidate(addr), true
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !isPort(s[i+1:]) {
		return Candidate{}, false
	}
	host := s[:i]
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return Candidate{}, false
	}
	addr, ok := parseIP(host)
	if !ok {
		return Candidate{}, false
	}
	candidate := addressCandidate(addr)
	candidate.note(portNote(s[i+1:]))
	return candidate, true
}

func parseBlock(address, length string, keepSingle bool) (Candidate, bool) {
	if length == "" || len(length) > 3 || strings.Trim(length, "0123456789") != "" {
		return Candidate{}, false
	}
	bits, _ := strconv.Atoi(length) // three digits at most
	addr, ok := parseIP(address)
	if !ok {
		return Candidate{}, false
	}
	if addr.Is4() && strings.Contains(address, ":") {
		// An IPv4 block written in its IPv6 mapping; shorter than the mapping it is no IPv4 block.
		if bits -= 96; bits < 0 {
			return Candidate{}, false
		}
	}
	switch {
	case bits > addr.BitLen():
		return Candidate{}, false
	case bits == addr.BitLen() && !keepSingle:
		candidate := addressCandidate(addr)
		candidate.note("/" + strconv.Itoa(bits) + " dropped")
		return candidate, true
	}
	return Candidate{Type: TypeCIDR, Value: addr.String() + "/" + strconv.Itoa(bits)}, true
}

func addressCandidate(addr netip.Addr) Candidate {
	if addr.Is4() {
		return Candidate{Type: TypeIP, Value: addr.String()}
	}
	return Candidate{Type: TypeIPv6, Value: addr.String()}
}

func isPort(s string) bool {
	if s == "" || len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return false
	}
	n, _ := strconv.Atoi(s) // five digits at most
	return n <= 65535
}

func portNote(port string) string { return "port " + port + " dropped" }

func isPrivate(c Candidate) bool {
	if c.Type != TypeIP && c.Type != TypeIPv6 && c.Type != TypeCIDR {
		return false
	}
	text, _, _ := strings.Cut(c.Value, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() || addr.IsMulticast() ||
		sharedAddresses.Contains(addr) || thisNetwork.Contains(addr) || reservedAddresses.Contains(addr)
}

// hostState says what a text is as a host name.
type hostState uint8

const (
	notHost       hostState = iota
	badUnicode              // looks like a name, but IDNA refuses it
	singleLabel             // a name without a dot
	qualifiedHost           // a name with a dot
)

// hostName returns the ASCII form of a host name in lower case.
func hostName(s string) (string, hostState) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 4*253 {
		return "", notHost
	}
	refused := notHost
	if !isASCII(s) {
		for i := 0; i < len(s); i++ {
			if s[i] < 0x80 && !isHostByte(s[i]) {
				return "", notHost
			}
		}
		refused = badUnicode
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", refused
		}
		s = strings.TrimSuffix(ascii, ".")
	}
	s = strings.ToLower(s)
	if len(s) > 253 {
		return "", refused
	}
	labels := 0
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", refused
		}
		for i := 0; i < len(label); i++ {
			if !isHostByte(label[i]) {
				return "", refused
			}
		}
		labels++
		last = label
	}
	switch {
	case strings.Trim(last, "0123456789") == "":
		return "", notHost // a number or a broken address
	case labels == 1:
		return s, singleLabel
	}
	return s, qualifiedHost
}

func isHostByte(b byte) bool { return isAlpha(b) || isDigit(b) || b == '-' || b == '.' || b == '_' }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasKnownTLD takes a host name in its ASCII form.
func hasKnownTLD(host string) bool {
	_, known := slices.BinarySearch(tlds, host[strings.LastIndexByte(host, '.')+1:])
	return known
}

// cutPort parts "name:8080".
func cutPort(s string) (host, port string) {
	if i := strings.LastIndexByte(s, ':'); i > 0 && isPort(s[i+1:]) {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// parseURL reads "scheme://…". It lower-cases scheme and host and leaves the user information out; the rest is kept
// byte by byte. The state is that of the host; an address counts as a qualified one.
func parseURL(s string) (Candidate, hostState) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || !isAlpha(scheme[0]) || strings.ContainsFunc(scheme, func(r rune) bool {
		return r >= 0x80 || !isAlpha(byte(r)) && !isDigit(byte(r)) && r != '+' && r != '-' && r != '.'
	}) {
		return Candidate{}, notHost
	}
	scheme = strings.ToLower(scheme)
	authority, tail := cutAuthority(rest)
	candidate, state := authorityOf(authority)
	if authority == "" && scheme == "file" && tail != "" {
		state = singleLabel
	}
	if state == notHost {
		return Candidate{}, notHost
	}
	if candidate.Type == "" {
		candidate.Type = TypeURL
	}
	candidate.Value = scheme + "://" + candidate.Value + tail
	return candidate, state
}

func cutAuthority(s string) (authority, tail string) {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// authorityOf returns a candidate whose Value is host and port of a URL. Its Type is empty except for names that
// cannot be written in ASCII: those URLs are kept as they are, as a String.
func authorityOf(authority string) (Candidate, hostState) {
	var candidate Candidate
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
		candidate.note("user information dropped")
	}
	host, port, bracketed := authority, "", strings.HasPrefix(authority, "[")
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && (!bracketed || strings.HasSuffix(authority[:i], "]")) {
		host, port = authority[:i], authority[i:]
		if port != ":" && !isPort(port[1:]) {
			return Candidate{}, notHost
		}
	}
	if bracketed {
		addr, ok := parseIP(host)
		if !ok {
			return Candidate{}, notHost
		}
		candidate.Value = "[" + addr.String() + "]" + port
		if addr.Is4() {
			candidate.Value = addr.String() + port
		}
		return candidate, qualifiedHost
	}
	name, state := hostName(host)
	switch {
	case state == badUnicode:
		candidate.Type = TypeString
		candidate.note("not a valid international domain name")
		candidate.Value = authority
	case state != notHost:
		candidate.Value = name + port
		if strings.HasSuffix(host, ".") {
			candidate.Value = name + "." + port
		}
	default:
		// Analysts meet hosts that no rule allows; what has no blank in it is still worth storing.
		if host == "" || strings.ContainsAny(host, " \u00a0") || !isASCII(host) {
			return Candidate{}, notHost
		}
		candidate.Value = strings.ToLower(host) + port
		state = singleLabel
		if _, err := netip.ParseAddr(host); err == nil {
			state = qualifiedHost
		}
	}
	return candidate, state
}

// parseSchemelessURL reads "host/path" and its like, with the rule for the host that the caller needs.
func parseSchemelessURL(s string, hostOK func(host string) bool) (Candidate, bool) {
	authority, tail := cutAuthority(s)
	if authority == "" || tail == "" {
		return Candidate{}, false
	}
	candidate, state := authorityOf(authority)
	host, _ := cutPort(candidate.Value)
	if state == notHost || candidate.Type == "" && !hostOK(host) {
		return Candidate{}, false
	}
	if candidate.Type == "" {
		candidate.Type = TypeURL
	}
	candidate.Value += tail
	return candidate, true
}

// parseEmail reads one bare address.
func parseEmail(s string) (Candidate, hostState) {
	if hasPrefixFold(s, "mailto:") {
		s, _, _ = strings.Cut(s[len("mailto:"):], "?")
	}
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i > 64 || strings.ContainsAny(s[:i], "<>()[]\\,;:\"@ \u00a0") {
		return Candidate{}, notHost
	}
	name, state := hostName(s[i+1:])
	switch state {
	case notHost:
		return Candidate{}, notHost
	case badUnicode:
		candidate := Candidate{Type: TypeString, Value: s}
		candidate.note("not a valid international domain name")
		return candidate, state
	}
	return Candidate{Type: TypeEmail, Value: s[:i+1] + name}, state
}

// emails takes the addresses out of a list with display names. An address inside a display name is not one of them:
// it is there to deceive.
func emails(s string) []Candidate {
	var found []Candidate
	take := func(word string) {
		word = strings.Trim(word, "\"'()<>[].!?")
		if candidate, state := parseEmail(word); state != notHost {
			candidate.Original = word
			found = append(found, candidate)
		}
	}
	for _, part := range splitOutsideQuotes(s) {
		if strings.Contains(part, "<") && strings.Contains(part, "@") {
			n := len(found)
			for rest := part; ; {
				_, after, ok := strings.Cut(rest, "<")
				if !ok {
					break
				}
				inner, next, _ := strings.Cut(after, ">")
				take(strings.TrimSpace(inner))
				rest = next
			}
			if len(found) > n {
				continue
			}
		}
		for word := range strings.FieldsSeq(part) {
			take(word)
		}
	}
	return found
}

// splitOutsideQuotes parts at commas and semicolons, except inside double quotes that are closed.
func splitOutsideQuotes(s string) []string {
	quotes := strings.Count(s, `"`)%2 == 0
	inside := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' && quotes {
			inside = !inside
		}
		return !inside && (r == ',' || r == ';')
	})
}
