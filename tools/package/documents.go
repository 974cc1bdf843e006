package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"fn-threatq/cmd/fn-threatq/cli"
	"fn-threatq/host"
)

// documents writes man pages and completion, which follow from the commands, and the
// unit file, which follows from `service install`.
func documents(stage string, when time.Time) error {
	man := filepath.Join(stage, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	root := cli.Root()
	root.InitDefaultCompletionCmd()
	header := &doc.GenManHeader{Section: "1", Date: &when, Source: "fn-threatq " + host.Version, Manual: "fn-threatq"}
	if err := pages(root, header, man); err != nil {
		return err
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"fn-threatq.bash": func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) },
		"_fn-threatq":     func(b *bytes.Buffer) error { return root.GenZshCompletion(b) },
		"fn-threatq.fish": func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) },
	} {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(stage, name), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(stage, "fn-threatq.service"), []byte(cli.Unit(cli.UnitOptions{
		Binary: "/usr/bin/fn-threatq", Config: "/etc/fn-threatq/app.config", User: "fn-threatq",
		EnvironmentFile: "/etc/default/fn-threatq", Documentation: "man:fn-threatq(1)",
	})), 0o644)
}

// pages writes the page of a command and of those below it.
func pages(c *cobra.Command, header *doc.GenManHeader, dir string) error {
	if c.Hidden || c.Name() == "help" {
		return nil
	}
	for _, sub := range c.Commands() {
		if err := pages(sub, header, dir); err != nil {
			return err
		}
	}
	c.DisableAutoGenTag = true
	// It notes the title of the page.
	own := *header
	var text bytes.Buffer
	if err := doc.GenMan(c, &own, &text); err != nil {
		return err
	}
	if !c.HasParent() {
		text.WriteString(exitStatus())
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1.gz"
	return os.WriteFile(filepath.Join(dir, name), packed(text.Bytes()), 0o644)
}

// exitStatus is the section of the exit codes.
func exitStatus() string {
	var text strings.Builder
	text.WriteString(".SH EXIT STATUS\n")
	for _, c := range host.ExitCodes() {
		fmt.Fprintf(&text, ".TP\n%d\n%s\n", c.Code, strings.ReplaceAll(strings.ReplaceAll(c.Meaning, "`", ""), "-", `\-`))
	}
	return text.String()
}

// packed is gzip without a name and a time.
func packed(text []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = w.Write(text)
	_ = w.Close()
	return out.Bytes()
}
