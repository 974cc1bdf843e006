package scenario

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// story is what the module of TestStory is played to.
const story = head + `
-- turn 1: look --
hold: note:1
hold: event:1
progress: Reading {*}

# The event of the incident.
> GET threatq /api/events?title=Resilient #{*}: %
< 200
{"total": 0, "data": []}

> GET threatq /api/events/7
< 404
{"message": "Not found."}

-- turn 2: create it --
> POST threatq /api/events
{"type": "Incident", "title": "*", "points": [1, "..."]}
< 201
{"data": {"id": 55}}

-- turn 3 --
state

-- reply --
success
Synced to ThreatQ event {*}.
results:
{"id": 55, "...": "*"}
`

func storyModule(t *testing.T) fake {
	return fake{m: fakeManifest(), turn: func(in abi.Input) string {
		switch in.Turn {
		case 1:
			return `{"calls":[{"id":"g","service":"threatq","method":"GET","path":"/api/events/7","idempotent":true},` + getEvents + `],"hold":["event:1","note:1"],"progress":"Reading A"}`
		case 2:
			require.Len(t, in.Results[0], 2)
			assert.Equal(t, abi.Result{ID: "g", Status: 404, Error: &abi.CallError{Code: abi.CodeHTTP, Message: "Not found."}}, in.Results[0][0])
			assert.Equal(t, `{"total":0,"data":[]}`, string(in.Results[0][1].Body))
			return calls(postEvent)
		case 3:
			assert.Equal(t, `{"data":{"id":55}}`, string(in.Results[1][0].Body))
			return `{"state":{"page":2}}`
		}
		assert.Empty(t, in.Results, "the state cuts the history")
		assert.Equal(t, `{"page":2}`, string(in.State))
		return `{"reply":{"success":true,"message":"Synced to ThreatQ event 55.","results":{"id":55,"url":"x"}}}`
	}}
}

func TestStory(t *testing.T) {
	r := run(t, storyModule(t), story)
	require.NoError(t, r.Err)
	assert.Empty(t, r.Failure)
	assert.Equal(t, 4, r.Turns)
	assert.Equal(t, 3, r.Calls)
	assert.Equal(t, `-- turn 1 --
hold: event:1
hold: note:1
progress: Reading A
> GET threatq /api/events/7
< 404
{"message": "Not found."}
> GET threatq /api/events?title=Resilient #1: %
< 200
{"total": 0, "data": []}
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
`, r.Dialogue)
}

func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"body": {`"type": "Incident"`, `"type": "Malware"`, `turn 2, create it (line 20): the call of line 21 differs
    > POST threatq /api/events
  - {"type": "Malware", "title": "*", "points": [1, "..."]}
  + {"type": "Incident", "title": "*", "points": [1, "..."]}
`},
		"query": {`title=Resilient #{*}: %`, `title=SOAR %`, `turn 1, look (line 6): the call of line 12 differs
  - > GET threatq /api/events?title=SOAR %
  + > GET threatq /api/events?title=Resilient #1: %
`},
		"option": {"/api/events\n{\"type\"", "/api/events\nidempotent: true\n{\"type\"", `turn 2, create it (line 20): the call of line 21 differs
    > POST threatq /api/events
  - idempotent: true
    {"type": "Incident", "title": "*", "points": [1, "..."]}
`},
		"missing": {"-- turn 2", "> GET threatq /api/events?limit=1\n< 200\n\n-- turn 2", `turn 1, look (line 6): the call of line 20 is missing
  - > GET threatq /api/events?limit=1
`},
		"too many": {"> GET threatq /api/events/7\n< 404\n{\"message\": \"Not found.\"}\n", "", `turn 1, look (line 6): a call that the story does not have here
  + > GET threatq /api/events/7
`},
		"in another turn": {"> GET threatq /api/events/7\n< 404\n{\"message\": \"Not found.\"}\n\n-- turn 2: create it --\n", "-- turn 2 --\n> GET threatq /api/events/7\n< 404\n",
			`turn 1, look (line 6): a call that the story does not have here (turn 2 has it, line 17)
  + > GET threatq /api/events/7
`},
		"hold": {"hold: note:1\n", "hold: note:2\n", `turn 1, look (line 6): hold keys, progress or state differ
  - hold: note:2
    hold: event:1
  + hold: note:1
    progress: Reading {*}
`},
		"hold that is not there": {"hold: note:1\n", "", `turn 1, look (line 6): hold keys, progress or state differ
    hold: event:1
  + hold: note:1
    progress: Reading {*}
`},
		"progress": {"progress: Reading {*}\n", "", `turn 1, look (line 6): hold keys, progress or state differ
    hold: note:1
    hold: event:1
  + progress: Reading A
`},
		"state": {"state\n", "", `turn 3 (line 26): hold keys, progress or state differ
  + state
`},
		"message": {"event {*}.", "event {*}!", `turn 4, the end (line 29): it differs
    -- reply --
    success
  - Synced to ThreatQ event {*}!
  + Synced to ThreatQ event 55.
    results:
    {"id": 55, "...": "*"}
`},
		"results": {`{"id": 55,`, `{"id": 56,`, `turn 4, the end (line 29): it differs
    -- reply --
    success
    Synced to ThreatQ event {*}.
    results:
  - {"id": 56, "...": "*"}
  + {"id": 55, "...": "*"}
`},
		"success": {"success\n", "failed\n", `turn 4, the end (line 29): it differs
    -- reply --
  - failed
  + success
    Synced to ThreatQ event {*}.
    results:
    {"id": 55, "...": "*"}
`},
		"the action ends later": {"-- turn 3 --\nstate\n\n", "", `turn 3: the module goes on, where the story ends
  + state
  - -- reply --
  - success
  - Synced to ThreatQ event {*}.
  - results:
  - {"id": 55, "...": "*"}
`},
		"the action ends earlier": {"-- reply --", "-- turn 4 --\n> GET threatq /api/events/3\n< 200\n-- reply --", `turn 4 (line 29): the module ended the action here, the story goes on
  + -- reply --
  + success
  + Synced to ThreatQ event 55.
  + results:
  + {"id": 55, "url": "x"}
  - > GET threatq /api/events/3
`},
		"no end": {story[strings.Index(story, "-- reply"):], "", `turn 4: the story does not say how it ends; the module ends it with
  + -- reply --
  + success
  + Synced to ThreatQ event 55.
  + results:
  + {"id": 55, "url": "x"}
run with --update to write it into the file
`},
		"not written yet": {story[strings.Index(story, "-- turn 3"):], "", `turn 3: the story stops before the action ends; the module goes on with
  + state
run with --update to write it into the file
`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, story, c.from)
			module := storyModule(t)
			r := run(t, module, strings.Replace(story, c.from, c.to, 1))
			require.NoError(t, r.Err)
			assert.Equal(t, c.want, r.Failure)
		})
	}
}

func TestFailureIsHeldAgainstTheStory(t *testing.T) {
	m := says(`{"fail":{"code":"not_found","message":"Incident 1 no longer exists.","retry":true}}`)
	assert.Empty(t, run(t, m, head+"-- fail --\nnot_found retry\nIncident {*} no longer exists.\n").Failure)
	for _, end := range []string{"-- fail --\nnot_found\nIncident {*} no longer exists.\n", "-- fail --\ninput retry\nIncident {*} no longer exists.\n", "-- reply --\nfailed\nIncident 1 no longer exists.\n"} {
		assert.Contains(t, run(t, m, head+end).Failure, "turn 1, the end (line 5): it differs")
	}
}

// TestBrokenContract: what the host would end an action for fails the scenario.
func TestBrokenContract(t *testing.T) {
	n := 0
	for name, c := range map[string]struct {
		m    fake
		want string
	}{
		"no permit": {says(calls(`{"id":"x","service":"threatq","method":"GET","path":"/api/adversaries"}`)),
			`turn 1: module fake was refused a call: call "x": threatq GET /api/adversaries is not among the calls of the module's manifest`},
		"two of one id": {says(calls(getEvents, getEvents)), `turn 1: module fake was refused a call: two calls of the action have the id "e"`},
		"no such file": {says(calls(`{"id":"u","service":"threatq","method":"POST","path":"/api/attachments","upload":{"part":"file","file_name":"a","blob":"blob-9"}}`)),
			`turn 1: module fake was refused a call: call "u": this action has no blob "blob-9"`},
		"two kinds":         {says(`{"calls":[` + getEvents + `],"reply":{"success":true,"message":""}}`), "turn 1: module fake broke the contract: its answer holds more than one of calls, actions, reply and fail"},
		"not JSON":          {says(`hello`), "turn 1: module fake broke the contract: its answer is not the JSON that is wanted"},
		"unknown code":      {says(`{"fail":{"code":"oops","message":"a"}}`), `turn 1: module fake broke the contract: its failure has the code "oops"`},
		"unknown action":    {says(`{"actions":[{"id":"a","rule":"threatq_import","incident_id":1}]}`), `turn 1: module fake: sub-action "a": threatq_import is not among the actions`},
		"foreign incident":  {says(`{"actions":[{"id":"a","rule":"threatq_sync_task","incident_id":2}]}`), `turn 1: module fake: sub-action "a": only a rule without a lane`},
		"action with holds": {says(`{"actions":[{"id":"a","rule":"threatq_sync_task","incident_id":1}],"hold":["a"]}`), `turn 1: module fake: an action that holds keys cannot start`},
		"not deterministic": {fake{m: fakeManifest(), turn: func(abi.Input) string {
			n++
			return strings.Replace(done, "Done", strings.Repeat("Done", n), 1)
		}}, "turn 1: the module is not deterministic"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, c.m, head+"-- reply --\nsuccess\nDone.\n")
			require.NoError(t, r.Err)
			assert.Equal(t, c.want, r.Failure[:min(len(c.want), len(r.Failure))])
		})
	}
}

func TestEndlessActionIsEnded(t *testing.T) {
	m := fake{m: fakeManifest(), turn: func(abi.Input) string { return `{"state":1}` }}
	m.m.Limits.Turns = 3
	text := head
	for n := range 4 {
		text += "-- turn " + string(rune('1'+n)) + " --\nstate\n"
	}
	assert.Contains(t, run(t, m, text).Failure, "module fake took more than 3 turns")
}

// trap is a module whose turns fail.
type trap struct{ fake }

func (trap) Turn(context.Context, []byte, time.Time, uint64) ([]byte, []string, error) {
	return nil, []string{"panic: out of luck"}, errors.New("module fake trapped")
}

func TestTrapShowsWhatTheModulePrinted(t *testing.T) {
	r := run(t, trap{says(done)}, head+"-- turn 1 --\n-- reply --\nsuccess\n")
	assert.Equal(t, "turn 1 (line 5): module fake trapped\nthe module printed:\n  panic: out of luck\n", r.Failure)
}

func TestEndOfTheRunIsAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := fake{m: fakeManifest(), turn: func(abi.Input) string { cancel(); return calls(getEvents) }}
	r := Run(ctx, m, parse(t, story))
	assert.ErrorIs(t, r.Err, context.Canceled)
}

func TestLongDiffsAreShortened(t *testing.T) {
	common := strings.Repeat("same\n", 20)
	assert.Equal(t, "  first\n  …\n  same\n  same\n  same\n- a\n+ b\n  same\n  same\n  same\n  …\n", diff("first\n"+common+"a\n"+common, "first\n"+common+"b\n"+common))
	long := strings.Repeat("x\n", 3000)
	assert.Equal(t, each("- ", long)+each("+ ", long+"y\n"), diff(long, long+"y\n"), "too long to be compared")
}
