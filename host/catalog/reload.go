package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/store"
)

// Change is what a reload did to one module.
type Change struct {
	Module string `json:"module"`
	// From and To are versions with their origins; empty where there is none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Err is why a candidate is not used, and Failed the same in words; then
	// nothing changed, or the next best was taken.
	Err    error  `json:"-"`
	Failed string `json:"failed,omitempty"`
}

// Reload looks at all candidates again and exchanges what is in use. It returns
// what changed and what could not be used; its error says that nothing could be
// looked at, and then nothing changed.
func (c *Catalog) Reload(ctx context.Context) ([]Change, error) {
	c.reload.Lock()
	defer c.reload.Unlock()
	// What changes from here on is for the next one.
	seen := c.fingerprint()
	c.seen.Store(&seen)
	old := c.table.Load()
	used := map[string]store.Good{}
	all, err := builtinCandidates(c.o.Builtin)
	if err != nil {
		return nil, err
	}
	state := &store.State{}
	if c.o.Store != nil {
		if state, err = c.o.Store.State(); err != nil {
			return nil, err
		}
		used = c.o.Store.Good()
		all = append(all, storedCandidates(c.o.Store, state)...)
		all = append(all, goodCandidates(c.o.Store, used)...)
		files, err := localCandidates(c.o.Store, old.paths(used))
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	r := &round{catalog: c, old: old, first: len(old.modules) == 0 && len(old.status) == 0, state: state, good: used, candidates: byName(all), made: map[*candidate]*Module{}}
	r.told = map[string]Status{}
	for _, s := range c.o.Told {
		r.told[s.Name] = s
	}
	for _, candidates := range r.candidates {
		best := candidates[0]
		best.look()
		if m := r.former(best.name); m != nil && m.from.same(best) {
			best.text = nil // it is held already
		}
	}
	fresh, err := r.table(ctx, all)
	for err == nil && r.holdBack() {
		fresh, err = r.table(ctx, all)
	}
	if err != nil {
		r.discard()
		return nil, err
	}
	r.remember(fresh)
	c.table.Store(fresh)
	c.note()
	for _, m := range slices.Concat(old.modules, r.loaded) {
		if !slices.Contains(fresh.modules, m) {
			m.retire()
		}
	}
	r.log()
	return r.changes, nil
}

// round is one reload.
type round struct {
	catalog    *Catalog
	old        *table
	first      bool
	state      *store.State
	good       map[string]store.Good
	candidates map[string][]*candidate
	// told is what the host that runs says, by name.
	told    map[string]Status
	changes []Change
	// loaded are the modules that were loaded for this round.
	loaded []*Module
	// made are those that can be used, by their candidates.
	made map[*candidate]*Module
}

// holdBack finds packs of which a new module cannot be used, and gives up their other
// new modules too: a pack is used whole or not at all. It says whether the table must
// be made anew.
func (r *round) holdBack() (again bool) {
	broken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.candidates)) {
		if best := r.candidates[name][0]; r.comes(best) && best.unfit != nil && broken[best.pack] == "" {
			broken[best.pack] = name
		}
	}
	for _, candidates := range r.candidates {
		best := candidates[0]
		if culprit := broken[best.pack]; culprit != "" && best.unfit == nil && r.comes(best) {
			best.unfit = fmt.Errorf("the module %s of its pack cannot be used, and a pack is used whole or not at all", culprit)
			again = true
		}
	}
	if again {
		r.changes = nil
	}
	return again
}

// comes says that a candidate is of a pack and has not been used yet. One that was
// used is no part of a change: a file that was damaged since holds nothing back.
func (r *round) comes(c *candidate) bool {
	former := r.former(c.name)
	return c.kind == stored && c.pack != "" && !r.disabled(c.name) && !r.tried(c) && (former == nil || !former.from.same(c))
}

// table makes the set of modules that will be in use.
func (r *round) table(ctx context.Context, all []*candidate) (*table, error) {
	t := &table{
		routes:   map[string]map[string]*Module{abi.KindRule: {}, abi.KindFunction: {}},
		missing:  map[string]map[string]string{abi.KindRule: {}, abi.KindFunction: {}},
		disabled: map[string]bool{},
	}
	chosen := map[string]*Module{}
	// Those that stay as they are come first: a newcomer that wants their routes
	// is what is wrong then.
	names := slices.Sorted(maps.Keys(r.candidates))
	// What is built in comes before what was added.
	slices.SortStableFunc(names, func(a, b string) int { return int(r.candidates[a][0].kind - r.candidates[b][0].kind) })
	for _, stays := range []bool{true, false} {
		for _, name := range names {
			if r.disabled(name) {
				continue
			}
			m := r.former(name)
			if kept := m != nil && m.from.same(r.candidates[name][0]); kept != stays {
				continue
			}
			if stays {
				if err := t.add(m); err == nil {
					chosen[name] = m
				}
				continue
			}
			if s, ok := r.told[name]; ok {
				chosen[name] = r.follow(t, s)
				continue
			}
			chosen[name] = r.choose(ctx, t, name)
			if chosen[name] == nil && r.first && r.candidates[name][0].kind == built {
				return nil, r.changes[len(r.changes)-1].Err
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if m != nil && chosen[name] == nil {
				// Another one has taken its routes, in the same change.
				return nil, fmt.Errorf("module %s would be lost, so that nothing was changed: %w", name, r.candidates[name][0].unfit)
			}
		}
	}
	for _, c := range all {
		if m := chosen[c.name]; m != nil && !slices.Contains(t.modules, m) {
			t.modules = append(t.modules, m)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		s := r.status(name, chosen[name])
		t.status = append(t.status, s)
		t.miss(s)
	}
	r.compare(names, chosen)
	return t, nil
}

func (r *round) disabled(name string) bool {
	if s, ok := r.told[name]; ok {
		return s.State == Disabled
	}
	entry := r.state.Modules[name]
	return entry != nil && entry.Disabled
}

// former is the module that is in use under a name.
func (r *round) former(name string) *Module {
	for _, m := range r.old.modules {
		if m.manifest.Name == name {
			return m
		}
	}
	return nil
}

// choose takes the best candidate that can be used; when the best one cannot,
// what was in use comes next.
func (r *round) choose(ctx context.Context, t *table, name string) *Module {
	former := r.former(name)
	for i, c := range r.candidates[name] {
		if former != nil && former.from.same(c) {
			if t.add(former) == nil {
				return former
			}
			continue
		}
		m, err := r.try(ctx, t, c)
		if err == nil {
			return m
		}
		c.unfit = err
		err = fmt.Errorf("%s cannot be used: %w", c.where(), err)
		r.changes = append(r.changes, Change{Module: name, To: c.label(), Err: err, Failed: err.Error()})
		switch {
		case i > 0:
		case former != nil:
			if t.add(former) == nil {
				return former
			}
		default:
			if m := r.lastGood(ctx, t, name); m != nil {
				return m
			}
		}
	}
	return nil
}

// follow takes the file that the host that runs has in use, or none where it has
// none or the file is gone.
func (r *round) follow(t *table, s Status) *Module {
	for _, c := range r.candidates[s.Name] {
		c.look()
		if !s.InUse || c.unfit != nil || c.digest != s.Digest {
			continue
		}
		permits, err := manifest.NewPermits(c.manifest.Calls)
		if err != nil {
			continue
		}
		if m := newModule(r.catalog.o, c, permits); t.add(m) == nil {
			return m
		}
	}
	return nil
}

// lastGood is the module that the host before this one used last, or nil.
func (r *round) lastGood(ctx context.Context, t *table, name string) *Module {
	for _, c := range r.candidates[name][1:] {
		if r.tried(c) && c.kind != built {
			if m, err := r.try(ctx, t, c); err == nil {
				return m
			}
		}
	}
	return nil
}

// tried says that a host has tried and used the file.
func (r *round) tried(c *candidate) bool {
	return c.kind == built || c.digest == r.good[c.name].Digest
}

// try makes a module of a candidate, and tries it where others are in use.
func (r *round) try(ctx context.Context, t *table, c *candidate) (*Module, error) {
	if c.look(); c.unfit != nil {
		return nil, c.unfit
	}
	if m := r.made[c]; m != nil {
		return m, t.add(m)
	}
	permits, err := manifest.NewPermits(c.manifest.Calls)
	if err != nil {
		return nil, err
	}
	m := newModule(r.catalog.o, c, permits)
	if err := t.clash(m); err != nil {
		return nil, err
	}
	// A start is quick: what was used before is loaded when an action wants it.
	if r.catalog.o.Box != nil && !(r.first && r.tried(c)) {
		if err := m.check(ctx); err != nil {
			return nil, err
		}
		r.loaded = append(r.loaded, m)
		if trial := r.catalog.o.Trial; trial != nil {
			text, err := m.read()
			if err == nil {
				err = trial(ctx, Candidate{Manifest: c.manifest, File: text, Pack: c.pack})
			}
			if err != nil {
				m.retire()
				return nil, err
			}
		}
	}
	r.made[c] = m
	return m, t.add(m)
}

// paths are the names of the local modules by their paths.
func (t *table) paths(used map[string]store.Good) map[string]string {
	names := map[string]string{}
	for name, g := range used {
		if g.File != "" {
			names[g.File] = name
		}
	}
	for _, m := range t.modules {
		if m.from.kind != built && m.from.file != "" {
			names[m.from.file] = m.manifest.Name
		}
	}
	return names
}

// discard lets go of what was loaded in vain.
func (r *round) discard() {
	for _, m := range r.loaded {
		m.retire()
	}
}

// add gives a module its routes.
func (t *table) add(m *Module) error {
	if err := t.clash(m); err != nil {
		return err
	}
	for _, rule := range m.manifest.Rules {
		t.routes[abi.KindRule][manifest.RoutingName(rule.Title)] = m
	}
	for _, f := range m.manifest.Functions {
		t.routes[abi.KindFunction][f.Name] = m
	}
	return nil
}

// clash is the error of two modules that handle the same.
func (t *table) clash(m *Module) error {
	var errs []error
	check := func(kind, name string) {
		if other, taken := t.routes[kind][name]; taken && other != m {
			errs = append(errs, fmt.Errorf("the modules %s and %s both handle the %s %s: remove one of them", other.manifest.Name, m.manifest.Name, kind, name))
		}
	}
	for _, rule := range m.manifest.Rules {
		check(abi.KindRule, manifest.RoutingName(rule.Title))
	}
	for _, f := range m.manifest.Functions {
		check(abi.KindFunction, f.Name)
	}
	return errors.Join(errs...)
}

// status tells of a name.
func (r *round) status(name string, used *Module) Status {
	candidates := r.candidates[name]
	best := candidates[0]
	s := Status{Name: name, InUse: used != nil}
	if used != nil {
		s.describe(used.from)
	} else {
		s.describe(best)
	}
	if told, ok := r.told[name]; ok {
		told.Manifest = s.Manifest
		return told
	}
	switch {
	case r.disabled(name):
		s.State = Disabled
	case best.unfit != nil:
		if s.State = Failed; errors.Is(best.unfit, store.ErrTampered) || errors.Is(best.unfit, store.ErrMissing) {
			s.State = Tampered
		}
		s.Reason = best.unfit.Error()
		switch {
		case used == nil:
		case used.from.same(best):
			s.Reason = "what was read of it before stays in use: " + s.Reason
		default:
			s.Reason = fmt.Sprintf("%s is in use instead: %s", used.text(), s.Reason)
		}
	case used != nil:
		s.State, s.Reason = standing(used.from, newestOf(candidates, r.state.Modules[name]))
	default:
		s.State = Failed
	}
	return s
}

// compare notes what is in use now and was not before.
func (r *round) compare(names []string, chosen map[string]*Module) {
	for _, m := range r.old.modules {
		if !slices.Contains(names, m.manifest.Name) {
			names = append(names, m.manifest.Name)
		}
	}
	for _, name := range names {
		was, is := r.former(name), chosen[name]
		if was == is {
			continue
		}
		r.changes = append(r.changes, Change{Module: name, From: was.text(), To: is.text()})
	}
}

// text is a module's version with its origin.
func (m *Module) text() string {
	if m == nil {
		return ""
	}
	return m.from.label()
}

// remember lists what is in use, for the next host.
func (r *round) remember(t *table) {
	t.good = map[string]store.Good{}
	for name, g := range r.good {
		if r.disabled(name) {
			t.good[name] = g
		}
	}
	for _, m := range t.modules {
		c := m.from
		if c.kind != built {
			t.good[c.name] = store.Good{Version: store.Version{Version: c.version, Digest: c.digest, Pack: c.pack}, File: c.file}
		} else if g, ok := r.good[c.name]; ok && len(r.candidates[c.name]) > 1 {
			// Something better is there and cannot be used: it may be mended.
			t.good[c.name] = g
		}
	}
}

func (r *round) log() {
	told := r.catalog.told
	r.catalog.told = map[string]bool{}
	for _, c := range r.changes {
		switch {
		case c.Err != nil:
			level := slog.LevelError
			if told[c.Failed] {
				level = slog.LevelDebug
			}
			r.catalog.told[c.Failed] = true
			r.catalog.o.Logger.Log(context.Background(), level, "a module cannot be used; what was in use stays", "module", c.Module, "error", c.Err)
		case !r.first:
			r.catalog.o.Logger.Info("module exchanged", "module", c.Module, "from", c.From, "to", c.To)
		}
	}
}
