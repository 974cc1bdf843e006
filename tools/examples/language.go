package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// language is one of those in which the rule is written. Its name is that of its
// folder.
type language struct {
	name string
	// compile makes the code: a file in temp, or the folder itself of a plugin in Go.
	compile func(ctx context.Context, folder, temp string) (code string, err error)
}

var languages = []language{
	{"go", func(_ context.Context, folder, _ string) (string, error) { return folder, nil }},
	{"rust", compileRust},
	{"c", compileC},
	{"assemblyscript", compileAssemblyScript},
}

// missingError is a toolchain that is not there.
type missingError struct{ what, install string }

func (e *missingError) Error() string { return e.what + " is missing; install it: " + e.install }

// command runs a tool in a folder; what it says is in the error.
func command(ctx context.Context, dir string, stdin string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", name, err, &problems, &out)
	}
	return out.String(), nil
}

const rustTarget = "wasm32-unknown-unknown"

// compileRust takes the first rustc that has the target: a distribution's may
// stand behind one of rustup.
func compileRust(ctx context.Context, folder, temp string) (string, error) {
	for _, rustc := range []string{"rustc", "/usr/bin/rustc"} {
		libraries, err := command(ctx, temp, "", rustc, "--print", "target-libdir", "--target", rustTarget)
		if err != nil {
			continue
		}
		if there, _ := filepath.Glob(filepath.Join(strings.TrimSpace(libraries), "libstd-*")); len(there) == 0 {
			continue
		}
		code := filepath.Join(temp, "code.wasm")
		_, err = command(ctx, folder, "", rustc, "--edition=2021", "--target="+rustTarget, "--crate-type=cdylib", "--crate-name=tag_event",
			"-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Dwarnings", "-o", code, "rule.rs")
		return code, err
	}
	return "", &missingError{"rustc with the target " + rustTarget, "apt-get install rustc libstd-rust-dev-wasm32, or rustup target add " + rustTarget}
}

// compileC uses the parts of LLVM that Debian has, with wasi-libc.
func compileC(ctx context.Context, folder, temp string) (string, error) {
	flags := []string{"--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,--strip-all"}
	probe := append(flags[:len(flags):len(flags)], "-o", filepath.Join(temp, "probe.wasm"), "-x", "c", "-")
	if said, err := command(ctx, temp, "#include <stdlib.h>\nvoid *f(void);\nvoid *f(void) { return malloc(1); }\n", "clang", probe...); err != nil {
		return "", &missingError{"clang for wasm32-wasi (" + firstLine(err.Error()+said) + ")", "apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32 (14: the version of clang)"}
	}
	code := filepath.Join(temp, "code.wasm")
	_, err := command(ctx, folder, "", "clang", append(flags, "-o", code, "json.c", "rule.c")...)
	return code, err
}

// compileAssemblyScript works on a copy, so that node_modules stays out of the
// sources. npm ci takes exactly what the lock file says.
func compileAssemblyScript(ctx context.Context, folder, temp string) (string, error) {
	install := "apt-get install nodejs npm (Node.js 20 or later)"
	version, err := command(ctx, temp, "", "node", "-p", "process.versions.node.split('.')[0] >= 20")
	if err != nil {
		return "", &missingError{"node", install}
	}
	if strings.TrimSpace(version) != "true" {
		return "", &missingError{"node in version 20 or later", install}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return "", &missingError{"npm", install}
	}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "assembly"} {
		if err := copyInto(temp, folder, name); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"ci", "--no-audit", "--no-fund"}, {"run", "--silent", "build"}} {
		if _, err := command(ctx, temp, "", "npm", args...); err != nil {
			return "", err
		}
	}
	return filepath.Join(temp, "code.wasm"), nil
}

// copyInto copies a file, or a folder of files.
func copyInto(to, from, name string) error {
	source, target := filepath.Join(from, name), filepath.Join(to, name)
	if info, err := os.Stat(source); err != nil {
		return err
	} else if info.IsDir() {
		return os.CopyFS(target, os.DirFS(source))
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return os.WriteFile(target, text, 0o644)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
