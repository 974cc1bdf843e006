package scenario

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// result is what the module is told: what the host makes of this answer.
func (a *answer) result(q *request) (abi.Result, error) {
	fail := func(format string, args ...any) (abi.Result, error) {
		return abi.Result{}, fmt.Errorf(format, args...)
	}
	switch a.kind {
	case kindStatus:
	case kindReply:
		var reply abi.Reply
		if err := strict(a.body.json(), &reply); err != nil {
			return fail("the reply: %s", err)
		}
		return abi.Result{Reply: &reply}, nil
	case kindFail:
		return abi.Result{Error: &abi.CallError{Code: abi.CodeSubAction, Message: a.message, Cause: a.cause, Retry: a.retry}}, nil
	default:
		return abi.Result{Error: &abi.CallError{Code: noAnswer[a.kind].code, Message: a.message}}, nil
	}
	success := a.status < 300
	if success && (a.blob != nil) != q.download {
		return fail("a download, and only a download, is answered by `< 200 blob size=BYTES md5=HEX type=TYPE`")
	}
	message, failed := a.errorText(q.service)
	switch {
	case success && !failed:
		r := abi.Result{Status: a.status, Blob: a.blob}
		if a.body != nil {
			r.Body = a.body.json()
		}
		return r, nil
	case q.method == http.MethodDelete && a.status == http.StatusNotFound:
		return abi.Result{Status: a.status}, nil
	}
	code := abi.CodeHTTP
	if !q.idempotent && slices.Contains(unclear, a.status) {
		code = abi.CodeUnknown
	}
	return abi.Result{Status: a.status, Error: &abi.CallError{Code: code, Message: message}}, nil
}

// unclear are the statuses after which the server may have acted, so that the
// outcome of a call that must not be repeated is unknown (as in package effect).
var unclear = []int{
	http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// Longest texts that the clients make of an error: bytes of ThreatQ, runes of SOAR.
const (
	longestThreatQ   = 2000
	longestResilient = 500
)

// errorText is what the client of the service reads in a body of JSON, word for
// word; a test holds it against the clients. A body of other text stands for
// the words that the client makes of a page.
func (a *answer) errorText(service string) (text string, failed bool) {
	success := a.status < 300
	switch {
	case a.status >= 300 && a.status < 400:
		return "the server redirects, which is not followed: check host and port in the configuration", true
	case a.message != "":
		return a.message, true
	case success && (service != abi.ThreatQ || empty(a.body.get("errors"))):
		return "", false
	case service == abi.ThreatQ:
		return threatqText(a.body), true
	}
	return resilientText(a.status, a.body), true
}

func empty(v *value) bool {
	if v == nil {
		return true
	}
	switch v.kind {
	case jsonvalue.Null:
		return true
	case jsonvalue.String:
		return v.text == ""
	case jsonvalue.Array, jsonvalue.Object:
		return len(v.items) == 0
	}
	return false
}

// threatqText takes the texts in the contract's order (contract: error bodies).
func threatqText(body *value) string {
	var texts []string
	for _, part := range []*value{body.get("data").get("errors"), body.get("errors"), body.get("message"), body.get("error"), body.get("error_description")} {
		for _, t := range flatten(part) {
			if !slices.Contains(texts, t) {
				texts = append(texts, t)
			}
		}
	}
	text := strings.Join(texts, "; ")
	if len(text) > longestThreatQ {
		return strings.ToValidUTF8(text[:longestThreatQ], "") + "…"
	}
	return text
}

// flatten gives the texts of nested lists, and "field: text" for objects, in
// alphabetical order.
func flatten(v *value) (texts []string) {
	if v == nil {
		return nil
	}
	switch v.kind {
	case jsonvalue.Null:
	case jsonvalue.String:
		if t := strings.Join(strings.Fields(v.text), " "); t != "" {
			texts = append(texts, t)
		}
	case jsonvalue.Array:
		for _, item := range v.items {
			texts = append(texts, flatten(item)...)
		}
	case jsonvalue.Object:
		for _, key := range slices.Sorted(slices.Values(v.keys)) {
			for _, t := range flatten(v.get(key)) {
				texts = append(texts, key+": "+t)
			}
		}
	default:
		// The client reads numbers as floating point.
		var scalar any
		if err := json.Unmarshal(v.json(), &scalar); err == nil {
			texts = append(texts, string(mustJSON(scalar)))
		}
	}
	return texts
}

// resilientText joins title, message and hints (contract: errors).
func resilientText(status int, body *value) string {
	var got struct {
		Title, Message string
		Hints          []any
	}
	var parts []string
	if body != nil && json.Unmarshal(body.json(), &got) == nil {
		parts = []string{got.Title, got.Message}
		for _, hint := range got.Hints {
			if text, ok := hint.(string); ok {
				parts = append(parts, text)
			}
		}
	}
	parts = slices.DeleteFunc(parts, func(text string) bool { return text == "" })
	text := strings.Join(parts, ": ")
	if text == "" {
		text = http.StatusText(status)
	}
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longestResilient {
		return string(runes[:longestResilient]) + "…"
	}
	return text
}
