package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/catalog"
	"fn-threatq/host/flow"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/store"
	"fn-threatq/testdata/guests/guestbuild"
)

// version is a module file that handles the rule "T: NAME".
func version(t *testing.T, name, number string) []byte {
	t.Helper()
	return guestbuild.Tiny{Manifest: fmt.Sprintf(`{"abi":1,"name":%q,"version":%q,"description":"","rules":[%s]}`, name, number, rule("T: "+name))}.File(t)
}

// live is a catalog with a store beside the built-in modules one and two.
type live struct {
	*catalog.Catalog
	t     *testing.T
	store *store.Store
}

func newLive(t *testing.T, trial func(context.Context, catalog.Candidate) error) *live {
	t.Helper()
	box, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close(context.Background())) })
	s := store.Open(t.TempDir())
	c, err := catalog.Open(t.Context(), catalog.Options{
		Box: box, Store: s, Trial: trial,
		Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}, "two.wasm": {Data: version(t, "two", "1.0.0")}},
	})
	require.NoError(t, err)
	return &live{c, t, s}
}

// install puts a version into the store.
func (l *live) install(name, number, pack string, file []byte) {
	l.t.Helper()
	require.NoError(l.t, l.store.Change(func(s *store.State) error {
		digest, err := l.store.PutModule(file)
		if s.Modules[name] == nil {
			s.Modules[name] = &store.Module{}
		}
		s.Modules[name].Use(store.Version{Version: number, Digest: digest, Pack: pack})
		return err
	}))
}

// reload returns what changed as text, and the errors.
func (l *live) reload() (changed []string, failed string) {
	l.t.Helper()
	changes, err := l.Reload(l.t.Context())
	require.NoError(l.t, err)
	var errs []error
	for _, c := range changes {
		if c.Err != nil {
			errs = append(errs, c.Err)
			continue
		}
		changed = append(changed, strings.TrimSpace(c.Module+" "+c.From+" > "+c.To))
	}
	if err := errors.Join(errs...); err != nil {
		failed = err.Error()
	}
	return changed, failed
}

// uses is the version that takes the actions of a rule; empty for none.
func (l *live) uses(name string) string {
	if m := l.Find(abi.KindRule, "t_"+name); m != nil {
		return m.Manifest().Version
	}
	return ""
}

// stands is the state of a module with its reason.
func (l *live) stands(name string) (catalog.State, string) {
	for _, s := range l.Status() {
		if s.Name == name {
			return s.State, s.Reason
		}
	}
	return "", ""
}

func turn(t *testing.T, m flow.Module) {
	t.Helper()
	_, _, err := m.Turn(t.Context(), []byte(`{"v":1,"turn":1}`), time.Now(), 1)
	require.NoError(t, err)
}

func TestInstalledModuleTakesThePlaceOfTheBuiltInOne(t *testing.T) {
	l := newLive(t, nil)
	began := l.Find(abi.KindRule, "t_one")
	turn(t, began)
	changed, failed := l.reload()
	assert.Empty(t, changed, "nothing is new")
	assert.Empty(t, failed)
	assert.Same(t, began, l.Find(abi.KindRule, "t_one"))

	l.install("one", "1.1.0", "packed", version(t, "one", "1.1.0"))
	changed, failed = l.reload()
	assert.Equal(t, []string{"one 1.0.0 (built in) > 1.1.0 (pack packed)"}, changed)
	assert.Empty(t, failed)
	assert.Equal(t, "1.1.0", l.uses("one"))
	turn(t, l.Find(abi.KindRule, "t_one"))
	turn(t, began)
	assert.Equal(t, "1.0.0", began.Manifest().Version, "an action keeps what it began with")
	state, _ := l.stands("one")
	assert.Equal(t, catalog.Active, state)

	l.install("one", "1.2.0", "", version(t, "one", "1.2.0"))
	l.reload()
	state, _ = l.stands("one")
	assert.Equal(t, catalog.Local, state, "nobody vouches for it")

	require.NoError(t, l.store.Change(func(s *store.State) error { s.Modules["one"].Use(s.Modules["one"].Former[0]); return nil }))
	l.reload()
	assert.Equal(t, "1.1.0", l.uses("one"))
	state, reason := l.stands("one")
	assert.Equal(t, catalog.Outdated, state)
	assert.Equal(t, "version 1.2.0 is at hand", reason)

	require.NoError(t, l.store.Change(func(s *store.State) error { delete(s.Modules, "one"); return nil }))
	l.reload()
	assert.Equal(t, "1.0.0", l.uses("one"))
}

func TestModuleThatCannotBeUsedChangesNothing(t *testing.T) {
	bad := guestbuild.WithManifest(t, []byte("\x00asm\x01\x00\x00\x00"), `{"abi":1,"name":"one","version":"2.0.0","description":"","rules":[`+rule("T: one")+`]}`)
	taken := []byte(strings.Replace(string(version(t, "one", "2.0.0")), "T: one", "T: two", 1))
	for name, c := range map[string]struct {
		file   []byte
		damage func(path string) error
		state  catalog.State
		want   string
	}{
		"does not compile": {bad, nil, catalog.Failed, "one 2.0.0 (single module) cannot be used: "},
		"another ABI": {guestbuild.Tiny{Manifest: `{"abi":9,"name":"one","version":"2.0.0"}`}.File(t), nil, catalog.Failed,
			`module "one" is written for ABI 9, this host speaks ABI 1`},
		"another module":  {version(t, "other", "2.0.0"), nil, catalog.Failed, "it is the module other"},
		"route of others": {taken, nil, catalog.Failed, "the modules two and one both handle the rule t_two"},
		"altered":         {version(t, "one", "2.0.0"), func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }, catalog.Tampered, store.ErrTampered.Error()},
		"gone":            {version(t, "one", "2.0.0"), os.Remove, catalog.Tampered, store.ErrMissing.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, nil)
			before := l.Find(abi.KindRule, "t_one")
			l.install("one", "2.0.0", "", c.file)
			if c.damage != nil {
				state, err := l.store.State()
				require.NoError(t, err)
				require.NoError(t, c.damage(filepath.Join(l.store.Dir(), "modules", state.Modules["one"].Current.Digest+".wasm")))
			}
			changed, failed := l.reload()
			assert.Empty(t, changed)
			assert.Contains(t, failed, c.want)
			assert.Same(t, before, l.Find(abi.KindRule, "t_one"))
			assert.Equal(t, "1.0.0", l.uses("two"))
			state, reason := l.stands("one")
			assert.Equal(t, c.state, state)
			assert.Contains(t, reason, "1.0.0 (built in) is in use instead: ")
			turn(t, l.Find(abi.KindRule, "t_one"))

			again, err := catalog.Open(t.Context(), catalog.Options{Box: sharedBox(t), Store: l.store, Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}, "two.wasm": {Data: version(t, "two", "1.0.0")}}})
			require.NoError(t, err, "a host with a bad file in its store starts")
			if c.state == catalog.Tampered {
				assert.Equal(t, "1.0.0", again.Find(abi.KindRule, "t_one").Manifest().Version)
			}
		})
	}
}

func sharedBox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close(context.Background())) })
	return box
}

func TestLastGoodVersionStaysNotTheBuiltInOne(t *testing.T) {
	l := newLive(t, nil)
	l.install("one", "1.1.0", "p", version(t, "one", "1.1.0"))
	l.reload()
	l.install("one", "1.2.0", "p", []byte("no module"))
	_, failed := l.reload()
	assert.Contains(t, failed, "module one 1.2.0 (pack p) cannot be used")
	assert.Equal(t, "1.1.0", l.uses("one"))
	l.install("one", "1.3.0", "p", version(t, "one", "1.3.0"))
	_, failed = l.reload()
	assert.Empty(t, failed)
	assert.Equal(t, "1.3.0", l.uses("one"))
}

func TestTrialDecides(t *testing.T) {
	var seen []string
	l := newLive(t, func(_ context.Context, c catalog.Candidate) error {
		seen = append(seen, c.Manifest.Name+" "+c.Manifest.Version+" "+c.Pack)
		assert.NotEmpty(t, c.File)
		if c.Manifest.Version == "1.1.0" {
			return errors.New("scenario main fails")
		}
		return nil
	})
	assert.Empty(t, seen, "what a host starts with was tried when it was installed")
	l.install("one", "1.1.0", "p", version(t, "one", "1.1.0"))
	_, failed := l.reload()
	assert.Contains(t, failed, "module one 1.1.0 (pack p) cannot be used: scenario main fails")
	assert.Equal(t, "1.0.0", l.uses("one"))
	l.install("one", "1.2.0", "p", version(t, "one", "1.2.0"))
	_, failed = l.reload()
	assert.Empty(t, failed)
	assert.Equal(t, []string{"one 1.1.0 p", "one 1.2.0 p"}, seen)
}

func TestPackIsUsedWholeOrNotAtAll(t *testing.T) {
	bad, tried := "", map[string]int{}
	l := newLive(t, func(_ context.Context, c catalog.Candidate) error {
		tried[c.Manifest.Name]++
		if c.Manifest.Name == bad {
			return errors.New("scenario main fails")
		}
		return nil
	})
	l.Remember()
	upgrade := func(number string) {
		for _, name := range []string{"one", "two", "three"} {
			l.install(name, number, "p", version(t, name, number))
		}
		l.install("four", number, "other", version(t, "four", number))
	}
	upgrade("1.1.0")
	_, failed := l.reload()
	require.Empty(t, failed)

	// One of three fails: the other two stay as well, and another pack does not care.
	clear(tried)
	bad = "two"
	upgrade("1.2.0")
	changed, failed := l.reload()
	assert.Equal(t, []string{"four 1.1.0 (pack other) > 1.2.0 (pack other)"}, changed)
	assert.Contains(t, failed, "module two 1.2.0 (pack p) cannot be used: scenario main fails")
	assert.Contains(t, failed, "module one 1.2.0 (pack p) cannot be used: the module two of its pack cannot be used, and a pack is used whole or not at all")
	assert.Equal(t, map[string]int{"one": 1, "two": 1, "three": 1, "four": 1}, tried, "nothing is tried twice in a round")
	for _, name := range []string{"one", "two", "three"} {
		assert.Equal(t, "1.1.0", l.uses(name), name)
		state, reason := l.stands(name)
		assert.Equal(t, catalog.Failed, state, name)
		assert.Contains(t, reason, "1.1.0 (pack p) is in use instead: ", name)
	}

	// The next host keeps to it, and a file that was damaged since holds nothing back.
	next, _ := l.restart(func(c catalog.Candidate) error {
		if c.Manifest.Name == bad {
			return errors.New("scenario main fails")
		}
		return nil
	})
	for _, name := range []string{"one", "two", "three"} {
		assert.Equal(t, "1.1.0", next.uses(name), name)
	}
	bad = ""
	_, failed = l.reload()
	assert.Empty(t, failed)
	assert.Equal(t, "1.2.0", l.uses("one"))
	state, err := l.store.State()
	require.NoError(t, err)
	damaged := filepath.Join(l.store.Dir(), "modules", state.Modules["two"].Current.Digest+".wasm")
	require.NoError(t, os.WriteFile(damaged, []byte("0"), 0o600))
	l.install("one", "1.3.0", "p", version(t, "one", "1.3.0"))
	l.reload()
	assert.Equal(t, "1.3.0", l.uses("one"))

	// A disabled module is not asked.
	require.NoError(t, l.store.Change(func(s *store.State) error { s.Modules["three"].Disabled = true; return nil }))
	bad = "three"
	upgrade("1.4.0")
	_, failed = l.reload()
	assert.Empty(t, failed)
	assert.Equal(t, "1.4.0", l.uses("one"))
}

func TestDisabledModuleTakesNoActions(t *testing.T) {
	l := newLive(t, nil)
	disable := func(off bool) {
		require.NoError(t, l.store.Change(func(s *store.State) error { s.Modules["one"] = &store.Module{Disabled: off}; return nil }))
	}
	disable(true)
	changed, _ := l.reload()
	assert.Equal(t, []string{"one 1.0.0 (built in) >"}, changed)
	assert.Empty(t, l.uses("one"))
	assert.NotContains(t, l.Names(abi.KindRule), "T: one")
	state, _ := l.stands("one")
	assert.Equal(t, catalog.Disabled, state)
	disable(false)
	l.reload()
	assert.Equal(t, "1.0.0", l.uses("one"))
}

func TestLocalFileWinsWhileItIsThere(t *testing.T) {
	l := newLive(t, nil)
	l.install("one", "1.1.0", "p", version(t, "one", "1.1.0"))
	path := filepath.Join(l.store.Dir(), "mine.wasm")
	require.NoError(t, os.WriteFile(path, version(t, "one", "1.0.5"), 0o600))
	l.reload()
	assert.Equal(t, "1.0.5", l.uses("one"))
	state, reason := l.stands("one")
	assert.Equal(t, catalog.Outdated, state)
	assert.Equal(t, "version 1.1.0 is at hand", reason)

	require.NoError(t, os.WriteFile(filepath.Join(l.store.Dir(), "twin.wasm"), version(t, "one", "3.0.0"), 0o600))
	_, failed := l.reload()
	assert.Contains(t, failed, "mine.wasm is the same module: remove one of them")
	assert.Equal(t, "1.0.5", l.uses("one"))
	require.NoError(t, os.Remove(filepath.Join(l.store.Dir(), "twin.wasm")))
	require.NoError(t, os.Remove(path))
	l.reload()
	assert.Equal(t, "1.1.0", l.uses("one"))
}

func TestStoreThatCannotBeReadChangesNothing(t *testing.T) {
	l := newLive(t, nil)
	require.NoError(t, os.WriteFile(filepath.Join(l.store.Dir(), "installed.json"), []byte("{"), 0o600))
	_, err := l.Reload(t.Context())
	require.ErrorContains(t, err, "is damaged")
	assert.Equal(t, "1.0.0", l.uses("one"))
}

func TestNewcomerNeverTakesRoutesFromWhatIsThere(t *testing.T) {
	l := newLive(t, nil)
	// Its name comes before those of the modules in use.
	l.install("a", "1.0.0", "p", []byte(strings.Replace(string(version(t, "a", "1.0.0")), "T: a", "T: two", 1)))
	l.install("b", "1.0.0", "", version(t, "b", "1.0.0"))
	_, failed := l.reload()
	assert.NotEmpty(t, failed)
	assert.Equal(t, "1.0.0", l.uses("two"))
	assert.Equal(t, "1.0.0", l.uses("b"))
	again, err := catalog.Open(t.Context(), catalog.Options{Box: sharedBox(t), Store: l.store, Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}, "two.wasm": {Data: version(t, "two", "1.0.0")}}})
	require.NoError(t, err)
	assert.Equal(t, "two", again.Find(abi.KindRule, "t_two").Manifest().Name)
}

func TestTwoBuiltInFilesOfOneModule(t *testing.T) {
	_, err := load(t, fstest.MapFS{"a.wasm": {Data: version(t, "one", "1.0.0")}, "b.wasm": {Data: version(t, "one", "1.0.1")}})
	require.ErrorContains(t, err, "the module files a.wasm and b.wasm are both the module one: remove one of them")
}

// TestWatch writes a file in two halves, as an editor may: the first one is
// never looked at, because the file still changes.
func TestWatch(t *testing.T) {
	l := newLive(t, nil)
	whole := version(t, "three", "1.0.0")
	path := filepath.Join(l.store.Dir(), "three.wasm")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan struct{})
		go func() { defer close(ended); l.Watch(ctx, time.Second) }()
		synctest.Wait()
		require.NoError(t, os.WriteFile(path, whole[:100], 0o600))
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		require.NoError(t, os.WriteFile(path, whole, 0o600))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Empty(t, l.uses("three"), "it has to stay the same for a while")
		state, _ := l.stands(path)
		assert.Empty(t, state, "the half file was not looked at")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, "1.0.0", l.uses("three"))
		require.NoError(t, os.Remove(path))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Empty(t, l.uses("three"))
		stop()
		<-ended
	})
}

func TestIdleModuleIsLetGoOf(t *testing.T) {
	box := sharedBox(t)
	c, err := catalog.Open(t.Context(), catalog.Options{Box: box, Idle: time.Minute, Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}}})
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		m := c.Modules()[0]
		turn(t, m)
		first, err := m.Loaded(t.Context())
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		turn(t, m)
		time.Sleep(45 * time.Second)
		synctest.Wait()
		still, err := m.Loaded(t.Context())
		require.NoError(t, err)
		assert.Same(t, first, still, "it was wanted half a minute ago")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		turn(t, m)
		again, err := m.Loaded(t.Context())
		require.NoError(t, err)
		assert.NotSame(t, first, again, "it was loaded again")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
	})
}

// TestExchangeUnderLoad exchanges a module again and again under a stream of
// turns: none fails, and each gets the version that it began with.
func TestExchangeUnderLoad(t *testing.T) {
	l := newLive(t, nil)
	files := map[string][]byte{"1.1.0": version(t, "one", "1.1.0"), "1.2.0": version(t, "one", "1.2.0")}
	var stop atomic.Bool
	var turns atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for !stop.Load() {
				m := l.Find(abi.KindRule, "t_one")
				if !assert.NotNil(t, m) {
					return
				}
				before := m.Manifest().Version
				for range 3 {
					_, _, err := m.Turn(context.Background(), []byte(`{"v":1,"turn":1}`), time.Now(), 1)
					if !assert.NoError(t, err) {
						return
					}
					turns.Add(1)
				}
				assert.Equal(t, before, m.Manifest().Version)
			}
		})
	}
	for i := range 12 {
		want := []string{"1.1.0", "1.2.0"}[i%2]
		if i%4 == 3 {
			// A bad one in between changes nothing.
			l.install("one", "9.9.9", "", []byte("no module"))
			_, failed := l.reload()
			assert.NotEmpty(t, failed)
		}
		l.install("one", want, "", files[want])
		_, failed := l.reload()
		assert.Empty(t, failed)
		assert.Equal(t, want, l.uses("one"))
	}
	stop.Store(true)
	group.Wait()
	assert.Positive(t, turns.Load())
}
