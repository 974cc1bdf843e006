package host

import (
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
)

// Installed are the modules with all that they handle, each list by name.
type Installed struct {
	Modules   []InstalledModule   `json:"modules,omitempty"`
	Rules     []InstalledRule     `json:"rules,omitempty"`
	Functions []InstalledFunction `json:"functions,omitempty"`
}

// InstalledModule is a module as its manifest describes it.
type InstalledModule struct {
	Name    string        `json:"name"`
	Version string        `json:"version"`
	State   catalog.State `json:"state"`
	// Origin and Reason are those of a catalog.Status.
	Origin      string `json:"origin"`
	Reason      string `json:"reason,omitempty"`
	Description string `json:"description"`
	// Rules are display names, Functions API names.
	Rules     []string `json:"rules"`
	Functions []string `json:"functions"`
}

// Handler is the module that a rule or a function belongs to.
type Handler struct {
	Module  string        `json:"module"`
	Version string        `json:"version"`
	State   catalog.State `json:"state"`
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

// ListInstalled reads the manifests of all modules and runs none. Of the options it
// takes Modules and the folders. Its errors are those of catalog.Open.
func ListInstalled(o Options) (Installed, error) {
	c, err := installed(o)
	if err != nil {
		return Installed{}, err
	}
	var all Installed
	for _, s := range c.Status() {
		all.add(s)
	}
	slices.SortFunc(all.Rules, func(a, b InstalledRule) int { return strings.Compare(a.Title, b.Title) })
	slices.SortFunc(all.Functions, func(a, b InstalledFunction) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (all *Installed) add(s catalog.Status) {
	by := Handler{Module: s.Name, Version: s.Version, State: s.State}
	module := InstalledModule{Name: s.Name, Version: s.Version, State: s.State, Origin: s.Origin, Reason: s.Reason, Rules: []string{}, Functions: []string{}}
	m := s.Manifest
	if m == nil {
		// Its file cannot be read.
		m = &manifest.Manifest{}
	}
	module.Description = m.Description
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
