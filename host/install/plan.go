// Package install changes what is installed in a store: packs and single
// modules.
//
// Every change is a plan: the state as it is, the state as it will be, and the
// steps between the two, which are shown before anything is done. Making a plan
// checks all that can fail and writes nothing; carrying it out is one write. A
// plan fits the state that it was made for, and no other.
//
// Permissions are what modules may do; those that a plan newly grants are
// shown apart. A trial is a first run of a module, with the scenarios that came
// with it, beside everything that is in use.
package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/pack"
	"fn-threatq/host/store"
)

// Plan is a change that was checked and not made yet.
type Plan struct {
	// Steps in the order of the modules' names.
	Steps []Step `json:"steps"`
	// Permissions are those of all modules that are added or replaced; Granted
	// are those among them that the version in use does not have.
	Permissions pack.Permissions `json:"permissions"`
	Granted     pack.Permissions `json:"granted"`
	// Warnings are what a person should know and can accept.
	Warnings []string `json:"warnings,omitempty"`

	before, after *store.State
	// modules and pack are the files to keep.
	modules  [][]byte
	packName string
	packFile []byte
}

// Verb is what a step does.
type Verb string

// The steps.
const (
	Add     Verb = "add"     // a module that was not there
	Replace Verb = "replace" // another version of a module
	Remove  Verb = "remove"  // a module that has no other version
	Enable  Verb = "enable"
	Disable Verb = "disable"
	Repair  Verb = "repair" // the same version, whose file was altered or is gone
)

// Step is one change of one module.
type Step struct {
	Do     Verb   `json:"do"`
	Module string `json:"module"`
	// From and To are the versions with their origins, such as
	// `1.1.0 (built in)`; empty where there is none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Handles are the rules and functions of the version that is meant.
	Handles []string `json:"handles,omitempty"`
}

// Empty says that there is nothing to do.
func (p *Plan) Empty() bool {
	return len(p.Steps) == 0 && bytes.Equal(text(p.before), text(p.after))
}

// Installer makes plans for a store and carries them out.
type Installer struct {
	Store *store.Store
	// Builtin are the manifests of the modules in the program.
	Builtin []*manifest.Manifest
}

// ErrChanged says that the state was changed between plan and deed.
var ErrChanged = errors.New("what is installed was changed meanwhile: nothing was done, try again")

// Do carries a plan out.
func (in *Installer) Do(p *Plan) error {
	return in.Store.Change(func(state *store.State) error {
		if !bytes.Equal(text(state), text(p.before)) {
			return ErrChanged
		}
		for _, m := range p.modules {
			if _, err := in.Store.PutModule(m); err != nil {
				return err
			}
		}
		if p.packFile != nil {
			if err := in.Store.PutPack(p.packName, p.packFile); err != nil {
				return err
			}
		}
		*state = *p.after
		return nil
	})
}

// text is a state as it is compared and copied.
func text(s *store.State) []byte {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // maps of plain values
	}
	return out
}

func clone(s *store.State) *store.State {
	var out store.State
	if err := json.Unmarshal(text(s), &out); err != nil {
		panic(err) // it was written a moment ago
	}
	return &out
}

// draft is a plan in the making.
type draft struct {
	*Plan
	in *Installer
	// fresh are manifests of files that the store does not have yet, by digest.
	fresh map[string]*manifest.Manifest
}

func (in *Installer) draft() (*draft, error) {
	before, err := in.Store.State()
	if err != nil {
		return nil, err
	}
	return &draft{Plan: &Plan{before: before, after: clone(before)}, in: in, fresh: map[string]*manifest.Manifest{}}, nil
}

// finish compares the two states, and refuses an end in which two modules handle
// the same.
func (d *draft) finish() (*Plan, error) {
	names := map[string]bool{}
	for _, s := range []*store.State{d.before, d.after} {
		for name := range s.Modules {
			names[name] = true
		}
	}
	var granted []pack.Permissions
	var changed []*manifest.Manifest
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, was := d.version(d.before, name)
		fresh, is := d.version(d.after, name)
		step := Step{Module: name}
		if was {
			step.From = d.describe(name, old)
		}
		if is {
			step.To = d.describe(name, fresh)
		}
		switch {
		case !was && !is:
			continue
		case !was:
			step.Do = Add
		case !is:
			step.Do = Remove
		case old.Digest != fresh.Digest:
			step.Do = Replace
		case d.fresh[fresh.Digest] != nil:
			step.Do = Repair
		}
		if step.Do != "" {
			oldManifest, _ := d.manifest(name, old) // a version that is gone had no rights to keep
			m, err := d.manifest(name, fresh)
			if err != nil && is {
				return nil, err
			}
			if is {
				step.Handles = handles(m)
				changed = append(changed, m)
				var had pack.Permissions
				if was && oldManifest != nil {
					had = pack.PermissionsOf(oldManifest)
				}
				granted = append(granted, pack.PermissionsOf(m).Beyond(had))
			}
			d.Steps = append(d.Steps, step)
		}
		if off, on := disabled(d.before, name), disabled(d.after, name); off != on && is {
			do := Enable
			if on {
				do = Disable
			}
			d.Steps = append(d.Steps, Step{Do: do, Module: name, To: step.To})
		}
	}
	for _, step := range d.Steps {
		if (step.Do == Replace || step.Do == Repair) && disabled(d.after, step.Module) {
			d.Warnings = append(d.Warnings, fmt.Sprintf("module %s is disabled and stays so: `plugin enable %s`", step.Module, step.Module))
		}
	}
	d.Permissions = pack.PermissionsOf(changed...)
	d.Granted = union(granted)
	return d.Plan, d.clash()
}

func union(all []pack.Permissions) pack.Permissions {
	var m manifest.Manifest
	for _, p := range all {
		m.Calls = append(m.Calls, p.Calls...)
		m.Actions = append(m.Actions, p.Actions...)
		for _, s := range p.Settings {
			m.Settings = append(m.Settings, manifest.Setting{Name: s})
		}
	}
	return pack.PermissionsOf(&m)
}

func disabled(s *store.State, name string) bool {
	m := s.Modules[name]
	return m != nil && m.Disabled
}

// version is the one in use under a name, and whether there is one.
func (d *draft) version(s *store.State, name string) (store.Version, bool) {
	m := s.Modules[name]
	if m == nil || m.Current.Builtin() {
		return store.Version{}, d.in.builtin(name) != nil
	}
	return m.Current, true
}

func (in *Installer) builtin(name string) *manifest.Manifest {
	for _, m := range in.Builtin {
		if m.Name == name {
			return m
		}
	}
	return nil
}

func (d *draft) describe(name string, v store.Version) string {
	switch {
	case v.Builtin():
		return d.in.builtin(name).Version + " (built in)"
	case v.Pack != "":
		return fmt.Sprintf("%s (pack %s)", v.Version, v.Pack)
	}
	return v.Version + " (single module)"
}

// manifest is that of an installed or new version.
func (d *draft) manifest(name string, v store.Version) (*manifest.Manifest, error) {
	if v.Builtin() {
		return d.in.builtin(name), nil
	}
	if m := d.fresh[v.Digest]; m != nil {
		return m, nil
	}
	file, err := d.in.Store.Module(v.Digest)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	return read(file)
}

func handles(m *manifest.Manifest) (all []string) {
	for _, r := range m.Rules {
		all = append(all, r.Title)
	}
	for _, f := range m.Functions {
		all = append(all, f.Name)
	}
	return all
}

// clash is the error of two modules in use that handle the same.
func (d *draft) clash() error {
	owners := map[string]string{}
	names := slices.Collect(maps.Keys(d.after.Modules))
	for _, m := range d.in.Builtin {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		v, is := d.version(d.after, name)
		if !is || disabled(d.after, name) {
			continue
		}
		m, err := d.manifest(name, v)
		if err != nil {
			// One that cannot be read handles nothing.
			continue
		}
		for _, r := range m.Rules {
			key := "rule " + manifest.RoutingName(r.Title)
			if other, taken := owners[key]; taken {
				return fmt.Errorf("the modules %s and %s would both handle the %s: disable or remove one of them first", other, name, key)
			}
			owners[key] = name
		}
		for _, f := range m.Functions {
			key := "function " + f.Name
			if other, taken := owners[key]; taken {
				return fmt.Errorf("the modules %s and %s would both handle the %s: disable or remove one of them first", other, name, key)
			}
			owners[key] = name
		}
	}
	return nil
}
