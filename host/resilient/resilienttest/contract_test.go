package resilienttest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// client speaks to a simulator with plain net/http, so that the product's client does not
// test itself.
type client struct {
	t      *testing.T
	server *resilienttest.Server
	http   *http.Client
	cookie string
	csrf   string
	basic  bool
}

func newClient(t *testing.T, s *resilienttest.Server) *client {
	transport := &http.Transport{TLSClientConfig: s.Authority().ClientConfig()}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, server: s, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

func (c *client) login() {
	status, answer := c.do("POST", "/rest/session", map[string]any{"email": resilienttest.DefaultEmail, "password": resilienttest.DefaultPassword})
	require.Equal(c.t, http.StatusOK, status)
	c.csrf = answer.(map[string]any)["csrf_token"].(string)
}

func (c *client) request(method, path string, body io.Reader, header map[string]string) (*http.Response, []byte, error) {
	r, err := http.NewRequest(method, c.server.URL()+path, body)
	require.NoError(c.t, err)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if c.basic {
		r.SetBasicAuth(resilienttest.DefaultAPIKeyID, resilienttest.DefaultAPIKeySecret)
	} else if c.csrf != "" {
		r.Header.Set("X-sess-id", c.csrf)
		r.AddCookie(&http.Cookie{Name: "JSESSIONID", Value: c.cookie})
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	for _, cookie := range response.Cookies() {
		if !c.basic {
			c.cookie = cookie.Value
		}
	}
	return response, data, err
}

// do sends JSON and returns the status and the decoded answer.
func (c *client) do(method, path string, body any) (int, any) {
	c.t.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(c.t, err)
		reader = bytes.NewReader(data)
	}
	response, data, err := c.request(method, path, reader, map[string]string{"Content-Type": "application/json"})
	require.NoError(c.t, err)
	var answer any
	if len(data) > 0 {
		require.NoError(c.t, json.Unmarshal(data, &answer), "%s", data)
	}
	return response.StatusCode, answer
}

func start(t *testing.T, options resilienttest.Options) *resilienttest.Server {
	s := resilienttest.New(options)
	t.Cleanup(s.Close)
	return s
}

// TestRESTContract sends the request of each sample, without an exception, and compares the answer's status and
// shape with the sample's.
func TestRESTContract(t *testing.T) {
	second := func(s *resilienttest.Server) {
		s.AddIncident(map[string]any{"name": "Second incident", "create_date": 1580477400000})
	}
	prepare := map[string]func(*resilienttest.Server){
		"rest-09-incidents-query-paged": second,
		"rest-11-incident-patch-conflict": func(s *resilienttest.Server) {
			s.UpdateIncident(resilienttest.DefaultIncident, map[string]any{"properties": map[string]any{"internal_severity": "Sev 3"}})
		},
		"rest-41-error-403": func(s *resilienttest.Server) { s.Forbid(999999) },
		"rest-42-error-401": func(s *resilienttest.Server) { s.ExpireSessions() },
		"rest-44-error-500": func(s *resilienttest.Server) { s.Inject(resilienttest.Fault{PathSuffix: "/999999", Status: 500}) },
	}
	for _, name := range sampleFiles(t, restSamples, "rest-") {
		t.Run(name, func(t *testing.T) {
			sample := readJSON(t, filepath.Join(restSamples, name+".json"))
			request, response := sample["request"].(map[string]any), sample["response"].(map[string]any)
			var o resilienttest.Options
			if name == "rest-36-configurations-import-post" {
				o.Installed = resilienttest.InstalledNothing
			}
			s := start(t, o)
			c := newClient(t, s)
			method, path, body := request["method"].(string), request["path"].(string), request["body"]
			header := map[string]string{"Content-Type": "application/json"}
			switch name {
			case "rest-01-session-post":
				body.(map[string]any)["password"] = resilienttest.DefaultPassword
			case "rest-02-session-get-apikey":
				c.basic = true
			case "rest-03-session-post-denied":
			case "rest-43-error-409": // the sample's incident does not exist; any stale version will do
				c.login()
				path, body = "/rest/orgs/201/incidents/2095", map[string]any{"name": "x", "vers": 1}
			default:
				c.login()
				sent, _ := request["headers"].(map[string]any)
				for name, value := range sent {
					header[name] = value.(string)
				}
			}
			if f := prepare[name]; f != nil {
				f(s)
			}
			if name == "rest-37-configurations-import-accept" {
				document := readJSON(t, filepath.Join(restSamples, "rest-36-configurations-import-post.json"))
				status, pending := c.do("POST", "/rest/orgs/201/configurations/imports", dig(document, "request", "body"))
				require.Equal(t, 200, status)
				require.Equal(t, dig(body, "id"), dig(pending, "id"))
			}
			var reader io.Reader = http.NoBody
			if text, isText := body.(string); isText {
				require.Contains(t, text, "multipart/form-data")
				data, contentType := multipartFile(t, "invoice.docm", []byte("bytes"))
				reader, header["Content-Type"] = bytes.NewReader(data), contentType
			} else if body != nil {
				data, err := json.Marshal(body)
				require.NoError(t, err)
				reader = bytes.NewReader(data)
			}
			got, data, err := c.request(method, path, reader, header)
			require.NoError(t, err)
			require.Equal(t, int(response["status"].(float64)), got.StatusCode, "%s", data)
			for name, value := range response["headers"].(map[string]any) {
				if name == "Set-Cookie" {
					require.Regexp(t, `^JSESSIONID=[0-9A-F]{32}; Path=/; HttpOnly; Secure$`, got.Header.Get(name))
					continue
				}
				if name == "Content-Disposition" { // quoting of a plain name is optional
					value = "attachment; filename=invoice.docm"
				}
				assert.Equal(t, value, got.Header.Get(name), name)
			}
			if _, isText := response["body"].(string); isText {
				require.Len(t, data, 20210)
				return
			}
			var answer any
			require.NoError(t, json.Unmarshal(data, &answer))
			if name == "rest-35-functions-list" { // the sample shows names, which need handle_format=names
				for _, f := range dig(response, "body", "entities").([]any) {
					delete(f.(map[string]any), "destination_handle")
				}
			}
			require.Empty(t, shapeDifferences("", response["body"], answer, false))
			assertValues(t, name, response["body"], answer)
		})
	}
}

// assertValues compares the values that matter for a sample, beyond its shape.
func assertValues(t *testing.T, name string, want, got any) {
	t.Helper()
	keys := map[string][]string{
		"rest-06-incident-get-ids":             {"id", "name", "description", "severity_code", "owner_id", "incident_type_ids", "properties", "vers"},
		"rest-07-incident-get-names-text":      {"description", "severity_code", "owner_id", "incident_type_ids", "nist_attack_vectors", "phase_id", "workspace", "org_handle", "exposure_type_id", "crimestatus_id", "properties"},
		"rest-08-incident-get-objects-convert": {"description"},
		"rest-10-incident-patch":               {"success"},
		"rest-11-incident-patch-conflict":      {"success", "field_failures"},
		"rest-15-artifact-post-invalid":        {"success", "error_code"},
		"rest-34-function-get":                 {"id", "name", "destination_handle", "view_items"},
		"rest-36-configurations-import-post":   {"id", "status"},
		"rest-37-configurations-import-accept": {"id", "status", "messages"},
	}
	wanted, isObject := want.(map[string]any)
	for _, key := range keys[name] {
		require.True(t, isObject)
		assert.Equal(t, wanted[key], got.(map[string]any)[key], key)
	}
	items := map[string][]string{
		"rest-12-artifacts-list":      {"id", "type", "value", "inc_id", "properties"},
		"rest-13-artifact-post":       {"id", "type", "value", "description"},
		"rest-14-artifact-post-multi": {"type", "value"},
	}
	for i := range 2 {
		for _, key := range items[name] {
			if list := want.([]any); i < len(list) {
				assert.Equal(t, list[i].(map[string]any)[key], got.([]any)[i].(map[string]any)[key], key)
			}
		}
	}
	if name == "rest-32-actions-list" {
		rules := func(v any) map[string]any {
			byID := map[string]any{}
			for _, item := range v.(map[string]any)["entities"].([]any) {
				rule := maps.Clone(item.(map[string]any))
				byID[string(mustJSON(t, rule["id"]))] = rule
			}
			return byID
		}
		known := rules(got)
		for id, rule := range rules(want) {
			assert.Equal(t, rule, known[id])
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return data
}

func multipartFile(t *testing.T, name string, content []byte, fields ...[2]string) (body []byte, contentType string) {
	t.Helper()
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	for _, field := range fields {
		require.NoError(t, w.WriteField(field[0], field[1]))
	}
	part, err := w.CreateFormFile("file", name)
	require.NoError(t, err)
	_, err = part.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buffer.Bytes(), w.FormDataContentType()
}
