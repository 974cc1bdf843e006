// Command gendocs writes the generated part of README.md: the table of all
// configuration keys, between two marker lines.
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
	"slices"
	"strings"

	"fn-threatq/host/config"
)

const (
	beginMarker = "<!-- config:begin -->"
	endMarker   = "<!-- config:end -->"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run returns 0, 1 when the document is not current or cannot be used, or 2 for
// wrong arguments.
func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("gendocs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("readme", "README.md", "the document that holds the markers")
	check := flags.Bool("check", false, "change nothing, and fail when the document is not current")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "gendocs: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := update(*path, config.Reference(), *check); err != nil {
		fmt.Fprintln(stderr, "gendocs:", err)
		return 1
	}
	return 0
}

// update puts the reference between the markers of the document, or only
// checks that it stands there.
func update(path, reference string, check bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	current := string(text)
	fresh, err := splice(current, reference)
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
func splice(document, reference string) (string, error) {
	lines := strings.Split(document, "\n")
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
