package scenario

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	said "fn-threatq/host/dialogue"
)

// ledBy plays a scenario and is the dialogue as a host would record it.
func ledBy(t *testing.T, module Module, s *Scenario) *said.Dialogue {
	t.Helper()
	st, err := s.stage(t.Context(), module)
	require.NoError(t, err)
	m := module.Manifest()
	d := &said.Dialogue{ID: st.action.ID, Module: m.Name, Version: m.Version, Action: *st.action, Now: st.now.UnixMilli(), Settings: st.settings, Site: st.site}
	turns, err := play(t.Context(), module, st, func(n int, p *played) error {
		require.Empty(t, s.compare(n, p))
		return nil
	})
	require.NoError(t, err)
	files := 0
	for _, turn := range turns {
		if d.Reply, d.Fail = turn.out.Reply, turn.out.Fail; d.Reply != nil || d.Fail != nil {
			break
		}
		told := said.Turn{Hold: turn.out.Hold, Progress: turn.out.Progress, State: len(turn.out.State) > 0, Calls: turn.out.Calls, Actions: turn.out.Actions}
		for i, x := range turn.exchanges {
			r, err := x.answer.result(&x.request)
			require.NoError(t, err)
			if i < len(turn.out.Calls) {
				r.ID = turn.out.Calls[i].ID
			} else {
				r.ID = turn.out.Actions[i].ID
			}
			if r.Blob != nil {
				files++
				blob := *r.Blob
				blob.Handle = said.Handle(files)
				r.Blob = &blob
			}
			told.Results = append(told.Results, r)
		}
		d.Add(told)
	}
	return d
}

// Each scenario of the built-in modules, led as an action, is a story again that
// passes, and a replay of it shows no difference.
func TestEveryDialogueBecomesAScenarioThatPasses(t *testing.T) {
	suite := ofThePlugins(t)
	require.Greater(t, len(suite.places), 50)
	for _, p := range suite.places {
		s, err := Load(p.path)
		require.NoError(t, err)
		module, err := suite.modules.forScenario(t.Context(), p)
		require.NoError(t, err)
		d := ledBy(t, module, s)

		text, err := Story(d, s.Title, module.Manifest())
		require.NoError(t, err, p.path)
		again, err := Parse("story", text, nil)
		require.NoError(t, err, "%s\n%s", p.path, text)
		r := Run(t.Context(), module, again)
		require.NoError(t, r.Err, p.path)
		require.Empty(t, r.Failure, p.path)

		replayed, err := Replay(t.Context(), module, d)
		require.NoError(t, err, p.path)
		require.Empty(t, replayed.Differences, p.path)
		require.Zero(t, replayed.Diverged+replayed.Short, p.path)
	}
}

func TestAReplayShowsADeliberateChangeAndNothingElse(t *testing.T) {
	text := `A status is set
-- action.json --
{"id": "m-1", "incident_id": 2095}
-- turn 1 --
> GET threatq /api/indicators?value=203.0.113.77
< 200
{"data": [{"id": 501}]}
-- turn 2 --
> PUT threatq /api/indicators/501
{"status_id": 1}
< 200
{"data": {"id": 501}}
-- reply --
success
Set.
`
	answers := func(status string) func(in abi.Input) string {
		return func(in abi.Input) string {
			switch len(in.Results) {
			case 0:
				return `{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/indicators","query":{"value":"203.0.113.77"},"idempotent":true}]}`
			case 1:
				return `{"calls":[{"id":"b","service":"threatq","method":"PUT","path":"/api/indicators/501","body":{"status_id":` + status + `},"idempotent":true}]}`
			}
			return `{"reply":{"success":true,"message":"Set."}}`
		}
	}
	both := []string{"threatq GET /api/indicators", "threatq PUT /api/indicators/{id}"}
	setter := func(turn func(abi.Input) string, calls ...string) fake {
		m := *fakeManifest()
		m.Calls = calls
		return fake{m: &m, turn: turn}
	}
	s, err := Parse("s.txtar", []byte(text), nil)
	require.NoError(t, err)
	live := setter(answers("1"), both...)
	d := ledBy(t, live, s)

	same, err := Replay(t.Context(), live, d)
	require.NoError(t, err)
	assert.Empty(t, same.Differences)
	other, err := Replay(t.Context(), setter(answers("4"), both...), d)
	require.NoError(t, err)
	assert.Equal(t, []said.Difference{{Kind: said.Changed, Call: "threatq PUT /api/indicators/{id}", Places: []string{"body.status_id"}, Was: []string{"1"}, Is: []string{"4"}, Turn: 2}}, other.Differences)

	elsewhere := setter(func(in abi.Input) string {
		return strings.ReplaceAll(answers("1")(in), "203.0.113.77", "203.0.113.78")
	}, both...)
	lost, err := Replay(t.Context(), elsewhere, d)
	require.NoError(t, err)
	assert.Equal(t, 1, lost.Diverged, "nothing was recorded for the other value")
	require.Len(t, lost.Differences, 1)
	assert.Equal(t, []string{"query.value"}, lost.Differences[0].Places)

	refused, err := Replay(t.Context(), setter(answers("1"), both[0]), d)
	require.NoError(t, err)
	assert.Equal(t, abi.CodePermit, refused.Dialogue.Fail.Code)
}
