package pack

import (
	"maps"
	"slices"

	"fn-threatq/abi/manifest"
)

// Permissions are what a module may do beside answering: the calls that the host
// performs for it, and the rules that it may start.
type Permissions struct {
	// Calls are the permits of the manifest, such as `threatq POST /api/events`.
	Calls []string `json:"calls,omitempty"`
	// Actions are the routing names of the rules that it may start.
	Actions []string `json:"actions,omitempty"`
	// Settings are the keys of [fn_threatq] that it is given.
	Settings []string `json:"settings,omitempty"`
}

// PermissionsOf are those that manifests ask for together, sorted.
func PermissionsOf(manifests ...*manifest.Manifest) Permissions {
	calls, actions, settings := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, m := range manifests {
		for _, c := range m.Calls {
			calls[c] = true
		}
		for _, a := range m.Actions {
			actions[a] = true
		}
		for _, s := range m.Settings {
			settings[s.Name] = true
		}
	}
	return Permissions{Calls: sorted(calls), Actions: sorted(actions), Settings: sorted(settings)}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// Beyond are the permissions that others do not hold: what an upgrade newly
// asks for. Permits are compared as they are written.
func (p Permissions) Beyond(others Permissions) Permissions {
	without := func(have, known []string) (rest []string) {
		for _, h := range have {
			if !slices.Contains(known, h) {
				rest = append(rest, h)
			}
		}
		return rest
	}
	return Permissions{
		Calls: without(p.Calls, others.Calls), Actions: without(p.Actions, others.Actions), Settings: without(p.Settings, others.Settings),
	}
}

// None says that there are none.
func (p Permissions) None() bool { return len(p.Calls)+len(p.Actions)+len(p.Settings) == 0 }
