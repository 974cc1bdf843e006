package resilienttest

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// textValue is rich text as stored; a plain string is never stored for such a field.
type textValue struct {
	Format  string // "html" or "text"
	Content string
}

// richText lists the fields whose form follows text_content_output_format.
var richText = map[string][]string{
	"incident": {"description", "resolution_summary"},
	"artifact": {"description"},
	"comment":  {"text"},
	"task":     {"instr_text", "instructions"},
}

// handles lists the fields whose form follows handle_format.
var handles = map[string][]string{
	"incident": {"severity_code", "phase_id", "owner_id", "creator_id", "members", "incident_type_ids",
		"nist_attack_vectors", "resolution_id", "exposure_type_id", "crimestatus_id", "workspace", "org_handle"},
	"artifact": {"type"},
	"task":     {"owner_id", "phase_id", "members"},
}

// formats are what a request asked for; both by query parameter or header, the query
// parameter beats the header (contract: REST conventions).
type formats struct {
	handle string // "", "default", "ids", "names", "objects"
	text   string // "", "default", "objects_convert", …, "always_text"
}

// render gives the form of an object that a REST answer shows.
func (s *Server) render(kind string, o Object, f formats) Object {
	out := cloneObject(o)
	if kind == "task" {
		ofTask := func(child Object) bool { return child["task_id"] == o["id"] }
		out["notes_count"] = int64(len(s.state.list("comment", ofTask)))
		out["attachments_count"] = int64(len(s.state.list("attachment", ofTask)))
	}
	for _, name := range richText[kind] {
		if value, ok := out[name]; ok {
			out[name] = f.renderText(value)
		}
	}
	if f.handle == "names" || f.handle == "objects" {
		for _, name := range handles[kind] {
			if value, ok := out[name]; ok {
				out[name] = s.renderHandle(kind, name, value, f.handle)
			}
		}
		if properties, ok := out["properties"].(Object); ok && s.options.CustomSelectNames {
			for name, value := range properties {
				properties[name] = s.renderHandle(kind, name, value, f.handle)
			}
		}
	}
	return out
}

func (s *Server) renderHandle(kind, name string, value any, format string) any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		out := make([]any, len(value))
		for i, item := range value {
			out[i] = s.renderHandle(kind, name, item, format)
		}
		return out
	}
	label, ok := s.handleName(kind, name, value)
	if !ok {
		return value
	}
	if format == "objects" {
		return Object{"id": value, "name": label}
	}
	return label
}

// handleName is the name of a handle: a user's is the e-mail address, not the label
// that select values show.
func (s *Server) handleName(kind, name string, id any) (string, bool) {
	if name == "org_handle" {
		return s.home.Name, true
	}
	field := s.world.field(kind, name)
	if field == nil {
		return "", false
	}
	if isUserField(field) {
		number, ok := id.(int64)
		return s.world.user(number).Email, ok
	}
	if value := field.valueByID(id); value != nil {
		return value.Label, true
	}
	return "", false
}

func isUserField(f *Field) bool {
	return slices.Contains([]string{"select_owner", "select_user", "multiselect_members"}, f.InputType)
}

// resolveHandle turns what a client may send for a handle (id, name, {id} or {name},
// or a list of these) into ids; ok is false when a name is unknown.
func (s *Server) resolveHandle(kind, name string, value any) (id any, ok bool) {
	switch value := value.(type) {
	case []any:
		ids := make([]any, len(value))
		for i, item := range value {
			if ids[i], ok = s.resolveHandle(kind, name, item); !ok {
				return nil, false
			}
		}
		return ids, true
	case Object:
		if id, has := value["id"]; has {
			return id, true
		}
		return s.resolveHandle(kind, name, value["name"])
	case string:
		if name == "org_handle" {
			return s.home.ID, value == s.home.Name
		}
		field := s.world.field(kind, name)
		if field == nil {
			return value, true
		}
		if isUserField(field) {
			for _, u := range s.world.users {
				if u.Email == value || u.displayName() == value {
					return u.ID, true
				}
			}
			return nil, false
		}
		if len(field.Values) == 0 || field.valueByID(value) != nil {
			return value, true
		}
		if v := field.valueByLabel(value); v != nil {
			return v.Value, true
		}
		return nil, false
	}
	return value, true
}

func (f formats) renderText(value any) any {
	text, ok := value.(textValue)
	if !ok {
		return value
	}
	object := func(format, content string) any { return Object{"format": format, "content": content} }
	switch f.text {
	case "objects_convert", "objects_no_convert":
		return object(text.Format, text.Content)
	case "objects_convert_html":
		if text.Format == "html" {
			return object("html", text.Content)
		}
		return object("html", "<div>"+html.EscapeString(text.Content)+"</div>")
	case "objects_convert_text":
		return object("text", text.plain())
	case "always_text":
		return text.plain()
	}
	return text.Content
}

// plain is the text without markup; block elements end a line.
func (t textValue) plain() string {
	if t.Format != "html" {
		return t.Content
	}
	var b strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(t.Content))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return strings.TrimSpace(b.String())
		case html.TextToken:
			b.WriteString(html.UnescapeString(string(tokens.Raw())))
		case html.EndTagToken, html.SelfClosingTagToken, html.StartTagToken:
			name, _ := tokens.TagName()
			token := tokens.Token()
			isBreak := string(name) == "br" ||
				token.Type == html.EndTagToken && slices.Contains([]string{"div", "p", "li", "tr", "h1", "h2", "h3"}, string(name))
			if isBreak && !strings.HasSuffix(b.String(), "\n") {
				b.WriteByte('\n')
			}
		}
	}
}

// storedText reads what a client sends for rich text: null, a string (taken as HTML)
// or {format, content}.
func storedText(value any) (any, bool) {
	switch value := value.(type) {
	case nil:
		return nil, true
	case textValue:
		return value, true
	case string:
		return textValue{Format: "html", Content: value}, true
	case Object:
		content, ok := value["content"].(string)
		format, _ := value["format"].(string)
		if format == "" {
			format = "text"
		}
		if value["content"] == nil {
			return nil, true
		}
		return textValue{Format: format, Content: content}, ok && (format == "text" || format == "html")
	}
	return nil, false
}
