package e2e

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host"
	"fn-threatq/host/catalog"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/history"
	"fn-threatq/host/scenario"
)

// changedModule is Sync Incident with one deliberate change: a word of its reply.
func changedModule(t *testing.T) []byte {
	t.Helper()
	code, err := fs.ReadFile(catalog.Builtin(), "sync-incident.wasm")
	require.NoError(t, err)
	const was, is = "Synced to ThreatQ event", "Synced as ThreatQ event"
	require.Contains(t, string(code), was)
	code = bytes.ReplaceAll(code, []byte(was), []byte(is))
	about, ok, err := modulefile.Section(code, abi.SectionManifest)
	require.NoError(t, err)
	require.True(t, ok)
	code, err = modulefile.WithSection(code, abi.SectionManifest, bytes.Replace(about, []byte(`"1.1.0"`), []byte(`"1.1.1"`), 1))
	require.NoError(t, err)
	return code
}

// theChange holds that comparisons show the change of changedModule and nothing else.
func theChange(t *testing.T, groups []*dialogue.Group) {
	t.Helper()
	require.Len(t, groups, 1)
	g := groups[0]
	assert.Equal(t, dialogue.End, g.Kind)
	assert.Equal(t, []string{"reply.message"}, g.Places)
	assert.Equal(t, 1, g.Times)
	require.Len(t, g.Examples, 1)
	assert.Contains(t, g.Examples[0].Was[0], "Synced to ThreatQ event 55")
	assert.Contains(t, g.Examples[0].Is[0], "Synced as ThreatQ event 55")
}

func TestAHostThatObservesWritesNothingAndSaysWhatItWould(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"mode": "observe", "record": "true"}})
	p := w.start()
	r := w.do(w.incidentMessage(2095, "created"))
	assert.Contains(t, r.Message, "Observed only: nothing was written. It would have made 1 write (threatq: 1 POST)")
	assert.Contains(t, r.Message, "and said: Synced to ThreatQ event 990000001 (created)")
	p.settled()

	assert.Empty(t, w.tq.Events())
	assert.Empty(t, w.writes("/api/events"))
	assert.Len(t, w.writes("/"), 1, "the login")
	for _, request := range w.soar.Requests() {
		assert.True(t, request.Method == http.MethodGet || request.Path == "/rest/session", "%s %s", request.Method, request.Path)
	}
	assert.True(t, w.logs.said(`"msg":"would write"`, `"path":"/api/events"`))
	assert.True(t, w.logs.said(`"msg":"action"`, `"outcome":"observed"`))
	assert.Empty(t, w.deadLetters())

	entries, err := history.Open(filepath.Join(w.state, history.Folder)).List()
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.True(t, entries[0].Observed)
}

func TestARecordedActionIsReplayedAndBecomesAScenario(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"record": "true"}})
	p := w.start()
	w.do(w.incidentMessage(2095, "created"))
	p.settled()

	h := history.Open(filepath.Join(w.state, history.Folder))
	entries, err := h.List()
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "ThreatQ: Sync Incident", entries[0].Title)
	assert.Equal(t, "done", entries[0].Outcome)
	d, err := h.Read(entries[0])
	require.NoError(t, err)

	same, err := host.NewPlayer(t.Context(), host.Options{CacheDir: shared.cacheDir, StateDir: t.TempDir()}, "sync-incident", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, same.Close(t.Context())) }()
	replayed, err := same.Compare(t.Context(), d)
	require.NoError(t, err)
	assert.Empty(t, replayed.Differences)
	story, err := scenario.Story(d, "A recorded action", same.Manifest())
	require.NoError(t, err)
	require.NoError(t, same.Passes(t.Context(), story))

	changed, err := scenario.NewPlayer(t.Context(), filepath.Join(shared.cacheDir, "modules"), changedModule(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, changed.Close(t.Context())) }()
	replayed, err = changed.Compare(t.Context(), d)
	require.NoError(t, err)
	var s dialogue.Summary
	s.Add(d.ID, replayed.Differences)
	theChange(t, s.Groups)
	require.ErrorContains(t, changed.Passes(t.Context(), story), "Synced as", "the scenario tells of the change")
}

func TestACandidateRunsBesideTheModuleWithoutEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	modules, err := host.OpenModules(t.Context(), shared.cacheDir, w.state)
	require.NoError(t, err)
	defer func() { require.NoError(t, modules.Close(t.Context())) }()
	about, err := modules.Shadow(t.Context(), changedModule(t))
	require.NoError(t, err)
	assert.Equal(t, "1.1.1", about.Version)

	p := w.start()
	report := func() *host.ShadowReport {
		all, err := modules.Shadows()
		require.NoError(t, err)
		require.Contains(t, all, "sync-incident")
		return all["sync-incident"]
	}
	eventually(t, func() bool { return !report().Updated.IsZero() }, "the candidate does not run")
	live := w.do(w.incidentMessage(2095, "created"))
	assert.Contains(t, live.Message, "Synced to", "it is the module at work that answers")
	eventually(t, func() bool { return report().Summary.Compared == 1 }, "the candidate was not compared")
	p.settled()

	r := report()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Summary.Different, "%s", text)
	assert.Equal(t, "1.1.0", r.Live)
	assert.Zero(t, r.Dropped)
	theChange(t, r.Summary.Groups)
	assert.Len(t, w.writes("/api/events"), 1)

	require.NoError(t, modules.StopShadow("sync-incident"))
	var none *host.NoShadowError
	require.ErrorAs(t, modules.StopShadow("sync-incident"), &none)
}
