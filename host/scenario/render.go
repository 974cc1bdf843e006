package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// queryValue is a query with its keys in order.
func queryValue(query map[string]string) *value {
	v := &value{kind: jsonvalue.Object}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		v.set(key, textValue(query[key]))
	}
	return v
}

// mustJSON writes a value that cannot fail to be written.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("scenario: %T cannot be written as JSON: %s", v, err))
	}
	return text
}

// uploadJSON is the form of an upload as the body of its exchange.
func uploadJSON(u *abi.Upload) []byte { return mustJSON(u) }

// subActionJSON is what a sub-action is about: all but its id and rule.
func subActionJSON(s abi.SubAction) ([]byte, error) {
	return json.Marshal(struct {
		IncidentID int64               `json:"incident_id"`
		TaskID     int64               `json:"task_id,omitempty"`
		ArtifactID int64               `json:"artifact_id,omitempty"`
		Fields     map[string]abi.JSON `json:"fields,omitempty"`
	}{s.IncidentID, s.TaskID, s.ArtifactID, s.Fields})
}

// text is the request as it stands in a file.
func (q *request) text() string {
	var b strings.Builder
	if q.rule != "" {
		b.WriteString("> action " + q.rule + "\n")
	} else {
		b.WriteString(q.head())
		for _, option := range []struct {
			name      string
			is, usual bool
		}{
			{"idempotent", q.idempotent, safeToRepeat(q.method)},
			{"slow", q.slow, false}, {"download", q.download, false}, {"upload", q.upload, false},
		} {
			if option.is != option.usual {
				fmt.Fprintf(&b, "%s: %t\n", option.name, option.is)
			}
		}
	}
	if q.body != nil {
		b.WriteString(q.body.pretty())
	}
	return b.String()
}

// head is the line of a call with its query, or several lines when it is long.
func (q *request) head() string {
	head := "> " + q.method + " " + q.service + " " + q.path
	if len(q.query.keys) == 0 {
		return head + "\n"
	}
	var pairs []string
	simple := true
	for i, key := range q.query.keys {
		text := q.query.items[i].text
		pairs = append(pairs, key+"="+text)
		simple = simple && plain(text) && !strings.Contains(text, "&")
	}
	line := head + "?" + strings.Join(pairs, "&")
	if simple && utf8.RuneCountInString(line) <= lineWidth {
		return line + "\n"
	}
	for i, key := range q.query.keys {
		head += "\n  ?" + key + "=" + lineText(q.query.items[i].text)
	}
	return head + "\n"
}

// plain reports whether a text can stand in a line as it is.
func plain(text string) bool {
	return text == strings.TrimSpace(text) && !strings.HasPrefix(text, `"`) &&
		strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) < 0
}

// lineText writes what readText reads.
func lineText(text string) string {
	if plain(text) {
		return text
	}
	return string(jsonvalue.AppendString(nil, text))
}

// text is the answer with its whole body.
func (a *answer) text() string {
	switch {
	case a.kind == kindFail:
		code := string(a.cause)
		if a.retry {
			code += " " + wordRetry
		}
		return "< fail " + code + " " + a.message + "\n"
	case a.kind == kindReply:
		return "< reply\n" + a.body.pretty()
	case a.kind != kindStatus:
		return "< " + a.kind + " " + a.message + "\n"
	case a.blob != nil:
		head := fmt.Sprintf("< %d blob size=%d md5=%s", a.status, a.blob.Size, a.blob.MD5)
		if a.blob.ContentType != "" {
			head += " type=" + a.blob.ContentType
		}
		return head + "\n"
	case a.message != "":
		return fmt.Sprintf("< %d\n%s\n", a.status, a.message)
	case a.body != nil:
		return fmt.Sprintf("< %d\n%s", a.status, a.body.pretty())
	}
	return fmt.Sprintf("< %d\n", a.status)
}

// headText are the lines of a turn before its exchanges.
func headText(hold []string, progress string, state bool) string {
	var b strings.Builder
	for _, key := range hold {
		b.WriteString("hold: " + lineText(key) + "\n")
	}
	if progress != "" {
		b.WriteString("progress: " + lineText(progress) + "\n")
	}
	if state {
		b.WriteString("state\n")
	}
	return b.String()
}

// messageText writes a message as it is, or as a JSON string when a part of it
// could be taken for something else.
func messageText(text string) string {
	odd := strings.HasPrefix(text, `"`) || strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) >= 0
	for _, line := range lines(text) {
		_, isMarker := marker(line)
		odd = odd || isMarker || line == resultsLine
	}
	if odd {
		return string(jsonvalue.AppendString(nil, text))
	}
	return text
}

// readMessage reads what messageText writes. Only the newlines at the end of a
// message do not count: nobody sees them.
func readMessage(text string) string {
	text = strings.TrimRight(text, "\n")
	if strings.HasPrefix(text, `"`) {
		if v, err := parseValue(text); err == nil {
			return v.text
		}
	}
	return text
}

// endingOf is the end of a play, or nil.
func endingOf(out *abi.Output) (*ending, error) {
	switch {
	case out.Fail != nil:
		return &ending{fail: true, code: out.Fail.Code, retry: out.Fail.Retry, message: strings.TrimRight(out.Fail.Message, "\n")}, nil
	case out.Reply != nil:
		results, err := parseValue(string(out.Reply.Results))
		if err != nil {
			return nil, fmt.Errorf("the results of the reply are not JSON: %w", err)
		}
		return &ending{success: out.Reply.Success, message: strings.TrimRight(out.Reply.Message, "\n"), results: results}, nil
	}
	return nil, nil
}

// text is the section as it stands in a file, with its marker.
func (e *ending) text() string {
	var b strings.Builder
	switch {
	case e.fail:
		b.WriteString("-- " + sectionFail + " --\n" + string(e.code))
		if e.retry {
			b.WriteString(" " + wordRetry)
		}
	case e.success:
		b.WriteString("-- " + sectionReply + " --\nsuccess")
	default:
		b.WriteString("-- " + sectionReply + " --\nfailed")
	}
	b.WriteByte('\n')
	if e.message != "" {
		b.WriteString(messageText(e.message) + "\n")
	}
	if e.results != nil {
		b.WriteString(resultsLine + "\n" + e.results.pretty())
	}
	return b.String()
}

// matches reports whether the story ends as this pattern wants it.
func (e *ending) matches(got *ending) bool {
	return e.fail == got.fail && e.success == got.success && e.code == got.code && e.retry == got.retry &&
		matchText(e.message, got.message) && matches(e.results, got.results)
}

// kept is the end written as the pattern has it, wherever they match.
func (e *ending) kept(got *ending) *ending {
	out := *got
	out.message = keptText(e.message, got.message)
	out.results = kept(e.results, got.results)
	return &out
}

// matches reports whether the call is the one that the pattern wants.
func (q *request) matches(got *request) bool {
	return q.sameCall(got) && q.idempotent == got.idempotent && q.slow == got.slow && q.download == got.download && q.upload == got.upload &&
		(q.anyBody || matches(q.body, got.body))
}

// samePath reports whether service, method and path are those wanted.
func (q *request) samePath(got *request) bool {
	return q.rule == got.rule && q.service == got.service && q.method == got.method && matchText(q.path, got.path)
}

// sameCall is samePath with the query, or of a sub-action its object.
func (q *request) sameCall(got *request) bool {
	if q.rule != "" {
		return q.rule == got.rule && matches(q.body.get("incident_id"), got.body.get("incident_id")) &&
			matches(q.body.get("task_id"), got.body.get("task_id")) && matches(q.body.get("artifact_id"), got.body.get("artifact_id"))
	}
	return q.samePath(got) && matches(q.query, got.query)
}

// kept is the call written as the pattern has it, wherever they match.
func (q *request) kept(got *request) *request {
	out := *got
	out.path = keptText(q.path, got.path)
	if got.query != nil {
		out.query = kept(q.query, got.query)
	}
	out.body = kept(q.body, got.body)
	return &out
}
