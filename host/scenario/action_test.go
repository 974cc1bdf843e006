package scenario

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// given plays one turn and returns what the module was given.
func given(t *testing.T, m *manifest.Manifest, sections string) (abi.Input, time.Time) {
	t.Helper()
	var in abi.Input
	var clock time.Time
	module := watched{fake{m: m, turn: func(i abi.Input) string { in = i; return done }}, &clock}
	r := run(t, module, "A title\n"+sections+"-- reply --\nsuccess\nDone.\n")
	require.NoError(t, r.Err)
	require.Empty(t, r.Failure)
	return in, clock
}

// watched notes where the clock of a turn stands.
type watched struct {
	fake
	clock *time.Time
}

func (w watched) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
	*w.clock = now
	return w.fake.Turn(ctx, input, now, seed)
}

func TestDefaultsOfAnAction(t *testing.T) {
	in, clock := given(t, fakeManifest(), "-- action.json --\n{\"incident_id\": 1}\n")
	assert.Equal(t, abi.Action{ID: "ID:scenario", Kind: abi.KindRule, Name: "threatq_sync_comment", Title: "ThreatQ: Sync Comment", Object: "note", IncidentID: 1}, in.Action)
	assert.Equal(t, int64(1_580_479_200_000), in.Now)
	assert.True(t, clock.Equal(time.UnixMilli(in.Now)))
	assert.Equal(t, defaultSite(), in.Site)
	assert.Equal(t, map[string]string{"tlp": "", "custom_source": "Resilient"}, in.Settings)
	assert.Len(t, in.Seed, 16)
}

func TestEverythingOfAnActionCanBeSet(t *testing.T) {
	in, clock := given(t, fakeManifest(), `-- action.json --
{"rule": "ThreatQ: Sync Comment", "id": "m1", "operation": "deleted", "object": "task", "task_id": 2, "note_id": 3, "artifact_id": 4,
 "attachment_id": 5, "fields": {"threatq_status": "Active"}, "snapshot": {"name": "a"}, "user": "Ada", "parent": "m0",
 "now": "2026-01-02T03:04:05Z", "site": {"org_name": "Other", "account": {"id": 4}}}
-- settings --
tlp = amber = yellow
`)
	assert.Equal(t, abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_comment", Title: "ThreatQ: Sync Comment", Operation: "deleted", Object: "task",
		TaskID: 2, NoteID: 3, ArtifactID: 4, AttachmentID: 5, Fields: map[string]abi.JSON{"threatq_status": abi.JSON(`"Active"`)},
		Snapshot: abi.Snapshot{Name: "a"}, User: "Ada", Parent: "m0"}, in.Action)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), clock.UTC())
	assert.Equal(t, "Other", in.Site.OrgName)
	assert.Equal(t, abi.Account{Type: "apikey", ID: 4, Name: "threatq integration"}, in.Site.Account)
	assert.Equal(t, "amber = yellow", in.Settings["tlp"])

	in, _ = given(t, fakeManifest(), "-- action.json --\n{\"now\": 17}\n")
	assert.Equal(t, int64(17), in.Now)
}

func TestFunctions(t *testing.T) {
	m := fakeManifest()
	m.Functions = []manifest.Function{{Name: "threatq_add", Title: "ThreatQ: Add", Inputs: []manifest.Field{{Name: "value"}}}}
	in, _ := given(t, m, "-- action.json --\n{\"function\": \"threatq_add\", \"inputs\": {\"value\": 1}}\n")
	assert.Equal(t, abi.Action{ID: "ID:scenario", Kind: abi.KindFunction, Name: "threatq_add", Title: "ThreatQ: Add", Inputs: map[string]abi.JSON{"value": abi.JSON("1")}}, in.Action)
}

func TestFieldsBetweenARuleAndItsSubActions(t *testing.T) {
	in, _ := given(t, fakeManifest(), "-- action.json --\n{\"parent\": \"m0\", \"fields\": {\"agreed_on\": \"Yes\"}}\n")
	assert.Equal(t, map[string]abi.JSON{"agreed_on": abi.JSON(`"Yes"`)}, in.Action.Fields)
}

func TestMistakesOfAnAction(t *testing.T) {
	two := fakeManifest()
	two.Functions = []manifest.Function{{Name: "threatq_add", Inputs: []manifest.Field{{Name: "value"}}}}
	for name, c := range map[string]struct{ sections, want string }{
		"empty":           {"-- action.json --\n", "story.txtar:3: action.json: the section is empty"},
		"not JSON":        {"-- action.json --\n{\n\"a\"\n}\n", "story.txtar:5: action.json: not JSON: JSON: "},
		"unknown key":     {"-- action.json --\n{\"incident\": 1}\n", `story.txtar:3: action.json: unknown field "incident"`},
		"which":           {"-- action.json --\n{}\n", "story.txtar:3: action.json: `rule` or `function` must say which is meant: module fake handles \"ThreatQ: Sync Comment\", \"threatq_add\""},
		"both":            {"-- action.json --\n{\"rule\": \"a\", \"function\": \"b\"}\n", "story.txtar:3: action.json: rule and function exclude each other"},
		"unknown rule":    {"-- action.json --\n{\"rule\": \"ThreatQ: Sync\"}\n", `story.txtar:3: action.json: there is no rule "threatq_sync": module fake handles`},
		"unknown field":   {"-- action.json --\n{\"rule\": \"ThreatQ: Sync Comment\", \"fields\": {\"status\": 1}}\n", "story.txtar:3: action.json: the manifest declares no field status; it has threatq_status"},
		"unknown input":   {"-- action.json --\n{\"function\": \"threatq_add\", \"inputs\": {\"values\": 1}}\n", "story.txtar:3: action.json: the manifest declares no input values; it has value"},
		"operation":       {"-- action.json --\n{\"rule\": \"ThreatQ: Sync Comment\", \"operation\": \"edited\"}\n", `story.txtar:3: action.json: operation "edited" is none of`},
		"time":            {"-- action.json --\n{\"now\": \"yesterday\"}\n", "story.txtar:3: action.json: now: want milliseconds since 1970"},
		"unknown setting": {"-- action.json --\n{}\n-- settings --\n\ntlps = red\n", "story.txtar:6: the manifest of fake declares no setting tlps; it has custom_source, tlp"},
		"no message":      {"-- message.json --\n{\"body\": []}\n", "story.txtar:3: message.json: the message is not a JSON object"},
		"unknown key too": {"-- message.json --\n{\"bodies\": []}\n", `story.txtar:3: message.json: unknown field "bodies"`},
		"rule of message": {"-- message.json --\n{\"rules\": {}, \"body\": {\"action_id\": 51}}\n", `story.txtar:3: message.json: the name of rule 51 is not known: the section does not say it: add "rules": {"51": TITLE}`},
		"other rule":      {"-- message.json --\n{\"rules\": {\"51\": \"Other\"}, \"body\": {\"action_id\": 51}}\n", `story.txtar:3: message.json: no installed module handles the rule "Other". Installed: module fake handles`},
	} {
		t.Run(name, func(t *testing.T) {
			m := says(done)
			m.m = two
			r := run(t, m, "A title\n"+c.sections+"-- reply --\nsuccess\nDone.\n")
			require.Error(t, r.Err)
			assert.Equal(t, c.want, r.Err.Error()[:min(len(c.want), len(r.Err.Error()))])
		})
	}
}

// TestMessagesAreReadAsTheHostDoes plays a real message of SOAR.
func TestMessagesAreReadAsTheHostDoes(t *testing.T) {
	text, err := os.ReadFile("../../testdata/messages/stomp-action-06-sync-comment-menu.json")
	require.NoError(t, err)
	in, clock := given(t, fakeManifest(), "-- message.json --\n"+string(text))
	var message struct {
		Headers map[string]string
		Body    struct{ Incident, Note struct{ ID int64 } }
	}
	require.NoError(t, json.Unmarshal(text, &message))
	assert.Equal(t, message.Headers["message-id"], in.Action.ID)
	assert.Equal(t, "ThreatQ: Sync Comment", in.Action.Title)
	assert.Equal(t, message.Body.Incident.ID, in.Action.IncidentID)
	assert.Equal(t, message.Body.Note.ID, in.Action.NoteID)
	assert.Equal(t, message.Headers["timestamp"], asJSON(t, clock.UnixMilli()))
}

func TestFieldsOfAMessage(t *testing.T) {
	in, clock := given(t, fakeManifest(), `-- message.json --
{
  "now": 5, "rules": {"51": "ThreatQ: Sync Comment"},
  "labels": {"51": {"Status": "own_name"}}, "options": {"own_name": {"7": "Active"}},
  "body": {"action_id": 51, "object_type": 2, "incident": {"id": 1, "org_id": 201}, "properties": {"own_name": 7}}
}
`)
	assert.Equal(t, map[string]abi.JSON{"threatq_status": abi.JSON(`"Active"`)}, in.Action.Fields)
	assert.Equal(t, "ID:scenario", in.Action.ID)
	assert.Equal(t, int64(5), clock.UnixMilli())
}
