package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fn-threatq/host"
)

// content is one entry of nfpm's contents.
type content struct {
	Source      string `json:"src,omitempty"`
	Destination string `json:"dst"`
	Type        string `json:"type,omitempty"`
	Info        info   `json:"file_info"`
}

type info struct {
	Mode os.FileMode `json:"mode"`
	// MTime is the same for all, so that the package is reproducible.
	MTime time.Time `json:"mtime"`
}

// debian packs the package of one target by nfpm, which tools.mod pins.
func debian(ctx context.Context, root, out, stage, target string, when time.Time) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	here := filepath.Join(root, "tools", "package", "debian")
	config, err := json.Marshal(map[string]any{
		"name": "fn-threatq", "arch": target, "platform": "linux", "version": host.Version, "release": "1", "mtime": when,
		"section": "net", "priority": "optional", "maintainer": "fn-threatq <root@localhost>",
		"description": "bridge between IBM SOAR (Resilient) and ThreatQ\n" +
			"One process that takes the actions of a message destination of IBM SOAR to\n" +
			"ThreatQ, and its replies back. It replaces the Python package fn_threatq\n" +
			"under resilient-circuits.",
		// Certificates of the system, unless cafile names others; kill, for a reload.
		"recommends": []string{"ca-certificates", "procps"},
		"contents": []content{
			{filepath.Join(out, fmt.Sprintf("fn-threatq-%s-linux-%s", host.Version, target)), "/usr/bin/fn-threatq", "", info{0o755, when}},
			{filepath.Join(stage, "fn-threatq.service"), "/usr/lib/systemd/system/fn-threatq.service", "", info{0o644, when}},
			{filepath.Join(stage, "man") + "/*", "/usr/share/man/man1/", "", info{0o644, when}},
			{filepath.Join(stage, "fn-threatq.bash"), "/usr/share/bash-completion/completions/fn-threatq", "", info{0o644, when}},
			{filepath.Join(stage, "_fn-threatq"), "/usr/share/zsh/vendor-completions/_fn-threatq", "", info{0o644, when}},
			{filepath.Join(stage, "fn-threatq.fish"), "/usr/share/fish/vendor_completions.d/fn-threatq.fish", "", info{0o644, when}},
			{filepath.Join(stage, "copyright"), "/usr/share/doc/fn-threatq/copyright", "", info{0o644, when}},
			{filepath.Join(out, fmt.Sprintf("fn-threatq-%s.cdx.json", host.Version)), "/usr/share/doc/fn-threatq/sbom.cdx.json", "", info{0o644, when}},
			{filepath.Join(here, "default"), "/etc/default/fn-threatq", "config|noreplace", info{0o644, when}},
			{"", "/etc/fn-threatq", "dir", info{0o755, when}},
			{"", "/etc/fn-threatq/credentials", "dir", info{0o700, when}},
		},
		"scripts": map[string]string{
			"postinstall": filepath.Join(here, "postinst"), "preremove": filepath.Join(here, "prerm"), "postremove": filepath.Join(here, "postrm"),
		},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(stage, "nfpm-"+target+".json")
	if err := os.WriteFile(file, config, 0o644); err != nil {
		return err
	}
	return command(ctx, root, []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix())},
		"go", "tool", "-modfile=tools/package/tools.mod", "nfpm", "package", "--packager", "deb", "--config", file,
		"--target", filepath.Join(out, fmt.Sprintf("fn-threatq_%s-1_%s.deb", host.Version, target)))
}

const sumsFile = "SHA256SUMS"

// writeSums writes the checksums in the form of sha256sum, and lists the files.
func writeSums(out string, stdout io.Writer) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		file, err := os.Open(filepath.Join(out, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.New()
		size, err := io.Copy(sum, file)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), e.Name())
		fmt.Fprintf(stdout, "%8d KB  %s\n", size/1000, filepath.Join(out, e.Name()))
	}
	return os.WriteFile(filepath.Join(out, sumsFile), sums.Bytes(), 0o644)
}

// reproduce makes the release again from a copy of the sources: another folder,
// and a build cache with nothing in it. Sources are the files that git knows or
// does not ignore.
func reproduce(ctx context.Context, root, out string, stdout, stderr io.Writer) error {
	other, err := os.MkdirTemp("", "fn-threatq-again-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(other)
	list, err := exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("the sources are listed by git: %w", err)
	}
	copied := filepath.Join(other, "sources")
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(root, name), filepath.Join(copied, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	when, err := epoch(ctx, root)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "making it again from nothing, to compare …")
	again := filepath.Join(other, "dist")
	environ := []string{"GOCACHE=" + filepath.Join(other, "cache"), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix())}
	if err := command(ctx, copied, environ, "go", "run", "./tools/buildplugins"); err != nil {
		return err
	}
	if err := command(ctx, copied, environ, "go", "run", "./tools/package", "-out", again); err != nil {
		return err
	}
	want, err := os.ReadFile(filepath.Join(out, sumsFile))
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(again, sumsFile))
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("it is not reproducible: the first time\n%sthe second time\n%s", want, got)
	}
	fmt.Fprintln(stdout, "the same bytes")
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	mode, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, mode.Mode().Perm())
}
