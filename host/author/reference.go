package author

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/author/build"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/scenario"
)

// Reference describes a module in Markdown: what it says of itself in its
// manifest, and what its scenarios show. A path is a module file, whose scenarios
// lie in the folder scenarios beside it, or a plugin's folder.
func Reference(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	folder := path
	var m *manifest.Manifest
	if info.IsDir() {
		file := filepath.Join(path, build.ManifestFile)
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if m, err = manifest.Parse(text); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
	} else {
		folder = filepath.Dir(path)
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if m, err = sandbox.Inspect(text); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	shows, err := titles(filepath.Join(folder, scenario.Folder))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	describe(&out, m, shows)
	return out.String(), nil
}

// References describes all plugins whose folders lie in one, one after another.
func References(folder string) (string, error) {
	manifests, err := filepath.Glob(filepath.Join(folder, "*", build.ManifestFile))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, path := range manifests {
		text, err := Reference(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// titles lists names and titles of the stories in a folder.
func titles(folder string) (lines []string, err error) {
	for _, path := range scenario.In(folder) {
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
