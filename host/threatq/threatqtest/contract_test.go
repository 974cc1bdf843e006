package threatqtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
		Multipart *struct {
			Fields map[string]string
			File   struct {
				Field, Filename, Content string
				ContentType              string `json:"content_type"`
			}
		}
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
	// before are samples that are played first.
	before  []string
	missing []string
	// extra names keys that the simulator shows although a recorded answer does not.
	extra []string
}

// withdrawn lists the samples that the simulator refuses with 404, with the reason: a client that uses them must fail here.
var withdrawn = map[string]string{
	"indicator-query-cursor":    "a saved search, which someone has to have made; the cursor itself is tested on /query",
	"indicator-search-advanced": "servers have withdrawn the old search endpoints",
	"search-global":             "servers have withdrawn the old search endpoints",
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
	"attachment-upload-chunk":            {},
	"attachment-create-after-chunk":      {before: []string{"attachment-upload-chunk"}},
	"attachment-create-multipart":        {},
	"attachment-download":                {seed: file("<bytes>")},
	"import-create":                      {seed: file(suspicious)},
	"import-create-text":                 {},
	"import-set-options":                 {seed: file(suspicious), before: []string{"import-create"}},
	"import-preview":                     {seed: file(suspicious), before: []string{"import-create", "import-set-options"}},
	"import-commit":                      {seed: file(suspicious), before: []string{"import-create", "import-set-options", "import-preview"}},
	"import-abandon":                     {seed: file(suspicious), before: []string{"import-create"}},
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

const suspicious = "hxxp://bad[.]example[.]com/x 198.51.100.7"

func file(content string) func(*threatqtest.Server) {
	return func(s *threatqtest.Server) {
		s.AddFile(threatqtest.File{ID: 12, Name: "report.txt", Title: "Resilient #2095 / attachment 27: report.txt", Content: []byte(content)})
	}
}

func tooMany(s *threatqtest.Server) {
	s.Inject(threatqtest.Fault{PathPrefix: "/api/indicator/types", Status: 429, RetryAfter: "5", Body: `{"error":"too many requests"}`})
}

// TestSamples replays the contract: the simulator must answer with the same status and the same shape.
// Every key of a sample must be there with the same JSON type (null fits any); a recorded sample must not lack keys that are there.
func TestSamples(t *testing.T) {
	samples := readSamples(t)
	for name, sm := range samples {
		t.Run(name, func(t *testing.T) {
			reason, refused := withdrawn[name]
			rp, ok := played[name]
			require.True(t, ok != refused, "a sample is either played or listed with a reason")
			if refused {
				require.NotEmpty(t, reason)
				status, _, text := newStage(t, sm, rp).play(sm)
				assert.Equal(t, http.StatusNotFound, status, "%s", text)
				return
			}
			stage := newStage(t, sm, rp)
			for _, earlier := range rp.before {
				require.Contains(t, samples, earlier)
				status, _, text := stage.play(samples[earlier])
				require.Equal(t, samples[earlier].Response.Status, status, "%s: %s", earlier, text)
			}
			status, header, text := stage.play(sm)
			compare(t, sm, rp, status, header, text)
		})
	}
	for name := range played {
		assert.Contains(t, samples, name)
	}
	for name := range withdrawn {
		assert.Contains(t, samples, name)
	}
}

func readSamples(t *testing.T) map[string]sample {
	files, err := filepath.Glob("../../../testdata/rest/threatq/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	samples := map[string]sample{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var sm sample
		require.NoError(t, json.Unmarshal(raw, &sm), file)
		samples[sm.Name] = sm
	}
	return samples
}

// stage is a server on which samples are played, and a client of it.
type stage struct {
	t      *testing.T
	s      *threatqtest.Server
	client *http.Client
}

func newStage(t *testing.T, sm sample, rp replay) *stage {
	o := rp.options
	o.ClientID, o.Password, o.Normalize = "abcdef0123456789", "<password>", true
	if sm.Name == "auth-client-credentials" {
		o.ClientID, o.Password = "test", "test"
	}
	s := threatqtest.New(o)
	t.Cleanup(s.Close)
	if rp.seed != nil {
		rp.seed(s)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.Authority().ClientConfig()}}
	t.Cleanup(client.CloseIdleConnections)
	return &stage{t, s, client}
}

// play sends the request of a sample.
func (st *stage) play(sm sample) (status int, header http.Header, text []byte) {
	t := st.t
	query := url.Values{}
	for key, value := range sm.Request.Query {
		query.Set(key, fmt.Sprint(value))
	}
	if sm.Name == "auth-refresh" {
		query.Set("refresh_token", login(t, st.s, st.client))
	}
	body, contentType := sm.body(t)
	req, err := http.NewRequest(sm.Request.Method, st.s.URL()+sm.Request.Path+"?"+query.Encode(), bytes.NewReader(body))
	require.NoError(t, err)
	for key, value := range sm.Request.Headers {
		req.Header.Set(key, value)
	}
	req.Header.Set("Content-Type", contentType)
	if strings.HasPrefix(sm.Request.Headers["Authorization"], "Bearer") && sm.Name != "auth-token-expired" {
		req.Header.Set("Authorization", "Bearer "+st.s.NewToken())
	}
	resp, err := st.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, text
}

func (sm sample) body(t *testing.T) (body []byte, contentType string) {
	contentType = sm.Request.Headers["Content-Type"]
	switch r := sm.Request; {
	case r.Body != nil:
		raw, err := json.Marshal(r.Body)
		require.NoError(t, err)
		return raw, contentType
	case r.Form != nil:
		form := url.Values{}
		for key, value := range r.Form {
			form.Set(key, value)
		}
		return []byte(form.Encode()), contentType
	case r.Multipart != nil:
		return multipartBody(t, r.Multipart.Fields, r.Multipart.File.Field, r.Multipart.File.Filename, r.Multipart.File.Content)
	}
	return nil, contentType
}

func multipartBody(t testing.TB, values map[string]string, part, fileName, content string) (body []byte, contentType string) {
	var buffer bytes.Buffer
	form := multipart.NewWriter(&buffer)
	for name, value := range values {
		require.NoError(t, form.WriteField(name, value))
	}
	if part != "" {
		file, err := form.CreateFormFile(part, fileName)
		require.NoError(t, err)
		_, err = io.WriteString(file, content)
		require.NoError(t, err)
	}
	require.NoError(t, form.Close())
	return buffer.Bytes(), form.FormDataContentType()
}

// compare holds an answer against the sample.
func compare(t *testing.T, sm sample, rp replay, status int, header http.Header, text []byte) {
	require.Equal(t, sm.Response.Status, status, "%s", text)
	for key, value := range sm.Response.Headers {
		assert.Equal(t, value, header.Get(key), key)
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
