package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/catalog"
	"fn-threatq/host/flow"
	"fn-threatq/host/store"
)

// restart is the catalog of the next host on the same store, and what it tries.
func (l *live) restart(trial func(catalog.Candidate) error) (next *live, tried []string) {
	l.t.Helper()
	c, err := catalog.Open(l.t.Context(), catalog.Options{
		Box: sharedBox(l.t), Store: l.store,
		Builtin: fstest.MapFS{"one.wasm": {Data: version(l.t, "one", "1.0.0")}, "two.wasm": {Data: version(l.t, "two", "1.0.0")}},
		Trial: func(_ context.Context, c catalog.Candidate) error {
			tried = append(tried, c.Manifest.Name+" "+c.Manifest.Version)
			return trial(c)
		},
	})
	require.NoError(l.t, err)
	c.Remember()
	return &live{c, l.t, l.store}, tried
}

func anything(catalog.Candidate) error { return nil }

// refusing is a trial that one version does not pass.
func refusing(version string) func(catalog.Candidate) error {
	return func(c catalog.Candidate) error {
		if c.Manifest.Version == version {
			return errors.New("scenario main fails")
		}
		return nil
	}
}

func TestLastGoodVersionStaysOverARestart(t *testing.T) {
	l := newLive(t, func(_ context.Context, c catalog.Candidate) error { return refusing("1.2.0")(c) })
	l.Remember()
	l.install("one", "1.1.0", "", version(t, "one", "1.1.0"))
	_, failed := l.reload()
	require.Empty(t, failed)

	next, tried := l.restart(anything)
	assert.Equal(t, "1.1.0", next.uses("one"))
	assert.Empty(t, tried, "what was used before is not tried again: a start is quick")

	l.install("one", "1.2.0", "", version(t, "one", "1.2.0"))
	_, failed = l.reload()
	assert.Contains(t, failed, "scenario main fails")
	next, tried = l.restart(refusing("1.2.0"))
	assert.Equal(t, []string{"one 1.2.0"}, tried, "no host has used it")
	assert.Equal(t, "1.1.0", next.uses("one"))
	state, reason := next.stands("one")
	assert.Equal(t, catalog.Failed, state)
	assert.Equal(t, "1.1.0 (single module) is in use instead: scenario main fails", reason)

	next, _ = l.restart(anything)
	assert.Equal(t, "1.2.0", next.uses("one"), "it was mended, or the host was")
	_, tried = l.restart(anything)
	assert.Empty(t, tried)
}

func TestCopyOfTheLastGoodFileTakesOverFromADamagedOne(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"altered": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"gone":    os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, nil)
			l.Remember()
			l.install("three", "1.0.0", "", version(t, "three", "1.0.0"))
			l.reload()
			state, err := l.store.State()
			require.NoError(t, err)
			require.NoError(t, damage(filepath.Join(l.store.Dir(), "modules", state.Modules["three"].Current.Digest+".wasm")))
			l.reload()
			assert.Equal(t, "1.0.0", l.uses("three"))

			for range 2 {
				next, _ := l.restart(anything)
				assert.Equal(t, "1.0.0", next.uses("three"))
				turn(t, next.Find(abi.KindRule, "t_three"))
				stands, reason := next.stands("three")
				assert.Equal(t, catalog.Tampered, stands)
				assert.Contains(t, reason, "1.0.0 (copy of the last good one) is in use instead: ")
			}
			require.NoError(t, l.store.Change(func(s *store.State) error { delete(s.Modules, "three"); return nil }))
			next, _ := l.restart(anything)
			assert.Empty(t, next.uses("three"), "what a person took away does not come back")
			assert.Empty(t, l.store.Good())
		})
	}
}

// TestLocalFileThatIsOverwrittenByABadOne keeps the module in use: by the memory
// of the host that runs, and by the copy for the next.
func TestLocalFileThatIsOverwrittenByABadOne(t *testing.T) {
	l := newLive(t, nil)
	l.Remember()
	l.install("one", "1.1.0", "p", version(t, "one", "1.1.0"))
	path := filepath.Join(l.store.Dir(), "mine.wasm")
	require.NoError(t, os.WriteFile(path, version(t, "one", "1.5.0"), 0o600))
	l.reload()
	require.Equal(t, "1.5.0", l.uses("one"))

	require.NoError(t, os.WriteFile(path, []byte("half"), 0o600))
	changed, failed := l.reload()
	assert.Empty(t, changed)
	assert.Contains(t, failed, "mine.wasm cannot be used: ")
	assert.Equal(t, "1.5.0", l.uses("one"))
	state, reason := l.stands("one")
	assert.Equal(t, catalog.Failed, state)
	assert.Contains(t, reason, "mine.wasm) is in use instead: ")

	next, _ := l.restart(anything)
	assert.Equal(t, "1.5.0", next.uses("one"), "the installed one is another")
	require.NoError(t, os.Remove(path))
	next.reload()
	assert.Equal(t, "1.1.0", next.uses("one"))
	next, _ = l.restart(anything)
	assert.Equal(t, "1.1.0", next.uses("one"))
}

func TestModuleLostToAnotherOneChangesNothing(t *testing.T) {
	l := newLive(t, nil)
	l.install("a", "1.0.0", "p", version(t, "a", "1.0.0"))
	l.install("b", "1.0.0", "p", version(t, "b", "1.0.0"))
	l.reload()
	// The rule moves from b to a, and the new b is bad: its former version cannot
	// stay, because its rule is taken.
	l.install("a", "2.0.0", "p", []byte(strings.Replace(string(version(t, "a", "2.0.0")), "T: a", "T: b", 1)))
	l.install("b", "2.0.0", "p", []byte("no module"))
	_, err := l.Reload(t.Context())
	require.ErrorContains(t, err, "module b would be lost, so that nothing was changed")
	assert.Equal(t, "1.0.0", l.uses("a"))
	assert.Equal(t, "1.0.0", l.uses("b"))
}

func TestDisabledModuleIsNamedToUsersAndStopsWhatRunsForHours(t *testing.T) {
	l := newLive(t, nil)
	running := l.Pinned()
	require.NotNil(t, running.Find(abi.KindRule, "t_one"))
	l.install("one", "1.1.0", "p", version(t, "one", "1.1.0"))
	l.reload()
	assert.Equal(t, "1.0.0", running.Find(abi.KindRule, "t_one").Manifest().Version, "it keeps what it began with")
	assert.Equal(t, "1.1.0", l.Pinned().Find(abi.KindRule, "t_one").Manifest().Version)

	require.NoError(t, l.store.Change(func(s *store.State) error { s.Modules["one"].Disabled = true; return nil }))
	l.reload()
	for name, m := range map[string]flow.Modules{"new": l.Pinned(), "under way": running, "catalog": l} {
		assert.Nil(t, m.Find(abi.KindRule, "t_one"), name)
		assert.Contains(t, m.(flow.Excused).Absent(abi.KindRule, "t_one"), "the module one is disabled", name)
		assert.Empty(t, m.(flow.Excused).Absent(abi.KindRule, "t_ghost"), name)
		assert.NotNil(t, m.Find(abi.KindRule, "t_two"), name)
	}
}

func TestQuarantineOutlivesTheReloadOfOthers(t *testing.T) {
	l := newLive(t, nil)
	m := l.Find(abi.KindRule, "t_one")
	for range 5 {
		settle, err := m.Admit()
		require.NoError(t, err)
		settle(flow.AtFault, "trap")
	}
	l.install("three", "1.0.0", "", version(t, "three", "1.0.0"))
	l.reload()
	_, err := l.Find(abi.KindRule, "t_one").Admit()
	require.ErrorContains(t, err, "failed 5 times in a row")
	state, _ := l.stands("one")
	assert.Equal(t, catalog.Quarantined, state)

	l.install("one", "1.1.0", "", version(t, "one", "1.1.0"))
	l.reload()
	_, err = l.Find(abi.KindRule, "t_one").Admit()
	require.NoError(t, err, "another version begins without a record")
}

// TestWatchLeavesAloneWhatACommandHadLookedAt tries each file once.
func TestWatchLeavesAloneWhatACommandHadLookedAt(t *testing.T) {
	tried := 0
	l := newLive(t, func(context.Context, catalog.Candidate) error { tried++; return errors.New("no") })
	file := version(t, "three", "1.0.0")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); l.Watch(ctx, time.Second) }()
		l.install("three", "1.0.0", "", file)
		_, failed := l.reload()
		assert.NotEmpty(t, failed)
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		<-ended
	})
	assert.Equal(t, 1, tried)
}

// TestReplacedModuleServesALongActionToItsEnd has hours between the turns of an
// action, and an exchange: its version is let go of, and comes back for each turn.
func TestReplacedModuleServesALongActionToItsEnd(t *testing.T) {
	box := sharedBox(t)
	s := store.Open(t.TempDir())
	c, err := catalog.Open(t.Context(), catalog.Options{Box: box, Store: s, Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}}})
	require.NoError(t, err)
	l := &live{c, t, s}
	next := version(t, "one", "1.1.0")
	synctest.Test(t, func(t *testing.T) {
		m := l.Pinned().Find(abi.KindRule, "t_one")
		turn(t, m)
		l.install("one", "1.1.0", "", next)
		_, err := c.Reload(context.Background())
		require.NoError(t, err)
		assert.Equal(t, 2, box.Loaded(), "the former one may be wanted again at once")
		// The file of the former version is gone by now.
		require.NoError(t, s.Change(func(state *store.State) error { state.Modules["one"].Former = nil; return nil }))
		for range 3 {
			time.Sleep(5 * time.Hour)
			synctest.Wait()
			assert.Zero(t, box.Loaded(), "nobody wants any")
			turn(t, m)
			assert.Equal(t, 1, box.Loaded())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

// TestNothingStaysLoadedOfWhatWasExchanged lets modules go under load, as often
// as can be.
func TestNothingStaysLoadedOfWhatWasExchanged(t *testing.T) {
	box := sharedBox(t)
	s := store.Open(t.TempDir())
	c, err := catalog.Open(t.Context(), catalog.Options{
		Box: box, Store: s, Idle: time.Millisecond, Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}},
	})
	require.NoError(t, err)
	l := &live{c, t, s}
	files := map[string][]byte{"1.1.0": version(t, "one", "1.1.0"), "1.2.0": version(t, "one", "1.2.0")}
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _, err := l.Find(abi.KindRule, "t_one").Turn(context.Background(), []byte(`{"v":1,"turn":1}`), time.Now(), 1)
				assert.NoError(t, err)
				time.Sleep(time.Millisecond) // so that it is let go of now and then
			}
		})
	}
	for i := range 6 {
		number := []string{"1.1.0", "1.2.0"}[i%2]
		l.install("one", number, "", files[number])
		_, failed := l.reload()
		assert.Empty(t, failed)
	}
	close(stop)
	group.Wait()
	require.Eventually(t, func() bool { return box.Loaded() == 0 }, time.Minute, time.Millisecond)
}

// TestALookFollowsTheHostThatRuns: what is shown is what it has, whatever lies in
// the folder, and how it stands with that.
func TestALookFollowsTheHostThatRuns(t *testing.T) {
	l := newLive(t, func(_ context.Context, c catalog.Candidate) error { return refusing("1.2.0")(c) })
	l.install("one", "1.1.0", "", version(t, "one", "1.1.0"))
	_, failed := l.reload()
	require.Empty(t, failed)
	l.install("one", "1.2.0", "", version(t, "one", "1.2.0"))
	_, failed = l.reload()
	require.NotEmpty(t, failed)
	l.install("two", "1.1.0", "", version(t, "two", "1.1.0")) // at which the host has not looked yet

	look := func(told []catalog.Status) *live {
		c, err := catalog.Open(t.Context(), catalog.Options{Store: l.store, Told: told,
			Builtin: fstest.MapFS{"one.wasm": {Data: version(t, "one", "1.0.0")}, "two.wasm": {Data: version(t, "two", "1.0.0")}}})
		require.NoError(t, err)
		return &live{c, t, l.store}
	}
	blind := look(nil)
	assert.Equal(t, "1.2.0", blind.uses("one"), "the best by its manifest")
	assert.True(t, blind.Untried())

	told := l.Status()
	for n := range told {
		if told[n].Name == "two" {
			told[n].State, told[n].Reason = catalog.Quarantined, "it kept failing"
		}
	}
	seen := look(told)
	assert.Equal(t, "1.1.0", seen.uses("one"))
	assert.Equal(t, "1.0.0", seen.uses("two"))
	for name, want := range map[string]catalog.State{"one": catalog.Failed, "two": catalog.Quarantined} {
		state, reason := seen.stands(name)
		assert.Equal(t, want, state)
		assert.NotEmpty(t, reason)
	}
	for _, s := range seen.Status() {
		assert.NotNil(t, s.Manifest, "with its rules")
	}

	require.NoError(t, l.store.Change(func(s *store.State) error { s.Modules["one"].Disabled = true; return nil }))
	l.reload()
	seen = look(l.Status())
	assert.Equal(t, "", seen.uses("one"))
	state, _ := seen.stands("one")
	assert.Equal(t, catalog.Disabled, state)
}
