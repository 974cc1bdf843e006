package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"fn-threatq/host"
	"fn-threatq/host/author"
	"fn-threatq/host/author/build"
)

func (p *program) pluginNewCommand() *cobra.Command {
	o := author.NewOptions{Version: host.Version}
	lang := ""
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make the folder of a new plugin, which builds and passes its tests",
		Long: `Make the folder of a new plugin in Go: a rule that looks an artifact up in
ThreatQ, with manifest, tests and scenarios, and the SDK in vendor/. It builds and
passes its tests as it is, without a network. NAME is lower-case words joined by
hyphens; what is there already is left alone.

For Rust, C and AssemblyScript see plugins/examples/tag-event.`,
		Example: "  fn-threatq plugin new look-up\n  fn-threatq plugin build look-up && fn-threatq plugin test look-up",
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("want one NAME, such as look-up")
			case lang != "go":
				return usagef("--lang %s: only go has a template; the examples in plugins/examples/tag-event are a start in rust, c and assemblyscript", lang)
			}
			o.Name = args[0]
			dir, err := author.New(o)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.Stdout, dir)
			fmt.Fprintf(p.Stderr, "Next:\n  fn-threatq plugin build %s\n  fn-threatq plugin test %s\n", dir, dir)
			return nil
		},
	}
	c.Flags().StringVar(&o.Dir, "dir", ".", "make it in the folder `DIR`")
	c.Flags().StringVar(&lang, "lang", "go", "the `LANGUAGE`: go")
	_ = c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"go"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagDirname("dir")
	return c
}

func (p *program) pluginBuildCommand() *cobra.Command {
	var o build.Options
	c := &cobra.Command{
		Use:   "build [FOLDER | CODE.wasm]",
		Short: "Make a module file of a plugin in Go, or of code that another compiler made",
		Long: `Make a module file: code with its manifest, and perhaps a warm-up, as custom
sections. FOLDER is that of a plugin in Go, whose package main in module/ is
compiled (by the go command, which must be there). CODE.wasm is what the compiler
of any other language made; the same bytes with the manifest are the module.

The manifest is manifest.json in the folder, or beside the code; a warmup.json
beside it is taken too. The module is written as NAME.wasm beside the manifest. A
manifest with mistakes is refused, and nothing is written.`,
		Example: "  fn-threatq plugin build look-up\n  fn-threatq plugin build code.wasm --manifest manifest.json --out look-up.wasm",
		RunE: func(c *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				o.Source = "."
			case 1:
				o.Source = args[0]
			default:
				return usagef("want one FOLDER or CODE.wasm")
			}
			built, err := build.Build(c.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.Stdout, filepath.Clean(built.Path))
			fmt.Fprintln(p.Stderr, built)
			return nil
		},
	}
	c.Flags().StringVar(&o.Manifest, "manifest", "", "the `FILE` of the manifest")
	c.Flags().StringVar(&o.Out, "out", "", "the module `FILE` to write")
	_ = c.MarkFlagFilename("manifest", "json")
	_ = c.MarkFlagFilename("out", "wasm")
	return c
}
