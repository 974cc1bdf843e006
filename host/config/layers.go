package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/knadh/koanf/v2"
)

// OriginKind says what kind of place a value comes from.
type OriginKind string

// The places that values come from, weakest first.
const (
	FromDefault OriginKind = "default"
	FromFile    OriginKind = "file"
	FromEnv     OriginKind = "environment"
	FromFlag    OriginKind = "command line"
)

// Origin is the place that an effective value comes from.
type Origin struct {
	Kind OriginKind
	Name string // path of the file, or name of the environment variable or override; empty for a default
	Line int    // of the file
}

// String returns "FILE:LINE", "environment NAME", "command line NAME" or "default".
func (o Origin) String() string {
	switch o.Kind {
	case FromDefault:
		return string(o.Kind)
	case FromFile:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	default:
		return string(o.Kind) + " " + o.Name
	}
}

// entry is a value as it was written, before references are resolved.
type entry struct {
	Written string
	Origin  Origin
}

// layer is a koanf provider of one source's entries by section and key. The entries keep their origin, so that the
// merged configuration knows for each value who won.
type layer map[string]map[string]entry

func (l layer) set(section, key string, e entry) {
	if l[section] == nil {
		l[section] = make(map[string]entry)
	}
	l[section][key] = e
}

// Read gives koanf the nested map that it merges.
func (l layer) Read() (map[string]any, error) {
	sections := make(map[string]any, len(l))
	for section, entries := range l {
		keys := make(map[string]any, len(entries))
		for key, e := range entries {
			keys[key] = e
		}
		sections[section] = keys
	}
	return sections, nil
}

// ReadBytes is the other half of koanf.Provider; the file is parsed before, since all of its mistakes are reported.
func (layer) ReadBytes() ([]byte, error) { return nil, errors.New("a layer has no bytes") }

// merge lays the sources over each other: default, file, environment, command line.
func (l *loader) merge(doc *document, overrides map[string]string) *koanf.Koanf {
	merged := koanf.New(".")
	for _, source := range []layer{l.defaults(), l.fileLayer(doc), l.envLayer(), l.flagLayer(overrides)} {
		if err := merged.Load(source, nil); err != nil {
			// Neither a layer nor a merge that is not strict can fail; were it so, required keys would be missed.
			l.fail(Problem{Message: "the configuration cannot be merged: " + err.Error()})
		}
	}
	return merged
}

func (l *loader) defaults() layer {
	defaults := make(layer)
	for _, field := range l.fields {
		if text := l.env[field.EnvDefault]; text != "" {
			defaults.set(field.Section, field.Key, entry{text, Origin{Kind: FromEnv, Name: field.EnvDefault}})
		} else {
			defaults.set(field.Section, field.Key, entry{field.Default, Origin{Kind: FromDefault}})
		}
	}
	return defaults
}

// fileLayer takes what the file says of known keys, and warns of unknown ones. A blank value counts as absent, as the
// reference client has it, but for cafile, where it has a meaning of its own.
func (l *loader) fileLayer(doc *document) layer {
	entries := make(layer)
	for _, name := range sections {
		options := make(map[string]option)
		for key, option := range doc.defaults {
			if _, known := Lookup(name, key); known {
				options[key] = option
			}
		}
		for key, option := range doc.sections[name].options {
			key = canonicalKey(name, key)
			if earlier, found := options[key]; found && earlier != doc.defaults[key] {
				first, second := min(earlier.line, option.line), max(earlier.line, option.line)
				l.fail(Problem{File: l.path, Line: second, Section: name, Key: key,
					Message: fmt.Sprintf("key %s is there a second time in [%s], first on line %d", key, name, first), Advice: "remove one of the two lines"})
			}
			options[key] = option
		}
		for key, option := range options {
			field, known := Lookup(name, key)
			switch {
			case !known:
				l.unknownKey(name, key, option.line)
			case option.value != "" || field.Kind == KindTrust:
				entries.set(name, key, entry{option.value, Origin{FromFile, l.path, option.line}})
			default:
				l.blank[field.ID()] = option.line
			}
		}
	}
	return entries
}

// canonicalKey returns a lower-cased key of the file as it is declared: the guide prints "Custom_ Source".
func canonicalKey(section, key string) string {
	if section == sectionThreatQ {
		return strings.Join(strings.Fields(key), "")
	}
	return key
}

func (l *loader) envLayer() layer {
	entries := make(layer)
	for _, field := range l.fields {
		for _, name := range []string{field.Env, field.EnvVariable()} { // the second wins
			if text := l.env[name]; name != "" && text != "" {
				entries.set(field.Section, field.Key, entry{text, Origin{Kind: FromEnv, Name: name}})
			}
		}
	}
	return entries
}

func (l *loader) flagLayer(overrides map[string]string) layer {
	entries := make(layer)
	for id, text := range overrides {
		section, key, _ := strings.Cut(id, ".")
		if _, known := Lookup(section, key); !known {
			l.fail(Problem{Section: section, Key: key, Message: "the command line sets the unknown key " + id, Advice: l.suggestion(section, key)})
			continue
		}
		entries.set(section, key, entry{text, Origin{Kind: FromFlag, Name: id}})
	}
	return entries
}

func (l *loader) unknownKey(section, key string, line int) {
	problem := Problem{File: l.path, Line: line, Section: section, Key: key,
		Message: fmt.Sprintf("unknown key %s in [%s]", key, section), Advice: l.suggestion(section, key)}
	if meant := nearest(key, l.keys(section)); meant != "" {
		l.misspelt[section+"."+meant] = problem
	}
	if problem.Advice == "" {
		problem.Advice = "it has no effect"
	}
	l.warn(problem)
}

// suggestion says what an unknown key may have been meant for, or nothing.
func (l *loader) suggestion(section, key string) string {
	if meant := nearest(key, l.keys(section)); meant != "" {
		return "did you mean " + meant + "?"
	}
	for _, other := range []string{sectionThreatQ, sectionResilient} {
		if _, known := Lookup(other, key); known {
			return fmt.Sprintf("the key belongs to [%s]", other)
		}
	}
	return ""
}
