package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/store"
)

// ErrDowngrade says that an older version would take the place of a newer one.
var ErrDowngrade = errors.New("that would be a downgrade: say --allow-downgrade if it is meant")

// read reads the manifest of a module file.
func read(file []byte) (*manifest.Manifest, error) {
	section, ok, err := modulefile.Section(file, abi.SectionManifest)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the module has no manifest (custom section %s)", abi.SectionManifest)
	}
	return manifest.Parse(section)
}

// Module plans to install a single module file.
func (in *Installer) Module(file []byte, allowDowngrade bool) (*Plan, error) {
	m, err := read(file)
	if err != nil {
		return nil, err
	}
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	d.Warnings = append(d.Warnings, fmt.Sprintf("nobody vouches for %s %s: it is a single file, not a signed pack", m.Name, m.Version))
	if err := d.put(m, file, "", allowDowngrade); err != nil {
		return nil, err
	}
	return d.finish()
}

// put makes a module file the current version.
func (d *draft) put(m *manifest.Manifest, file []byte, pack string, allowDowngrade bool) error {
	sum := sha256.Sum256(file)
	v := store.Version{Version: m.Version, Digest: hex.EncodeToString(sum[:]), Pack: pack, Since: now()}
	if old, was := d.version(d.after, m.Name); was {
		had := old.Version
		if old.Builtin() {
			had = d.in.builtin(m.Name).Version
		}
		if !allowDowngrade && Compare(m.Version, had) < 0 {
			return fmt.Errorf("%s %s is in use, and %s is older: %w", m.Name, had, m.Version, ErrDowngrade)
		}
		if old.Digest == v.Digest && old.Pack == pack {
			if _, err := d.in.Store.Module(v.Digest); err != nil {
				d.modules, d.fresh[v.Digest] = append(d.modules, file), m
			}
			return nil
		}
	}
	entry := d.after.Modules[m.Name]
	if entry == nil {
		entry = &store.Module{}
		d.after.Modules[m.Name] = entry
		if d.in.builtin(m.Name) == nil {
			entry.Current = v
			d.modules, d.fresh[v.Digest] = append(d.modules, file), m
			return nil
		}
	}
	entry.Use(v)
	d.modules, d.fresh[v.Digest] = append(d.modules, file), m
	return nil
}

// now is when something is installed, as it is written down.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// Compare orders two versions of the form MAJOR.MINOR.PATCH.
func Compare(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
}

// known is the entry of a module that is installed or built in.
func (d *draft) known(name string) (*store.Module, error) {
	if entry := d.after.Modules[name]; entry != nil {
		return entry, nil
	}
	if d.in.builtin(name) == nil {
		return nil, fmt.Errorf("there is no module %q", name)
	}
	entry := &store.Module{}
	d.after.Modules[name] = entry
	return entry, nil
}

// tidy forgets what differs no more from what is built in.
func (d *draft) tidy(name string) {
	entry := d.after.Modules[name]
	if !entry.Disabled && entry.Current.Builtin() && len(entry.Former) == 0 {
		delete(d.after.Modules, name)
	}
}

// Enable plans to let a module take actions, or to keep it from that.
func (in *Installer) Enable(name string, on bool) (*Plan, error) {
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	entry, err := d.known(name)
	if err != nil {
		return nil, err
	}
	entry.Disabled = !on
	d.tidy(name)
	return d.finish()
}

// Rollback plans to bring back the version that was in use before. A second
// rollback undoes the first.
func (in *Installer) Rollback(name string) (*Plan, error) {
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	entry, err := d.known(name)
	if err != nil {
		return nil, err
	}
	if len(entry.Former) == 0 {
		return nil, fmt.Errorf("module %s has no former version", name)
	}
	entry.Use(entry.Former[0])
	return d.finish()
}

// RemoveModule plans to go back from a single module to what was there before
// it, or to nothing.
func (in *Installer) RemoveModule(name string) (*Plan, error) {
	d, err := in.draft()
	if err != nil {
		return nil, err
	}
	entry := d.after.Modules[name]
	switch {
	case entry == nil && in.builtin(name) != nil, entry != nil && entry.Current.Builtin():
		return nil, fmt.Errorf("module %s is built in and cannot be removed: disable it", name)
	case entry == nil:
		return nil, fmt.Errorf("there is no module %q", name)
	case entry.Current.Pack != "":
		return nil, fmt.Errorf("module %s belongs to the pack %s: remove the pack", name, entry.Current.Pack)
	}
	d.drop(name, func(v store.Version) bool { return v.Pack == "" })
	return d.finish()
}

// drop takes versions of a module away. What is left takes their place, the one
// that is built in last.
func (d *draft) drop(name string, gone func(store.Version) bool) {
	entry := d.after.Modules[name]
	left := slices.DeleteFunc(append([]store.Version{entry.Current}, entry.Former...), func(v store.Version) bool {
		return !v.Builtin() && gone(v)
	})
	switch {
	case len(left) > 0:
		entry.Current, entry.Former = left[0], left[1:]
	case d.in.builtin(name) != nil:
		entry.Current, entry.Former = store.Version{}, nil
	default:
		delete(d.after.Modules, name)
		return
	}
	d.tidy(name)
}
