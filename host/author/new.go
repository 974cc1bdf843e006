package author

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// NewOptions say what to make.
type NewOptions struct {
	// Name of the module: lower-case words joined by hyphens. The folder is called so.
	Name string
	// Dir is the folder in which that of the plugin is made.
	Dir string
	// Version of the program, which the SDK's copy bears.
	Version string
}

// goVersion is what go.mod of a new plugin asks for: as the SDK does.
const goVersion = "1.26"

// sdkModule is the name of the Go module that the SDK belongs to.
const sdkModule = "fn-threatq"

//go:embed template
var templates embed.FS

// plugin is what the templates know.
type plugin struct {
	Name    string // my-rule
	Module  string // example.com/my-rule, the Go module
	Package string // myrule
	Title   string // My Rule
	Routing string // my_rule
	Version string
}

// New makes the folder of a new plugin in Go and returns its path. An existing
// folder is left alone, unless it is empty.
func New(o NewOptions) (string, error) {
	p := plugin{Name: o.Name, Module: "example.com/" + o.Name, Package: strings.ReplaceAll(o.Name, "-", ""), Version: o.Version}
	for _, word := range strings.Split(o.Name, "-") {
		if word != "" {
			p.Title += " " + strings.ToUpper(word[:1]) + word[1:]
		}
	}
	p.Title = strings.TrimSpace(p.Title)
	p.Routing = manifest.RoutingName(p.Title)
	if err := p.check(); err != nil {
		return "", err
	}
	files, err := p.files()
	if err != nil {
		return "", err
	}
	return write(filepath.Join(o.Dir, o.Name), files)
}

func (p plugin) check() error {
	var m *manifest.Manifest
	text, err := p.render("template/manifest.json")
	if err == nil {
		m, err = manifest.Parse(text)
	}
	switch {
	case err != nil || m.Name != p.Name:
		return fmt.Errorf("the name %q: want lower-case words joined by hyphens, such as look-up-artifact", p.Name)
	case token.IsKeyword(p.Package), slices.Contains([]string{"guest", "main", "vendor"}, p.Package):
		return fmt.Errorf("the name %q: Go has another use for this word, take one such as %s-rule", p.Name, p.Name)
	}
	return nil
}

// files are those of the plugin by their paths.
func (p plugin) files() (map[string][]byte, error) {
	files := map[string][]byte{
		"go.mod": fmt.Appendf(nil, "module %s\n\ngo %s\n\nrequire %s v%s\n", p.Module, goVersion, sdkModule, p.Version),
	}
	err := fs.WalkDir(templates, "template", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := p.render(name)
		to := strings.TrimSuffix(strings.TrimPrefix(name, "template/"), ".tmpl")
		if to == "gitignore" {
			to = ".gitignore" // what begins with a dot is not embedded
		}
		files[to] = text
		return err
	})
	if err != nil {
		return nil, err
	}
	return files, vendor(files, p.Version)
}

// render fills in a template; scenarios are none.
func (p plugin) render(name string) ([]byte, error) {
	text, err := templates.ReadFile(name)
	if err != nil || path.Dir(name) == "template/scenarios" {
		return text, err
	}
	t, err := template.New(name).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, p)
	return out.Bytes(), err
}

// vendor adds the SDK in the form that the Go toolchain takes without a network.
func vendor(files map[string][]byte, version string) error {
	packages := map[string]bool{}
	err := fs.WalkDir(abi.Source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, "_test.go") || name == sourceFile {
			return err
		}
		text, err := fs.ReadFile(abi.Source, name)
		files["vendor/"+sdkModule+"/abi/"+name] = text
		packages[path.Join(sdkModule, "abi", path.Dir(name))] = true
		return err
	})
	list := fmt.Sprintf("# %s v%s\n## explicit; go %s\n", sdkModule, version, goVersion)
	files["vendor/modules.txt"] = []byte(list + strings.Join(slices.Sorted(maps.Keys(packages)), "\n") + "\n")
	return err
}

// sourceFile embeds the SDK, and has no place in the copy.
const sourceFile = "source.go"

// write makes the folder with all files, or nothing.
func write(dir string, files map[string][]byte) (string, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("%s is there already: choose another name, or another folder with --dir", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return "", err
	}
	for name, text := range files {
		to := filepath.Join(temp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return "", err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return dir, os.Rename(temp, dir)
}
