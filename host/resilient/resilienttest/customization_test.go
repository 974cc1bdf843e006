package resilienttest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

func TestWhatIsInUseIsNotDeleted(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Installed: resilienttest.InstalledNothing})
	s.AddDestination(resilienttest.Destination)
	s.SetField("actioninvocation", resilienttest.Field{ID: 1, Name: "why", Text: "Why", InputType: "text", Prefix: "properties"})
	s.SetField("__function", resilienttest.Field{ID: 2, Name: "what", Text: "what", InputType: "text"})
	s.AddRule(resilienttest.Rule{Name: "Ask", Type: 1, Fields: []string{"why"}})
	s.AddFunction(resilienttest.Function{Name: "look", DisplayName: "Look", Inputs: []string{"what"}})
	s.AddWorkflow(resilienttest.Workflow{Name: "My flow", ObjectType: "incident", Functions: []string{"look"}})
	s.AddPlaybook(resilienttest.Workflow{Name: "My book", ObjectType: "incident", Functions: []string{"look"}})

	status, list := c.do("GET", org+"/functions", nil)
	require.Equal(t, 200, status)
	assert.Equal(t, "My flow", dig(dig(list, "entities").([]any)[0], "workflows").([]any)[0].(map[string]any)["name"])
	assert.Equal(t, []string{"My flow"}, c.names("/workflows"))

	remove := func(path string, status int, message any) {
		t.Helper()
		got, answer := c.do("DELETE", org+path, nil)
		assert.Equal(t, status, got)
		assert.Equal(t, message, dig(answer, "message"))
	}
	remove("/message_destinations/9", 400, "The message destination 'fn_threatq' cannot be deleted because the rule 'Ask' uses it")
	remove("/types/actioninvocation/fields/why", 400, "The field 'why' cannot be deleted because the rule 'Ask' uses it")
	remove("/types/__function/fields/2", 400, "The field 'what' cannot be deleted because the function 'Look' uses it")
	remove("/types/incident/fields/name", 400, "Only custom fields can be deleted")
	remove("/functions/look", 400, "The function 'Look' cannot be deleted because the workflow 'My flow' uses it")
	s.RemoveWorkflow("My flow")
	remove("/functions/11", 400, "The function 'Look' cannot be deleted because the playbook 'My book' uses it")
	s.RemoveWorkflow("My book")

	// the order of the contract: rules, functions, fields, destination
	remove("/actions/41", 200, nil)
	remove("/message_destinations/9", 400, "The message destination 'fn_threatq' cannot be deleted because the function 'Look' uses it")
	remove("/functions/11", 200, nil)
	remove("/types/actioninvocation/fields/why", 200, nil)
	remove("/types/__function/fields/what", 200, nil)
	remove("/message_destinations/9", 200, nil)
	for _, path := range []string{"/actions/41", "/functions/11", "/types/__function/fields/what", "/message_destinations/9"} {
		status, _ := c.do("DELETE", org+path, nil)
		assert.Equal(t, 404, status, path)
	}
}

func TestWithoutTheRightNothingIsChanged(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{CustomizationForbidden: true})
	for _, call := range [][2]string{
		{"POST", "/configurations/imports"}, {"PUT", "/configurations/imports/12"}, {"POST", "/configurations/exports/"},
		{"PUT", "/message_destinations/9"}, {"DELETE", "/message_destinations/9"}, {"DELETE", "/actions/41"}, {"DELETE", "/functions/11"},
		{"DELETE", "/types/actioninvocation/fields/threatq_task_status"},
	} {
		status, answer := c.do(call[0], org+call[1], map[string]any{})
		assert.Equal(t, http.StatusForbidden, status, "%v", call)
		assert.Equal(t, "Forbidden", dig(answer, "message"))
	}
	assert.Len(t, c.names("/actions"), 14, "reading is allowed")
}

func TestWhatIsExportedCanBeImported(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{})
	status, document := c.do("POST", org+"/configurations/exports/", map[string]any{"layouts": true, "actions": true, "phases_and_tasks": true})
	require.Equal(t, 200, status)

	other, o := loggedIn(t, resilienttest.Options{Installed: resilienttest.InstalledNothing})
	_, pending := o.do("POST", imports, document)
	require.Equal(t, "PENDING", dig(pending, "status"), "%v", pending)
	pending.(map[string]any)["status"] = "ACCEPTED"
	status, _ = o.do("PUT", imports+"/12", pending)
	require.Equal(t, 200, status)
	assert.Len(t, other.Rules(), 10, "rules of one name are one")
	assert.Len(t, other.Functions(), 4)
	users, keys := other.Subscribers(resilienttest.Destination)
	assert.Len(t, users, 1)
	assert.Len(t, keys, 1)
}

func TestDocumentsThatReferToWhatIsNotThere(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{Installed: resilienttest.InstalledNothing})
	for name, test := range map[string]struct {
		change func(map[string]any)
		text   string
	}{
		"field":       {func(d map[string]any) { d["fields"] = d["fields"].([]any)[10:] }, "Rule 'ThreatQ: Mark as False Positive' asks for the field 01f57fd2-c74c-50fd-8eaa-869a21f17c0e, which does not exist."},
		"destination": {func(d map[string]any) { d["message_destinations"] = []any{} }, "Rule 'ThreatQ: Sync Incident' sends to the message destination 'fn_threatq', which does not exist."},
		"version": {func(d map[string]any) {
			d["server_version"] = map[string]any{"major": 51, "minor": 0, "version": "51.0.9"}
		}, "The document was exported from version 51.0.9, which is newer than this server."},
	} {
		document := exportDocument(t)
		test.change(document)
		_, answer := c.do("POST", imports, document)
		assert.Equal(t, "INVALID", dig(answer, "status"), name)
		assert.Contains(t, dig(answer, "messages"), map[string]any{"type": "ERROR", "text": test.text}, name)
	}
}

func TestAnImportThatFailsChangesNothing(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Installed: resilienttest.InstalledNothing, ImportFails: "Disk full."})
	_, pending := c.do("POST", imports, exportDocument(t))
	pending.(map[string]any)["status"] = "ACCEPTED"
	_, failed := c.do("PUT", imports+"/12", pending)
	assert.Equal(t, "IMPORT_ERROR", dig(failed, "status"))
	assert.Equal(t, []any{map[string]any{"type": "ERROR", "text": "Disk full."}}, dig(failed, "messages"))
	assert.Empty(t, s.Rules())
}

func TestFormerVersions(t *testing.T) {
	for installed, indicator := range map[resilienttest.Installed]string{
		resilienttest.Installed100: "ThreatQ: Add Indicator", resilienttest.Installed101: "ThreatQ: Sync Indicator",
	} {
		_, c := loggedIn(t, resilienttest.Options{Installed: installed})
		assert.Len(t, c.names("/actions"), 10)
		assert.Len(t, c.names("/functions"), 10, "one for each rule")
		assert.Contains(t, c.names("/actions"), indicator)
		_, rule := c.do("GET", org+"/actions/42", nil)
		assert.Equal(t, indicator, dig(rule, "name"))
		assert.Empty(t, dig(rule, "conditions"), "it fires at every save")
	}
}

func TestTheBrokerAsksWhoMayRead(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{})
	const queue = "actions.201.fn_threatq"
	assert.True(t, s.MayRead(resilienttest.DefaultEmail, queue))
	assert.True(t, s.MayRead(resilienttest.DefaultAPIKeyID, queue))
	assert.False(t, s.MayRead("somebody", queue))
	assert.False(t, s.MayRead(resilienttest.DefaultEmail, "actions.202.fn_threatq"))
	assert.False(t, s.MayRead(resilienttest.DefaultEmail, "actions.201.other"))
	_, destination := c.do("GET", org+"/message_destinations/9", nil)
	destination.(map[string]any)["users"] = []any{}
	status, _ := c.do("PUT", org+"/message_destinations/9", destination)
	require.Equal(t, 200, status)
	assert.False(t, s.MayRead(resilienttest.DefaultEmail, queue))
	assert.True(t, s.MayRead(resilienttest.DefaultAPIKeyID, queue))
}

func TestARuleThatIsSwitchedOffDoesNotFire(t *testing.T) {
	var fired []resilienttest.Message
	s, _ := loggedIn(t, resilienttest.Options{OnMessage: func(m resilienttest.Message) { fired = append(fired, m) }})
	s.ChangeRule("ThreatQ: Sync Incident", func(r *resilienttest.Rule) { r.Disabled = true })
	s.AddIncident(map[string]any{"name": "x"})
	assert.Empty(t, fired)
	s.ChangeRule("ThreatQ: Sync Incident", func(r *resilienttest.Rule) { r.Disabled = false })
	s.AddIncident(map[string]any{"name": "x"})
	assert.Len(t, fired, 1)
}

func TestTheServerHasTheVersionOfItsOptions(t *testing.T) {
	_, c := loggedIn(t, resilienttest.Options{Version: "33.1.7"})
	_, constants := c.do("GET", "/rest/const", nil)
	assert.Equal(t, map[string]any{"major": 33.0, "minor": 1.0, "build_number": 7.0, "version": "33.1.7"}, dig(constants, "server_version"))
}
