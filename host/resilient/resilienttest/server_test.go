package resilienttest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/resilient/resilienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const artifacts = "/rest/orgs/201/incidents/2095/artifacts"

func loggedIn(t *testing.T, o resilienttest.Options) (*resilienttest.Server, *client) {
	s := start(t, o)
	c := newClient(t, s)
	c.login()
	return s, c
}

func TestCallsNeedASession(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	status, _ := c.do("GET", artifacts, nil)
	require.Equal(t, 200, status)

	wrongToken := *c
	wrongToken.csrf = "x"
	status, _ = wrongToken.do("GET", artifacts, nil)
	require.Equal(t, 401, status, "the cookie alone is not enough")

	s.ExpireSessions()
	status, _ = c.do("GET", artifacts, nil)
	require.Equal(t, 401, status)
	c.csrf = ""
	c.login()
	status, _ = c.do("DELETE", "/rest/session", nil)
	require.Equal(t, 200, status)
	status, _ = c.do("GET", artifacts, nil)
	require.Equal(t, 401, status)
	require.Zero(t, s.RefusedLogins(), "an ended session is no refused login")
}

func TestIdleSessionsEnd(t *testing.T) {
	now := time.UnixMilli(1580479200000)
	var mu sync.Mutex
	_, c := loggedIn(t, resilienttest.Options{SessionTimeout: time.Minute, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{59 * time.Second, 200}, {59 * time.Second, 200}, {61 * time.Second, 401}} {
		mu.Lock()
		now = now.Add(step.after)
		mu.Unlock()
		status, _ := c.do("GET", artifacts, nil)
		require.Equal(t, step.want, status)
	}
}

func TestACookieConfusesAKey(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, s)
	c.basic = true
	response, _, err := c.request("GET", artifacts, http.NoBody, nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	cookies := response.Cookies()
	require.Len(t, cookies, 1)
	response, _, err = c.request("GET", artifacts, http.NoBody, map[string]string{"Cookie": cookies[0].Name + "=" + cookies[0].Value})
	require.NoError(t, err)
	require.Equal(t, 401, response.StatusCode)
}

func TestTheAddressIsBannedAfterRefusedLogins(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{BanAfter: 2})
	wrong := map[string]any{"email": resilienttest.DefaultEmail, "password": "wrong"}
	for range 3 {
		status, _ := c.do("POST", "/rest/session", wrong)
		require.Equal(t, 401, status)
	}
	require.True(t, s.Banned())
	status, _ := c.do("GET", artifacts, nil)
	require.Equal(t, 401, status, "also with a good session")
	s.Unban()
	status, _ = c.do("GET", artifacts, nil)
	require.Equal(t, 200, status)
}

func TestFormats(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{CustomSelectNames: true})
	s.UpdateIncident(2095, map[string]any{"description": map[string]any{"format": "text", "content": "a < b"}, "members": []string{"admin@example.com"}})
	const path = "/rest/orgs/201/incidents/2095"
	get := func(query string, header map[string]string) map[string]any {
		response, data, err := c.request("GET", path+query, http.NoBody, header)
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		var v map[string]any
		require.NoError(t, json.Unmarshal(data, &v))
		return v
	}
	plain := get("", nil)
	require.Equal(t, "a < b", plain["description"])
	require.Equal(t, []any{5.0}, plain["members"])
	objects := get("?handle_format=objects&text_content_output_format=objects_convert_html", nil)
	require.Equal(t, map[string]any{"id": 4.0, "name": "Low"}, objects["severity_code"])
	require.Equal(t, []any{map[string]any{"id": 5.0, "name": "admin@example.com"}}, objects["members"])
	require.Equal(t, map[string]any{"format": "html", "content": "<div>a &lt; b</div>"}, objects["description"])
	byHeader := map[string]string{"handle_format": "names", "text_content_output_format": "objects_convert"}
	named := get("", byHeader)
	require.Equal(t, "Low", named["severity_code"])
	require.Equal(t, "High", dig(named, "properties", "internal_confidence"))
	require.Equal(t, map[string]any{"format": "text", "content": "a < b"}, named["description"])
	require.InDelta(t, 4, get("?handle_format=ids", byHeader)["severity_code"], 0, "the query parameter beats the header")
}

func TestArtifactsAreSplitAndChecked(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{MaxArtifacts: 8})
	for _, test := range []struct {
		body   map[string]any
		status int
		values []string
	}{
		{map[string]any{"type": "DNS Name", "value": "a.example.com b.example.com\nc.example.com"}, 200, []string{"a.example.com", "b.example.com", "c.example.com"}},
		{map[string]any{"type": map[string]any{"name": "File Name"}, "value": "two words.txt"}, 200, []string{"two words.txt"}},
		{map[string]any{"type": "HTTP Request Header", "value": "A: b c\nD: e"}, 200, []string{"A: b c", "D: e"}},
		{map[string]any{"type": "IP Address", "value": "198.51.100.1 nonsense"}, 400, nil},
		{map[string]any{"type": "No Such Type", "value": "x"}, 400, nil},
		{map[string]any{"type": "Malware Sample", "value": "x.exe"}, 400, nil},
		{map[string]any{"type": "String", "value": "  "}, 400, nil},
		{map[string]any{"type": "DNS Name", "value": "x.example.com"}, 400, nil}, // the ninth
	} {
		before := len(s.Artifacts(2095))
		status, answer := c.do("POST", artifacts, test.body)
		require.Equal(t, test.status, status, "%v: %v", test.body, answer)
		var values []string
		if list, ok := answer.([]any); ok {
			for _, item := range list {
				values = append(values, dig(item, "value").(string))
			}
		}
		require.Equal(t, test.values, values)
		require.Len(t, s.Artifacts(2095), before+len(test.values), "all or nothing")
	}
}

func TestDuplicateArtifacts(t *testing.T) {
	for name, test := range map[string]struct {
		mode   resilienttest.Duplicates
		status int
		answer string
		added  int
	}{
		"existing": {resilienttest.DuplicateExisting, 200, `[1538]`, 0},
		"empty":    {resilienttest.DuplicateEmpty, 200, `[]`, 0},
		"refused":  {resilienttest.DuplicateRefused, 400, ``, 0},
		"created":  {resilienttest.DuplicateCreated, 200, `[1550]`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := loggedIn(t, resilienttest.Options{Duplicates: test.mode})
			status, answer := c.do("POST", artifacts, map[string]any{"type": 2, "value": "bad.example.net"})
			require.Equal(t, test.status, status)
			if test.answer != "" {
				ids := []any{}
				for _, item := range answer.([]any) {
					ids = append(ids, dig(item, "id"))
				}
				require.JSONEq(t, test.answer, string(mustJSON(t, ids)))
			}
			require.Len(t, s.Artifacts(2095), 2+test.added)
		})
	}
	t.Run("answer is one object", func(t *testing.T) {
		_, c := loggedIn(t, resilienttest.Options{ArtifactAnswerObject: true})
		_, answer := c.do("POST", artifacts, map[string]any{"type": 2, "value": "new.example.net"})
		require.Equal(t, "new.example.net", dig(answer, "value"))
	})
}

func TestForbiddenAndDeletedIncidents(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	paths := []string{"/rest/orgs/201/incidents/2095", artifacts + "/1532", "/rest/orgs/201/tasks/17", "/rest/orgs/201/tasks/17/comments/111"}
	expect := func(want int) {
		for _, path := range paths {
			status, answer := c.do("GET", path, nil)
			require.Equal(t, want, status, path)
			if want != 200 {
				require.Equal(t, "generic", dig(answer, "error_code"))
			}
		}
	}
	expect(200)
	s.Forbid(2095)
	expect(403)
	s.Allow(2095)
	expect(200)
	s.DeleteIncident(2095)
	expect(404)
	status, _ := c.do("GET", "/rest/orgs/202/incidents/2095", nil)
	require.Equal(t, 403, status, "another organization")
}

func TestFaults(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	s.Inject(resilienttest.Fault{Method: "GET", PathSuffix: "/1532", Skip: 1, Times: 2, Status: 503})
	var statuses []int
	for range 4 {
		status, _ := c.do("GET", artifacts+"/1532", nil)
		statuses = append(statuses, status)
	}
	require.Equal(t, []int{200, 503, 503, 200}, statuses)

	post := func(value string) error {
		_, _, err := c.request("POST", artifacts, strings.NewReader(`{"type":"DNS Name","value":"`+value+`"}`), nil)
		return err
	}
	remove := s.Inject(resilienttest.Fault{Method: "POST", LoseAnswer: true})
	require.Error(t, post("lost.example.com"))
	require.Len(t, s.Artifacts(2095), 3, "the server acted, only the answer is lost")
	remove()
	s.Inject(resilienttest.Fault{Method: "POST", CutBefore: true})
	require.Error(t, post("cut.example.com"))
	require.Len(t, s.Artifacts(2095), 3)
	last := s.Requests()[len(s.Requests())-1]
	require.Zero(t, last.Status)
	s.ClearFaults()
	require.NoError(t, post("good.example.com"))
	require.Len(t, s.Artifacts(2095), 4)
}

func TestNotesTasksAndFiles(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	const incident, task = "/rest/orgs/201/incidents/2095", "/rest/orgs/201/tasks/17"
	status, note := c.do("POST", task+"/comments", map[string]any{"text": map[string]any{"format": "text", "content": "reply"}, "parent_id": 111})
	require.Equal(t, 200, status)
	_, list := c.do("GET", task+"/comments", nil)
	require.Len(t, list, 1)
	require.Equal(t, dig(note, "id"), dig(list.([]any)[0].(map[string]any)["children"].([]any)[0], "id"))
	status, _ = c.do("DELETE", task+"/comments/111", nil)
	require.Equal(t, 200, status)
	_, kept := c.do("GET", task+"/comments/111", nil)
	require.Equal(t, true, dig(kept, "is_deleted"), "a note with replies is only marked")
	status, _ = c.do("GET", incident+"/comments/111", nil)
	require.Equal(t, 404, status, "a note of a task is not one of the incident")

	status, created := c.do("POST", incident+"/tasks", map[string]any{"name": "Block", "inc_id": "not ours", "owner_id": "analyst@example.com"})
	require.Equal(t, 200, status)
	require.InDelta(t, 18, dig(created, "id"), 0)
	require.Equal(t, "analyst@example.com", s.Task(18)["owner_id"])
	status, _ = c.do("PUT", "/rest/orgs/201/tasks/18", map[string]any{"status": "C"})
	require.Equal(t, 200, status)
	require.NotNil(t, s.Task(18)["closed_date"])
	status, _ = c.do("PATCH", "/rest/orgs/201/tasks/18", map[string]any{})
	require.Equal(t, 405, status, "tasks have no PATCH")

	body, contentType := multipartFile(t, "a.exe", []byte("MZ"), [2]string{"artifact", `{"type":12,"value":"a.exe"}`})
	response, data, err := c.request("POST", artifacts+"/files", bytes.NewReader(body), map[string]string{"Content-Type": contentType})
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, "%s", data)
	response, data, err = c.request("GET", artifacts+"/1550/contents", http.NoBody, nil)
	require.NoError(t, err)
	require.Equal(t, "MZ", string(data))
	require.Equal(t, "2", response.Header.Get("Content-Length"))
	_, attachments := c.do("GET", incident+"/attachments", nil)
	require.Len(t, attachments, 1, "the file of an artifact is no attachment of the incident")
}

func TestQueryPaged(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Empty: true})
	for i := range 5 {
		s.AddIncident(map[string]any{"name": string(rune('a' + i)), "create_date": 1000 * (5 - i), "severity_code": "High"})
	}
	s.UpdateIncident(2097, map[string]any{"plan_status": "C"})
	query := func(body string) (names string) {
		var b map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &b))
		status, answer := c.do("POST", "/rest/orgs/201/incidents/query_paged", b)
		require.Equal(t, 200, status, "%v", answer)
		for _, row := range dig(answer, "data").([]any) {
			names += dig(row, "name").(string)
			require.Len(t, row, 12, "the short row")
		}
		return names
	}
	const byDate = `"sorts":[{"field_name":"create_date","type":"asc"}]`
	require.Equal(t, "dcba", query(`{"filters":[{"conditions":[{"field_name":"create_date","method":"gte","value":2000}]}],`+byDate+`}`))
	require.Equal(t, "cb", query(`{"start":2,"length":2,`+byDate+`}`))
	require.Equal(t, "", query(`{"start":10,"length":2}`))
	require.Equal(t, "b", query(`{"filters":[{"conditions":[{"field_name":"plan_status","method":"equals","value":"C"}]}]}`))
	require.Equal(t, "ab", query(`{"filters":[{"conditions":[{"field_name":"name","method":"equals","value":"a"}]},{"conditions":[{"field_name":"plan_status","method":"equals","value":"Closed"},{"field_name":"severity_code","method":"in","value":[6]}]}]}`))
	status, _ := c.do("POST", "/rest/orgs/201/incidents/query_paged", map[string]any{"filters": []any{map[string]any{"conditions": []any{map[string]any{"field_name": "name", "method": "like"}}}}})
	require.Equal(t, 400, status)
}

func TestPatchNeedsTheOldValueOrTheVersion(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	patch := func(body string) any {
		var b map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &b))
		status, answer := c.do("PATCH", "/rest/orgs/201/incidents/2095", b)
		require.Equal(t, 200, status, "%v", answer)
		return dig(answer, "success")
	}
	require.Equal(t, true, patch(`{"changes":[{"field":{"name":"severity_code"},"old_value":{"object":"Low"},"new_value":{"object":"High"}}]}`))
	require.Equal(t, false, patch(`{"changes":[{"field":"severity_code","old_value":{"id":4},"new_value":{"id":5}}]}`))
	require.Equal(t, true, patch(`{"version":4,"changes":[{"field":"properties.internal_confidence","old_value":{"id":60},"new_value":{"object":"Low"}}]}`))
	require.Equal(t, "High", s.Incident(2095)["severity_code"])
	require.EqualValues(t, 60, s.Incident(2095)["properties"].(map[string]any)["internal_confidence"])
	require.EqualValues(t, 5, s.Incident(2095)["vers"])
	status, _ := c.do("PATCH", "/rest/orgs/201/incidents/2095", map[string]any{"changes": []any{map[string]any{"field": "nonsense"}}})
	require.Equal(t, 400, status)
}

func TestSavesFireRules(t *testing.T) {
	var mu sync.Mutex
	var fired []string
	s, c := loggedIn(t, resilienttest.Options{OnMessage: func(m resilienttest.Message) {
		var body struct {
			ActionID  int64  `json:"action_id"`
			Operation string `json:"operation_type"`
			Artifact  struct{ Value string }
		}
		assert.NoError(t, json.Unmarshal(m.Body, &body))
		mu.Lock()
		defer mu.Unlock()
		fired = append(fired, strings.TrimSpace(strings.Join([]string{map[int64]string{41: "incident", 42: "artifact", 46: "note", 48: "task"}[body.ActionID], body.Operation, body.Artifact.Value}, " ")))
	}})
	expect := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, want, fired)
		fired = nil
	}
	expect()
	s.UpdateIncident(2095, map[string]any{"name": "not a condition of the rule"})
	expect()
	s.UpdateIncident(2095, map[string]any{"description": "new"})
	expect("incident modified")
	c.do("POST", artifacts, map[string]any{"type": "DNS Name", "value": "a.example.com b.example.com"})
	expect("artifact created a.example.com", "artifact created b.example.com")
	c.do("DELETE", artifacts+"/1550", nil)
	expect("artifact deleted a.example.com")
	c.do("POST", "/rest/orgs/201/tasks/17/comments", map[string]any{"text": "x"})
	expect("note created")

	withToken := func(rule string, o resilienttest.ActionOptions, value string) {
		token := s.ActionMessage(rule, o).Headers["Co3ContextToken"]
		response, _, err := c.request("POST", artifacts, strings.NewReader(`{"type":"DNS Name","value":"`+value+`"}`),
			map[string]string{"X-Co3ContextToken": token})
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
	}
	withToken("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: 1532}, "quiet.example.com")
	expect()
	withToken("ThreatQ: Find Related Indicators", resilienttest.ActionOptions{ArtifactID: 1532}, "loud.example.com")
	expect("artifact created loud.example.com") // the token names another rule
}

func TestManyCallsAtOnce(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Latency: time.Millisecond})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			mine := *c
			for range 10 {
				status, _ := mine.do("POST", artifacts, map[string]any{"type": "String", "value": string(rune('a' + i))})
				assert.Equal(t, 200, status)
				s.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{})
				s.UpdateIncident(2095, map[string]any{"description": "x"})
				s.Artifacts(2095)
			}
		})
	}
	wait.Wait()
	require.Len(t, s.Artifacts(2095), 2+8)
}

func TestPortInUse(t *testing.T) {
	s := start(t, resilienttest.Options{})
	_, err := resilienttest.Start(resilienttest.Options{Addr: s.Addr()})
	require.ErrorContains(t, err, s.Addr())
	s.Close()
	s.Close() // twice does no harm
}

func BenchmarkGetIncident(b *testing.B) {
	s := resilienttest.New(resilienttest.Options{})
	defer s.Close()
	transport := &http.Transport{TLSClientConfig: s.Authority().ClientConfig(), MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequest("GET", s.URL()+"/rest/orgs/201/incidents/2095?handle_format=names", http.NoBody)
			r.SetBasicAuth(resilienttest.DefaultAPIKeyID, resilienttest.DefaultAPIKeySecret)
			response, err := client.Do(r)
			if err != nil || response.StatusCode != 200 {
				b.Error(err)
				return
			}
			var buffer bytes.Buffer
			_, _ = buffer.ReadFrom(response.Body)
			_ = response.Body.Close()
		}
	})
}

func TestArtifactTypeIsReadByItsId(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{})
	status, body := c.do("GET", "/rest/orgs/201/artifact_types/3", nil)
	require.Equal(t, 200, status)
	kind := body.(map[string]any)
	assert.Equal(t, "URL", kind["name"])
	assert.Equal(t, true, kind["multi_aware"])
	assert.NotEmpty(t, kind["reg_exp"])
	status, _ = c.do("GET", "/rest/orgs/201/artifact_types/999", nil)
	assert.Equal(t, 404, status)
}
