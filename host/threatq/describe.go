package threatq

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

const (
	// longestReason bounds an error text, in bytes.
	longestReason = 2000
	// longestPage is how much of a body that is not JSON is shown, in bytes (contract: error bodies).
	longestPage = 200
)

// describe flattens the texts of an error body in the contract's order: data.errors, errors, message, error,
// error_description, else the beginning of a text. A 2xx answer has failed if its top-level errors holds anything.
func (a *account) describe(status int, contentType string, body []byte) (text string, failed bool) {
	success := status >= 200 && status < 300
	if success && !bytes.Contains(body, []byte(`"errors"`)) {
		return "", false // the ordinary way: a large answer is not parsed for nothing
	}
	var answer struct {
		Data             json.RawMessage
		Errors           any
		Message          any
		Error            any
		ErrorDescription any `json:"error_description"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		if success {
			return "", false
		}
		return cut(a.redact(page(contentType, body)), longestPage), false
	}
	failed = success && !empty(answer.Errors)
	if success && !failed {
		return "", false
	}
	var data struct{ Errors any }
	_ = json.Unmarshal(answer.Data, &data) // data may be a list, which has no errors
	var texts []string
	for _, part := range []any{data.Errors, answer.Errors, answer.Message, answer.Error, answer.ErrorDescription} {
		for _, t := range flatten(part) {
			if !slices.Contains(texts, t) {
				texts = append(texts, t)
			}
		}
	}
	return cut(a.redact(strings.Join(texts, "; ")), longestReason), failed
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// flatten gives the texts of nested lists, and "field: text" for maps, whose fields come in alphabetical order.
func flatten(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		if t := strings.Join(strings.Fields(v), " "); t != "" {
			return []string{t}
		}
		return nil
	case []any:
		var texts []string
		for _, element := range v {
			texts = append(texts, flatten(element)...)
		}
		return texts
	case map[string]any:
		fields := make([]string, 0, len(v))
		for field := range v {
			fields = append(fields, field)
		}
		slices.Sort(fields)
		var texts []string
		for _, field := range fields {
			for _, t := range flatten(v[field]) {
				texts = append(texts, field+": "+t)
			}
		}
		return texts
	default:
		b, _ := json.Marshal(v)
		return []string{string(b)}
	}
}

// page gives the words of an HTML or text body. Other bytes are not shown.
func page(contentType string, body []byte) string {
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return ""
	}
	if !strings.Contains(contentType, "html") && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return strings.Join(strings.Fields(string(body)), " ")
	}
	var words []string
	hidden := 0
	for tokens := html.NewTokenizer(bytes.NewReader(body)); ; {
		switch tokens.Next() {
		case html.ErrorToken:
			return strings.Join(words, " ")
		case html.StartTagToken:
			if name, _ := tokens.TagName(); string(name) == "script" || string(name) == "style" {
				hidden++
			}
		case html.EndTagToken:
			if name, _ := tokens.TagName(); string(name) == "script" || string(name) == "style" {
				hidden = max(0, hidden-1)
			}
		case html.TextToken:
			if hidden == 0 {
				words = append(words, strings.Fields(string(tokens.Text()))...)
			}
		}
	}
}

// cut shortens a text to a number of bytes, between runes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}
