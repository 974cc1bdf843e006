package catalog

import (
	"fmt"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/install"
	"fn-threatq/host/store"
)

// State is how it stands with a module, in one word.
type State string

// The states. The first that applies counts.
const (
	// Disabled: it takes no actions because a person said so.
	Disabled State = "disabled"
	// Tampered: the file is not the one that was installed.
	Tampered State = "tampered"
	// Failed: it cannot be used for another reason.
	Failed State = "failed"
	// Quarantined: it is in use, but was put aside for a while because it kept
	// failing by its own fault.
	Quarantined State = "quarantined"
	// Outdated: it is in use, and a newer version is at hand.
	Outdated State = "outdated"
	// Local: it is in use, and neither built in nor from a pack.
	Local State = "local"
	// Active: it is in use.
	Active State = "active"
)

// Status tells of one installed module.
type Status struct {
	Name string `json:"name"`
	// Version of what is in use; when nothing is, of what is installed.
	Version string `json:"version,omitempty"`
	State   State  `json:"state"`
	// Reason says why it failed, what is in use instead, or what is newer.
	Reason string `json:"reason,omitempty"`
	// Origin is `built in`, `pack NAME`, `single module` or `file PATH`.
	Origin string `json:"origin,omitempty"`
	// Digest is the SHA-256 of the module file in use; empty for built-in ones.
	Digest string `json:"digest,omitempty"`
	// InUse: it takes actions.
	InUse bool `json:"in_use"`
	// Manifest is that of this version; nil when it cannot be read.
	Manifest *manifest.Manifest `json:"-"`
	// Rules are display names, Functions API names.
	Rules     []string `json:"rules,omitempty"`
	Functions []string `json:"functions,omitempty"`
}

// describe fills in what is said of a candidate.
func (s *Status) describe(c *candidate) {
	s.Version, s.Origin, s.Digest, s.Manifest = c.version, c.origin, c.digest, c.manifest
	if c.manifest != nil {
		s.Rules, s.Functions = handled(c.manifest)
	}
}

// miss notes what a module would handle that takes no actions.
func (t *table) miss(s Status) {
	if s.State == Disabled {
		t.disabled[s.Name] = true
	}
	if s.InUse || s.Manifest == nil {
		return
	}
	why := disabledText(s.Name)
	if s.State != Disabled {
		why = fmt.Sprintf("the module %s cannot be used: %s", s.Name, s.Reason)
	}
	for _, r := range s.Manifest.Rules {
		t.missing[abi.KindRule][manifest.RoutingName(r.Title)] = why
	}
	for _, f := range s.Manifest.Functions {
		t.missing[abi.KindFunction][f.Name] = why
	}
}

func disabledText(module string) string {
	return fmt.Sprintf("the module %s is disabled (`fn-threatq plugin enable %s` ends that)", module, module)
}

func handled(m *manifest.Manifest) (rules, functions []string) {
	for _, r := range m.Rules {
		rules = append(rules, r.Title)
	}
	for _, f := range m.Functions {
		functions = append(functions, f.Name)
	}
	return rules, functions
}

// standing is the state of a candidate that is in use: newest is the highest
// version at hand under its name.
func standing(c *candidate, newest string) (State, string) {
	switch {
	case install.Compare(newest, c.version) > 0:
		return Outdated, "version " + newest + " is at hand"
	case c.kind == local || c.kind == stored && c.pack == "":
		return Local, ""
	}
	return Active, ""
}

// newestOf is the highest version among the candidates of a name and the former
// versions that are kept.
func newestOf(candidates []*candidate, entry *store.Module) string {
	newest := "0.0.0"
	for _, c := range candidates {
		if c.version != "" && install.Compare(c.version, newest) > 0 {
			newest = c.version
		}
	}
	if entry != nil {
		for _, v := range entry.Former {
			if !v.Builtin() && install.Compare(v.Version, newest) > 0 {
				newest = v.Version
			}
		}
	}
	return newest
}
