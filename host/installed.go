package host

import (
	"io/fs"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
)

// ModuleState says in one word whether actions reach a module.
type ModuleState string

// ModuleActive is a module that takes the actions of its rules and functions.
// A catalog that only loads what is built in knows no other state.
const ModuleActive ModuleState = "active"

// Installed are the modules with all that they handle, each list by name.
type Installed struct {
	Modules   []InstalledModule   `json:"modules,omitempty"`
	Rules     []InstalledRule     `json:"rules,omitempty"`
	Functions []InstalledFunction `json:"functions,omitempty"`
}

// InstalledModule is a module as its manifest describes it.
type InstalledModule struct {
	Name        string      `json:"name"`
	Version     string      `json:"version"`
	State       ModuleState `json:"state"`
	Description string      `json:"description"`
	// Rules are display names, Functions API names.
	Rules     []string `json:"rules"`
	Functions []string `json:"functions"`
}

// Handler is the module that a rule or a function belongs to.
type Handler struct {
	Module  string      `json:"module"`
	Version string      `json:"version"`
	State   ModuleState `json:"state"`
}

// InstalledRule is a rule that a module handles. Automatic is how it is put
// onto a SOAR server; an administrator may have made the other kind of it.
type InstalledRule struct {
	Title     string   `json:"title"`
	Object    string   `json:"object"`
	Automatic bool     `json:"automatic"`
	Fields    []string `json:"fields"` // labels of the activity fields
	Handler
}

// InstalledFunction is a function that a module implements.
type InstalledFunction struct {
	Name   string   `json:"name"` // API name
	Title  string   `json:"title"`
	Inputs []string `json:"inputs"` // API names
	Handler
}

// ListInstalled reads the manifests of all modules and runs none; nil for those
// built into the program. Its errors are those of catalog.Load.
func ListInstalled(modules fs.FS) (Installed, error) {
	found, err := manifests(modules)
	if err != nil {
		return Installed{}, err
	}
	var all Installed
	for _, m := range found {
		all.add(m)
	}
	slices.SortFunc(all.Modules, func(a, b InstalledModule) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(all.Rules, func(a, b InstalledRule) int { return strings.Compare(a.Title, b.Title) })
	slices.SortFunc(all.Functions, func(a, b InstalledFunction) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// manifests of the installed modules; nil for those built into the program.
func manifests(modules fs.FS) ([]*manifest.Manifest, error) {
	if modules == nil {
		modules = catalog.Builtin()
	}
	c, err := catalog.Load(nil, modules)
	if err != nil {
		return nil, err
	}
	var all []*manifest.Manifest
	for _, m := range c.Modules() {
		all = append(all, m.Manifest())
	}
	return all, nil
}

func (all *Installed) add(m *manifest.Manifest) {
	by := Handler{Module: m.Name, Version: m.Version, State: ModuleActive}
	module := InstalledModule{Name: m.Name, Version: m.Version, State: by.State, Description: m.Description, Rules: []string{}, Functions: []string{}}
	for _, r := range m.Rules {
		rule := InstalledRule{Title: r.Title, Object: r.Object, Automatic: r.Automatic, Fields: []string{}, Handler: by}
		for _, f := range r.Fields {
			rule.Fields = append(rule.Fields, f.Label)
		}
		all.Rules = append(all.Rules, rule)
		module.Rules = append(module.Rules, r.Title)
	}
	for _, f := range m.Functions {
		function := InstalledFunction{Name: f.Name, Title: f.Title, Inputs: []string{}, Handler: by}
		for _, input := range f.Inputs {
			function.Inputs = append(function.Inputs, input.Name)
		}
		all.Functions = append(all.Functions, function)
		module.Functions = append(module.Functions, f.Name)
	}
	all.Modules = append(all.Modules, module)
}
