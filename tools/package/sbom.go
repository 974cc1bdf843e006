package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fn-threatq/host"
)

// part is a Go module that a program holds, in its own code or in that of a WASM
// module inside.
type part struct {
	Path, Version string
	// Sum is the hash of go.sum.
	Sum string
	// Dir has the sources.
	Dir string
}

// materials are the parts of a program.
func materials(ctx context.Context, root, program string) ([]part, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	// The toolchain's own folder may be another one than that of `go env` here.
	parts := []part{{Path: "stdlib", Version: info.GoVersion}}
	known, err := modules(ctx, root, nil, "list", "-m", "-json", "all")
	if err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		at := slices.IndexFunc(known, func(p part) bool { return p.Path == m.Path })
		if at < 0 {
			return nil, fmt.Errorf("%s holds %s, which go.mod does not list", program, m.Path)
		}
		parts = append(parts, part{Path: m.Path, Version: m.Version, Sum: m.Sum, Dir: known[at].Dir})
	}
	// The WASM modules inside are programs of their own.
	guests, err := modules(ctx, root, []string{"GOOS=wasip1", "GOARCH=wasm"}, "list", "-deps", "-json=Module", "./plugins/...")
	if err != nil {
		return nil, err
	}
	for i := range guests {
		if at := slices.IndexFunc(known, func(p part) bool { return p.Path == guests[i].Path }); at >= 0 {
			guests[i] = known[at]
		}
	}
	return merge(parts, guests), nil
}

// modules reads modules from the output of go list, which is of packages or of
// modules.
func modules(ctx context.Context, root string, environ []string, args ...string) ([]part, error) {
	c := exec.CommandContext(ctx, "go", args...)
	var problems bytes.Buffer
	c.Dir, c.Env, c.Stderr = root, append(os.Environ(), environ...), &problems
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, problems.Bytes())
	}
	var parts []part
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var line struct {
			part
			Main   bool
			Module *struct {
				part
				Main bool
			}
		}
		if err := decoder.Decode(&line); err != nil {
			return nil, err
		}
		switch m := line.Module; {
		case m != nil && !m.Main:
			parts = append(parts, m.part)
		case line.Path != "" && !line.Main:
			parts = append(parts, line.part)
		}
	}
	return parts, nil
}

// merge is each module once, in order.
func merge(a, b []part) []part {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y part) int { return cmp.Or(cmp.Compare(x.Path, y.Path), cmp.Compare(x.Version, y.Version)) })
	return slices.CompactFunc(all, func(x, y part) bool { return x.Path == y.Path && x.Version == y.Version })
}

type (
	property  struct{ Name, Value string }
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	// document is CycloneDX 1.5, the parts of it that are wanted here. It has no
	// serial number, which would be another one each time.
	document struct {
		Format      string `json:"bomFormat"`
		SpecVersion string `json:"specVersion"`
		Version     int    `json:"version"`
		Metadata    struct {
			Timestamp string    `json:"timestamp"`
			Component component `json:"component"`
		} `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

func (p property) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"name": p.Name, "value": p.Value})
}

// writeSBOM writes the bill of materials.
func writeSBOM(path string, parts []part, when time.Time) error {
	var d document
	d.Format, d.SpecVersion, d.Version = "CycloneDX", "1.5", 1
	d.Metadata.Timestamp = when.Format(time.RFC3339)
	self := "pkg:golang/fn-threatq@" + host.Version
	d.Metadata.Component = component{Type: "application", Ref: self, Name: "fn-threatq", Version: host.Version, PURL: self}
	root := dependency{Ref: self}
	for _, p := range parts {
		purl := fmt.Sprintf("pkg:golang/%s@%s", p.Path, p.Version)
		c := component{Type: "library", Ref: purl, Name: p.Path, Version: p.Version, PURL: purl}
		if p.Sum != "" {
			c.Properties = []property{{"go:sum", p.Sum}}
		}
		d.Components = append(d.Components, c)
		root.DependsOn = append(root.DependsOn, purl)
		d.Dependencies = append(d.Dependencies, dependency{Ref: purl})
	}
	d.Dependencies = append([]dependency{root}, d.Dependencies...)
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// writeCopyright writes what the licences of the parts ask for: their texts.
func writeCopyright(path, root string, parts []part) error {
	var text strings.Builder
	fmt.Fprintf(&text, "fn-threatq %s, the bridge between IBM SOAR (Resilient) and ThreatQ.\n\n", host.Version)
	own, err := licences(root)
	if err != nil {
		return err
	}
	text.WriteString(own)
	text.WriteString("It holds the following software of others.\n")
	for _, p := range parts {
		dir := p.Dir
		if p.Path == "stdlib" {
			out, err := exec.Command("go", "env", "GOROOT").Output()
			if err != nil {
				return err
			}
			dir = strings.TrimSpace(string(out))
		}
		theirs, err := licences(dir)
		if err == nil && theirs == "" {
			err = fmt.Errorf("there is no licence in %s", dir)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", p.Path, p.Version, err)
		}
		fmt.Fprintf(&text, "\n%s\n%s %s\n\n%s", strings.Repeat("=", 78), p.Path, p.Version, theirs)
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// licences are the texts of the licence files of a folder.
func licences(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, e := range entries {
		upper := strings.ToUpper(e.Name())
		if e.IsDir() || !slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, func(p string) bool { return strings.HasPrefix(upper, p) }) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		text.Write(bytes.TrimSpace(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))))
		text.WriteString("\n\n")
	}
	return text.String(), nil
}
