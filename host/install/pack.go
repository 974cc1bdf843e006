package install

import (
	"errors"
	"fmt"
	"slices"

	"fn-threatq/host/pack"
	"fn-threatq/host/store"
)

// PackOptions are what a person may allow, each time anew.
type PackOptions struct {
	// Keys are the trusted ones.
	Keys []pack.Key
	// AllowUnsigned accepts a pack that is not signed by a trusted key. A
	// signature that is wrong is never accepted.
	AllowUnsigned bool
	// AllowDowngrade accepts an older version than the one that is installed.
	AllowDowngrade bool
	// Upgrade wants the pack to be installed already.
	Upgrade bool
}

// Pack plans to install a pack, or another version of it.
func (in *Installer) Pack(p *pack.Pack, o PackOptions) (*Plan, error) {
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	key, err := p.Verify(o.Keys)
	switch {
	case err == nil:
	case errors.Is(err, pack.ErrSignature):
		return nil, fmt.Errorf("pack %s %s: %w", p.Name, p.Version, err)
	case !o.AllowUnsigned:
		return nil, fmt.Errorf("pack %s %s: %w: trust its key (trusted_keys in [fn_threatq]), or say --allow-unsigned", p.Name, p.Version, err)
	default:
		d.Warnings = append(d.Warnings, fmt.Sprintf("nobody vouches for the pack %s %s: %s", p.Name, p.Version, err))
	}
	had := d.before.Packs[p.Name]
	entry := &store.Pack{Version: p.Version, Digest: p.Digest, Since: now()}
	if err == nil {
		entry.Key = key.ID()
	}
	switch {
	case had == nil && o.Upgrade:
		return nil, fmt.Errorf("the pack %s is not installed: use `pack install`", p.Name)
	case had == nil:
	case had.Digest == p.Digest && had.Key == entry.Key:
		// Files that were altered or are gone are put back.
		for _, m := range p.Modules {
			if current := d.after.Modules[m.Manifest.Name]; current != nil && current.Current.Digest == m.Digest {
				if err := d.put(m.Manifest, m.Bytes, p.Name, false); err != nil {
					return nil, err
				}
			}
		}
		if _, err := in.Store.Pack(p.Name, p.Digest); err != nil {
			d.packName, d.packFile = p.Name, p.Bytes()
			d.Steps = append(d.Steps, Step{Do: Repair, Module: "the pack " + p.Name + " itself,", To: p.Version})
		}
		return d.finish()
	case Compare(p.Version, had.Version) < 0 && !o.AllowDowngrade:
		return nil, fmt.Errorf("pack %s %s is installed, and %s is older: %w", p.Name, had.Version, p.Version, ErrDowngrade)
	case had.Version == p.Version && had.Digest != p.Digest:
		d.Warnings = append(d.Warnings, fmt.Sprintf("version %s is installed already, with other contents", p.Version))
	}
	if had != nil && had.Key != "" && had.Key != entry.Key {
		d.Warnings = append(d.Warnings, fmt.Sprintf("version %s was signed with the key %s, this one is not", had.Version, had.Key))
	}
	for _, m := range p.Modules {
		if current := d.after.Modules[m.Manifest.Name]; current != nil && current.Current.Pack != "" && current.Current.Pack != p.Name {
			return nil, fmt.Errorf("module %s belongs to the pack %s: remove that pack first", m.Manifest.Name, current.Current.Pack)
		}
		if err := d.put(m.Manifest, m.Bytes, p.Name, o.AllowDowngrade); err != nil {
			return nil, err
		}
		entry.Modules = append(entry.Modules, m.Manifest.Name)
	}
	if had != nil {
		for _, name := range had.Modules {
			if !slices.Contains(entry.Modules, name) && d.after.Modules[name] != nil {
				d.drop(name, func(v store.Version) bool { return v.Pack == p.Name })
			}
		}
	}
	d.after.Packs[p.Name] = entry
	d.packName, d.packFile = p.Name, p.Bytes()
	return d.finish()
}

// RemovePack plans to remove a pack. Modules that took the place of others give
// it back.
func (in *Installer) RemovePack(name string) (*Plan, error) {
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	entry := d.after.Packs[name]
	if entry == nil {
		return nil, fmt.Errorf("the pack %q is not installed", name)
	}
	for _, module := range entry.Modules {
		if d.after.Modules[module] != nil {
			d.drop(module, func(v store.Version) bool { return v.Pack == name })
		}
	}
	delete(d.after.Packs, name)
	return d.finish()
}
