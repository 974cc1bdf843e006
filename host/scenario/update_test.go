package scenario

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// update is the file after an update; it must pass then, and stay as it is.
func update(t *testing.T, m Module, text string, common *Common) string {
	t.Helper()
	s, err := Parse("story.txtar", []byte(text), common)
	require.NoError(t, err)
	updated, err := Update(t.Context(), m, s)
	require.NoError(t, err)
	again, err := Parse("story.txtar", updated, common)
	require.NoError(t, err, "%s", updated)
	r := Run(t.Context(), m, again)
	require.NoError(t, r.Err)
	assert.Empty(t, r.Failure, "%s", updated)
	twice, err := Update(t.Context(), m, again)
	require.NoError(t, err)
	assert.Equal(t, string(updated), string(twice))
	return string(updated)
}

func TestUpdateOfAPassingFileChangesNoByte(t *testing.T) {
	odd := strings.ReplaceAll(story, "\n> POST", "\n\n# odd\n\n>   POST")
	odd = strings.Replace(odd, `"points": [1, "..."]}`, "\n\n   \"points\"   : [1,\n\"...\"]}", 1) + "\n\n"
	for _, text := range []string{story, odd} {
		assert.Equal(t, text, update(t, storyModule(t), text, nil))
	}
}

// TestUpdateFromNothing writes a whole story under a title and an action.
func TestUpdateFromNothing(t *testing.T) {
	common, err := ParseCommon("common.txtar", []byte(`c
-- none.json --
{"total": 0, "data": []}
-- answers --
> GET threatq /api/events/{*}
< 404
{"message": "Not found."}

> GET threatq /api/events
< 200 @none.json

> POST threatq /api/events
{"type": "Malware", "...": "*"}
< 500

> POST threatq /api/events
{"type": "Incident", "...": "*"}
< 201
{"data": {"id": 55}}
`))
	require.NoError(t, err)
	assert.Equal(t, head+`
-- turn 1 --
hold: event:1
hold: note:1
progress: Reading A
> GET threatq /api/events/7
< 404
{"message": "Not found."}

> GET threatq /api/events?title=Resilient #1: %
< 200 @none.json

-- turn 2 --
> POST threatq /api/events
{"title": "Resilient #1: A", "type": "Incident", "points": [1, 2]}
< 201
{"data": {"id": 55}}

-- turn 3 --
state

-- reply --
success
Synced to ThreatQ event 55.
results:
{"id": 55, "url": "x"}
`, update(t, storyModule(t), head, common))
}

func TestUpdateKeepsWhatItCan(t *testing.T) {
	old := story
	for _, change := range [][2]string{
		{"hold: note:1\n", ""},
		{"# The event of the incident.\n", "# The event of the incident.\n\n> GET threatq /api/events/8\n< 200\n\n# stays\n"},
		{`"type": "Incident"`, `"type": "Malware"`},
		{"-- turn 2: create it --\n", "-- turn 2 --\n> GET threatq /api/events/9\n< 200\n\n-- turn 3: create it --\n"},
		{"-- turn 3 --\nstate", "-- turn 4 --\nstate"},
		{"event {*}.", "event {*}!"},
		{`{"id": 55, "...": "*"}`, `{"id": 56, "...": "*"}`},
	} {
		require.Contains(t, old, change[0])
		old = strings.Replace(old, change[0], change[1], 1)
	}
	want := strings.Replace(story, "# The event of", "# The event of", 1)
	want = strings.Replace(want, "hold: note:1\nhold: event:1\n", "hold: event:1\nhold: note:1\n", 1)
	want = strings.Replace(want, "\n# The event of the incident.\n", "# stays\n", 1)
	want = strings.Replace(want, "ThreatQ event {*}.", "ThreatQ event 55.", 1)
	assert.Equal(t, want, update(t, storyModule(t), old, nil))
}

// TestUpdatePrefersTheAnswerOfTheSameTurn: two like calls keep their own answers.
func TestUpdatePrefersTheAnswerOfTheSameTurn(t *testing.T) {
	m := says(calls(getEvents), calls(strings.Replace(getEvents, `"e"`, `"e2"`, 1)), done)
	text := head + `
-- turn 1 --
> GET threatq /api/events?title=Resilient #1: %
< 200
{"n": 1}

-- turn 2 --
> GET threatq /api/events?title=Resilient #1: %
< 200
{"n": 2}

`
	assert.Equal(t, text+"-- reply --\nsuccess\nDone.\n", update(t, m, text, nil))

	// In turn 1 the call is not made any more; its answer there is of no use.
	m = says(calls(postEvent), calls(getEvents), done)
	text = strings.Replace(text, "-- turn 1 --\n", "-- turn 1 --\n> POST threatq /api/events\n\"*\"\n< 201\n\n", 1)
	assert.Equal(t, strings.Replace(text, "\n> GET threatq /api/events?title=Resilient #1: %\n< 200\n{\"n\": 1}\n", "", 1)+
		"-- reply --\nsuccess\nDone.\n", update(t, m, text, nil))
}

func TestUpdateOfATurnThatIsTwoNow(t *testing.T) {
	m := says(calls(getEvents), calls(postEvent), done)
	post := "> POST threatq /api/events\n{\"title\": \"*\", \"...\": \"*\"}\n< 201\n"
	text := head + "\n-- turn 1: look and make --\n" + post + "\n> GET threatq /api/events?title=Resilient #1: %\n< 200\n\n"
	assert.Equal(t, head+"\n-- turn 1: look and make --\n> GET threatq /api/events?title=Resilient #1: %\n< 200\n\n"+
		"-- turn 2 --\n"+post+"\n-- reply --\nsuccess\nDone.\n", update(t, m, text, nil))
}

func TestUpdateTakesTheAnswerOfTheSamePath(t *testing.T) {
	m := says(calls(getEvents), done)
	text := head + "\n-- turn 1 --\n> GET threatq /api/events?limit=1&title=SOAR\n< 200\n{\"n\": 1}\n"
	assert.Equal(t, head+"\n-- turn 1 --\n> GET threatq /api/events?title=Resilient #1: %\n< 200\n{\"n\": 1}\n\n-- reply --\nsuccess\nDone.\n", update(t, m, text, nil))
}

func TestUpdateAsksForAnswers(t *testing.T) {
	m := fake{m: fakeManifest(), turn: func(in abi.Input) string {
		switch in.Turn {
		case 1:
			return calls(getEvents)
		case 2:
			return `{"actions":[{"id":"a","rule":"threatq_sync_task","incident_id":1}]}`
		}
		return `{"fail":{"code":"not_found","message":"` + in.Results[0][0].Error.Message + `","retry":true}}`
	}}
	const asks = "No answer is written yet: edit this one in the scenario, then update again."
	assert.Equal(t, head+`
-- turn 1 --
> GET threatq /api/events?title=Resilient #1: %
< 404
{"message": "`+asks+`"}

-- turn 2 --
> action threatq_sync_task
{"incident_id": 1}
< fail not_found `+asks+`

-- fail --
not_found retry
`+asks+`
`, update(t, m, head, nil))

	common, err := ParseCommon("common.txtar", []byte("c\n-- answers --\n> action threatq_sync_task\n< reply Synced.\n"))
	require.NoError(t, err)
	assert.Contains(t, update(t, m, head, common), "{\"incident_id\": 1}\n< reply Synced.\n")
}

func TestTextsThatCannotStandInALine(t *testing.T) {
	long := strings.Repeat("long ", 25) + "end"
	m := says(`{"calls":[{"id":"q","service":"threatq","method":"GET","path":"/api/events","idempotent":false,`+
		`"query":{"a":" b","c":"d&e","f":"g\nh","i":"\"j\"","k":"","l":"m=n?"}},`+
		`{"id":"l","service":"threatq","method":"GET","path":"/api/events","query":{"with":"`+long+`"},"idempotent":true}],`+
		`"hold":[" x","\"y"],"progress":"two\nlines"}`, `{"reply":{"success":false,"message":"\nresults:\nTwo\n\nlines\n"}}`)
	assert.Equal(t, head+`
-- turn 1 --
hold: " x"
hold: "\"y"
progress: "two\nlines"
> GET threatq /api/events
  ?a=" b"
  ?c=d&e
  ?f="g\nh"
  ?i="\"j\""
  ?k=
  ?l=m=n?
idempotent: false
< 404
{"message": "No answer is written yet: edit this one in the scenario, then update again."}

> GET threatq /api/events
  ?with=`+long+`
< 404
{"message": "No answer is written yet: edit this one in the scenario, then update again."}

-- reply --
failed
"\nresults:\nTwo\n\nlines"
`, update(t, m, head, nil))
}

func TestUpdateOfAnActionThatTheHostWouldEnd(t *testing.T) {
	s := parse(t, head)
	_, err := Update(t.Context(), says(calls(`{"id":"x","service":"threatq","method":"GET","path":"/api/adversaries"}`)), s)
	assert.EqualError(t, err, `story.txtar: turn 1: module fake was refused a call: call "x": threatq GET /api/adversaries is not among the calls of the module's manifest`)
}
