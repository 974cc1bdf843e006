// Command gendocs writes the generated parts of the documents, each between two
// marker lines: the table of all configuration keys in README.md, and the
// reference of all rules and functions in plugins/README.md.
//
// A marker is a line that Markdown does not show; what stands between the two
// is not written by hand. Current means that it is what the code says.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fn-threatq/host/author"
	"fn-threatq/host/config"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run returns 0, 1 when the document is not current or cannot be used, or 2 for
// wrong arguments.
func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("gendocs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "the folder of the project")
	check := flags.Bool("check", false, "change nothing, and fail when the document is not current")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "gendocs: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	code := 0
	for _, part := range []part{
		{"README.md", "config", func() (string, error) { return config.Reference(), nil }},
		{"plugins/README.md", "rules", func() (string, error) { return author.References(filepath.Join(*root, "plugins")) }},
	} {
		if err := part.update(*root, *check); err != nil {
			fmt.Fprintln(stderr, "gendocs:", err)
			code = 1
		}
	}
	return code
}

// part is a generated part of a document, between the lines <!-- NAME:begin -->
// and <!-- NAME:end -->.
type part struct {
	document, name string
	text           func() (string, error)
}

func (p part) update(root string, check bool) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	return update(filepath.Join(root, p.document), p.name, text, check)
}

// update puts the reference between the markers of the document, or only
// checks that it stands there.
func update(path, name, reference string, check bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	current := string(text)
	fresh, err := splice(current, name, reference)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case fresh == current:
		return nil
	case check:
		return fmt.Errorf("%s is not current; write it anew with `make generate`:\n%s", path, difference(current, fresh))
	}
	return os.WriteFile(path, []byte(fresh), 0o644)
}

// splice replaces the lines between the markers.
func splice(document, name, reference string) (string, error) {
	lines := strings.Split(document, "\n")
	beginMarker, endMarker := "<!-- "+name+":begin -->", "<!-- "+name+":end -->"
	begin, err := find(lines, beginMarker)
	if err != nil {
		return "", err
	}
	end, err := find(lines, endMarker)
	if err != nil {
		return "", err
	}
	if end < begin {
		return "", fmt.Errorf("line %d: %s stands before %s", end+1, endMarker, beginMarker)
	}
	between := append([]string{""}, strings.Split(strings.Trim(reference, "\n"), "\n")...)
	return strings.Join(slices.Replace(lines, begin+1, end, append(between, "")...), "\n"), nil
}

// find returns the index of the one line that is the marker.
func find(lines []string, marker string) (int, error) {
	at := -1
	for i, line := range lines {
		if strings.TrimSpace(line) != marker {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("the line %s stands twice, in lines %d and %d", marker, at+1, i+1)
		}
		at = i
	}
	if at < 0 {
		return 0, errors.New("there is no line " + marker)
	}
	return at, nil
}

// difference shows the lines from the first to the last that differ.
func difference(current, fresh string) string {
	was, is := strings.Split(current, "\n"), strings.Split(fresh, "\n")
	same := 0
	for same < min(len(was), len(is)) && was[same] == is[same] {
		same++
	}
	tail := 0
	for tail < min(len(was), len(is))-same && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	var out strings.Builder
	fmt.Fprintf(&out, "@@ line %d @@", same+1)
	for _, line := range was[same : len(was)-tail] {
		out.WriteString("\n-" + line)
	}
	for _, line := range is[same : len(is)-tail] {
		out.WriteString("\n+" + line)
	}
	return out.String()
}
