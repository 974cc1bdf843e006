package resilienttest_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

const imports = org + "/configurations/imports"

func exportDocument(t *testing.T) map[string]any {
	sample := readJSON(t, filepath.Join(restSamples, "rest-36-configurations-import-post.json"))
	return dig(sample, "request", "body").(map[string]any)
}

// names lists the names of the entities at a path.
func (c *client) names(path string) []string {
	status, answer := c.do("GET", org+path, nil)
	require.Equal(c.t, 200, status)
	out := []string{}
	for _, entity := range dig(answer, "entities").([]any) {
		out = append(out, dig(entity, "name").(string))
	}
	return out
}

func TestCustomizationsAreInstalledWhenAccepted(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Installed: resilienttest.InstalledNothing})
	require.Empty(t, c.names("/actions"))
	require.Empty(t, c.names("/functions"))
	require.Empty(t, c.names("/message_destinations"))

	status, pending := c.do("POST", imports, exportDocument(t))
	require.Equal(t, 200, status)
	sample := readJSON(t, filepath.Join(restSamples, "rest-36-configurations-import-post.json"))
	for _, message := range dig(sample, "response", "body", "messages").([]any) {
		require.Contains(t, dig(pending, "messages"), message)
	}
	require.Empty(t, c.names("/actions"), "nothing happens before it is accepted")
	pending.(map[string]any)["status"] = "ACCEPTED"
	status, accepted := c.do("PUT", imports+"/12", pending)
	require.Equal(t, 200, status)
	require.Equal(t, "ACCEPTED", dig(accepted, "status"))
	require.Len(t, c.names("/actions"), 10)
	require.Len(t, c.names("/functions"), 4)
	_, list := c.do("GET", org+"/message_destinations", nil)
	destination := dig(list, "entities").([]any)[0]
	require.Empty(t, dig(destination, "users"), "the account is not yet allowed to subscribe")
	require.Empty(t, dig(destination, "api_keys"))

	// the rules work as those of the World do
	message := s.ActionMessage("ThreatQ: Set Task Status", resilienttest.ActionOptions{TaskID: 17, Fields: map[string]any{"Task Status": "Done"}})
	require.Contains(t, string(message.Body), `"label":"Done"`)
	require.NotEmpty(t, s.FunctionMessage("threatq_add_indicator", map[string]any{"indicator_status": "Review"}).Body)

	status, _ = c.do("PUT", imports+"/12", pending)
	require.Equal(t, 400, status, "accepted before")
}

func TestAnImportUpdatesRulesOfTheSameName(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{})
	before := c.names("/actions")
	_, rule := c.do("GET", org+"/actions/43", nil)
	_, pending := c.do("POST", imports, exportDocument(t))
	require.Contains(t, dig(pending, "messages"), map[string]any{"type": "INFO", "text": "Rule 'ThreatQ: Sync Incident' will be updated."})
	pending.(map[string]any)["status"] = "ACCEPTED"
	status, _ := c.do("PUT", imports+"/12", pending)
	require.Equal(t, 200, status)
	require.Equal(t, before, c.names("/actions"))
	_, again := c.do("GET", org+"/actions/43", nil)
	require.Equal(t, rule, again, "id, fields and conditions are those of the document")
	_, field := c.do("GET", org+"/types/actioninvocation/fields/threatq_import_artifacts", nil)
	require.Len(t, dig(field, "values"), 2, "no value twice")
}

func TestDocumentsThatCannotBeImported(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{})
	for name, change := range map[string]func(map[string]any){
		"format":           func(d map[string]any) { d["export_format_version"] = 1 },
		"no incident type": func(d map[string]any) { d["incident_types"] = []any{} },
		"no incident field": func(d map[string]any) {
			fields := d["fields"].([]any)
			d["fields"] = fields[:len(fields)-1]
		},
		"field of another type": func(d map[string]any) { d["fields"].([]any)[0].(map[string]any)["input_type"] = "text" },
	} {
		document := exportDocument(t)
		change(document)
		_, answer := c.do("POST", imports, document)
		require.Equal(t, "INVALID", dig(answer, "status"), name)
		answer.(map[string]any)["status"] = "ACCEPTED"
		status, _ := c.do("PUT", imports+"/"+string(mustJSON(t, dig(answer, "id"))), answer)
		require.Equal(t, 400, status, name)
	}
	_, pending := c.do("POST", imports, exportDocument(t))
	pending.(map[string]any)["status"] = "REJECTED"
	status, rejected := c.do("PUT", imports+"/"+string(mustJSON(t, dig(pending, "id"))), pending)
	require.Equal(t, 200, status)
	require.Equal(t, "REJECTED", dig(rejected, "status"))
	status, _ = c.do("PUT", imports+"/99", pending)
	require.Equal(t, 404, status)
}
