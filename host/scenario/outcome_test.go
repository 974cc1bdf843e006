package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq"
	"fn-threatq/host/threatq/threatqtest"
)

// answersOf are bodies of each service with the status they come with.
var answersOf = map[string][]struct {
	method, status, body string
}{
	abi.ThreatQ: {
		{"GET", "200", `{"data":[],"errors":[]}`},
		{"GET", "200", `{"data":[1],"errors":["one","two"]}`},
		{"GET", "204", ``},
		{"GET", "400", `{"data":{"errors":{"title":["is  required"],"at":["a","b"]}}}`},
		{"GET", "400", `{"errors":[["nested"],{"b":1.50,"a":true}],"message":"nested","error":"e","error_description":"d"}`},
		{"GET", "403", `{"message":"` + strings.Repeat("ä", 1500) + `"}`},
		{"GET", "404", `{}`},
		{"GET", "422", `{"data":["x"],"errors":null,"message":"m"}`},
		{"GET", "302", `{"message":"moved"}`},
		{"DELETE", "404", `{"message":"gone"}`},
		{"POST", "503", `{"message":"too busy"}`},
	},
	abi.Resilient: {
		{"GET", "200", `{"errors":["not SOAR's way"]}`},
		{"GET", "400", `{"success":false,"title":"Bad","message":"Two\n lines","hints":["one",2,"two"]}`},
		{"GET", "403", `{}`},
		{"GET", "404", `{"title":null,"message":"Not here"}`},
		{"GET", "409", `{"title":7,"message":"wrong type"}`},
		{"GET", "404", `{"message":"` + strings.Repeat("ä", 600) + `"}`},
		{"DELETE", "404", `{"message":"gone"}`},
	},
}

// TestAnswersAreWhatTheHostMakesOfThem plays the same answers to the host's own
// performer and clients.
func TestAnswersAreWhatTheHostMakesOfThem(t *testing.T) {
	const soarPath, threatqPath = "/incidents/2095", "/api/events/7"
	soar, tq := resilienttest.New(resilienttest.Options{}), threatqtest.New(threatqtest.Options{})
	t.Cleanup(soar.Close)
	t.Cleanup(tq.Close)
	soarURL, err := url.Parse(soar.URL())
	require.NoError(t, err)
	tqURL, err := url.Parse(tq.URL())
	require.NoError(t, err)
	text := func(s string) func() string { return func() string { return s } }
	soarClient := resilient.New(resilient.Options{Base: soarURL, TLS: soar.Authority().ClientConfig(), Org: resilienttest.DefaultOrg,
		APIKeyID: resilienttest.DefaultAPIKeyID, APIKeySecret: text(resilienttest.DefaultAPIKeySecret)})
	t.Cleanup(func() { assert.NoError(t, soarClient.Close(context.Background())) })
	_, err = soarClient.Connect(t.Context())
	require.NoError(t, err)
	tqClient := threatq.New(threatq.Options{Base: tqURL, TLS: tq.Authority().ClientConfig(), Username: threatqtest.DefaultEmail,
		Password: text(threatqtest.DefaultPassword), ClientID: text(threatqtest.DefaultClientID)})
	t.Cleanup(tqClient.Close)
	once := effect.Retry{Attempts: 1}
	performer := effect.New(effect.Options{
		Clients: map[string]effect.Client{abi.ThreatQ: tqClient, abi.Resilient: soarClient},
		Retry:   map[string]effect.Retry{abi.ThreatQ: once, abi.Resilient: once},
	})
	permits, err := manifest.NewPermits([]string{
		"threatq GET /api/{rest...}", "threatq POST /api/{rest...}", "threatq DELETE /api/{rest...}", "resilient GET /{rest...}", "resilient DELETE /{rest...}"})
	require.NoError(t, err)
	scope := performer.Open(effect.ScopeOptions{Permits: permits, MaxCalls: 100, MaxTurnCalls: 1})
	t.Cleanup(func() { assert.NoError(t, scope.Close()) })

	for service, answers := range answersOf {
		for i, a := range answers {
			t.Run(fmt.Sprintf("%s %s %s %d", service, a.method, a.status, i), func(t *testing.T) {
				status, err := strconv.Atoi(a.status)
				require.NoError(t, err)
				call := abi.Call{ID: fmt.Sprint(service, i), Service: service, Method: a.method, Path: threatqPath, Idempotent: a.method != "POST"}
				if service == abi.Resilient {
					call.Path = soarPath
					t.Cleanup(soar.Inject(resilienttest.Fault{Method: a.method, PathSuffix: soarPath, Status: status, Body: a.body}))
				} else {
					tq.Inject(threatqtest.Fault{Method: a.method, PathPrefix: threatqPath, Status: status, Body: a.body})
				}
				results, err := scope.Perform(t.Context(), []abi.Call{call})
				require.NoError(t, err)
				got := answered(t, service, call, a.status+"\n"+a.body)
				got.ID = call.ID
				assert.Equal(t, asJSON(t, results[0]), asJSON(t, got))
			})
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// answered is what a module is told when a file has this answer.
func answered(t *testing.T, service string, call abi.Call, answer string) abi.Result {
	t.Helper()
	x, err := exchangeOf(call)
	require.NoError(t, err)
	s := parse(t, head+"-- turn 1 --\n"+x.request.text()+"< "+answer+"\n")
	result, err := s.turns[0].exchanges[0].answer.result(&x.request)
	require.NoError(t, err)
	return result
}

func TestOutcomesWithoutAnAnswer(t *testing.T) {
	call := abi.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events"}
	for answer, want := range map[string]abi.CallError{
		"lost":             {Code: abi.CodeUnknown, Message: "the connection was lost before the answer came"},
		"lost EOF":         {Code: abi.CodeUnknown, Message: "EOF"},
		"unreachable":      {Code: abi.CodeUnreachable, Message: "connection refused"},
		"login wrong cid":  {Code: abi.CodeLogin, Message: "wrong cid"},
		"too_large":        {Code: abi.CodeTooLarge, Message: "the answer is larger than modules are given: ask for a smaller page"},
		"internal no disk": {Code: abi.CodeInternal, Message: "no disk"},
	} {
		assert.Equal(t, abi.Result{Error: &want}, answered(t, abi.ThreatQ, call, answer), answer)
	}
	assert.Equal(t, abi.Result{Status: 502, Error: &abi.CallError{Code: abi.CodeUnknown, Message: "Bad gateway, says a page"}},
		answered(t, abi.ThreatQ, call, "502\nBad gateway, says a page"))
}

// attachments is a module that downloads two files and uploads the second.
func attachments(t *testing.T) fake {
	download := func(n string) string {
		return `{"id":"d` + n + `","service":"resilient","method":"GET","path":"/incidents/` + n + `/contents","download":true,"idempotent":true}`
	}
	return fake{m: fakeManifest(), turn: func(in abi.Input) string {
		switch in.Turn {
		case 1:
			return calls(download("1"), download("2"), download("3"))
		case 2:
			assert.Equal(t, &abi.Blob{Handle: "blob-1", Size: 5, MD5: "0cc175b9c0f1b6a831c399e269772661", ContentType: "text/plain"}, in.Results[0][0].Blob)
			assert.Equal(t, abi.CodeTooLarge, in.Results[0][1].Error.Code)
			assert.Equal(t, "blob-2", in.Results[0][2].Blob.Handle)
			return calls(`{"id":"u","service":"threatq","method":"POST","path":"/api/attachments","slow":true,"idempotent":false,
				"upload":{"part":"file","file_name":"a \"b\".pdf","blob":"` + in.Results[0][2].Blob.Handle + `","fields":{"name":"a"}}}`)
		}
		return done
	}}
}

const filesStory = head + `-- turn 1 --
> GET resilient /incidents/3/contents
download: true
< 200 blob size=7 md5=92eb5ffee6ae2fec3ad71c777531578f
> GET resilient /incidents/2/contents
download: true
< too_large
> GET resilient /incidents/1/contents
download: true
< 200 blob size=5 md5=0cc175b9c0f1b6a831c399e269772661 type=text/plain
-- turn 2 --
> POST threatq /api/attachments
slow: true
upload: true
{"part": "file", "file_name": "a \"b\".pdf", "blob": "blob-2", "fields": {"name": "*"}}
< 201
-- reply --
success
Done.
`

func TestDownloadsAndUploads(t *testing.T) {
	r := run(t, attachments(t), filesStory)
	require.NoError(t, r.Err)
	assert.Empty(t, r.Failure)
	assert.Contains(t, r.Dialogue, "< 200 blob size=5 md5=0cc175b9c0f1b6a831c399e269772661 type=text/plain\n")

	r = run(t, attachments(t), strings.Replace(filesStory, "blob-2", "blob-1", 1))
	assert.Contains(t, r.Failure, "turn 2 (line 15): the call of line 16 differs")

	for _, option := range []string{"slow: true\n", "upload: true\n", "download: true\n"} {
		r = run(t, attachments(t), strings.Replace(filesStory, option, "", 1))
		require.NoError(t, r.Err)
		assert.Contains(t, r.Failure, "  + "+option, "an option that the story does not have")
	}

	r = run(t, attachments(t), strings.Replace(filesStory, "< 200 blob size=7 md5=92eb5ffee6ae2fec3ad71c777531578f", "< 200\n{}", 1))
	assert.EqualError(t, r.Err, "story.txtar:8: a download, and only a download, is answered by `< 200 blob size=BYTES md5=HEX type=TYPE`")
}

func TestSubActions(t *testing.T) {
	m := fake{m: fakeManifest(), turn: func(in abi.Input) string {
		if in.Turn == 1 {
			return `{"actions":[{"id":"a","rule":"threatq_sync_task","incident_id":1,"task_id":7,"fields":{"x":"Yes"}},
				{"id":"b","rule":"threatq_sync_task","incident_id":1},{"id":"c","rule":"threatq_sync_task","incident_id":1,"artifact_id":8},
				{"id":"d","rule":"threatq_sync_task","incident_id":1,"task_id":9}]}`
		}
		assert.Equal(t, []abi.Result{
			{ID: "a", Reply: &abi.Reply{Success: true, Message: "Synced."}},
			{ID: "b", Reply: &abi.Reply{Message: "Refused.", Results: abi.JSON(`{"n":1}`)}},
			{ID: "c", Error: &abi.CallError{Code: abi.CodeSubAction, Message: "It is gone.", Cause: abi.CodeNotFound}},
			{ID: "d", Error: &abi.CallError{Code: abi.CodeSubAction, Message: "No answer.", Cause: abi.CodeUnreachable, Retry: true}},
		}, in.Results[0])
		return done
	}}
	text := head + `-- turn 1 --
> action threatq_sync_task
{"incident_id": 1}
< reply
{"success": false, "message": "Refused.", "results": {"n": 1}}
> action threatq_sync_task
{"incident_id": 1, "artifact_id": "*"}
< fail not_found It is gone.
> action threatq_sync_task
{"incident_id": 1, "task_id": 9}
< fail unreachable retry No answer.
> action threatq_sync_task
{"incident_id": 1, "task_id": 7, "fields": {"x": "Yes"}}
< reply Synced.
-- reply --
success
Done.
`
	r := run(t, m, text)
	require.NoError(t, r.Err)
	assert.Empty(t, r.Failure)
	assert.Contains(t, r.Dialogue, "< fail not_found It is gone.\n")
	assert.Contains(t, r.Dialogue, "< fail unreachable retry No answer.\n")

	r = run(t, m, strings.Replace(text, `"x": "Yes"`, `"x": "No"`, 1))
	assert.Equal(t, `turn 1 (line 5): the call of line 16 differs
    > action threatq_sync_task
  - {"incident_id": 1, "task_id": 7, "fields": {"x": "No"}}
  + {"incident_id": 1, "task_id": 7, "fields": {"x": "Yes"}}
`, r.Failure)

	r = run(t, m, strings.Replace(text, `"message": "Refused."`, `"text": "Refused."`, 1))
	assert.EqualError(t, r.Err, `story.txtar:8: the reply: unknown field "text"`)
}
