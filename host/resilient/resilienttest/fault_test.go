package resilienttest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// endpoint is a call that rules make, in the World.
type endpoint struct {
	method, path string
	body         string
	changes      bool // a second such call finds something else
}

var endpoints = []endpoint{
	{"GET", "/incidents/2095", "", false},
	{"PUT", "/incidents/2095", `{"vers":3,"name":"x"}`, true},
	{"PATCH", "/incidents/2095", `{"version":3,"changes":[{"field":"name","new_value":{"text":"x"}}]}`, true},
	{"POST", "/incidents/query_paged", `{}`, false},
	{"GET", "/incidents/2095/artifacts", "", false},
	{"POST", "/incidents/2095/artifacts", `{"type":"DNS Name","value":"new.example.net"}`, true},
	{"POST", "/incidents/2095/artifacts/query_paged", `{}`, false},
	{"GET", "/incidents/2095/artifacts/1532", "", false},
	{"PUT", "/incidents/2095/artifacts/1532", `{"description":"x"}`, true},
	{"DELETE", "/incidents/2095/artifacts/1532", "", true},
	{"GET", "/incidents/2095/comments", "", false},
	{"POST", "/incidents/2095/comments", `{"text":"x"}`, true},
	{"GET", "/incidents/2095/comments/110", "", false},
	{"PUT", "/incidents/2095/comments/110", `{"text":"x"}`, true},
	{"DELETE", "/incidents/2095/comments/110", "", true},
	{"GET", "/tasks/17/comments", "", false},
	{"POST", "/tasks/17/comments", `{"text":"x"}`, true},
	{"GET", "/tasks/17/comments/111", "", false},
	{"PUT", "/tasks/17/comments/111", `{"text":"x"}`, true},
	{"DELETE", "/tasks/17/comments/111", "", true},
	{"GET", "/incidents/2095/tasks", "", false},
	{"POST", "/incidents/2095/tasks", `{"name":"x"}`, true},
	{"GET", "/tasks/17", "", false},
	{"PUT", "/tasks/17", `{"status":"C"}`, true},
	{"DELETE", "/tasks/17", "", true},
	{"GET", "/incidents/2095/attachments", "", false},
	{"GET", "/incidents/2095/attachments/27", "", false},
	{"GET", "/incidents/2095/attachments/27/contents", "", false},
	{"DELETE", "/incidents/2095/attachments/27", "", true},
	{"GET", "/tasks/17/attachments", "", false},
	{"GET", "/tasks/17/attachments/28", "", false},
	{"GET", "/tasks/17/attachments/28/contents", "", false},
	{"DELETE", "/tasks/17/attachments/28", "", true},
	{"GET", "/users", "", false},
	{"GET", "/users/4", "", false},
}

// result is an answer, or the error of a connection that was cut.
type result struct {
	status int
	body   string
	header http.Header
	err    error
}

func (c *client) call(e endpoint) result {
	response, data, err := c.request(e.method, org+e.path, bytes.NewBufferString(e.body), map[string]string{"Content-Type": "application/json"})
	if err != nil {
		return result{err: err}
	}
	return result{status: response.StatusCode, body: string(data), header: response.Header}
}

// everything is the state as a person would see it.
func everything(s *resilienttest.Server) string {
	return fmt.Sprint(s.Incident(2095), s.Artifacts(2095), s.Tasks(2095), s.Notes(2095), s.Attachments(2095))
}

func TestEachEndpointSuffersEachFault(t *testing.T) {
	fixed := func() time.Time { return time.UnixMilli(1580479200000) }
	const page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
	faults := map[string]struct {
		fault resilienttest.Fault
		acts  bool // the server acts in spite of it
		check func(*testing.T, result)
	}{
		"HTML": {resilienttest.Fault{Status: 502, Body: page, Header: http.Header{"Content-Type": {"text/html"}}}, false, func(t *testing.T, r result) {
			require.Equal(t, 502, r.status)
			require.Equal(t, page, r.body)
			require.Equal(t, "text/html", r.header.Get("Content-Type"))
		}},
		"busy": {resilienttest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, false, func(t *testing.T, r result) {
			require.Equal(t, 429, r.status)
			require.Equal(t, "7", r.header.Get("Retry-After"))
		}},
		"cut":  {resilienttest.Fault{CutBefore: true}, false, func(t *testing.T, r result) { require.Error(t, r.err) }},
		"lost": {resilienttest.Fault{LoseAnswer: true}, true, func(t *testing.T, r result) { require.Error(t, r.err) }},
		"torn": {resilienttest.Fault{CutAfter: 1}, true, func(t *testing.T, r result) { require.ErrorIs(t, r.err, io.ErrUnexpectedEOF) }},
		"slow": {resilienttest.Fault{Delay: time.Millisecond}, true, func(t *testing.T, r result) { require.Equal(t, 200, r.status) }},
	}
	for _, status := range []int{401, 403, 404, 409, 500, 503} {
		f := faults["HTML"]
		f.fault = resilienttest.Fault{Status: status}
		f.check = func(t *testing.T, r result) {
			require.Equal(t, status, r.status)
			require.JSONEq(t, fmt.Sprintf(`{"success":false,"title":null,"message":%q,"hints":[],"error_code":"generic"}`, http.StatusText(status)), r.body)
		}
		faults[fmt.Sprint(status)] = f
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			var s *resilienttest.Server // a new one after each change: the next endpoint wants the World
			var c *client
			for _, e := range endpoints {
				if s == nil {
					s, c = loggedIn(t, resilienttest.Options{Now: fixed})
				}
				before := everything(s)
				f.fault.Method, f.fault.PathPrefix, f.fault.PathSuffix = e.method, org, e.path
				remove := s.Inject(f.fault) // for more than one call: net/http repeats a GET whose connection was cut
				f.check(t, c.call(e))
				remove()
				if f.acts && e.changes {
					require.NotEqual(t, before, everything(s), "%s %s was performed", e.method, e.path)
				} else {
					require.Equal(t, before, everything(s), "%s %s was not performed", e.method, e.path)
					require.Equal(t, 200, c.call(e).status, "%s %s after the fault", e.method, e.path)
				}
				if e.changes {
					s.Close()
					s = nil
				}
			}
		})
	}
}

func TestDecidedFaults(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	note := endpoint{"POST", "/incidents/2095/comments", `{"text":"x"}`, true}
	notes := len(s.Notes(2095))
	var decided *resilienttest.Fault
	var seen []string
	s.Decide(func(r *http.Request, body []byte) *resilienttest.Fault {
		seen = append(seen, r.Method+" "+string(body))
		return decided
	})
	require.Equal(t, 200, c.call(note).status, "nil lets it pass")
	there := 0
	decided = &resilienttest.Fault{LoseAnswer: true, Status: 504, Body: "late", Acted: func() { there = len(s.Notes(2095)) }}
	r := c.call(note)
	require.Equal(t, 504, r.status)
	require.Equal(t, "late", r.body)
	require.Equal(t, notes+2, there, "called after acting")
	require.Equal(t, []string{"POST " + note.body, "POST " + note.body}, seen)
	remove := s.Inject(resilienttest.Fault{Status: 503})
	require.Equal(t, 503, c.call(note).status, "an injected fault comes first")
	remove()
	s.Decide(nil)
	require.Equal(t, 200, c.call(note).status)
}

func TestEachEndpointNeedsTheSessionAndTheIncident(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	s.ExpireSessions()
	for _, e := range endpoints {
		require.Equal(t, 401, c.call(e).status, "%s %s", e.method, e.path)
	}
	c.csrf = ""
	c.login()
	s.SetUnreadable(2095, 404)
	for _, e := range endpoints[:len(endpoints)-2] {
		if e.path != "/incidents/query_paged" {
			require.Equal(t, 404, c.call(e).status, "%s %s", e.method, e.path)
		}
	}
}
