package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fn-threatq/host"
	"fn-threatq/host/config"
	"fn-threatq/host/install"
	"fn-threatq/host/pack"
	"fn-threatq/host/pack/oci"
)

func (p *program) packCommand() *cobra.Command {
	return group("pack", "Build, sign, look at and install extension packs",
		p.packBuildCommand(), p.packSignCommand(), p.packVerifyCommand(), p.packInspectCommand(),
		p.packInstallCommand(false), p.packInstallCommand(true), p.packRemoveCommand(), p.packListCommand(), p.packPushCommand(), p.packPullCommand())
}

const placesHelp = `A PACK is a file, or lies in an OCI registry (oci://HOST/REPOSITORY:TAG) or in an
OCI layout folder (oci:FOLDER:TAG); accounts of registries are those of
"docker login".`

// keysFlag are the trusted keys of a command: those of the configuration and
// those of --key.
type keysFlag struct {
	keys  []string
	plain bool
}

func (f *keysFlag) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.keys, "key", nil, "trust this public `KEY` of minisign too: its file, or the line that begins with RW")
	c.Flags().BoolVar(&f.plain, "plain-http", false, "talk to a registry without TLS")
}

// trusted reads the keys. A configuration that is not there names none; one that
// cannot be read is an error, since it may name the very key that is looked for.
func (p *program) trusted(f keysFlag) ([]pack.Key, error) {
	names := slices.Clone(f.keys)
	c, err := p.loadAs(config.Options{Inspect: true})
	switch {
	case err == nil:
		names = append(names, c.TrustedKeys...)
	case p.file != "" || !errors.Is(err, config.ErrNoFile):
		return nil, err
	}
	var keys []pack.Key
	for _, name := range names {
		k, err := pack.ReadKey(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// openPack reads a pack from where it lies.
func openPack(ctx context.Context, at string, plain bool) (*pack.Pack, error) {
	if !oci.Is(at) {
		return pack.Open(at)
	}
	place, err := oci.ParsePlace(at)
	if err != nil {
		return nil, &usageError{err}
	}
	return oci.Pull(ctx, place, oci.Options{PlainHTTP: plain, UserAgent: "fn-threatq/" + host.Version})
}

func (p *program) packBuildCommand() *cobra.Command {
	var out string
	var dryRun bool
	c := &cobra.Command{
		Use:   "build FOLDER",
		Short: "Build a pack of a folder with modules",
		Long: `Build a pack of a folder. The folder holds

  pack.json      {"pack": 1, "name": …, "version": …, "description": …, "author": …}
  README.md      what the pack is for, and what it needs
  NAME/          a folder for each module: NAME.wasm, scenarios/*.txtar

or the modules and scenarios where a pack has them (modules/NAME.wasm,
scenarios/NAME/*.txtar). The same files give the same bytes. The pack is not
signed: see "pack sign".`,
		Example: "  fn-threatq pack build ./sightings -o sightings-1.0.0.ftqpack",
		Args:    oneArg("the folder of a pack"),
		RunE: func(c *cobra.Command, args []string) error {
			built, skipped, err := pack.Build(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = built.FileName()
			}
			for _, name := range skipped {
				fmt.Fprintf(p.Stderr, "left out: %s\n", plain(name))
			}
			p.describe(built)
			if dryRun {
				fmt.Fprintln(p.Stderr, "Nothing was written (--dry-run).")
				return nil
			}
			if err := replaceFile(out, built.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "written to %s\n", out)
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `FILE` of the pack (default: NAME-VERSION"+pack.Extension+" here)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "look at everything and write nothing")
	_ = c.MarkFlagFilename("output", strings.TrimPrefix(pack.Extension, "."))
	return c
}

// describe prints what a pack is. Its texts are a stranger's, and it may not be
// signed: nothing in them may steer the terminal and hide what it may do.
func (p *program) describe(k *pack.Pack) {
	fmt.Fprintf(p.Stdout, "%s %s: %s\n", k.Name, k.Version, plain(k.Description))
	fmt.Fprintf(p.Stdout, "  sha256 %s, %d bytes\n", k.Digest, len(k.Bytes()))
	for _, m := range k.Modules {
		handles := []string{}
		for _, r := range m.Manifest.Rules {
			handles = append(handles, r.Title)
		}
		for _, f := range m.Manifest.Functions {
			handles = append(handles, f.Name)
		}
		fmt.Fprintf(p.Stdout, "  module %s %s, handles %s\n", m.Manifest.Name, m.Manifest.Version, plain(strings.Join(handles, ", ")))
		fmt.Fprintf(p.Stdout, "    scenarios %d\n", scenarioCount(k, m.Manifest.Name))
		permissions := pack.PermissionsOf(m.Manifest)
		for _, call := range permissions.Calls {
			fmt.Fprintf(p.Stdout, "    call   %s\n", plain(call))
		}
		for _, action := range permissions.Actions {
			fmt.Fprintf(p.Stdout, "    start  %s\n", plain(action))
		}
		for _, setting := range permissions.Settings {
			fmt.Fprintf(p.Stdout, "    read   %s of [fn_threatq]\n", plain(setting))
		}
	}
}

func scenarioCount(k *pack.Pack, module string) (n int) {
	for name := range k.Scenarios(module) {
		if strings.HasPrefix(name, module+"/") {
			n++
		}
	}
	return n
}

func (p *program) packSignCommand() *cobra.Command {
	var key, passwordFile string
	var dryRun bool
	c := &cobra.Command{
		Use:   "sign PACK",
		Short: "Sign a pack with a secret key of minisign",
		Long: `Sign a pack with a secret key of minisign, in place. The password of the key is
asked for, or read from --password-file. Make a key pair with "minisign -G".`,
		Example: "  fn-threatq pack sign sightings-1.0.0.ftqpack --secret-key ~/.minisign/minisign.key",
		Args:    oneArg("the file of a pack"),
		RunE: func(c *cobra.Command, args []string) error {
			if key == "" {
				return usagef("want --secret-key")
			}
			k, err := pack.Open(args[0])
			if err != nil {
				return err
			}
			secret, err := os.ReadFile(key)
			if err != nil {
				return fmt.Errorf("secret key: %w", err)
			}
			signed, err := k.Sign(secret, func() (string, error) { return p.keyPassword(passwordFile) })
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if dryRun {
				fmt.Fprintf(p.Stderr, "It can be signed with the key %s. Nothing was written (--dry-run).\n", signed.SignerID())
				return nil
			}
			if err := replaceFile(args[0], signed.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "%s %s is signed with the key %s\n", signed.Name, signed.Version, signed.SignerID())
			return nil
		},
	}
	c.Flags().StringVar(&key, "secret-key", "", "the `FILE` of the secret key")
	c.Flags().StringVar(&passwordFile, "password-file", "", "a `FILE` with the password of the secret key in its first line")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "try the key and write nothing")
	_ = c.MarkFlagFilename("secret-key")
	return c
}

// keyPassword reads the password of a secret key, without showing it.
func (p *program) keyPassword(file string) (string, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	terminal, ok := p.Stdin.(*os.File)
	if !ok || !p.Terminal {
		return "", &exit{host.ExitDeclined, errors.New("the key has a password, and there is no terminal to ask on: use --password-file")}
	}
	fmt.Fprint(p.Stderr, "Password of the secret key: ")
	text, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(p.Stderr)
	return string(text), err
}

func (p *program) packVerifyCommand() *cobra.Command {
	var f keysFlag
	c := &cobra.Command{
		Use:   "verify PACK",
		Short: "Check a pack's files and signature",
		Long: `Check that each file of a pack is as its listing says and none is missing or more,
and that a trusted key signed it. ` + placesHelp,
		Example: "  fn-threatq pack verify sightings-1.0.0.ftqpack --key minisign.pub",
		Args:    oneArg("a pack"),
		RunE: func(c *cobra.Command, args []string) error {
			keys, err := p.trusted(f)
			if err != nil {
				return err
			}
			k, err := openPack(c.Context(), args[0], f.plain)
			if err != nil {
				return err
			}
			key, err := k.Verify(keys)
			if err != nil {
				return fmt.Errorf("%s %s: %w", k.Name, k.Version, err)
			}
			fmt.Fprintf(p.Stdout, "%s %s is as its author made it; signed with the key %s (%s)\n", k.Name, k.Version, key.ID(), key.Source)
			return nil
		},
	}
	p.configFlag(c)
	f.add(c)
	return c
}

func (p *program) packInspectCommand() *cobra.Command {
	var format *outputFormat
	var plain bool
	c := &cobra.Command{
		Use:   "inspect PACK",
		Short: "Show what a pack brings and what its modules may do",
		Long:  "Show what a pack brings and what its modules may do. Nothing of it is run. " + placesHelp,
		Args:  oneArg("a pack"),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := openPack(c.Context(), args[0], plain)
			if err != nil {
				return err
			}
			if format.json {
				return writeJSON(p.Stdout, inspected(k))
			}
			p.describe(k)
			signer := "not signed"
			if k.Signed() {
				signer = "signed with the key " + k.SignerID() + " (unchecked; see \"pack verify\")"
			}
			fmt.Fprintf(p.Stdout, "  %s\n\n%s", signer, plainLines(k.README()))
			return nil
		},
	}
	format = outputFlag(c)
	c.Flags().BoolVar(&plain, "plain-http", false, "talk to a registry without TLS")
	return c
}

// inspected is a pack as JSON.
func inspected(k *pack.Pack) any {
	type module struct {
		Name        string           `json:"name"`
		Version     string           `json:"version"`
		Digest      string           `json:"digest"`
		Scenarios   int              `json:"scenarios"`
		Permissions pack.Permissions `json:"permissions"`
	}
	modules := []module{}
	for _, m := range k.Modules {
		modules = append(modules, module{m.Manifest.Name, m.Manifest.Version, m.Digest, scenarioCount(k, m.Manifest.Name), pack.PermissionsOf(m.Manifest)})
	}
	return struct {
		pack.Listing
		Digest  string   `json:"digest"`
		Signer  string   `json:"signer,omitempty"`
		Modules []module `json:"modules"`
	}{k.Listing, k.Digest, k.SignerID(), modules}
}

func (p *program) packInstallCommand(upgrade bool) *cobra.Command {
	var keys keysFlag
	f := changeFlags{back: "`fn-threatq pack install` of the former pack with --allow-downgrade, or `pack remove`, takes the change back"}
	var unsigned bool
	c := &cobra.Command{
		Use:   "install PACK",
		Short: "Install a pack, after its signature was checked and its modules were tried",
		Long: `Install a pack. Its files and its signature are checked, its modules are loaded and
run once, and play their scenarios, before anything is changed. What the modules
may do is shown first; of an upgrade, what they may do newly. ` + takenOver + "\n\n" + placesHelp + `

Trusted keys are those of trusted_keys in [fn_threatq], and of --key.`,
		Example: "  fn-threatq pack install sightings-1.0.0.ftqpack --dry-run",
		Args:    oneArg("a pack"),
		RunE: func(c *cobra.Command, args []string) error {
			trusted, err := p.trusted(keys)
			if err != nil {
				return err
			}
			k, err := openPack(c.Context(), args[0], keys.plain)
			if err != nil {
				return err
			}
			return p.withModules(c.Context(), f.stateDir, func(ctx context.Context, m *host.Modules) error {
				plan, err := m.Plans().Pack(k, install.PackOptions{Keys: trusted, AllowUnsigned: unsigned, AllowDowngrade: f.downgrade, Upgrade: upgrade})
				if err != nil {
					return err
				}
				if !plan.Empty() {
					if err := m.TryPack(ctx, k); err != nil {
						return fmt.Errorf("pack %s %s cannot be used, and nothing was changed: %w", k.Name, k.Version, err)
					}
				}
				return p.change(ctx, m, plan, f)
			})
		},
	}
	if upgrade {
		c.Use, c.Short = "upgrade PACK", "Install another version of an installed pack"
		c.Example = strings.Replace(c.Example, "pack install", "pack upgrade", 1)
	}
	p.configFlag(c)
	keys.add(c)
	f.add(c)
	c.Flags().BoolVar(&unsigned, "allow-unsigned", false, "install it though no trusted key signed it")
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "let older versions take the place of newer ones")
	return c
}

func (p *program) packRemoveCommand() *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an installed pack",
		Long:  "Remove an installed pack. Modules that took the place of others give it back. " + takenOver,
		Args:  oneArg("the name of an installed pack"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.withModules(c.Context(), f.stateDir, func(ctx context.Context, m *host.Modules) error {
				plan, err := m.Plans().RemovePack(args[0])
				if err != nil {
					return err
				}
				return p.change(ctx, m, plan, f)
			})
		},
	}
	f.add(c)
	return c
}

func (p *program) packListCommand() *cobra.Command {
	var format *outputFormat
	var stateDir string
	c := &cobra.Command{
		Use: "list", Short: "List the installed packs", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withModules(c.Context(), stateDir, func(_ context.Context, m *host.Modules) error {
				packs, err := m.Packs()
				if err != nil {
					return err
				}
				if format.json {
					return writeJSON(p.Stdout, packs)
				}
				names := []string{}
				for name := range packs {
					names = append(names, name)
				}
				slices.Sort(names)
				rows := [][]string{{"PACK", "VERSION", "SIGNED BY", "INSTALLED", "MODULES"}}
				for _, name := range names {
					k := packs[name]
					signer := k.Key
					if signer == "" {
						signer = "nobody who is trusted"
					}
					rows = append(rows, []string{name, k.Version, signer, since(k.Since), strings.Join(k.Modules, ", ")})
				}
				return printTable(p.Stdout, rows)
			})
		},
	}
	stateDirFlag(c, &stateDir)
	format = outputFlag(c)
	return c
}

func (p *program) packPushCommand() *cobra.Command {
	var plain, dryRun bool
	c := &cobra.Command{
		Use:     "push PACK PLACE",
		Short:   "Put a pack into an OCI registry or a layout folder",
		Long:    "Put a pack into an OCI registry (oci://HOST/REPOSITORY:TAG) or a layout folder\n(oci:FOLDER:TAG), which can be carried to where there is no network.",
		Example: "  fn-threatq pack push sightings-1.0.0.ftqpack oci://registry.example.com/soc/sightings:1.0.0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("want a pack and a place")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			place, err := oci.ParsePlace(args[1])
			if err != nil {
				return &usageError{err}
			}
			k, err := pack.Open(args[0])
			if err != nil {
				return err
			}
			if dryRun {
				fmt.Fprintf(p.Stderr, "%s %s would go to %s. Nothing was sent (--dry-run).\n", k.Name, k.Version, place)
				return nil
			}
			digest, err := oci.Push(c.Context(), place, k, oci.Options{PlainHTTP: plain, UserAgent: "fn-threatq/" + host.Version})
			if err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "%s %s is at %s, %s\n", k.Name, k.Version, place, digest)
			return nil
		},
	}
	c.Flags().BoolVar(&plain, "plain-http", false, "talk to a registry without TLS")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "send nothing")
	return c
}

func (p *program) packPullCommand() *cobra.Command {
	var out string
	var plain bool
	c := &cobra.Command{
		Use:     "pull PLACE",
		Short:   "Bring a pack from an OCI registry or a layout folder into a file",
		Long:    "Bring a pack from an OCI registry or a layout folder into a file, for instance to\ncarry it to a host without a network. Its files are checked; for its signature see\n\"pack verify\".",
		Example: "  fn-threatq pack pull oci://registry.example.com/soc/sightings:1.0.0",
		Args:    oneArg("a place (oci://HOST/REPOSITORY:TAG or oci:FOLDER:TAG)"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := oci.ParsePlace(args[0]); err != nil {
				return &usageError{err}
			}
			k, err := openPack(c.Context(), args[0], plain)
			if err != nil {
				return err
			}
			if out == "" {
				out = k.FileName()
			}
			if err := replaceFile(out, k.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(p.Stdout, "%s %s is in %s\n", k.Name, k.Version, out)
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `FILE` (default: NAME-VERSION"+pack.Extension+" here)")
	c.Flags().BoolVar(&plain, "plain-http", false, "talk to a registry without TLS")
	return c
}
