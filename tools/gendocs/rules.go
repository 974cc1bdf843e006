package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/scenario"
)

// rulesReference describes all plugins of a folder: what each says of itself
// in its manifest, and what its scenarios show.
func rulesReference(folder string) (string, error) {
	manifests, err := filepath.Glob(filepath.Join(folder, "*", "manifest.json"))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, path := range manifests {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		m, err := manifest.Parse(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		shows, err := scenarios(filepath.Join(filepath.Dir(path), "scenarios"))
		if err != nil {
			return "", err
		}
		describe(&out, m, shows)
	}
	return out.String(), nil
}

// scenarios lists names and titles of the stories in a folder.
func scenarios(folder string) (lines []string, err error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*"+scenario.Extension))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if filepath.Base(path) == scenario.CommonFile {
			continue
		}
		s, err := scenario.Load(path)
		if err != nil {
			return nil, err
		}
		lines = append(lines, "- `"+strings.TrimSuffix(filepath.Base(path), scenario.Extension)+"`: "+s.Title)
	}
	return lines, nil
}

func describe(out *strings.Builder, m *manifest.Manifest, shows []string) {
	fmt.Fprintf(out, "### %s\n\n%s\n", m.Name, m.Description)
	for _, r := range m.Rules {
		fmt.Fprintf(out, "\n**Rule %s** (%s, on each %s%s). %s\n", r.Title, kindOf(r), r.Object, conditions(r), r.Description)
		fields(out, "field", r.Fields)
	}
	for _, f := range m.Functions {
		fmt.Fprintf(out, "\n**Function %s** (`%s`). %s\n", f.Title, f.Name, f.Description)
		fields(out, "input", f.Inputs)
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"Writes to ThreatQ", permits(m, "threatq", true)},
		{"Reads from ThreatQ", permits(m, "threatq", false)},
		{"Writes to SOAR", permits(m, "resilient", true)},
		{"Reads from SOAR", permits(m, "resilient", false)},
		{"Starts", m.Actions},
		{"Settings", settings(m)},
	} {
		if len(part.lines) > 0 {
			fmt.Fprintf(out, "\n%s: `%s`\n", part.title, strings.Join(part.lines, "`, `"))
		}
	}
	if len(shows) > 0 {
		fmt.Fprintf(out, "\nWhat its %d scenarios show:\n\n%s\n", len(shows), strings.Join(shows, "\n"))
	}
	out.WriteString("\n")
}

func kindOf(r manifest.Rule) string {
	kind := "menu item"
	if r.Automatic {
		kind = "automatic"
	}
	if r.Exclusive {
		kind += ", one at a time"
	}
	return kind
}

// conditions tells when an automatic rule fires.
func conditions(r manifest.Rule) string {
	var list []string
	for _, c := range r.Conditions {
		switch c.Method {
		case "object_added":
			list = append(list, "created")
		case "object_removed":
			list = append(list, "deleted")
		default:
			list = append(list, "with a change of `"+c.Field+"`")
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " that is " + strings.Join(list, ", or ")
}

func fields(out *strings.Builder, what string, list []manifest.Field) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "\n| %s | API name | type | meaning |\n|---|---|---|---|\n", what)
	for _, f := range list {
		kind := f.Type
		if len(f.Options) > 0 {
			kind += ": " + strings.Join(f.Options, ", ")
		}
		if f.Required {
			kind += "; required"
		}
		fmt.Fprintf(out, "| %s | `%s` | %s | %s |\n", cell(f.Label), f.Name, cell(kind), cell(f.Description))
	}
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// searches are POST calls that write nothing.
var searches = []string{"/query", "/query_paged"}

// permits lists the calls of one service, METHOD PATH, that write or only read.
func permits(m *manifest.Manifest, service string, writes bool) (list []string) {
	for _, line := range m.Calls {
		call, ok := strings.CutPrefix(line, service+" ")
		search := slices.ContainsFunc(searches, func(end string) bool { return strings.HasSuffix(call, end) })
		// The commit of an import is a GET that writes (contract: parsing a file).
		reads := strings.HasPrefix(call, "GET ") && !strings.HasSuffix(call, "/commit") || search
		if ok && reads != writes {
			list = append(list, call)
		}
	}
	return list
}

func settings(m *manifest.Manifest) (names []string) {
	for _, s := range m.Settings {
		names = append(names, s.Name)
	}
	return names
}
