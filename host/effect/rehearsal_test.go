package effect

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/rest"
)

// watched is a service that fails the test when it is sent anything but a GET or
// a search.
type watched struct {
	t       *testing.T
	answers map[string]string

	mu    sync.Mutex
	asked []string
}

func (w *watched) Do(_ context.Context, q rest.Request) (*rest.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Method != http.MethodGet && !strings.HasSuffix(q.Path, "/query") || strings.HasSuffix(q.Path, "/commit") {
		assert.Fail(w.t, "a rehearsal wrote", "%s %s", q.Method, q.Path)
	}
	w.asked = append(w.asked, q.Method+" "+q.Path)
	body, ok := w.answers[q.Method+" "+q.Path]
	if !ok {
		return nil, &rest.Error{Code: abi.CodeHTTP, Status: 404, Text: "not here"}
	}
	return &rest.Response{Status: 200, Body: []byte(body)}, nil
}

// readsOf takes safe GETs and searches as reads, as the clients do.
func readsOf(c abi.Call) bool {
	if strings.HasSuffix(c.Path, "/commit") {
		return false
	}
	return c.Method == http.MethodGet && c.Idempotent || c.Method == http.MethodPost && strings.HasSuffix(c.Path, "/query")
}

// rehearsing opens a dry scope over a watched ThreatQ and SOAR.
func rehearsing(t *testing.T, answers map[string]string) (*Scope, *watched, *Rehearsal) {
	t.Helper()
	w := &watched{t: t, answers: answers}
	var calls []string
	for _, method := range manifest.Methods {
		calls = append(calls, "threatq "+method+" /{rest...}", "resilient "+method+" /{rest...}")
	}
	permits, err := manifest.NewPermits(calls)
	require.NoError(t, err)
	r := NewRehearsal(readsOf)
	p := New(Options{Clients: map[string]Client{abi.ThreatQ: w, abi.Resilient: w}, Journal: NewMemoryJournal(), TempDir: t.TempDir()})
	s := p.Open(ScopeOptions{Action: "m", Permits: permits, MaxCalls: 1000, MaxTurnCalls: 100, Rehearsal: r})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, w, r
}

func call(id, method, path, body string) abi.Call {
	return abi.Call{ID: id, Service: abi.ThreatQ, Method: method, Path: path, Body: abi.JSON(body), Idempotent: method != http.MethodPost}
}

func perform(t *testing.T, s *Scope, c abi.Call) abi.Result {
	t.Helper()
	results, err := s.Perform(t.Context(), []abi.Call{c})
	require.NoError(t, err)
	return results[0]
}

func TestARehearsalSendsNothingButReads(t *testing.T) {
	s, w, r := rehearsing(t, nil)
	n := 0
	for _, method := range manifest.Methods {
		for _, path := range []string{"/api/events", "/api/events/5", "/api/imports/7/commit", "/api/events/5/indicators", "/api/indicators/consume", "/api/events/query/5"} {
			for _, safe := range []string{"", " safe"} {
				c := call(method+path+safe, method, path, "")
				if c.Idempotent = safe != ""; readsOf(c) {
					continue
				}
				n++
				assert.Nil(t, perform(t, s, c).Error, c.ID)
			}
		}
	}
	soar := call("soar", "POST", "/incidents/5/artifacts", `{"value":"x"}`)
	soar.Service, soar.Idempotent = abi.Resilient, true
	perform(t, s, soar)
	assert.Len(t, r.Written(), n+1)
	assert.Empty(t, w.asked)

	s, w, r = rehearsing(t, map[string]string{"GET /api/events": `{"total":0,"data":[]}`, "POST /api/indicators/query": `{"data":[]}`})
	assert.JSONEq(t, `{"total":0,"data":[]}`, string(perform(t, s, call("a", "GET", "/api/events", "")).Body))
	perform(t, s, call("b", "POST", "/api/indicators/query", `{}`))
	assert.Equal(t, []string{"GET /api/events", "POST /api/indicators/query"}, w.asked)
	assert.Equal(t, 2, r.Asked())
	assert.Empty(t, r.Written())
}

// A fault before the client must not write either.
func TestBehindARehearsalIsAClientThatCannotWrite(t *testing.T) {
	w := &watched{t: t}
	client := readOnly{abi.ThreatQ, w, readsOf}
	for _, q := range []rest.Request{
		{Method: "POST", Path: "/api/events"}, {Method: "PUT", Path: "/api/events/5"}, {Method: "PATCH", Path: "/x"}, {Method: "DELETE", Path: "/api/events/5"},
		{Method: "GET", Path: "/api/imports/5/commit", Once: true}, {Method: "GET", Path: "/api/events", Once: true}, {Method: "POST", Path: "/api/indicators/query", Upload: &rest.Upload{}},
	} {
		_, err := client.Do(t.Context(), q)
		require.ErrorIs(t, err, errWrites, "%s %s", q.Method, q.Path)
	}
	assert.Empty(t, w.asked)
	s, _, _ := rehearsing(t, nil)
	assert.IsType(t, client, s.client(abi.ThreatQ), "and a rehearsal has no other")
}

func TestWhatWasRehearsedIsSeenLater(t *testing.T) {
	s, w, _ := rehearsing(t, map[string]string{
		"GET /api/events":                 `{"total":1,"data":[{"id":5,"title":"Resilient #7: old"}]}`,
		"GET /api/indicators/501":         `{"data":{"id":501,"status_id":4,"value":"x"}}`,
		"GET /api/indicators/501/sources": `{"total":1,"data":[{"id":1,"name":"A"}]}`,
	})
	created := perform(t, s, call("create", "POST", "/api/events", `{"title":"Resilient #7: new","attributes":[{"name":"Severity","value":"Low"}]}`))
	assert.Equal(t, 201, created.Status)
	assert.JSONEq(t, `{"data":{"id":990000001,"title":"Resilient #7: new","attributes":[{"name":"Severity","value":"Low"}]}}`, string(created.Body))

	c := call("list", "GET", "/api/events", "")
	c.Query = map[string]string{"title": "Resilient #7: %", "limit": "100", "offset": "0", "with": "attributes"}
	assert.Contains(t, string(perform(t, s, c).Body), `"id":990000001`)
	c.ID, c.Query = "other list", map[string]string{"title": "Resilient #8: %"}
	assert.NotContains(t, string(perform(t, s, c).Body), `990000001`)

	asked := len(w.asked)
	assert.Contains(t, string(perform(t, s, call("own", "GET", "/api/events/990000001", "")).Body), "Resilient #7: new")
	assert.Contains(t, string(perform(t, s, call("parts", "GET", "/api/events/990000001/attributes", "")).Body), "Severity")
	assert.JSONEq(t, `{"total":0,"data":[]}`, string(perform(t, s, call("none", "GET", "/api/events/990000001/tasks", "")).Body))
	assert.Len(t, w.asked, asked, "no server knows it")

	assert.JSONEq(t, `{"data":{"id":501,"status_id":1}}`, string(perform(t, s, call("change", "PUT", "/api/indicators/501", `{"status_id":1}`)).Body))
	assert.JSONEq(t, `{"data":{"id":501,"status_id":1,"value":"x"}}`, string(perform(t, s, call("read", "GET", "/api/indicators/501", "")).Body))
	perform(t, s, call("source", "POST", "/api/indicators/501/sources", `{"name":"B"}`))
	assert.Contains(t, string(perform(t, s, call("sources", "GET", "/api/indicators/501/sources", "")).Body), `"total":2`)

	assert.Equal(t, 204, perform(t, s, call("delete", "DELETE", "/api/events/990000001", "")).Status)
	gone := perform(t, s, call("gone", "GET", "/api/events/990000001", ""))
	assert.Equal(t, 404, gone.Status)
	assert.Equal(t, abi.CodeHTTP, gone.Error.Code)
}

func TestCallsOfATurnAreRehearsedInTheirOrder(t *testing.T) {
	s, _, _ := rehearsing(t, nil)
	results, err := s.Perform(t.Context(), []abi.Call{
		call("a", "POST", "/api/indicators", `[{"value":"1.1.1.1"},{"value":"2.2.2.2"}]`), call("b", "POST", "/api/tasks", `{"name":"t"}`),
		call("c", "POST", "/api/events/5/indicators", `{"id":501}`),
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"total":2,"data":[{"id":990000001,"value":"1.1.1.1","existing":"N"},{"id":990000002,"value":"2.2.2.2","existing":"N"}]}`, string(results[0].Body))
	assert.JSONEq(t, `{"data":{"id":990000003,"name":"t"}}`, string(results[1].Body))
	assert.JSONEq(t, `{"total":1,"data":[{"id":501,"pivot":{"id":990000004}}]}`, string(results[2].Body))
}

// asked is a read, with a query.
func asked(t *testing.T, s *Scope, id, path string, query map[string]string) abi.Result {
	t.Helper()
	c := call(id, "GET", path, "")
	c.Query = query
	return perform(t, s, c)
}

func TestListsOfARehearsalAreFilteredAsTheServersAre(t *testing.T) {
	s, _, _ := rehearsing(t, map[string]string{"GET /api/events": `{"total":0,"data":[]}`})
	perform(t, s, call("create", "POST", "/api/events", `{"title":"Resilient #7: New"}`))
	for name, c := range map[string]struct {
		query map[string]string
		found bool
	}{
		"equal":                  {map[string]string{"title": "resilient #7: new"}, true},
		"another":                {map[string]string{"title": "Resilient #7: Ne"}, false},
		"its beginning":          {map[string]string{"title": "Resilient #7%"}, true},
		"no beginning":           {map[string]string{"title": "#7%"}, false},
		"its end":                {map[string]string{"title": "%new"}, true},
		"no end":                 {map[string]string{"title": "%7"}, false},
		"parts in order":         {map[string]string{"title": "%res%#7%new"}, true},
		"parts in another order": {map[string]string{"title": "%new%#7%"}, false},
		"what it does not have":  {map[string]string{"hash": "%"}, false},
		"the first page":         {map[string]string{"offset": "0", "limit": "1", "sort": "id", "fields": "id"}, true},
		"a later page":           {map[string]string{"offset": "100"}, false},
	} {
		body := string(asked(t, s, name, "/api/events", c.query).Body)
		assert.Equal(t, c.found, strings.Contains(body, "990000001"), "%s: %s", name, body)
		assert.Equal(t, c.found, strings.Contains(body, `"total":1`), "%s: %s", name, body)
	}
}

func TestWhatARehearsalDeletedOrChangedIsSoLater(t *testing.T) {
	s, w, _ := rehearsing(t, map[string]string{
		"GET /api/events": `{"total":0,"data":[]}`, "GET /api/indicators/501": `{"data":{"id":501}}`, "GET /api/indicators/502": `{"data":{"id":502}}`,
	})
	perform(t, s, call("create", "POST", "/api/events", `{"title":"old"}`))
	assert.JSONEq(t, `{"data":{"id":990000001,"title":"new"}}`, string(perform(t, s, call("change", "PUT", "/api/events/990000001", `{"title":"new"}`)).Body))
	assert.JSONEq(t, `{"data":{"id":990000001,"title":"new"}}`, string(asked(t, s, "changed", "/api/events/990000001", nil).Body))
	perform(t, s, call("delete", "DELETE", "/api/events/990000001", ""))
	assert.NotContains(t, string(asked(t, s, "list", "/api/events", nil).Body), "990000001")

	perform(t, s, call("delete 501", "DELETE", "/api/indicators/501", ""))
	before := len(w.asked)
	for _, path := range []string{"/api/indicators/501", "/api/indicators/501/sources"} {
		r := asked(t, s, path, path, nil)
		if assert.NotNil(t, r.Error, path) {
			assert.Contains(t, r.Error.Message, "it would have been deleted before")
		}
	}
	assert.Len(t, w.asked, before, "the server still has it")

	// A body names links by their own ids.
	c := call("unlink", "DELETE", "/api/indicators/502", `[{"id":1}]`)
	perform(t, s, c)
	assert.Nil(t, asked(t, s, "502", "/api/indicators/502", nil).Error)
}

// SOAR has no envelope, and words of its own for what was done.
func TestRehearsalSpeaksAsSOARDoes(t *testing.T) {
	s, _, _ := rehearsing(t, map[string]string{"GET /incidents/5": `{"id":5,"data":{"x":1}}`, "GET /incidents/5/artifacts": `[{"id":1}]`})
	soar := func(id, method, path, body string) string {
		c := call(id, method, path, body)
		c.Service = abi.Resilient
		r := perform(t, s, c)
		assert.Nil(t, r.Error, id)
		assert.Equal(t, 200, r.Status, id)
		return string(r.Body)
	}
	const success = `{"success":true,"title":null,"message":null,"hints":[]}`
	assert.JSONEq(t, success, soar("patch", "PATCH", "/incidents/5", `{"version":1,"name":"n"}`))
	assert.JSONEq(t, `{"id":5,"name":"n","version":1,"data":{"x":1}}`, soar("read", "GET", "/incidents/5", ""))
	assert.JSONEq(t, `[{"id":990000001,"value":"v"}]`, soar("artifact", "POST", "/incidents/5/artifacts", `{"value":"v"}`))
	assert.JSONEq(t, `[{"id":1},{"id":990000001,"value":"v"}]`, soar("list", "GET", "/incidents/5/artifacts", ""))
	assert.JSONEq(t, success, soar("delete", "DELETE", "/incidents/5/artifacts/1", ""))
	assert.JSONEq(t, `{"id":990000002,"text":"t"}`, soar("note", "POST", "/incidents/5/comments", `{"text":"t"}`))
}

func TestConsumedIndicatorsAreOfTheirCollection(t *testing.T) {
	s, _, _ := rehearsing(t, map[string]string{"GET /api/indicators": `{"total":3,"data":[]}`})
	r := perform(t, s, call("consume", "POST", "/api/indicators/consume", `[{"value":"1.1.1.1"}]`))
	assert.JSONEq(t, `{"total":1,"data":[{"id":990000001,"value":"1.1.1.1"}]}`, string(r.Body))
	assert.JSONEq(t, `{"total":4,"data":[{"id":990000001,"value":"1.1.1.1"}]}`, string(asked(t, s, "list", "/api/indicators", nil).Body))
	assert.Contains(t, string(asked(t, s, "one", "/api/indicators/990000001", nil).Body), "1.1.1.1")
}
