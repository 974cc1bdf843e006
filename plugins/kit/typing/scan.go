package typing

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// knownSchemes are the schemes that make a URL in running text.
var knownSchemes = map[string]bool{
	"http": true, "https": true, "ftp": true, "ftps": true, "sftp": true, "ws": true, "wss": true, "gopher": true, "file": true,
}

// schemeStart returns where the known scheme before "://" at i begins, -1 if there is none. It does not look before low.
func (s *scanner) schemeStart(i, low int) int {
	start := i
	for start > low && i-start <= 6 && (isAlpha(s.text[start-1]) || isDigit(s.text[start-1])) {
		start--
	}
	if knownSchemes[strings.ToLower(s.text[start:i])] {
		return start
	}
	return -1
}

func (s *scanner) urls() {
	for i := 0; ; {
		offset := strings.Index(s.text[i:], "://")
		if offset < 0 {
			return
		}
		colon := i + offset
		start := s.schemeStart(colon, i)
		i = colon + len("://")
		if start < 0 {
			continue
		}
		end := s.urlEnd(i)
		if c, state := parseURL(s.text[start:end]); state != notHost && s.isPlausible(c, state) {
			s.emit(start, end, rankURL, c)
		}
		i = max(i, end)
	}
}

// isPlausible keeps "http://..." and the like out.
func (s *scanner) isPlausible(c Candidate, state hostState) bool {
	return state == qualifiedHost || strings.ContainsFunc(c.Value[strings.Index(c.Value, "://")+3:], func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r)
	})
}

// urlEnd returns the end of the URL whose authority begins at i.
func (s *scanner) urlEnd(i int) int {
	begin := i
	var open, closed [2]int // round and square brackets
scan:
	for i < len(s.text) {
		r, size := utf8.DecodeRuneInString(s.text[i:])
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), r == utf8.RuneError, strings.ContainsRune("\"<>`{}|\\^", r):
			break scan
		case r >= 0x80 && (unicode.IsPunct(r) || r == 0x3002):
			break scan
		case r == '(':
			open[0]++
		case r == ')':
			closed[0]++
		case r == '[':
			open[1]++
		case r == ']':
			closed[1]++
		case r == ':' && strings.HasPrefix(s.text[i:], "://") && i > begin:
			// The next URL of a list without blanks.
			if next := s.schemeStart(i, begin); next > begin && strings.IndexByte(",;)]", s.text[next-1]) >= 0 {
				i = next - 1
				break scan
			}
		}
		i += size
	}
	for i > begin {
		switch last := s.text[i-1]; {
		case strings.IndexByte(".,;:!?'*", last) >= 0:
		case last == ')' && closed[0] > open[0]:
			closed[0]--
		case last == ']' && closed[1] > open[1]:
			closed[1]--
		default:
			return i
		}
		i--
	}
	return i
}

func isLocalByte(b byte) bool {
	return isAlpha(b) || isDigit(b) || strings.IndexByte("._%+-'", b) >= 0
}

func (s *scanner) emails() {
	for at := range len(s.text) {
		if s.text[at] != '@' {
			continue
		}
		start := at
		for start > 0 && at-start <= 64 && isLocalByte(s.text[start-1]) {
			start--
		}
		if at-start > 64 {
			continue
		}
		for start < at && strings.IndexByte(".-'", s.text[start]) >= 0 {
			start++
		}
		end := s.hostEnd(at + 1)
		if start == at || end == at+1 {
			continue
		}
		host, length := mailHost(s.text[at+1 : end])
		if length > 0 {
			s.emit(start, at+1+length, rankEmail, Candidate{Type: TypeEmail, Value: s.text[start:at+1] + host})
		}
	}
}

// hostEnd returns the end of the longest run that may be a host name, without dots and hyphens at its end.
func (s *scanner) hostEnd(i int) int {
	begin := i
	for i < len(s.text) && i-begin < 512 {
		r, size := utf8.DecodeRuneInString(s.text[i:])
		if !isHostRune(r) {
			break
		}
		i += size
	}
	for i > begin && strings.IndexByte(".-_", s.text[i-1]) >= 0 {
		i--
	}
	return i
}

func isHostRune(r rune) bool {
	if r < 0x80 {
		return isHostByte(byte(r))
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// mailHost returns the domain at the start of s and its length. Internal domains ("corp.local") count.
func mailHost(s string) (string, int) {
	s, _, _ = strings.Cut(s, "..")
	if host, state := hostName(s); state == qualifiedHost && (isASCII(s) || hasKnownTLD(host)) && !strings.Contains(host[strings.LastIndexByte(host, '.'):], "_") {
		return host, len(s)
	}
	if isASCII(s) {
		return "", 0
	}
	// A word of a script without blanks may follow at once.
	n := strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 })
	if host, state := hostName(s[:n]); state == qualifiedHost && hasKnownTLD(host) {
		return host, n
	}
	return "", 0
}

func (s *scanner) ipv4() {
	isAddressByte := func(b byte) bool { return isDigit(b) || b == '.' }
	s.eachRun(isAddressByte, func(start, end int) {
		if end-start < len("1.1.1.1") {
			return
		}
		for s.at(start) == '.' {
			start++
		}
		runEnd := end
		for end > start && s.text[end-1] == '.' {
			end--
		}
		next := s.at(runEnd)
		if isPartOfWord(s.at(start-1)) || isPartOfWord(next) || end-start > 32 || strings.Count(s.text[start:end], ".") != 3 {
			return
		}
		if end < runEnd {
			next = 0
		}
		rank := rankIPv4
		full := end
		if next == '/' {
			// "1.2.3.4/24" is a block, "1.2.3.4/24/x" and "1.2.3.4/a" are an address with a path.
			bits := s.run(end+1, isDigit)
			if after := s.at(bits); bits > end+1 && !isPartOfWord(after) && after != '/' {
				full = bits
			}
		} else if next == ':' {
			if port := s.run(end+1, isDigit); isPort(s.text[end+1 : port]) {
				full = port
			}
		}
		c, ok := parseAddress(s.text[start:full], false)
		if !ok {
			full = end
			c, ok = parseAddress(s.text[start:full], false)
		}
		if !ok {
			return
		}
		if c.Type == TypeCIDR {
			rank = rankCIDR
		}
		s.emit(start, full, rank, c)
	})
}

func isPartOfWord(b byte) bool { return isWordByte(b) && b < utf8.RuneSelf || b == '_' }

func (s *scanner) ipv6() {
	isAddressByte := func(b byte) bool { return isHex(b) || b == ':' || b == '.' }
	s.eachRun(isAddressByte, func(start, end int) {
		if end-start > 64 || strings.Count(s.text[start:end], ":") < 2 {
			return
		}
		if s.at(start) == ':' && s.at(start+1) != ':' {
			start++ // "IP:2001:db8::1"
		} else if isPartOfWord(s.at(start - 1)) {
			return
		}
		if isPartOfWord(s.at(end)) {
			return
		}
		for end > start && s.text[end-1] == '.' {
			end--
		}
		addr, ok := parseIP(s.text[start:end])
		if !ok && end > start && s.text[end-1] == ':' {
			end--
			addr, ok = parseIP(s.text[start:end])
		}
		text := s.text[start:end]
		if !ok || addr.IsUnspecified() || !strings.ContainsAny(text, "0123456789") || isEUI64(text) {
			return
		}
		full := end
		if s.at(full) == '%' {
			full = s.run(full+1, isPartOfWord)
		}
		c, rank := addressCandidate(addr), rankIPv6
		if s.at(full) == '/' {
			bits := s.run(full+1, isDigit)
			if block, ok := parseBlock(text, s.text[full+1:bits], false); ok && !isPartOfWord(s.at(bits)) && s.at(bits) != '/' {
				c, full = block, bits
				if c.Type == TypeCIDR {
					rank = rankCIDR
				}
			}
		}
		if s.at(start-1) == '[' && s.at(full) == ']' {
			start, full = start-1, full+1
			if s.at(full) == ':' {
				if port := s.run(full+1, isDigit); isPort(s.text[full+1 : port]) {
					c.note(portNote(s.text[full+1 : port]))
					full = port
				}
			}
		}
		s.emit(start, full, rank, c)
	})
}

// isEUI64 tells hardware addresses of eight bytes from IPv6 addresses of eight groups.
func isEUI64(s string) bool {
	if len(s) != 23 {
		return false
	}
	for i := range len(s) {
		if (i%3 == 2) != (s[i] == ':') {
			return false
		}
	}
	return true
}

// words finds domains and file names.
func (s *scanner) words() {
	for i := 0; i < len(s.text); {
		r, size := utf8.DecodeRuneInString(s.text[i:])
		if !isNameRune(r) {
			i += size
			continue
		}
		start := i
		for i < len(s.text) {
			if r, size = utf8.DecodeRuneInString(s.text[i:]); !isNameRune(r) {
				break
			}
			i += size
		}
		s.word(start, i)
	}
}

// isNameRune covers file names, which may hold more than host names.
func isNameRune(r rune) bool { return isHostRune(r) || r == '+' || r == '~' || r == '$' }

// word parts at what stands in no name: two dots in a row.
func (s *scanner) word(start, end int) {
	begin := start
	for i := start; i <= end; i++ {
		if i == end || s.text[i] == '.' && s.at(i+1) == '.' {
			s.name(begin, i)
			begin = i + 1
		}
	}
}

func (s *scanner) name(start, end int) {
	start, end = s.trimName(start, end)
	if s.file(start, end) {
		return
	}
	// What only file names may hold parts domains.
	begin := start
	for i := start; i <= end; i++ {
		if i == end || strings.IndexByte("+~$", s.text[i]) >= 0 {
			s.domain(begin, i)
			begin = i + 1
		}
	}
}

func (s *scanner) trimName(start, end int) (int, int) {
	for start < end && strings.IndexByte(".-", s.text[start]) >= 0 {
		start++
	}
	for end > start && strings.IndexByte(".-_", s.text[end-1]) >= 0 {
		end--
	}
	return start, end
}

func (s *scanner) file(start, end int) bool {
	if !isFileName(s.text[start:end]) {
		return false
	}
	s.emit(start, end, rankFile, Candidate{Type: TypeFilename, Value: s.text[start:end]})
	return true
}

func (s *scanner) domain(start, end int) {
	start, end = s.trimName(start, end)
	name := s.text[start:end]
	if !strings.Contains(name, ".") || s.file(start, end) {
		return
	}
	// The last part of a path is no domain; what follows "//" is.
	before := s.at(start - 1)
	if before == '\\' || before == '/' && start > 1 && s.at(start-2) != '/' {
		return
	}
	ascii := isASCII(name)
	if ascii || !mixesScripts(name) {
		if s.knownDomain(start, end) || ascii {
			return
		}
	}
	for i := start; i < end; i++ {
		if begin := i; s.text[i] < utf8.RuneSelf {
			for i < end && s.text[i] < utf8.RuneSelf {
				i++
			}
			if from, to := s.trimName(begin, i); !s.file(from, to) {
				s.knownDomain(from, to)
			}
		}
	}
}

// knownDomain emits a name under a known top-level domain, with the port that may follow.
func (s *scanner) knownDomain(start, end int) bool {
	host, state := hostName(s.text[start:end])
	if state != qualifiedHost || !hasKnownTLD(host) {
		return false
	}
	c := Candidate{Type: TypeFQDN, Value: host}
	if s.at(end) == ':' {
		if port := s.run(end+1, isDigit); isPort(s.text[end+1:port]) && !isPartOfWord(s.at(port)) {
			c.note(portNote(s.text[end+1 : port]))
			end = port
		}
	}
	s.emit(start, end, rankFQDN, c)
	return true
}

// mixesScripts tells a domain that follows a word of a script without blanks from an international domain.
func mixesScripts(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		latin, wide := false, false
		for _, r := range label {
			latin = latin || r < 0x80 && isAlpha(byte(r))
			wide = wide || r >= 0x2E80
		}
		if latin && wide {
			return true
		}
	}
	return false
}

func (s *scanner) cves() {
	for i := range len(s.text) {
		if s.text[i]|0x20 != 'c' || isPartOfWord(s.at(i-1)) {
			continue
		}
		if n := cveLength(s.text[i:]); n > 0 && !isPartOfWord(s.at(i+n)) {
			s.emit(i, i+n, rankCVE, Candidate{Type: TypeCVE, Value: strings.ToUpper(s.text[i : i+n])})
		}
	}
}

func (s *scanner) hashes() {
	s.eachRun(isHex, func(start, end int) {
		if typ := hashTypeOfLength(end - start); typ != "" {
			s.emit(start, end, rankHash, Candidate{Type: typ, Value: strings.ToLower(s.text[start:end])})
		}
	})
}

func (s *scanner) paths() {
	for i := 0; i < len(s.text); i++ {
		if s.text[i] != '\\' {
			continue
		}
		start, body := -1, 0
		switch {
		case s.at(i-1) == ':' && isAlpha(s.at(i-2)) && !isPartOfWord(s.at(i-3)):
			start, body = i-2, i+1
		case s.at(i+1) == '\\' && s.at(i-1) != '\\' && !isPartOfWord(s.at(i-1)) && isPartOfWord(s.at(i+2)):
			start, body = i, i+2
		}
		if start < 0 {
			continue
		}
		end := s.pathEnd(start, body)
		if end > body {
			s.emit(start, end, rankPath, Candidate{Type: TypeFilePath, Value: s.text[start:end]})
			i = end - 1
		}
	}
}

const notInPaths = "<>:\"|?*\n\t"

// pathEnd returns the end of a Windows path. A quoted path goes up to its quote. Else a blank ends it, unless a
// backslash follows within a few words, as in "C:\Program Files\x".
func (s *scanner) pathEnd(start, body int) int {
	const furthest = 1024
	limit := min(len(s.text), start+furthest)
	if quote := s.at(start - 1); quote == '"' || quote == '\'' {
		if n := strings.IndexByte(s.text[body:limit], quote); n > 0 && !strings.ContainsAny(s.text[body:body+n], notInPaths) {
			return body + n
		}
	}
	i, segment := body, body
	for i < len(s.text) && strings.IndexByte(notInPaths, s.text[i]) < 0 {
		switch s.text[i] {
		case '\\':
			segment = i + 1
		case ' ':
			if isFileName(s.text[max(segment, i-furthest):i]) || !s.goesOn(i) {
				return s.trimPath(body, i)
			}
		}
		i++
	}
	return s.trimPath(body, i)
}

// goesOn tells whether the blank at i lies inside a folder name.
func (s *scanner) goesOn(i int) bool {
	const longestFolder = 40
	for end := min(len(s.text), i+longestFolder); i < end; i++ {
		b := s.text[i]
		if b == '\\' {
			return s.text[i-1] != ' ' && s.at(i+1) != '\\'
		}
		if strings.IndexByte(notInPaths, b) >= 0 || b == ',' || b == ';' {
			return false
		}
	}
	return false
}

func (s *scanner) trimPath(body, end int) int {
	for end > body && strings.IndexByte(" .,;!)]}'", s.text[end-1]) >= 0 {
		end--
	}
	return end
}
