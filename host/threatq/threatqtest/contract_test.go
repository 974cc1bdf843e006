package threatqtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

// sample is one exchange of the contract.
type sample struct {
	Name       string
	Provenance struct{ Level string }
	Request    struct {
		Method    string
		Path      string
		Query     map[string]any
		Headers   map[string]string
		Body      any
		Form      map[string]string
		Multipart any
	}
	Response struct {
		Status   int
		Headers  map[string]string
		Body     any
		BodyText *string `json:"body_text"`
	}
}

// replay says how a sample is played: what must be there before, and where the answer may differ and why.
type replay struct {
	options threatqtest.Options
	seed    func(s *threatqtest.Server)
	missing []string
	// extra names keys that the simulator shows although a recorded answer does not.
	extra []string
}

// notPlayed lists the samples that the simulator does not answer yet, with the reason.
var notPlayed = map[string]string{
	"attachment-create-after-chunk": "uploads belong to Import Attachment",
	"attachment-create-multipart":   "uploads belong to Import Attachment",
	"attachment-download":           "uploads belong to Import Attachment",
	"attachment-upload-chunk":       "uploads belong to Import Attachment",
	"import-abandon":                "import sessions belong to Import Attachment",
	"import-commit":                 "import sessions belong to Import Attachment",
	"import-create":                 "import sessions belong to Import Attachment",
	"import-create-text":            "import sessions belong to Import Attachment",
	"import-preview":                "import sessions belong to Import Attachment",
	"import-set-options":            "import sessions belong to Import Attachment",
	"indicator-query-cursor":        "a saved search; the cursor itself is tested on /query",
	"indicator-search-advanced":     "an old search endpoint that new clients must not use",
	"search-global":                 "an old search endpoint that new clients must not use",
}

const eventTitle = "Resilient #2095: Phishing mail to finance"

func event(id int) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		s.Seed(threatqtest.Object{ID: id, Collection: "events", Name: eventTitle, Description: "text", Sources: []string{"Resilient"},
			Attributes: []threatqtest.Attribute{{Name: "Severity", Value: "High"}}})
	}
}

func indicator(id int, typ, value string) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		s.Seed(threatqtest.Object{ID: id, Collection: "indicators", Name: value, Type: typ, Status: "Active", Description: "text",
			Sources: []string{"Resilient"}, Attributes: []threatqtest.Attribute{{Name: "Category", Value: "Malware"}}})
	}
}

func object(collection string, id int, name string) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		s.Seed(threatqtest.Object{ID: id, Collection: collection, Name: name, Description: "text", Tags: []string{"malware"}, Comments: []string{"Comment"}})
	}
}

func all(seeds ...func(*threatqtest.Server)) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		for _, seed := range seeds {
			seed(s)
		}
	}
}

func joined(collection string, id int, other string, otherID int) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) { s.Link(collection, id, other, otherID) }
}

// Rows 901, 31 and so on are the first ids of the simulator, chosen after the samples.
var played = map[string]replay{
	"auth-password-json-body": {}, "auth-password-query": {}, "auth-password-form": {}, "auth-client-credentials": {},
	"auth-refresh": {}, "auth-bad-credentials": {}, "auth-token-expired": {},

	"lookup-indicator-types": {}, "lookup-indicator-type-by-name": {}, "lookup-indicator-statuses": {},
	"lookup-indicator-status-by-id": {}, "lookup-indicator-type-by-id": {}, "lookup-event-types": {},
	"lookup-event-type-by-id": {}, "lookup-attachment-types": {}, "lookup-attachment-types-parsable": {},
	"lookup-objects": {}, "lookup-users": {}, "lookup-user-current": {},
	"lookup-no-permission": {options: threatqtest.Options{WeakRole: true}},
	"event-type-create":    {options: threatqtest.Options{WithoutIncidentType: true}},

	"indicator-create-new":      {},
	"indicator-create-existing": {seed: indicator(53, "Username", "user1@example.com")},
	"indicator-create-array":    {},
	"indicator-create-by-name": {missing: []string{
		"data[].sources", "data[].attributes", "data[].score", // the client's unit test data answers as if with= had been sent
	}},
	"indicator-consume":                 {seed: event(55)},
	"indicator-consume-new":             {},
	"indicator-get-by-value":            {seed: indicator(27, "IP Address", "8.8.8.8")},
	"indicator-get-by-value-none":       {},
	"indicator-query-ip":                {seed: all(indicator(27, "IP Address", "8.8.8.8"), comment("indicators", 27)), missing: []string{"data[].expired_at"}, extra: []string{"total", "limit", "offset", "data[].tags"}},
	"indicator-query-email":             {seed: indicator(2019, "Email Address", "foo@demisto.com")},
	"indicator-query-url-two-spellings": {seed: indicator(503, "URL", "bad.example.com/path")},
	"indicator-query-hash": {seed: func(s *threatqtest.Server) {
		s.Seed(threatqtest.Object{ID: 2, Collection: "indicators", Type: "MD5", Name: "d41d8cd98f00b204e9800998ecf8427e", Sources: []string{"Domain Tools"},
			Tags: []string{"malware"}, Comments: []string{"Comment"}, Attributes: []threatqtest.Attribute{{Name: "Category", Value: "Malware"}}})
	}, extra: []string{"total", "limit", "offset", "data[].description"}},
	"indicator-details":                  {seed: indicator(7, "URL", "www.example.com")},
	"indicator-get-with":                 {seed: indicator(2019, "Email Address", "foo@demisto.com")},
	"indicator-put-status":               {seed: indicator(57, "Email Address", "admin@email.com")},
	"indicator-put-score":                {seed: indicator(2145, "FQDN", "a.example.com")},
	"indicator-related-indicators":       {seed: related},
	"indicator-related-with-type-status": {seed: related},
	"indicator-get-nested-related":       {seed: related},
	"indicator-delete":                   {seed: indicator(2019, "FQDN", "a.example.com")},
	"attribute-add":                      {seed: all(object("adversaries", 15, "A"), attributed("adversaries", 15, "Category", "Malware"))},
	"attribute-add-event":                {seed: object("events", 55, eventTitle)},
	"attribute-list":                     {seed: indicator(7, "URL", "www.example.com")},
	"attribute-put":                      {seed: event(55)},
	"attribute-delete":                   {seed: event(55)},
	"source-add":                         {seed: object("adversaries", 15, "A")},
	"tag-add":                            {seed: indicator(2019, "FQDN", "a.example.com")},
	"comment-add":                        {seed: indicator(2, "FQDN", "a.example.com")},
	"comment-add-event":                  {seed: event(55)},
	"comment-list":                       {seed: all(indicator(2, "FQDN", "a.example.com"), comment("indicators", 2))},
	"comment-put":                        {seed: all(indicator(2, "FQDN", "a.example.com"), comment("indicators", 2))},
	"comment-delete":                     {seed: all(indicator(2, "FQDN", "a.example.com"), comment("indicators", 2))},
	"link-indicators":                    {seed: all(indicator(2196, "FQDN", "a.example.com"), indicator(90, "FQDN", "b.example.com")), extra: []string{"data[].sync_hash", "data[].deleted_at"}},
	"link-incident-object":               {seed: all(indicator(71, "FQDN", "a.example.com"), incident(2))},
	"link-event-indicators":              {seed: all(event(55), indicator(88, "FQDN", "evil.example.net"))},
	"unlink-event-indicator":             {seed: all(event(55), indicator(88, "FQDN", "evil.example.net"), joined("events", 55, "indicators", 88))},
	"event-create":                       {},
	"event-create-incident":              {},
	"event-consume":                      {},
	"event-find-by-title-prefix":         {seed: event(55)},
	"event-get-with":                     {seed: event(55)},
	"event-get-minimal":                  {seed: event(2019)},
	"event-put":                          {seed: event(2019)},
	"event-list":                         {seed: all(object("events", 1, "Test"), object("events", 2, "Test2"), object("events", 3, "Test3"))},
	"event-related-indicators":           {seed: all(event(55), indicator(10, "FQDN", "a.example.com"), joined("events", 55, "indicators", 10))},
	"object-create":                      {},
	"object-create-adversary":            {},
	"object-find-by-value":               {seed: malware, missing: underscored("intrusion_set", "exploit_target", "attack_pattern", "course_of_action", "campaign", "ttp", "tool", "incident", "report", "identity", "vulnerability")},
	"object-link-to-event":               {seed: all(event(55), object("malware", 1, "Investigation1"))},
	"task-create":                        {},
	"task-record":                        {seed: object("tasks", 5, "Task2")},
	"task-find-by-name":                  {seed: object("tasks", 41, "Resilient #2095 / task 17: Collect mail headers")},
	"task-put":                           {seed: object("tasks", 41, "T")},
	"task-link-event":                    {seed: all(event(55), object("tasks", 41, "T"))},
	"task-comment-add":                   {seed: object("tasks", 41, "T")},
	"attachment-find-by-hash":            {seed: attachment},
	"attachment-find-by-name":            {seed: attachment},
	"attachment-link-event":              {seed: all(attachment, event(55))},
	"error-validation-field-map":         {seed: object("adversaries", 1, "dup"), missing: []string{"data.errors.test"}},
	"error-list":                         {options: threatqtest.Options{ErrorShape: threatqtest.ErrorList}},
	"error-in-2xx":                       {options: threatqtest.Options{ErrorShape: threatqtest.ErrorInOK}},
	"error-not-found":                    {},
	"error-forbidden":                    {options: threatqtest.Options{ReadOnly: true}},
	"error-too-many":                     {seed: tooMany},
	"error-html-500":                     {seed: indicator(5, "FQDN", "a.example.com")},
}

func comment(collection string, id int) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) { s.AddComment(collection, id, "Comment") }
}

func attributed(collection string, id int, name, value string) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) { s.AddAttribute(collection, id, name, value) }
}

func incident(id int) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		s.Seed(threatqtest.Object{ID: id, Collection: "incident", Name: "123123", Extra: map[string]any{"started_at": "2020-07-20 12:27:00", "ended_at": "2020-07-20 12:27:00"}})
	}
}

func related(s *threatqtest.Server) {
	all(indicator(71, "FQDN", "a.example.com"), indicator(88, "FQDN", "b.example.com"), joined("indicators", 71, "indicators", 88))(s)
}

func malware(s *threatqtest.Server) {
	s.Seed(threatqtest.Object{ID: 1, Collection: "malware", Name: "Investigation1", Description: "<p>x</p>", Sources: []string{"Domain Tools"}})
	all(object("malware", 2, "Other"), object("tasks", 5, "Task2"), object("adversaries", 29, "T"),
		joined("malware", 1, "malware", 2), joined("malware", 1, "tasks", 5), joined("malware", 1, "adversaries", 29))(s)
}

// underscored are parts that the recording shows although its request does not ask for them.
func underscored(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, "data[]."+n)
	}
	return out
}

func attachment(s *threatqtest.Server) {
	s.Seed(threatqtest.Object{ID: 12, Collection: "attachments", Name: "report.txt", Type: "Malware Sample",
		Extra: map[string]any{"hash": "9e107d9d372bb6826bd81d3542a419d6"}})
}

func tooMany(s *threatqtest.Server) {
	s.Inject(threatqtest.Fault{PathPrefix: "/api/indicator/types", Status: 429, RetryAfter: "5", Body: `{"error":"too many requests"}`})
}

// TestSamples replays the contract: the simulator must answer with the same status and the same shape.
// Every key of a sample must be there with the same JSON type (null fits any); a recorded sample must not lack keys that are there.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/rest/threatq/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var sm sample
		require.NoError(t, json.Unmarshal(raw, &sm), file)
		seen[sm.Name] = true
		t.Run(sm.Name, func(t *testing.T) {
			reason, skipped := notPlayed[sm.Name]
			rp, ok := played[sm.Name]
			require.True(t, ok != skipped, "a sample is either played or listed with a reason")
			if skipped {
				require.NotEmpty(t, reason)
				return
			}
			replaySample(t, sm, rp)
		})
	}
	for name := range played {
		assert.True(t, seen[name], "no sample is called %s", name)
	}
	for name := range notPlayed {
		assert.True(t, seen[name], "no sample is called %s", name)
	}
}

func replaySample(t *testing.T, sm sample, rp replay) {
	o := rp.options
	o.ClientID, o.Password, o.Normalize = "abcdef0123456789", "<password>", true
	if sm.Name == "auth-client-credentials" {
		o.ClientID, o.Password = "test", "test"
	}
	s := threatqtest.New(o)
	defer s.Close()
	if rp.seed != nil {
		rp.seed(s)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.Authority().ClientConfig()}}
	defer client.CloseIdleConnections()

	token := s.NewToken()
	query := url.Values{}
	for key, value := range sm.Request.Query {
		query.Set(key, fmt.Sprint(value))
	}
	if sm.Name == "auth-refresh" {
		query.Set("refresh_token", login(t, s, client))
	}
	var body io.Reader
	contentType := sm.Request.Headers["Content-Type"]
	switch {
	case sm.Request.Body != nil:
		raw, err := json.Marshal(sm.Request.Body)
		require.NoError(t, err)
		body = bytes.NewReader(raw)
	case sm.Request.Form != nil:
		form := url.Values{}
		for key, value := range sm.Request.Form {
			form.Set(key, value)
		}
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(sm.Request.Method, s.URL()+sm.Request.Path+"?"+query.Encode(), body)
	require.NoError(t, err)
	for key, value := range sm.Request.Headers {
		req.Header.Set(key, value)
	}
	req.Header.Set("Content-Type", contentType)
	if strings.HasPrefix(sm.Request.Headers["Authorization"], "Bearer") && sm.Name != "auth-token-expired" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, sm.Response.Status, resp.StatusCode, "%s", text)
	for key, value := range sm.Response.Headers {
		assert.Equal(t, value, resp.Header.Get(key), key)
	}
	switch {
	case sm.Response.BodyText != nil:
		assert.Equal(t, *sm.Response.BodyText, string(text))
	case sm.Response.Body == nil:
		assert.Empty(t, text)
	default:
		var got any
		require.NoError(t, json.Unmarshal(text, &got))
		want, have := shape(sm.Response.Body), shape(got)
		for path, kinds := range want {
			if !covered(path, rp.missing) {
				assert.True(t, compatible(kinds, have[path]), "%s: want %v, got %v in\n%s", path, kinds, have[path], text)
			}
		}
		if sm.Provenance.Level == "recorded" {
			for path := range have {
				if _, ok := want[path]; !ok && !covered(path, rp.extra) && !underNull(path, want) {
					assert.Fail(t, "key of no recording", "%s in\n%s", path, text)
				}
			}
		}
	}
}

func login(t *testing.T, s *threatqtest.Server, client *http.Client) (refresh string) {
	resp, err := client.Post(s.URL()+"/api/token", "application/json",
		strings.NewReader(`{"grant_type":"password","client_id":"abcdef0123456789","email":"svc-soar@example.com","password":"<password>"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	require.NotEmpty(t, answer.RefreshToken)
	return answer.RefreshToken
}

// shape gives the JSON types that were seen under each path; elements of lists share one path.
func shape(v any) map[string][]string {
	out := map[string][]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		kind := ""
		switch v := v.(type) {
		case nil:
			kind = "null"
		case bool:
			kind = "boolean"
		case float64:
			kind = "number"
		case string:
			kind = "string"
		case []any:
			kind = "list"
			for _, e := range v {
				walk(path+"[]", e)
			}
		case map[string]any:
			kind = "object"
			for key, e := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), e)
			}
		}
		if !slices.Contains(out[path], kind) {
			out[path] = append(out[path], kind)
		}
	}
	walk("", v)
	return out
}

func compatible(want, have []string) bool {
	for _, w := range want {
		for _, h := range have {
			if w == h || w == "null" || h == "null" {
				return true
			}
		}
	}
	return false
}

// covered says whether the path or one of its parents is listed.
func covered(path string, list []string) bool {
	for _, p := range list {
		if path == p || strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[") {
			return true
		}
	}
	return false
}

// underNull says that the recording shows null or an empty list where the simulator has content.
func underNull(path string, want map[string][]string) bool {
	for p, kinds := range want {
		if slices.Contains(kinds, "null") && strings.HasPrefix(path, p+".") {
			return true
		}
		if slices.Contains(kinds, "list") && want[p+"[]"] == nil && strings.HasPrefix(path, p+"[]") {
			return true
		}
	}
	return false
}
