package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
)

// Options of a suite.
type Options struct {
	// Paths name scenarios: a scenario file, a module file, a folder, or
	// FOLDER/... for all below it.
	Paths []string
	// Module is played instead of those that belong to the scenarios.
	Module string
	// Scenarios is where those of a module file are; empty for the folder
	// scenarios beside it.
	Scenarios string
	// CacheDir keeps compiled modules; empty for fn-threatq/modules in the
	// user's cache folder, which is the host's own.
	CacheDir string
}

// Suite is the scenarios that were asked for.
type Suite struct {
	places  []place
	modules *modules
}

// Open finds the scenarios. Nothing is played or loaded yet. Close must follow.
func Open(ctx context.Context, o Options) (*Suite, error) {
	places, err := find(o.Paths, o.Module, o.Scenarios)
	if err != nil {
		return nil, err
	}
	modules, err := openModules(ctx, o.CacheDir)
	if err != nil {
		return nil, err
	}
	return &Suite{places: places, modules: modules}, nil
}

// Close frees the modules.
func (s *Suite) Close(ctx context.Context) error { return s.modules.box.Close(ctx) }

// Paths are the files of the scenarios in the order in which they are reported.
func (s *Suite) Paths() []string {
	paths := make([]string, len(s.places))
	for i, p := range s.places {
		paths[i] = p.path
	}
	return paths
}

// Report is the result of one scenario of a suite.
type Report struct {
	Result
	Path string
	// Name is PLUGIN/FILE. Title is empty when the file cannot be read.
	Name, Title string
	// Updated says that the file was written anew.
	Updated bool
}

// Run plays all scenarios side by side and reports them in order. With update
// the files are written anew where they differ, and played again.
func (s *Suite) Run(ctx context.Context, update bool, report func(Report)) {
	reports := make([]chan Report, len(s.places))
	for i := range reports {
		reports[i] = make(chan Report, 1)
	}
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(s.places)) {
		go func() {
			for i := next.Add(1) - 1; i < int64(len(s.places)); i = next.Add(1) - 1 {
				reports[i] <- s.one(ctx, s.places[i], update)
			}
		}()
	}
	for _, ready := range reports {
		report(<-ready)
	}
}

// one plays one scenario.
func (s *Suite) one(ctx context.Context, p place, update bool) Report {
	r := Report{Path: p.path, Name: nameOf(p.path)}
	story, err := Load(p.path)
	if err == nil {
		r.Title = story.Title
		var module *wasm
		if module, err = s.modules.forScenario(ctx, p); err == nil && update {
			r.Updated, err = rewrite(ctx, module, story)
			if r.Updated {
				story, err = Load(p.path)
			}
		}
		if err == nil {
			r.Result = Run(ctx, module, story)
			return r
		}
	}
	r.Err = err
	return r
}

// rewrite updates a file in place and reports whether it changed.
func rewrite(ctx context.Context, module Module, s *Scenario) (bool, error) {
	text, err := Update(ctx, module, s)
	if err != nil || bytes.Equal(text, s.source) {
		return false, err
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(s.Path); err == nil {
		mode = info.Mode().Perm()
	}
	return true, os.WriteFile(s.Path, text, mode)
}

// Passed reports whether the module does what the story says.
func (r Report) Passed() bool { return r.Err == nil && r.Failure == "" }

// Text is the report for people, one line when all is well.
func (r Report) Text(verbose bool) string {
	var b strings.Builder
	title := ""
	if r.Title != "" {
		title = ": " + r.Title
	}
	switch {
	case r.Err != nil:
		fmt.Fprintf(&b, "ERROR %s%s\n", r.Name, title)
		b.WriteString(each("     ", r.message()))
	case r.Failure != "":
		fmt.Fprintf(&b, "FAIL %s%s\n     %s\n", r.Name, title, r.Path)
		b.WriteString(each("     ", r.Failure))
	default:
		updated := ""
		if r.Updated {
			updated = ", updated"
		}
		fmt.Fprintf(&b, "ok   %s%s (%s, %s%s)\n", r.Name, title, count(r.Turns, "turn"), count(r.Calls, "call"), updated)
	}
	if verbose && r.Dialogue != "" {
		b.WriteString(each("       ", r.Dialogue))
	}
	return b.String()
}

// message names the file where the error does not.
func (r Report) message() string {
	var at *FileError
	if errors.As(r.Err, &at) || strings.Contains(r.Err.Error(), r.Path) {
		return r.Err.Error()
	}
	return r.Path + ": " + r.Err.Error()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
