package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/admin"
	"fn-threatq/host/catalog"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/store"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/testdata/guests/guestbuild"
)

var hammerRounds = flag.Int("hammer-rounds", 3, "how often the hammer swaps, rolls back, corrupts and restores modules")

// swapper changes the modules of a running host.
type swapper struct {
	t      testing.TB
	store  *store.Store
	client *admin.Client
	files  map[string]map[string][]byte // by version, then by module
	used   string
}

// pairOf are two modules of one version: a rule, and one that starts it.
func pairOf(t testing.TB, version string) map[string][]byte {
	code := guestbuild.Swapped(t, version)
	about := func(name, title, more string) []byte {
		return guestbuild.WithManifest(t, code, fmt.Sprintf(`{"abi":1,"name":%q,"version":%q,"description":"","calls":["threatq GET /api/events"]%s,`+
			`"rules":[{"title":%q,"description":"","object":"incident","automatic":false%s}]}`, name, version,
			map[bool]string{true: `,"actions":["threatq_sync_incident"]`}[more != ""], title, more))
	}
	return map[string][]byte{
		"sync-incident":   about("sync-incident", "ThreatQ: Sync Incident", ""),
		"historical-sync": about("historical-sync", "ThreatQ: Historical Sync", `,"lane":"none"`),
	}
}

func builtinPair(t testing.TB, version string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, file := range pairOf(t, version) {
		files[name+".wasm"] = &fstest.MapFile{Data: file}
	}
	return files
}

func newSwapper(t testing.TB, stateDir string, versions ...string) *swapper {
	client, err := admin.Dial(filepath.Join(stateDir, admin.SocketName))
	require.NoError(t, err)
	s := &swapper{t: t, store: store.Open(filepath.Join(stateDir, "plugins")), client: client, files: map[string]map[string][]byte{}}
	for _, v := range versions {
		s.files[v] = pairOf(t, v)
	}
	return s
}

// change edits both modules in one step, and has the host look.
func (s *swapper) change(edit func(name string, m *store.Module) error) (failed int) {
	s.t.Helper()
	require.NoError(s.t, s.store.Change(func(state *store.State) error {
		for _, name := range []string{"historical-sync", "sync-incident"} {
			if state.Modules[name] == nil {
				state.Modules[name] = &store.Module{}
			}
			if err := edit(name, state.Modules[name]); err != nil {
				return err
			}
		}
		return nil
	}))
	return s.reload()
}

func (s *swapper) reload() (failed int) {
	s.t.Helper()
	done, err := s.client.ReloadModules(s.t.Context())
	require.NoError(s.t, err)
	for _, m := range done.Modules {
		if !assert.True(s.t, m.InUse, "%+v", m) || s.used != "" {
			assert.Equal(s.t, s.used, m.Version, "%+v", m)
		}
		if m.State == catalog.Failed || m.State == catalog.Tampered {
			failed++
		}
	}
	return failed
}

func (s *swapper) install(version string, files map[string][]byte) (failed int) {
	return s.change(func(name string, m *store.Module) error {
		digest, err := s.store.PutModule(files[name])
		m.Use(store.Version{Version: version, Digest: digest})
		return err
	})
}

func rollback(_ string, m *store.Module) error { m.Use(m.Former[0]); return nil }

// round swaps, rolls back, corrupts and restores. The host has an unharmed
// version in use all the time.
func (s *swapper) round() {
	first, second := "1.1.0", "1.2.0"
	s.used = first
	require.Zero(s.t, s.install(first, s.files[first]))
	s.used = second
	require.Zero(s.t, s.install(second, s.files[second]))
	s.used = first
	require.Zero(s.t, s.change(rollback))
	// Bad files change nothing.
	require.Equal(s.t, 2, s.install("9.9.9", map[string][]byte{"sync-incident": []byte("no module"), "historical-sync": []byte("nor this")}))
	require.Zero(s.t, s.change(rollback))
	state, err := s.store.State()
	require.NoError(s.t, err)
	for _, m := range state.Modules {
		require.NoError(s.t, os.WriteFile(filepath.Join(s.store.Dir(), "modules", m.Current.Digest+".wasm"), []byte("x"), 0o600))
	}
	require.Equal(s.t, 2, s.reload())
	require.Zero(s.t, s.install(first, s.files[first]), "installed again")
	local := filepath.Join(s.store.Dir(), "mine.wasm")
	require.NoError(s.t, os.WriteFile(local, s.files[second]["sync-incident"][:1000], 0o600))
	done, err := s.client.ReloadModules(s.t.Context())
	require.NoError(s.t, err)
	require.NotEmpty(s.t, done.Changes, "half a file")
	require.NoError(s.t, os.Remove(local))
	require.Zero(s.t, s.reload())
}

// stream keeps actions under way until it is stopped.
type stream struct {
	stop        atomic.Bool
	group       sync.WaitGroup
	mu          sync.Mutex
	completions []time.Time
	versions    map[string]int
}

func (w *world) stream(lanes int) *stream {
	s := &stream{versions: map[string]int{}}
	for i := range lanes {
		incident := w.soar.AddIncident(map[string]any{"name": fmt.Sprintf("Incident %d", i)})
		title := []string{"ThreatQ: Sync Incident", "ThreatQ: Historical Sync"}[i%2]
		s.group.Go(func() {
			for !s.stop.Load() {
				r := w.final(w.send(w.soar.ActionMessage(title, resilienttest.ActionOptions{IncidentID: incident})))
				if !assert.Zero(w.t, r.Type, r.Message) {
					return
				}
				s.take(w.t, r.Message)
			}
		})
	}
	return s
}

// take holds that all of an action, its sub-actions included, is of one version.
func (s *stream) take(t testing.TB, message string) {
	words := strings.Fields(message)
	kind, seen := words[0], words[1:]
	for i := range seen {
		seen[i] = strings.TrimSuffix(seen[i], ";")
	}
	assert.Len(t, seen, map[string]int{"child": 3, "parent": 9}[kind], message)
	slices.Sort(seen)
	assert.Len(t, slices.Compact(seen), 1, "versions are mixed: %s", message)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.completions = append(s.completions, time.Now())
	s.versions[seen[0]]++
}

func (s *stream) end() {
	s.stop.Store(true)
	s.group.Wait()
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.completions)
}

// longestGap between two completions that follow each other.
func (s *stream) longestGap() (gap time.Duration) {
	for i := 1; i < len(s.completions); i++ {
		gap = max(gap, s.completions[i].Sub(s.completions[i-1]))
	}
	return gap
}

// TestHotSwapHammer changes modules all the time under a stream of actions: none
// is dropped, none is of two versions, and nothing is left behind.
func TestHotSwapHammer(t *testing.T) {
	w := newWorld(t, setup{files: builtinPair(t, "1.0.0"), tq: threatqtest.Options{KeepRequests: -1}})
	p := w.start()
	s := newSwapper(t, w.state, "1.1.0", "1.2.0")
	s.round() // everything is compiled, and the first version has been in use
	goroutines := runtime.NumGoroutine()

	began := time.Now()
	hammered := w.stream(6)
	for range *hammerRounds {
		before := hammered.count()
		s.round()
		eventually(t, func() bool { return hammered.count() >= before+10 }, "the stream goes on")
	}
	hammered.end()
	if testing.Verbose() { // somebody wants to see what the changes cost
		took := time.Since(began)
		calm := w.stream(6)
		for time.Since(began) < 2*took {
			time.Sleep(10 * time.Millisecond)
		}
		calm.end()
		t.Logf("%d actions with %d changes of modules in %s, longest gap %s; without: %d, %s; ratio of the gaps %.1f",
			hammered.count(), 9**hammerRounds, took.Round(time.Millisecond), hammered.longestGap(), calm.count(), calm.longestGap(),
			float64(hammered.longestGap())/float64(calm.longestGap()))
	}
	assert.Len(t, hammered.versions, 2, "both versions have worked: %v", hammered.versions)
	assert.Empty(t, w.deadLetters())

	state, err := s.store.State()
	require.NoError(t, err)
	named := map[string]bool{}
	for _, m := range state.Modules {
		for _, v := range append(m.Former, m.Current) {
			named[v.Digest+".wasm"] = !v.Builtin()
		}
	}
	delete(named, ".wasm")
	left, err := os.ReadDir(filepath.Join(s.store.Dir(), "modules"))
	require.NoError(t, err)
	assert.Len(t, left, len(named), "files that nothing names")
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+10 }, "goroutines: %d before", goroutines)
	p.settled()
	for _, entry := range w.logs.lines("") {
		assert.NotEqual(t, "abandoned", entry["outcome"])
	}
}
