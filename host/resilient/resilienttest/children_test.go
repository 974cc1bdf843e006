package resilienttest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// firings collects the messages of automatic rules as "note 113 created" lines.
type firings struct {
	mu    sync.Mutex
	lines []string
}

func (f *firings) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.lines
	f.lines = nil
	return lines
}

func watched(t *testing.T, o resilienttest.Options) (*resilienttest.Server, *client, *firings) {
	f := &firings{}
	o.OnMessage = func(m resilienttest.Message) {
		var body map[string]any
		assert.NoError(t, json.Unmarshal(m.Body, &body))
		kind := map[float64]string{0: "incident", 1: "task", 2: "note", 4: "artifact"}[body["object_type"].(float64)]
		line := fmt.Sprint(kind, " ", dig(body, kind, "id"), " ", body["operation_type"])
		if kind == "note" && body["task"] != nil {
			line += fmt.Sprint(" in task ", dig(body, "task", "id"))
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lines = append(f.lines, line)
	}
	s, c := loggedIn(t, o)
	return s, c, f
}

func TestNotesFireRulesWhoeverWritesThem(t *testing.T) {
	s, c, fired := watched(t, resilienttest.Options{})
	note := s.AddNote(2095, 0, "<p>one</p>")
	reply := s.ReplyTo(note, "two")
	ofTask := s.ReplyTo(111, "three")
	s.EditNote(reply, "two and a half")
	s.EditNote(reply, "two and a half") // a save without a change
	require.Equal(t, []string{"note 113 created", "note 114 created", "note 115 created in task 17", "note 114 modified"}, fired.take())
	require.Equal(t, note, s.Note(reply)["parent_id"])
	require.EqualValues(t, 17, s.Note(ofTask)["task_id"])

	path := org + "/incidents/2095/comments/"
	_, answer := c.do("GET", fmt.Sprint(path, reply)+"?text_content_output_format=objects_convert", nil)
	require.Equal(t, map[string]any{"format": "html", "content": "two and a half"}, dig(answer, "text"))
	_, answer = c.do("GET", path+"113", nil)
	require.InDelta(t, reply, dig(answer.(map[string]any)["children"].([]any)[0], "id"), 0)

	// our own account: nothing keeps its saves from firing
	_, posted := c.do("POST", org+"/incidents/2095/comments", map[string]any{"text": map[string]any{"format": "text", "content": "[ThreatQ] done"}, "parent_id": note})
	status, _ := c.do("PUT", fmt.Sprint(path, dig(posted, "id")), map[string]any{"text": "[ThreatQ] all done"})
	require.Equal(t, 200, status)
	require.Equal(t, []string{"note 116 created", "note 116 modified"}, fired.take())
	require.Equal(t, "[ThreatQ] all done", s.Note(116)["text"])
	key := newClient(t, s)
	key.basic = true
	_, byKey := key.do("POST", org+"/tasks/17/comments", map[string]any{"text": "by an API key"})
	require.Equal(t, "apikey", dig(byKey, "modify_principal", "type"))
	_, byUser := c.do("PUT", fmt.Sprint(org, "/tasks/17/comments/", dig(byKey, "id")), map[string]any{"text": "by a user"})
	require.Equal(t, "user", dig(byUser, "modify_principal", "type"))
	require.Equal(t, []string{"note 117 created in task 17", "note 117 modified in task 17"}, fired.take())

	s.DeleteNote(note)
	require.Equal(t, true, s.Note(note)["is_deleted"], "it has replies")
	s.DeleteNote(reply)
	status, _ = c.do("DELETE", path+"116", nil)
	require.Equal(t, 200, status)
	require.Equal(t, []string{"note 113 deleted", "note 114 deleted", "note 116 deleted"}, fired.take())
	status, _ = c.do("GET", fmt.Sprint(path, reply), nil)
	require.Equal(t, 404, status)
	status, _ = c.do("POST", org+"/incidents/2095/comments", map[string]any{"text": "x", "parent_id": reply})
	require.Equal(t, 400, status, "a reply to nothing")
}

func TestTheContextTokenStopsTheSameRuleOnlyAndForADay(t *testing.T) {
	now := time.UnixMilli(1580479200000)
	var mu sync.Mutex
	s, c, fired := watched(t, resilienttest.Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	token := s.ActionMessage("ThreatQ: Sync Comment", resilienttest.ActionOptions{NoteID: 110}).Headers["Co3ContextToken"]
	post := func(path, body string) {
		response, data, err := c.request("POST", org+path, strings.NewReader(body), map[string]string{"X-Co3ContextToken": token})
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode, "%s", data)
	}
	post("/incidents/2095/comments", `{"text":"quiet"}`)
	post("/tasks/17/comments", `{"text":"quiet"}`)
	require.Empty(t, fired.take())
	post("/incidents/2095/tasks", `{"name":"loud"}`)
	post("/incidents/2095/artifacts", `{"type":"DNS Name","value":"loud.example.net"}`)
	require.Equal(t, []string{"task 18 created", "artifact 1550 created"}, fired.take())
	mu.Lock()
	now = now.Add(25 * time.Hour)
	mu.Unlock()
	post("/incidents/2095/comments", `{"text":"the token has expired"}`)
	require.Equal(t, []string{"note 115 created"}, fired.take())
}

func TestTasks(t *testing.T) {
	s, c, fired := watched(t, resilienttest.Options{})
	bob := s.AddUser("Bob", "Builder", "bob@example.com")
	id := s.AddTask(2095, map[string]any{"name": "Block", "owner_id": "bob@example.com", "instr_text": "<p>Do it</p>", "due_date": 1580500000000})
	path := fmt.Sprint(org, "/tasks/", id)
	get := func() map[string]any {
		status, task := c.do("GET", path+"?handle_format=names&text_content_output_format=objects_convert", nil)
		require.Equal(t, 200, status)
		return task.(map[string]any)
	}
	task := get()
	require.Equal(t, "bob@example.com", task["owner_id"])
	require.Equal(t, []any{"Bob", "Builder"}, []any{task["owner_fname"], task["owner_lname"]})
	require.Equal(t, map[string]any{"format": "html", "content": "<p>Do it</p>"}, task["instr_text"])
	require.Equal(t, task["instr_text"], task["instructions"])
	require.InDelta(t, 1580500000000, task["due_date"], 0)
	_, user := c.do("GET", fmt.Sprint(org, "/users/", bob), nil)
	require.Equal(t, "bob@example.com", dig(user, "email"))

	// the whole object as it was read, with changes
	require.Equal(t, "Initial", task["cat_name"])
	task["phase_id"] = "Respond"
	task["due_date"], task["owner_id"], task["status"], task["active"] = nil, nil, "C", false
	task["instr_text"] = map[string]any{"format": "text", "content": "a < b"}
	status, answer := c.do("PUT", path, task)
	require.Equal(t, 200, status, "%v", answer)
	task = get()
	require.Equal(t, []any{nil, nil, nil, "C", false}, []any{task["due_date"], task["owner_id"], task["owner_fname"], task["status"], task["active"]})
	require.NotNil(t, task["closed_date"])
	require.Equal(t, "Respond", task["cat_name"])
	require.Equal(t, map[string]any{"format": "text", "content": "a < b"}, task["instructions"])
	s.ReopenTask(id)
	require.Nil(t, get()["closed_date"])
	s.CloseTask(id)
	require.NotNil(t, get()["closed_date"])
	s.AddNote(2095, id, "x")
	s.AddAttachment(2095, id, "a.txt", "text/plain", nil)
	s.AddAttachment(2095, id, "b.txt", "text/plain", nil)
	require.Equal(t, []any{1.0, 2.0}, []any{get()["notes_count"], get()["attachments_count"]})
	training := s.AddIncident(map[string]any{"inc_training": true})
	require.Equal(t, true, s.Task(s.AddTask(training, nil))["inc_training"])
	require.Equal(t, false, get()["inc_training"])
	require.Equal(t, []string{"task 18 created", "task 18 modified", "task 18 modified", "task 18 modified", "note 113 created in task 18", "incident 2096 created", "task 19 created"}, fired.take())

	for _, bad := range []map[string]any{{"status": "D"}, {"due_date": "tomorrow"}, {"name": ""}, {"owner_id": "nobody@example.com"}} {
		status, _ := c.do("PUT", path, bad)
		require.Equal(t, 400, status, "%v", bad)
	}
	status, _ = c.do("DELETE", path, nil)
	require.Equal(t, 200, status)
	require.Equal(t, []string{"task 18 deleted"}, fired.take())
	status, _ = c.do("GET", path+"/comments/113", nil)
	require.Equal(t, 404, status)
	require.Nil(t, s.Note(113))
}

func TestPrivateTasks(t *testing.T) {
	for _, want := range []int{403, 404} {
		s, c, fired := watched(t, resilienttest.Options{PrivateTaskStatus: want})
		id := s.AddTask(2095, map[string]any{"name": "Secret", "private": true})
		s.AddNote(2095, id, "x")
		require.Equal(t, []string{"task 18 created", "note 113 created in task 18"}, fired.take(), "messages come all the same")
		for _, path := range []string{"", "/comments", "/comments/113", "/attachments"} {
			status, _ := c.do("GET", fmt.Sprint(org, "/tasks/", id, path), nil)
			require.Equal(t, want, status, path)
		}
		_, tasks := c.do("GET", org+"/incidents/2095/tasks", nil)
		require.Len(t, tasks, 1)
		status, _ := c.do("GET", org+"/tasks/17", nil)
		require.Equal(t, 200, status)
	}
}

func TestDeletingAnIncidentMayFireTheRulesOfItsChildren(t *testing.T) {
	for cascade, want := range map[bool][]string{
		false: {"incident 2095 deleted"},
		true:  {"note 111 deleted in task 17", "task 17 deleted", "artifact 1532 deleted", "artifact 1538 deleted", "note 110 deleted", "incident 2095 deleted"},
	} {
		s, c, fired := watched(t, resilienttest.Options{CascadeMessages: cascade})
		status, _ := c.do("DELETE", org+"/incidents/2095", nil)
		require.Equal(t, 200, status)
		require.Equal(t, want, fired.take())
		require.Nil(t, s.Task(17))
		require.Empty(t, s.Attachments(2095))
	}
}

func TestAMessageAboutANoteMayLackTheTask(t *testing.T) {
	s := start(t, resilienttest.Options{})
	var body map[string]any
	require.NoError(t, json.Unmarshal(s.ActionMessage("ThreatQ: Sync Comment", resilienttest.ActionOptions{NoteID: 111, WithoutTask: true}).Body, &body))
	require.Nil(t, body["task"])
	require.NotContains(t, body["type_info"], "task")
	require.InDelta(t, 17, dig(body, "note", "task_id"), 0)
}

func TestATaskOfAnotherIncidentIsAMistakeOfTheTest(t *testing.T) {
	s := start(t, resilienttest.Options{})
	other := s.AddIncident(nil)
	require.PanicsWithValue(t, fmt.Sprintf("resilienttest: task 17 does not belong to incident %d", other), func() { s.AddNote(other, 17, "x") })
}
