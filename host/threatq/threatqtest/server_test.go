package threatqtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/threatq/threatqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller speaks to a simulator without a network.
type caller struct {
	t     testing.TB
	s     *threatqtest.Server
	token string
}

func start(t testing.TB, o threatqtest.Options) *caller {
	t.Helper()
	s := threatqtest.New(o)
	t.Cleanup(s.Close)
	return &caller{t: t, s: s, token: s.NewToken()}
}

type answer struct {
	Status int
	Total  int
	Raw    string
	Data   json.RawMessage
	t      testing.TB
}

type record map[string]any

func (a answer) list() []record {
	a.t.Helper()
	var out []record
	require.NoError(a.t, json.Unmarshal(a.Data, &out), a.Raw)
	return out
}

func (a answer) one() record {
	a.t.Helper()
	var out record
	require.NoError(a.t, json.Unmarshal(a.Data, &out), a.Raw)
	return out
}

func (c *caller) do(method, target, body string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.send(r)
}

func (c *caller) send(r *http.Request) answer {
	c.t.Helper()
	w := httptest.NewRecorder()
	c.s.ServeHTTP(w, r)
	a := answer{Status: w.Code, Raw: w.Body.String(), t: c.t}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		var body struct {
			Total int
			Data  json.RawMessage
		}
		require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &body), a.Raw)
		a.Total, a.Data = body.Total, body.Data
	}
	return a
}

func (c *caller) get(target string) answer { c.t.Helper(); return c.do(http.MethodGet, target, "") }

// must performs a call that has to succeed.
func (c *caller) must(method, target, body string) answer {
	c.t.Helper()
	a := c.do(method, target, body)
	require.Less(c.t, a.Status, 300, a.Raw)
	return a
}

func values(rows []record, key string) []any {
	out := []any{}
	for _, r := range rows {
		out = append(out, r[key])
	}
	return out
}

func TestTokens(t *testing.T) {
	now := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	c := start(t, threatqtest.Options{Now: func() time.Time { return now }, TokenLifetime: time.Minute})
	assert.Equal(t, 200, c.get("/api/objects").Status)
	now = now.Add(time.Minute)
	assert.Equal(t, 401, c.get("/api/objects").Status, "the token has expired")
	c.token = c.s.NewToken()
	assert.Equal(t, 200, c.get("/api/objects").Status)
	assert.Contains(t, c.s.Tokens(), c.token)
	c.s.RevokeTokens()
	assert.Empty(t, c.s.Tokens())
	assert.Equal(t, 401, c.get("/api/objects").Status)
	assert.Equal(t, 2, c.s.Counts().Unauthorized)

	login := func(password string) answer {
		return c.do("POST", "/api/token", fmt.Sprintf(`{"grant_type":"password","client_id":%q,"email":%q,"password":%q}`,
			threatqtest.DefaultClientID, threatqtest.DefaultEmail, password))
	}
	assert.Equal(t, 200, login(threatqtest.DefaultPassword).Status)
	c.s.SetPassword("new")
	assert.Equal(t, 400, login(threatqtest.DefaultPassword).Status)
	assert.Equal(t, 1, c.s.Counts().LoginsRefused)
	assert.Equal(t, 405, c.get("/api/token").Status)
}

func TestExpiresIn(t *testing.T) {
	body := fmt.Sprintf(`{"grant_type":"password","client_id":%q,"email":%q,"password":%q}`, threatqtest.DefaultClientID, threatqtest.DefaultEmail, threatqtest.DefaultPassword)
	for want, o := range map[string]threatqtest.Options{
		`"expires_in":3600`: {}, `"expires_in":"3600"`: {ExpiresInAsText: true}, `"expires_in":90`: {TokenLifetime: 90 * time.Second},
	} {
		assert.Contains(t, start(t, o).do("POST", "/api/token", body).Raw, want)
	}
	assert.NotContains(t, start(t, threatqtest.Options{OmitExpiresIn: true}).do("POST", "/api/token", body).Raw, "expires_in")
}

func TestNumberings(t *testing.T) {
	for numbering, want := range map[threatqtest.Numbering]map[string]float64{
		threatqtest.NumberingA: {"FQDN": 11, "IP Address": 15, "URL": 30, "MD5": 18},
		threatqtest.NumberingB: {"FQDN": 8, "IP Address": 11, "URL": 21, "MD5": 12, "CIDR Block": 1, "Email Address": 3, "SHA-1": 16, "SHA-256": 17},
	} {
		c := start(t, threatqtest.Options{Numbering: numbering})
		ids, got := map[any]bool{}, map[string]float64{}
		for _, r := range c.get("/api/indicator/types").list() {
			require.False(t, ids[r["id"]], "id %v is used twice", r["id"])
			ids[r["id"]] = true
			got[r["name"].(string)] = r["id"].(float64)
		}
		assert.Len(t, got, 34)
		for name, id := range want {
			assert.Equal(t, id, got[name], name)
			row := c.must("POST", "/api/indicators", fmt.Sprintf(`{"value":"x%v","type":"String","status":"Active"}`, id)).list()[0]
			assert.Equal(t, got["String"], row["type_id"])
		}
	}
	c := start(t, threatqtest.Options{MissingIndicatorTypes: []string{"asn", "CVE"}})
	assert.Equal(t, 32, c.get("/api/indicator/types").Total)
	assert.Equal(t, 0, c.get("/api/indicator/types?name=ASN").Total)
}

func TestIndicatorsExistByTypeAndValue(t *testing.T) {
	c := start(t, threatqtest.Options{})
	post := func(typ, value, status string) record {
		return c.must("POST", "/api/indicators", fmt.Sprintf(`[{"value":%q,"type":%q,"status":%q,"sources":[{"name":%q}]}]`, value, typ, status, "S-"+status)).list()[0]
	}
	first := post("FQDN", "a.example.com", "Whitelisted")
	again := post("FQDN", "A.Example.com", "Active")
	other := post("String", "a.example.com", "Active")
	assert.Equal(t, "N", first["existing"])
	assert.Equal(t, "Y", again["existing"])
	assert.Equal(t, first["id"], again["id"])
	assert.Equal(t, "N", other["existing"])
	require.Len(t, c.s.Indicators(), 2)
	kept := c.s.Indicators()[0]
	assert.Equal(t, "Whitelisted", kept.Status, "a status sent along does not change an existing indicator")
	assert.Equal(t, []string{"S-Whitelisted", "S-Active"}, kept.Sources)
	assert.Equal(t, "a.example.com", kept.Name)
}

func TestRefusedValues(t *testing.T) {
	c := start(t, threatqtest.Options{})
	for _, tc := range [][2]string{
		{"IP Address", "300.1.1.1"}, {"IP Address", "2001:db8::1"}, {"IPv6 Address", "1.2.3.4"}, {"CIDR Block", "10.0.0.0"}, {"FQDN", "localhost"},
		{"FQDN", "a b.example"}, {"Email Address", "nobody"}, {"MD5", "abc"}, {"SHA-1", strings.Repeat("x", 40)}, {"URL", "no url"}, {"FQDN", " "}, {"No Such Type", "x"},
	} {
		a := c.do("POST", "/api/indicators", fmt.Sprintf(`{"value":%q,"type":%q,"status":"Review"}`, tc[1], tc[0]))
		assert.Equal(t, 400, a.Status, tc)
	}
	assert.Empty(t, c.s.Indicators())
	for _, body := range []string{`{"value":"x","type":"String","status":"No such"}`, `{"value":"x","type":"String","attributes":[{"name":"a"}]}`, `{"value":"x","type":"String","sources":{}}`, `[]`, `7`, `{`, ``} {
		assert.Equal(t, 400, c.do("POST", "/api/indicators", body).Status, body)
	}
}

func TestErrorShapes(t *testing.T) {
	for shape, want := range map[threatqtest.ErrorShape]string{
		threatqtest.ErrorMap:  `{"data":{"errors":{"value":["The value field is required."]}}}`,
		threatqtest.ErrorList: `{"errors":["The value field is required.",["field: value"]]}`,
		threatqtest.ErrorInOK: `{"errors":["The value field is required."]}`,
	} {
		a := start(t, threatqtest.Options{ErrorShape: shape}).do("POST", "/api/indicators", `{"value":"","type":"FQDN"}`)
		assert.JSONEq(t, want, a.Raw)
		assert.Equal(t, shape == threatqtest.ErrorInOK, a.Status == 200)
	}
}

func TestNormalisation(t *testing.T) {
	c := start(t, threatqtest.Options{Normalize: true})
	for _, tc := range []struct{ typ, value, wantType, want string }{
		{"URL", "hxxps://Bad.Example[.]com/Path?q=1", "URL", "bad.example.com/Path?q=1"},
		{"URL", "http://bad.example.com", "FQDN", "bad.example.com"},
		{"URL", "http://192.0.2.1:8080/", "IP Address", "192.0.2.1"},
		{"URL", "other.example.com/x", "URL", "other.example.com/x"},
		{"IP Address", "192.0.2.7:443", "IP Address", "192.0.2.7"},
		{"FQDN", ` "WWW.Example.com" `, "FQDN", "www.example.com"},
		{"MD5", strings.Repeat("AB", 16), "MD5", strings.Repeat("ab", 16)},
	} {
		row := c.must("POST", "/api/indicators", fmt.Sprintf(`{"value":%q,"type":%q,"status":"Review"}`, tc.value, tc.typ)).list()[0]
		assert.Equal(t, tc.want, row["value"])
		assert.Equal(t, tc.wantType, row["type"].(map[string]any)["name"], tc.value)
	}
	for _, o := range c.s.Indicators() {
		if o.Name == "bad.example.com/Path?q=1" {
			require.Len(t, o.Attributes, 1)
			assert.Equal(t, "https", o.Attributes[0].Value)
			require.Len(t, c.s.Links("indicators", o.ID, "indicators"), 1, "the host is an indicator of its own")
		}
	}
	plain := start(t, threatqtest.Options{})
	row := plain.must("POST", "/api/indicators", `{"value":"http://X.example.com","type":"URL","status":"Review"}`).list()[0]
	assert.Equal(t, "http://X.example.com", row["value"])
	row = plain.must("POST", "/api/indicators/consume", `[{"value":"http://Y.example.com","type":"URL","normalize":"Y"}]`).list()[0]
	assert.Equal(t, "y.example.com", row["value"], "an item may ask for it")
}

func TestFilters(t *testing.T) {
	c := start(t, threatqtest.Options{})
	for _, title := range []string{"Resilient #2095: Phishing", "Resilient #20951: Other", "a,b", "a", "100% sure", "100x sure", "under_score", "underXscore", "Ümläut"} {
		c.s.AddEvent("Incident", title)
	}
	for query, want := range map[string][]any{
		"title=Resilient+%232095%3A+%25": {"Resilient #2095: Phishing"},
		"title=resilient+%232095%25":     {"Resilient #2095: Phishing", "Resilient #20951: Other"},
		"title=a%2Cb":                    {"a"},
		"title=a%25":                     {"a,b", "a"},
		"title=100%25+sure":              {"100% sure", "100x sure"},
		"title=under_score":              {"under_score", "underXscore"},
		"title=%C3%9CML_UT":              {"Ümläut"},
		"title=%25%C3%A4%25":             {"Ümläut"},
		"title=nothing":                  {},
		"title=":                         {},
		"id=56":                          {"Resilient #20951: Other"},
		"type_id=13&title=a":             {"a"},
		"type_id=1&title=a":              {},
	} {
		assert.Equal(t, want, values(c.must("GET", "/api/events?"+query, "").list(), "title"), query)
	}
	assert.Equal(t, 400, c.get("/api/events?value=a").Status, "an unknown filter must not look like a match of everything")
}

func TestPagingAndSorting(t *testing.T) {
	c := start(t, threatqtest.Options{})
	for i := range 120 {
		c.s.AddIndicator("FQDN", fmt.Sprintf("h%03d.example.com", 119-i), "Review")
	}
	assert.Len(t, c.get("/api/indicators").list(), 50, "without limit a page is short")
	a := c.get("/api/indicators?limit=30&offset=100&sort=id")
	assert.Len(t, a.list(), 20)
	assert.Equal(t, 120, a.Total)
	assert.Empty(t, c.get("/api/indicators?limit=30&offset=500").list())
	assert.Equal(t, []any{"h000.example.com", "h001.example.com"}, values(c.get("/api/indicators?limit=2&sort=value").list(), "value"))
	assert.Equal(t, []any{620.0, 619.0}, values(c.get("/api/indicators?limit=2&sort=-id").list(), "id"))
	assert.Equal(t, []any{501.0}, values(c.get("/api/indicators?limit=1&sort=-nonsense").list(), "id"), "an unknown name is ignored")

	seen := map[any]bool{}
	cursor := "*"
	for {
		raw := c.must("POST", "/api/indicators/query?limit=50&sort=id&cursorMark="+strings.ReplaceAll(cursor, "=", "%3D"), `{"criteria":{},"filters":{}}`)
		var next struct{ NextCursorMark string }
		require.NoError(t, json.Unmarshal([]byte(raw.Raw), &next))
		if len(raw.list()) == 0 {
			break
		}
		for _, r := range raw.list() {
			seen[r["id"]] = true
		}
		cursor = next.NextCursorMark
	}
	assert.Len(t, seen, 120)
}

func TestQueryLanguage(t *testing.T) {
	now := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	c := start(t, threatqtest.Options{QueryOmitsParts: true, QueryLag: time.Second, Now: func() time.Time { return now }})
	c.s.AddIndicator("FQDN", "a.example.com", "Active", "Feed")
	c.s.AddIndicator("URL", "a.example.com/,%", "Review")
	ip := c.s.AddIndicator("IP Address", "192.0.2.1", "Whitelisted")
	c.must("PUT", fmt.Sprintf("/api/indicator/%d/scores", ip), `{"manual_score":7}`)
	query := func(body string) []any {
		return values(c.must("POST", "/api/indicators/query?sort=id&limit=10", body).list(), "value")
	}
	assert.Empty(t, query(`{}`), "the index lags")
	now = now.Add(time.Second)
	for body, want := range map[string][]any{
		`{}`: {"a.example.com", "a.example.com/,%", "192.0.2.1"},
		`{"criteria":{},"filters":{"+or":[{"+and":[{"value":{"is":"A.example.com"}},{"type_name":"FQDN"}]}]}}`:  {"a.example.com"},
		`{"filters":{"value":{"is":"a.example.com/,%"}}}`:                                                       {"a.example.com/,%"},
		`{"criteria":{"+or":[{"value":"192.0.2.1"},{"value":"a.example.com"}]},"filters":{"type_name":"FQDN"}}`: {"a.example.com"},
		`{"filters":{"score":{"+gte":7,"+lte":10}}}`:                                                            {"192.0.2.1"},
		`{"filters":{"value":{"+contains":"example"},"status_name":"Review"}}`:                                  {"a.example.com/,%"},
		`{"criteria":[],"filters":[]}`:                                                                          {"a.example.com", "a.example.com/,%", "192.0.2.1"},
	} {
		assert.Equal(t, want, query(body), body)
	}
	for _, bad := range []string{`{"filters":{"nonsense":1}}`, `{"filters":{"value":{"like":"x"}}}`, `{"filters":{"+or":{}}}`, `{"filters":7}`} {
		assert.Equal(t, 400, c.do("POST", "/api/indicators/query", bad).Status, bad)
	}
	bare := c.must("POST", "/api/indicators/query?limit=1&sort=id", `{}`).list()[0]
	assert.NotContains(t, bare, "sources")
	asked := c.must("POST", "/api/indicators/query?limit=1&sort=id", `{"fields":["*","sources.name"]}`).list()[0]
	assert.Contains(t, asked, "sources")
	assert.Equal(t, 0.0, asked["score"])
}

func TestWith(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddIndicator("FQDN", "a.example.com", "Active")
	target := fmt.Sprintf("/api/indicators/%d?with=", id)
	for _, with := range []string{"attack_pattern", "sources,attack_pattern", "nonsense", "type.name"} {
		a := c.get(target + with)
		assert.Equal(t, 500, a.Status, with)
		assert.Equal(t, threatqtest.HTMLError, a.Raw)
	}
	row := c.must("GET", target+"attributes,sources,score,type,status,adversaries,events,indicators,indicators.type,attachments,signatures,comments,tags,watchlist,malware", "").one()
	assert.Equal(t, "Active", row["status"].(map[string]any)["name"])
	assert.Equal(t, "0.00", row["score"].(map[string]any)["generated_score"])
	newer := start(t, threatqtest.Options{UnderscoreWith: true})
	id = newer.s.AddIndicator("FQDN", "a.example.com", "Active")
	assert.Equal(t, 200, newer.get(fmt.Sprintf("/api/indicators/%d?with=attack_pattern", id)).Status)
}

func TestRolesAndMissingThings(t *testing.T) {
	weak := start(t, threatqtest.Options{WeakRole: true})
	for _, path := range []string{"/api/indicator/types", "/api/indicator/statuses", "/api/indicator/types/4"} {
		assert.JSONEq(t, `{}`, weak.get(path).Raw)
	}
	assert.Equal(t, 403, weak.get("/api/users").Status)
	weak.must("POST", "/api/indicators", `{"value":"a.example.com","type":"FQDN","status":"Review"}`)

	reader := start(t, threatqtest.Options{ReadOnly: true})
	assert.Equal(t, 403, reader.do("POST", "/api/indicators", `{}`).Status)
	assert.Equal(t, 200, reader.do("POST", "/api/indicators/query", `{}`).Status, "a look-up is no write")

	bare := start(t, threatqtest.Options{WithoutIncidentType: true})
	body := `{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00"}`
	assert.Equal(t, 400, bare.do("POST", "/api/events", body).Status)
	assert.Equal(t, 15.0, bare.must("POST", "/api/event/types", `{"name":"Incident"}`).one()["id"])
	assert.Equal(t, 400, bare.do("POST", "/api/event/types", `{"name":"incident"}`).Status)
	bare.must("POST", "/api/events", body)
	assert.Equal(t, 403, start(t, threatqtest.Options{RefuseEventTypes: true}).do("POST", "/api/event/types", `{"name":"X"}`).Status)
}

func TestAnswerForms(t *testing.T) {
	c := start(t, threatqtest.Options{NumericStrings: true, ListOfOne: true, OmitTotal: true})
	row := c.must("POST", "/api/events", `{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00"}`).list()[0]
	assert.Equal(t, "55", row["id"])
	assert.Equal(t, "13", row["type_id"])
	assert.NotContains(t, c.get("/api/events").Raw, "total")
	c.must("POST", "/api/events/55/attributes", `{"name":"Severity","value":"High"}`)

	o := start(t, threatqtest.Options{ObjectOfOne: true})
	assert.Equal(t, "N", o.must("POST", "/api/indicators", `[{"value":"x","type":"String"}]`).one()["existing"])
}

func TestUnknownPaths(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddEvent("Incident", "T")
	for target, want := range map[string]int{
		"GET /api/nothing": 404, "GET /other": 404, "GET /api/events/99": 404, "GET /api/events/x": 404, "DELETE /api/events": 405,
		"POST /api/objects": 405, "DELETE /api/indicator/types": 405, "PATCH /api/events/55": 405, "GET /api/events/55/nothing": 404,
		"GET /api/indicator": 404, "GET /api/event": 404, "POST /api/users": 405, "GET /api/events/consume": 405, "GET /api/events/query": 405,
		"GET /api/events/consume/new": 404, "PATCH /api/events/55/comments": 405, "GET /api/events/55/attributes/1/2": 404, "GET /api/imports": 405,
		"GET /api/imports/33/commit": 404, "GET /api/attachments/upload": 405, "GET /api/events/55/download": 404, "GET /api/search": 404,
		"GET /api/indicator/types/999": 404, "GET /api/events/55/details/1": 405, "PUT /api/events/comments/1": 404, "GET /api/users/7": 404,
	} {
		method, path, _ := strings.Cut(target, " ")
		assert.Equal(t, want, c.do(method, path, "").Status, target)
	}
	c.must("DELETE", fmt.Sprintf("/api/events/%d", id), "")
	assert.Equal(t, 404, c.do("DELETE", fmt.Sprintf("/api/events/%d", id), "").Status)
}

func TestFaults(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.s.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/events", Skip: 1, Times: 2, Status: 503, RetryAfter: "3", Body: threatqtest.HTMLError, ContentType: "text/html"})
	statuses := []int{}
	for range 4 {
		statuses = append(statuses, c.get("/api/events").Status)
	}
	assert.Equal(t, []int{200, 503, 503, 200}, statuses)
	assert.Equal(t, 200, c.get("/api/objects").Status)

	c.s.Inject(threatqtest.Fault{Times: -1, Status: 500, Body: "{}", Match: func(r *http.Request) bool { return r.URL.Query().Get("x") == "1" }})
	assert.Equal(t, 500, c.get("/api/objects?x=1").Status)
	assert.Equal(t, 500, c.get("/api/objects?x=1").Status)
	assert.Equal(t, 1, c.s.ClearFaults())
	assert.Equal(t, 200, c.get("/api/objects?x=1").Status)

	body := `{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00"}`
	c.s.Inject(threatqtest.Fault{Method: "POST", CutBefore: true})
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.do("POST", "/api/events", body) })
	assert.Empty(t, c.s.Events())
	c.s.Inject(threatqtest.Fault{Method: "POST", LoseAnswer: true})
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.do("POST", "/api/events", body) })
	assert.Len(t, c.s.Events(), 1, "the request was performed")
	assert.Zero(t, c.s.Requests()[len(c.s.Requests())-1].Status)
	c.s.Inject(threatqtest.Fault{Method: "POST", LoseAnswer: true, Status: 504, Body: "{}"})
	assert.Equal(t, 504, c.do("POST", "/api/events", body).Status)
	assert.Len(t, c.s.Events(), 2, "the request was performed")
}

func TestDecidedFaults(t *testing.T) {
	c := start(t, threatqtest.Options{})
	body := `{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00"}`
	var decided *threatqtest.Fault
	var seen []string
	c.s.Decide(func(r *http.Request, body []byte) *threatqtest.Fault {
		seen = append(seen, r.Method+" "+r.URL.Path+" "+string(body))
		return decided
	})
	assert.Equal(t, 200, c.get("/api/events").Status, "nil lets it pass")
	there := 0
	decided = &threatqtest.Fault{LoseAnswer: true, Acted: func() { there = len(c.s.Events()) }}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.do("POST", "/api/events", body) })
	assert.Equal(t, 1, there, "called after acting")
	assert.Equal(t, []string{"GET /api/events ", "POST /api/events " + body}, seen)
	decided = &threatqtest.Fault{CutAfter: 5}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/events", nil)
	r.Header.Set("Authorization", "Bearer "+c.token)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { c.s.ServeHTTP(w, r) })
	assert.Equal(t, 5, w.Body.Len())
	c.s.Inject(threatqtest.Fault{Status: 503, Body: "{}"})
	assert.Equal(t, 503, c.get("/api/events").Status, "an injected fault comes first")
	c.s.Decide(nil)
	assert.Equal(t, 200, c.get("/api/events").Status)
}

func TestManyAtOnce(t *testing.T) {
	c := start(t, threatqtest.Options{KeepRequests: 100})
	event := c.s.AddEvent("Incident", "T")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 30 {
				row := c.must("POST", "/api/indicators", fmt.Sprintf(`{"value":"v%d","type":"String","status":"Review","sources":[{"name":"S%d"}]}`, i, worker)).list()[0]
				c.must("POST", fmt.Sprintf("/api/events/%d/indicators", event), fmt.Sprintf(`{"id":%v}`, row["id"]))
				c.must("POST", fmt.Sprintf("/api/events/%d/attributes", event), `{"name":"A","value":"1"}`)
				c.must("GET", "/api/indicators?value=v%25&with=sources,attributes,events", "")
				if i%10 == 0 {
					assert.NotEmpty(t, c.s.Snapshot())
				}
			}
		})
	}
	wg.Wait()
	assert.Len(t, c.s.Indicators(), 30)
	assert.Len(t, c.s.Links("events", event, "indicators"), 30)
	assert.Len(t, c.s.Attributes("events", event), 1)
	assert.Len(t, c.s.Indicators()[0].Sources, 4)
	assert.Len(t, c.s.Requests(), 100)
	assert.Equal(t, 4*30*4, c.s.Counts().Requests)
	assert.Equal(t, 4*30*3, c.s.Counts().Writes())
}
