package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"fn-threatq/host/secret"
)

// Template returns a new configuration file: every key that has an effect, with what it means; keys that must be filled
// in stand there without a value, all others are commented out with their defaults.
func Template() []byte {
	var out strings.Builder
	intro := "Configuration of fn-threatq, in the format of the app.config of resilient-circuits.\n" +
		"A key that is commented out has the value that is shown, or none. Remove the # to change it. " +
		"`fn-threatq config check` tells of every mistake.\n" +
		"A secret is best kept elsewhere and referenced here (within a longer value in braces, as ${NAME}):"
	for line := range strings.SplitSeq(intro, "\n") {
		comment(&out, line)
	}
	for _, form := range secret.Forms {
		fmt.Fprintf(&out, "#   %-17s %s\n", form[0], form[1])
	}
	for _, name := range sections {
		out.WriteString("\n")
		out.WriteString(sectionTemplate(name))
	}
	return []byte(out.String())
}

// sectionDocs say what the sections are for.
var sectionDocs = map[string]string{
	sectionResilient:    "The SOAR server and its message broker; the log.",
	sectionIntegrations: "What all apps have in common.",
	sectionThreatQ:      "The ThreatQ server, and what is synced to it.",
}

func sectionTemplate(name string) string {
	var out strings.Builder
	comment(&out, sectionDocs[name])
	fmt.Fprintf(&out, "[%s]\n", name)
	for i, field := range fieldsOf(name) {
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(field.template(field.Required || field.expected()))
	}
	return out.String()
}

// fieldsOf returns the fields of a section that have an effect.
func fieldsOf(section string) []Field {
	var fields []Field
	for _, field := range Fields() {
		if field.Section == section && field.Ignored == "" {
			fields = append(fields, field)
		}
	}
	return fields
}

// expected tells of the two keys that a new file is to be filled in with besides the required ones: an API key is the
// better one of the two kinds of account.
func (f Field) expected() bool {
	return f.Section == sectionResilient && (f.Key == "api_key_id" || f.Key == "api_key_secret")
}

// template returns the lines of one key: its meaning as a comment, and the key with its default, live or commented out.
func (f Field) template(live bool) string {
	var out strings.Builder
	text := f.meaning()
	switch f.Kind {
	case KindBoolean:
		text += " (true or false)"
	case KindNumber, KindSeconds:
		text += fmt.Sprintf(" (%d to %d)", f.Min, f.Max)
	}
	comment(&out, text)
	if !live {
		out.WriteString("#")
	}
	fmt.Fprintf(&out, "%s=%s\n", f.Key, f.Default)
	return out.String()
}

// comment writes a text, without the marks of Markdown, as lines of at most 80 characters.
func comment(out *strings.Builder, text string) {
	const longest = 80
	line := "#"
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, "`", "")) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > longest {
			out.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	out.WriteString(line + "\n")
}
