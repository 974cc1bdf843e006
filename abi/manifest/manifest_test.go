package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/manifest"
)

const valid = `{"abi":1,"name":"sync-incident","version":"1.1.0","description":"d",
 "rules":[{"title":"ThreatQ: Sync Incident","object":"incident","automatic":true,
   "conditions":[{"method":"object_added"},{"method":"changed","field":"incident.description"}],
   "fields":[{"name":"threatq_import","label":"Import","type":"select","options":["Yes","No"]}]}],
 "functions":[{"name":"threatq_add_indicator","title":"ThreatQ: Add Indicator","inputs":[{"name":"indicator_value","label":"Value","type":"text"}]}],
 "calls":["threatq GET /api/events","threatq GET /api/events/{id}","resilient GET /incidents/{id}"],
 "future":"ignored"}`

func TestParseReadsAManifestAndIgnoresUnknownKeys(t *testing.T) {
	m, err := manifest.Parse([]byte(valid))
	require.NoError(t, err)
	assert.NotNil(t, m.Rule("threatq_sync_incident"))
	assert.Nil(t, m.Rule("threatq_sync_task"))
	assert.Equal(t, "ThreatQ: Add Indicator", m.Function("threatq_add_indicator").Title)
}

func TestRoutingNameFollowsTheReferenceClient(t *testing.T) {
	for title, want := range map[string]string{
		"ThreatQ: Sync Incident":       "threatq_sync_incident",
		"  ThreatQ:  Set Task Status ": "threatq_set_task_status",
		"A--b (c)":                     "a_b_c_",
	} {
		assert.Equal(t, want, manifest.RoutingName(title), title)
	}
}

func TestParseNamesEachMistake(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"other abi":          {`"abi":1`, `"abi":7`, "ABI 7, this host speaks ABI 1"},
		"name with blank":    {`"name":"sync-incident"`, `"name":"Sync Incident"`, `name "Sync Incident"`},
		"version":            {`1.1.0`, `1.1`, `version "1.1"`},
		"unknown object":     {`"object":"incident"`, `"object":"ticket"`, `object "ticket"`},
		"select no options":  {`,"options":["Yes","No"]`, ``, `options belong to selects`},
		"changed no field":   {`,"field":"incident.description"`, ``, "a field belongs to `changed`"},
		"foreign host":       {`"threatq GET /api/events"`, `"threatq GET https://evil.example/api"`, "cannot name a host"},
		"unknown service":    {`"threatq GET /api/events"`, `"aws GET /api/events"`, `service "aws"`},
		"method":             {`"threatq GET /api/events"`, `"threatq TRACE /api/events"`, `method "TRACE"`},
		"malformed pattern":  {`/api/events/{id}`, `/api/events/{id`, `bad wildcard`},
		"clashing patterns":  {`"threatq GET /api/events"`, `"threatq GET /api/events/{x}"`, `conflicts`},
		"not an object":      {valid, `[]`, "not the JSON object"},
		"something after it": {`"ignored"}`, `"ignored"} {}`, "not the JSON object"},
		"stray bracket":      {`"ignored"}`, `"ignored"}]`, "not the JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Parse([]byte(strings.Replace(valid, c.old, c.new, 1)))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func TestPermitsAllowWhatIsListedAndNothingElse(t *testing.T) {
	p, err := manifest.NewPermits([]string{
		"threatq GET /api/events", "threatq GET /api/events/{id}", "threatq POST /api/events/{id}/indicators",
		"resilient GET /incidents/{id}",
	})
	require.NoError(t, err)
	for _, c := range []struct {
		service, method, path string
		want                  bool
	}{
		{"threatq", "GET", "/api/events", true},
		{"threatq", "GET", "/api/events/55", true},
		{"threatq", "POST", "/api/events/55/indicators", true},
		{"threatq", "POST", "/api/events", false},
		{"threatq", "DELETE", "/api/events/55", false},
		{"threatq", "HEAD", "/api/events", false},
		{"threatq", "GET", "/api/events/55/attributes", false},
		{"threatq", "GET", "/api/token", false},
		{"resilient", "GET", "/incidents/1", true},
		{"resilient", "GET", "/api/events", false},
		{"threatq", "GET", "/incidents/1", false},
		{"other", "GET", "/api/events", false},
	} {
		assert.Equal(t, c.want, p.Allow(c.service, c.method, c.path), "%s %s %s", c.service, c.method, c.path)
	}
}

func TestCheckPathRefusesTricks(t *testing.T) {
	for _, path := range []string{
		"", "api", "//api", "/api//events", "/api/", "/api/../token", "/api/./x", "/api/%2e%2e/token", "/a?b=c", "/a#b",
		`/a\b`, "/a;b", "/a\r\nHost: x", "/a\x00", "https://evil.example/", "/" + strings.Repeat("a", 2000),
	} {
		assert.Error(t, manifest.CheckPath(path), "%q", path)
	}
	for _, path := range []string{"/api/events", "/api/events/55/attributes/901", "/incidents/1/artifacts", "/a b/ü"} {
		assert.NoError(t, manifest.CheckPath(path), "%q", path)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte(`{"abi":1,"calls":["threatq GET /{a...}/b"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Parse(text)
		if err != nil {
			return
		}
		// What was accepted can be written and read again.
		again, err := json.Marshal(m)
		require.NoError(t, err)
		_, err = manifest.Parse(again)
		require.NoError(t, err)
	})
}

func TestARuleAndAFunctionMayHaveOneName(t *testing.T) {
	_, err := manifest.Parse([]byte(strings.ReplaceAll(valid, "threatq_add_indicator", "threatq_sync_incident")))
	require.NoError(t, err)
	for list, again := range map[string]string{
		"rules":     `{"title":"threatq - sync incident","object":"incident"}`,
		"functions": `{"name":"threatq_add_indicator","title":"Other"}`,
	} {
		_, err = manifest.Parse([]byte(strings.Replace(valid, `"`+list+`":[`, `"`+list+`":[`+again+`,`, 1)))
		require.ErrorContains(t, err, "of this module has the same", list)
	}
}
