package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/abi/manifest"
)

// exchange is a call or sub-action with its answer.
type exchange struct {
	line int
	// lead, rawRequest and rawAnswer are its lines as they stand in the file;
	// lead are the blank lines and comments before it.
	lead, rawRequest, rawAnswer string
	request                     request
	answer                      answer
}

// request is a call or a sub-action.
type request struct {
	// rule is set for a sub-action, the others for a call.
	rule                       string
	service, method, path      string
	query                      *value
	idempotent, slow, download bool
	// upload says that body is the form of an upload.
	upload bool
	// body is that of a call, the form of an upload, or the object, ids and
	// fields of a sub-action.
	body *value
	// anyBody: the body does not matter.
	anyBody bool
}

// Kinds of answers besides a status.
const (
	kindStatus = ""
	kindReply  = "reply"
	kindFail   = "fail"
	kindLost   = "lost"
)

// wordRetry behind the code of a failure says that it may succeed later.
const wordRetry = "retry"

// answer is what comes back.
type answer struct {
	line int
	// kind is kindStatus, kindReply, kindFail or a word of noAnswer.
	kind   string
	status int
	// message is that of a failure, or a body that is not JSON.
	message string
	cause   abi.ErrorCode
	retry   bool
	body    *value
	blob    *abi.Blob
	// given is the result itself, of a replay.
	given *abi.Result
}

// noAnswer are the words for calls without an answer, with the code that the
// module is told and the message when the file gives none.
var noAnswer = map[string]struct {
	code    abi.ErrorCode
	message string
}{
	kindLost:      {abi.CodeUnknown, "the connection was lost before the answer came"},
	"unreachable": {abi.CodeUnreachable, "connection refused"},
	"login":       {abi.CodeLogin, "the login was refused"},
	"too_large":   {abi.CodeTooLarge, "the answer is larger than modules are given: ask for a smaller page"},
	"internal":    {abi.CodeInternal, "a fault of the host"},
}

// reader reads the lines of a section with exchanges.
type reader struct {
	archive *archive
	section section
	common  commons

	lines []string
	next  int
}

func (r *reader) fail(line int, format string, args ...any) error {
	return r.archive.fail(r.section, line, format, args...)
}

// turn reads the whole section.
func (r *reader) turn() (*turn, error) {
	for line := range strings.Lines(r.section.text) {
		r.lines = append(r.lines, line)
	}
	t := &turn{line: r.section.line}
	lead := ""
	for r.next < len(r.lines) {
		line := strings.TrimSpace(r.lines[r.next])
		word, text, _ := strings.Cut(line, ":")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			lead += r.lines[r.next]
			r.next++
			continue
		case strings.HasPrefix(r.lines[r.next], ">"):
			x, err := r.exchange()
			if err != nil {
				return nil, err
			}
			x.lead = lead
			t.exchanges = append(t.exchanges, x)
			lead = ""
			continue
		case len(t.exchanges) > 0:
			return nil, r.fail(r.next, "want `> METHOD SERVICE PATH` or `> action RULE`")
		case word == "hold", word == "progress":
			text, err := readText(strings.TrimSpace(text))
			switch {
			case err != nil:
				return nil, r.fail(r.next, "%s: %s", word, err)
			case word == "hold":
				t.hold = append(t.hold, text)
			case t.progress != "":
				return nil, r.fail(r.next, "a turn has one progress text")
			default:
				t.progress = text
			}
		case line == "state":
			t.state = true
		default:
			return nil, r.fail(r.next, "want `> METHOD SERVICE PATH`, `> action RULE`, `hold: KEY`, `progress: TEXT` or `state`")
		}
		t.head += lead + r.lines[r.next]
		lead = ""
		r.next++
	}
	t.tail = lead
	return t, nil
}

// exchange reads a request and its answer.
func (r *reader) exchange() (*exchange, error) {
	begin := r.next
	x := &exchange{line: r.section.line + begin}
	if err := r.request(&x.request); err != nil {
		return nil, err
	}
	x.rawRequest = strings.Join(r.lines[begin:r.next], "")
	begin = r.next
	if begin == len(r.lines) || !strings.HasPrefix(r.lines[begin], "<") {
		return nil, r.fail(begin-1, "the request has no answer: want `< STATUS` below it")
	}
	if err := r.answer(x); err != nil {
		return nil, err
	}
	x.rawAnswer = strings.Join(r.lines[begin:r.next], "")
	return x, nil
}

func (r *reader) request(q *request) error {
	begin := r.next
	first := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(r.lines[begin]), ">"))
	r.next++
	if rule, ok := strings.CutPrefix(first, "action "); ok {
		q.rule = strings.TrimSpace(rule)
	} else {
		parts := strings.SplitN(first, " ", 3)
		if len(parts) < 3 || !slices.Contains(manifest.Methods, parts[0]) || parts[1] != abi.ThreatQ && parts[1] != abi.Resilient {
			return r.fail(begin, "want `> METHOD SERVICE PATH`, METHOD one of %s, SERVICE %s or %s; or `> action RULE`",
				strings.Join(manifest.Methods, ", "), abi.ThreatQ, abi.Resilient)
		}
		q.method, q.service = parts[0], parts[1]
		q.idempotent = safeToRepeat(q.method)
		path, query, _ := strings.Cut(parts[2], "?")
		q.path, q.query = path, &value{kind: jsonvalue.Object}
		for pair := range strings.SplitSeq(query, "&") {
			if pair != "" {
				key, text, _ := strings.Cut(pair, "=")
				q.query.set(key, textValue(text))
			}
		}
	}
	for ; r.next < len(r.lines); r.next++ {
		line := strings.TrimSpace(r.lines[r.next])
		pair, isQuery := strings.CutPrefix(line, "?")
		word, text, isOption := strings.Cut(line, ":")
		switch {
		case isQuery && q.rule == "":
			key, text, _ := strings.Cut(pair, "=")
			text, err := readText(text)
			if err != nil {
				return r.fail(r.next, "%s: %s", key, err)
			}
			q.query.set(key, textValue(text))
			continue
		case isOption && q.rule == "":
			known, err := q.option(word, strings.TrimSpace(text))
			if err != nil {
				return r.fail(r.next, "%s", err)
			}
			if known {
				continue
			}
		}
		break
	}
	text, at := r.body()
	v, line, err := r.common.resolve(text)
	if err != nil {
		return r.fail(at+line, "the body of the request: %s", err)
	}
	q.body = v
	switch {
	case q.upload && v == nil:
		return r.fail(begin, "an upload has the form below it: part, file_name, content_type, blob, fields")
	case q.method == http.MethodGet && v != nil:
		return r.fail(at, "a GET has no body")
	}
	return nil
}

// readText reads a text that stands in a line, plain or as a JSON string.
func readText(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		return text, nil
	}
	v, err := parseValue(text)
	if err != nil || v.kind != jsonvalue.String {
		return "", errors.New("a text that begins with a quote is a JSON string")
	}
	return v.text, nil
}

// safeToRepeat is what a call is taken to be when the file does not say it.
func safeToRepeat(method string) bool {
	return method == http.MethodGet || method == http.MethodPut || method == http.MethodDelete
}

// option reads a line `NAME: true` or `NAME: false`.
func (q *request) option(name, text string) (known bool, err error) {
	options := map[string]*bool{"idempotent": &q.idempotent, "slow": &q.slow, "download": &q.download, "upload": &q.upload}
	option, known := options[name]
	if !known {
		return false, nil
	}
	if text != "true" && text != "false" {
		return true, fmt.Errorf("%s: want true or false", name)
	}
	*option = text == "true"
	return true, nil
}

// body takes the lines up to the next request or answer; blank lines and
// comments at its end are left.
func (r *reader) body() (text string, at int) {
	at = r.next
	end := at
	for i := at; i < len(r.lines) && !strings.HasPrefix(r.lines[i], ">") && !strings.HasPrefix(r.lines[i], "<"); i++ {
		if line := strings.TrimSpace(r.lines[i]); line != "" && !strings.HasPrefix(line, "#") {
			end = i + 1
		}
	}
	r.next = end
	return strings.Join(r.lines[at:end], ""), at
}

func (r *reader) answer(x *exchange) error {
	a, begin := &x.answer, r.next
	a.line = r.section.line + begin
	first := strings.TrimSpace(strings.TrimPrefix(r.lines[begin], "<"))
	r.next++
	word, rest, _ := strings.Cut(first, " ")
	rest = strings.TrimSpace(rest)
	below, _ := r.body()
	if (word == kindReply || word == kindFail) != (x.request.rule != "") {
		return r.fail(begin, "a sub-action is answered by `reply` or `fail`, a call by a status or %s", list(noAnswer))
	}
	a.kind = word
	switch word {
	case kindReply:
		return r.reply(a, begin, rest, below)
	case kindFail:
		code, text, _ := strings.Cut(rest, " ")
		if code == "" || below != "" {
			return r.fail(begin, "want `< fail CODE MESSAGE` or `< fail CODE retry MESSAGE` in one line")
		}
		a.cause = abi.ErrorCode(code)
		a.message, a.retry = cutRetry(text)
		return nil
	}
	if standard, ok := noAnswer[word]; ok {
		if below != "" {
			return r.fail(begin+1, "`< %s` has no body", word)
		}
		a.message = cmp.Or(rest, standard.message)
		return nil
	}
	status, err := strconv.Atoi(word)
	if err != nil || status < 200 || status > 599 {
		return r.fail(begin, "want `< STATUS` from 200 to 599, or %s", list(noAnswer))
	}
	a.kind, a.status = kindStatus, status
	if blob, ok := strings.CutPrefix(rest, "blob "); ok {
		if below != "" {
			return r.fail(begin+1, "a blob has no body: the module sees its size, md5 and type only")
		}
		if a.blob, err = readBlob(blob); err != nil {
			return r.fail(begin, "%s", err)
		}
		return nil
	}
	if rest != "" && !strings.HasPrefix(rest, "@") {
		return r.fail(begin, "behind the status stands nothing, `@NAME` or `blob size=BYTES md5=HEX type=TYPE`; the body stands below")
	}
	v, line, err := r.common.resolve(rest + "\n" + below)
	switch {
	case err == nil:
		a.body = v
	case rest == "" && status >= 300:
		a.message = strings.TrimSpace(below)
	default:
		return r.fail(begin+line, "the body of the answer: %s", err)
	}
	return nil
}

// reply reads `< reply TEXT` or `< reply {"success": …}`.
func (r *reader) reply(a *answer, begin int, rest, below string) error {
	if rest != "" && !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, "@") {
		if below != "" {
			return r.fail(begin+1, "a reply is a text in one line, or JSON")
		}
		a.body = &value{kind: jsonvalue.Object}
		a.body.set("success", &value{kind: jsonvalue.Bool, text: "true"})
		a.body.set("message", textValue(rest))
		return nil
	}
	v, line, err := r.common.resolve(rest + "\n" + below)
	if err == nil && (v == nil || v.kind != jsonvalue.Object) {
		err = errors.New("want `< reply TEXT`, or an object with success, message and results")
	}
	if err != nil {
		return r.fail(begin+line, "the reply: %s", err)
	}
	a.body = v
	return nil
}

// cutRetry takes the word off that says that it may succeed later.
func cutRetry(text string) (message string, retry bool) {
	if text == wordRetry {
		return "", true
	}
	return strings.CutPrefix(text, wordRetry+" ")
}

func readBlob(text string) (*abi.Blob, error) {
	b := &abi.Blob{}
	for word := range strings.FieldsSeq(text) {
		key, v, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "size":
			b.Size, err = strconv.ParseInt(v, 10, 64)
		case "md5":
			b.MD5 = v
		case "type":
			b.ContentType = v
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: want `blob size=BYTES md5=HEX type=TYPE`", word)
		}
	}
	if len(b.MD5) != 32 {
		return nil, errors.New("the md5 of a blob has 32 hexadecimal digits")
	}
	return b, nil
}
