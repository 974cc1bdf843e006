package flow

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const messagesDir = "../../testdata/messages"

// sample reads a message of the samples; rule is the display name of its rule.
func sample(t testing.TB, path string) (m Message, rule string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var file struct {
		Meta    struct{ Rule string } `json:"_meta"`
		Headers map[string]string
		Body    json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &file))
	ms, err := strconv.ParseInt(file.Headers["timestamp"], 10, 64)
	require.NoError(t, err)
	rule, _, _ = strings.Cut(file.Meta.Rule, " (recreated")
	return Message{
		ID: file.Headers["message-id"], ReplyTo: file.Headers["reply-to"], CorrelationID: file.Headers["correlation-id"],
		Payload: file.Headers["Co3MessagePayload"], ContextToken: file.Headers["Co3ContextToken"],
		Timestamp: time.UnixMilli(ms), Headers: file.Headers, Body: file.Body,
	}, rule
}

// ruleFields are the activity fields that the samples use, as a manifest has them.
var ruleFields = []manifest.Field{
	{Name: "threatq_import_artifacts", Label: "Import Artifacts into ThreatQ", Type: "select"},
	{Name: "threatq_import_indicators", Label: "Import Indicators from ThreatQ", Type: "select"},
	{Name: "threatq_indicator_status", Label: "Indicator Status", Type: "select"},
	{Name: "threatq_indicator_confidence", Label: "Indicator Confidence", Type: "select"},
	{Name: "threatq_remove_artifact", Label: "Remove Artifact After Marking", Type: "select"},
	{Name: "threatq_attachment_type", Label: "Attachment Type", Type: "select"},
	{Name: "threatq_parse_indicators", Label: "Parse Indicators", Type: "select"},
	{Name: "threatq_task_status", Label: "Task Status", Type: "select"},
	{Name: "threatq_created_after", Label: "Created After Date", Type: "datepicker"},
	{Name: "threatq_historical_sync_tasks", Label: "Historically Sync Tasks", Type: "select"},
}

// everything is a module that takes all samples.
func everything(t testing.TB) modules {
	m := module(t, "unused", says(done))
	m.m.Rules = nil
	for _, title := range []string{"Sync Incident", "Sync Indicator", "Mark as False Positive", "Mark as True Positive", "Find Related Indicators",
		"Sync Comment", "Import Attachment", "Sync Task", "Set Task Status", "Historical Sync"} {
		m.m.Rules = append(m.m.Rules, manifest.Rule{Title: "ThreatQ: " + title, Fields: ruleFields})
	}
	for _, name := range []string{"threatq_add_indicator", "threatq_find_related_indicators", "threatq_mark_as_false_positive", "threatq_mark_as_true_positive"} {
		m.m.Functions = append(m.m.Functions, manifest.Function{Name: name})
	}
	return modules{m}
}

func TestSampleMessagesBecomeActions(t *testing.T) {
	paths, err := filepath.Glob(messagesDir + "/stomp-[af]*.json")
	require.NoError(t, err)
	require.Len(t, paths, 32, "the samples")
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			m, rule := sample(t, path)
			b := newBench(t, everything(t))
			e, err := open(m)
			require.NoError(t, err)
			if e.ActionID != nil {
				b.flow.current().Directory = directory{rules: map[int64]string{*e.ActionID: rule}}
			}
			action, _, err := b.flow.current().route(t.Context(), m, e, b.options.Modules)
			got := map[string]any{"lane": e.lane(m)}
			if err != nil {
				got["error"] = err.Error()
			} else {
				got["action"] = action
			}
			text, err := json.MarshalIndent(got, "", " ")
			require.NoError(t, err)
			golden := filepath.Join("testdata", "actions", name+".json")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, append(text, '\n'), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(text)+"\n")
		})
	}
}

// decode routes one body, as rule 1 or as a function.
func decode(t *testing.T, b *bench, payload, body string) (*abi.Action, error) {
	t.Helper()
	m := Message{ID: "m1", Payload: payload, Body: []byte(body)}
	e, err := open(m)
	if err != nil {
		return nil, err
	}
	a, _, err := b.flow.current().route(t.Context(), m, e, b.options.Modules)
	return a, err
}

func TestEachObjectOfTheEnvelopeIsNamedByItsID(t *testing.T) {
	b := newBench(t, modules{module(t, "ThreatQ: Sync", says(done))})
	for object, c := range map[string]struct {
		rest string
		want abi.Action
	}{
		"incident":   {`"object_type":0`, abi.Action{IncidentID: 7}},
		"task":       {`"object_type":1,"task":{"id":3,"name":"Call"}`, abi.Action{IncidentID: 7, TaskID: 3, Snapshot: abi.Snapshot{Name: "Call"}}},
		"note":       {`"object_type":2,"note":{"id":4,"text":"x"},"task":{"id":3,"name":"Call"}`, abi.Action{IncidentID: 7, TaskID: 3, NoteID: 4, Snapshot: abi.Snapshot{Name: "Call"}}},
		"milestone":  {`"object_type":3,"milestone":{"id":9}`, abi.Action{IncidentID: 7}},
		"artifact":   {`"object_type":4,"artifact":{"id":5,"type":1,"value":"192.0.2.1"},"type_info":{"artifact":{"fields":{"type":{"values":{"1":{"label":"IP Address"}}}}}}`, abi.Action{IncidentID: 7, ArtifactID: 5, Snapshot: abi.Snapshot{ArtifactType: "IP Address", ArtifactValue: "192.0.2.1"}}},
		"attachment": {`"object_type":5,"attachment":{"id":6,"name":"a.pdf","task_id":3}`, abi.Action{IncidentID: 7, TaskID: 3, AttachmentID: 6, Snapshot: abi.Snapshot{Name: "a.pdf"}}},
		"":           {`"object_type":8,"row":{"id":1}`, abi.Action{IncidentID: 7}},
	} {
		got, err := decode(t, b, "ActionDataDTO", `{"action_id":1,"operation_type":"Created","user":{"fname":"Ada","lname":"Analyst","email":"a@example.com"},"incident":{"id":7,"name":"Phishing","org_id":201},`+c.rest+`}`)
		require.NoError(t, err, object)
		want := c.want
		want.ID, want.Kind, want.Name, want.Title = "m1", abi.KindRule, "threatq_sync", "ThreatQ: Sync"
		want.Operation, want.Object, want.User, want.Snapshot.IncidentName = "created", object, "Ada Analyst", "Phishing"
		assert.Equal(t, &want, got, object)
	}
	got, err := decode(t, b, "ActionDataDTO", `{"action_id":1,"object_type":2,"incident":{"id":7,"name":"P","org_id":201},"note":{"id":4,"task_id":3},"task":null}`)
	require.NoError(t, err)
	assert.EqualValues(t, 3, got.TaskID, "the note tells its task when the message does not")
}

func TestOddEnvelopesAreTaken(t *testing.T) {
	b := newBench(t, modules{module(t, "ThreatQ: Sync", says(done))})
	for name, c := range map[string]struct {
		body  string
		check func(*testing.T, *abi.Action)
	}{
		"unknown operation is passed on": {`{"action_id":1,"operation_type":"Archived"}`, func(t *testing.T, a *abi.Action) { assert.Equal(t, "archived", a.Operation) }},
		"no operation":                   {`{"action_id":1,"operation_type":null}`, func(t *testing.T, a *abi.Action) { assert.Empty(t, a.Operation) }},
		"unknown keys":                   {`{"action_id":1,"principal":{"x":[1]},"groups":[],"playbook_instance":null}`, func(t *testing.T, a *abi.Action) { assert.Equal(t, "threatq_sync", a.Name) }},
		"null type_info values":          {`{"action_id":1,"artifact":{"id":2,"type":1},"type_info":{"artifact":{"fields":{"type":{"values":null}}}}}`, func(t *testing.T, a *abi.Action) { assert.Equal(t, "1", a.Snapshot.ArtifactType) }},
		"artifact type as text":          {`{"action_id":1,"artifact":{"id":2,"type":"String"}}`, func(t *testing.T, a *abi.Action) { assert.Equal(t, "String", a.Snapshot.ArtifactType) }},
		"user by mail only":              {`{"action_id":1,"user":{"fname":null,"lname":null,"email":"a@example.com"}}`, func(t *testing.T, a *abi.Action) { assert.Equal(t, "a@example.com", a.User) }},
		"blanks around":                  {" \r\n{\"action_id\":1}\n", func(t *testing.T, a *abi.Action) { assert.Equal(t, "m1", a.ID) }},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := decode(t, b, "", c.body)
			require.NoError(t, err)
			c.check(t, a)
		})
	}
}

func TestHeaderTellsFunctionsBeforeTheBody(t *testing.T) {
	f, r := functionModule(t, "threatq_f", says(done)), module(t, "ThreatQ: R", says(done))
	b := newBench(t, modules{r, f})
	both := `{"action_id":1,"function":{"name":"threatq_f"}}`
	for payload, want := range map[string]string{"ActionDataDTO": abi.KindRule, "FunctionDataDTO": abi.KindFunction, "": abi.KindFunction, "FutureDTO": abi.KindFunction} {
		a, err := decode(t, b, payload, both)
		require.NoError(t, err, payload)
		assert.Equal(t, want, a.Kind, payload)
	}
}

func TestInputsOfFunctionsInAllForms(t *testing.T) {
	b := newBench(t, modules{functionModule(t, "f", says(done))})
	for form, c := range map[string]struct{ in, want string }{
		"text":                  {`"a"`, `"a"`},
		"text area":             {`{"format":"text","content":"a"}`, `"a"`},
		"html":                  {`{"format":"html","content":"<b>a</b>"}`, `"<b>a</b>"`},
		"empty text area":       {`{"format":"text","content":null}`, ``},
		"number beyond 32 bits": {`9007199254740993`, `9007199254740993`},
		"boolean":               {`true`, `true`},
		"select":                {`{"id":53,"name":"select two"}`, `"select two"`},
		"select as text":        {`"select two"`, `"select two"`},
		"select by label":       {`{"value":53,"label":"select two"}`, `"select two"`},
		"multi-select":          {`[{"id":1,"name":"a"},{"id":2,"name":"b"}]`, `["a","b"]`},
		"no choice":             {`[]`, `[]`},
		"date":                  {`1580479200000`, `1580479200000`},
		"null":                  {`null`, ``},
		"unknown object":        {`{"x":1}`, `{"x":1}`},
	} {
		a, err := decode(t, b, "FunctionDataDTO", `{"function":{"name":"f"},"inputs":{"v":`+c.in+`}}`)
		require.NoError(t, err, form)
		if c.want == "" {
			assert.NotContains(t, a.Inputs, "v", form)
		} else {
			assert.JSONEq(t, c.want, string(a.Inputs["v"]), form)
		}
	}
	a, err := decode(t, b, "FunctionDataDTO", `{"function":{"name":"f"},"inputs":null,"principal":{"name":"a@example.com"}}`)
	require.NoError(t, err)
	assert.Empty(t, a.Inputs)
	assert.Equal(t, "a@example.com", a.User)
}

func TestFieldsAreFoundByNameOrLabelAndSelectsBecomeLabels(t *testing.T) {
	m := module(t, "ThreatQ: Sync", says(done))
	m.m.Rules[0].Fields = []manifest.Field{
		{Name: "status", Label: "Indicator  Status", Type: "select"}, {Name: "tags", Label: "Tags", Type: "multiselect"},
		{Name: "after", Label: "After", Type: "datepicker"}, {Name: "text", Label: "Text", Type: "textarea"},
	}
	info := `"type_info":{"actioninvocation":{"fields":{"status":{"values":{"605":{"label":"Active"}}},"own_status":{"values":{"605":{"label":"Active"}}}}}}`
	b := newBench(t, modules{m}, func(o *Options) {
		o.Directory = directory{rules: map[int64]string{1: "ThreatQ: Sync"}, options: map[int64]string{606: "Review"},
			labels: map[int64]map[string]string{1: {"indicator status ": "own_status"}}}
	})
	for name, c := range map[string]struct{ properties, want string }{
		"by API name":             {`{"status":605}`, `{"status":"Active"}`},
		"by label":                {`{"own_status":605}`, `{"status":"Active"}`},
		"label from the server":   {`{"status":606}`, `{"status":"Review"}`},
		"unknown number":          {`{"status":999}`, `{"status":"999"}`},
		"text as it is":           {`{"status":"Active"}`, `{"status":"Active"}`},
		"object":                  {`{"status":{"id":605,"name":"Active"}}`, `{"status":"Active"}`},
		"null is left out":        {`{"status":null,"after":1}`, `{"after":1}`},
		"multi-select":            {`{"tags":[606,null,999]}`, `{"tags":["Review","999"]}`},
		"one value as a multi":    {`{"tags":606}`, `{"tags":["Review"]}`},
		"rich text":               {`{"text":{"format":"html","content":"<p>"}}`, `{"text":"<p>"}`},
		"fields of nobody":        {`{"other":1}`, `{}`},
		"none":                    {`{}`, `{}`},
		"null":                    {`null`, `{}`},
		"own name beats a label":  {`{"status":606,"own_status":605}`, `{"status":"Review"}`},
		"own name although null":  {`{"status":null,"own_status":605}`, `{}`},
		"text area without value": {`{"text":{"format":"html","content":null}}`, `{}`},
	} {
		a, err := decode(t, b, "ActionDataDTO", `{"action_id":1,"properties":`+c.properties+`,`+info+`}`)
		require.NoError(t, err, name)
		if a.Fields == nil {
			a.Fields = map[string]abi.JSON{}
		}
		text, err := json.Marshal(a.Fields)
		require.NoError(t, err)
		assert.JSONEq(t, c.want, string(text), name)
	}
	assert.NotEmpty(t, b.lines("the label of a select value is not known; the number is used"))
}

func TestFieldsUnderForeignNamesAreMissingWithoutTheRightToReadTheRule(t *testing.T) {
	m := module(t, "ThreatQ: Sync", says(done))
	m.m.Rules[0].Fields = []manifest.Field{{Name: "status", Label: "Status", Type: "select"}}
	b := newBench(t, modules{m})
	a, err := decode(t, b, "ActionDataDTO", `{"action_id":1,"properties":{"own_status":"Active"}}`)
	require.NoError(t, err)
	assert.Empty(t, a.Fields)
	assert.Contains(t, b.log.String(), "activity fields of the rule cannot be read")
}

func TestMessagesThatCannotBeRouted(t *testing.T) {
	m := module(t, "ThreatQ: Sync", says(done))
	for name, c := range map[string]struct {
		payload, body string
		code          abi.ErrorCode
		want          string
	}{
		"rule unknown to SOAR":    {"ActionDataDTO", `{"action_id":77}`, abi.CodeRouting, "the name of rule 77 is not known: SOAR has no such rule"},
		"rule of nobody":          {"ActionDataDTO", `{"action_id":2}`, abi.CodeRouting, `no installed module handles the rule "Other rule". Installed: ThreatQ: Sync.`},
		"no rule":                 {"ActionDataDTO", `{"action_id":null,"incident":{"id":1}}`, abi.CodeRouting, "Use the functions in workflows instead"},
		"function of nobody":      {"FunctionDataDTO", `{"function":{"name":"x","display_name":"The X"}}`, abi.CodeRouting, `no installed module handles the function "The X"`},
		"function without a name": {"FunctionDataDTO", `{"function":{}}`, abi.CodeMessage, "does not name it"},
		"header alone":            {"FunctionDataDTO", `{"action_id":1}`, abi.CodeMessage, "does not name it"},
		"another organization":    {"ActionDataDTO", `{"action_id":1,"incident":{"id":1,"org_id":202}}`, abi.CodeMessage, "the message is of organization 202, this host works for 201 (Example Org)"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, modules{m}, func(o *Options) {
				o.Directory = directory{rules: map[int64]string{1: "ThreatQ: Sync", 2: "Other rule"}}
			})
			d := b.delivery("m1", c.payload, c.body)
			b.handle(d)
			reply := d.last(t)
			assert.Equal(t, 1, reply.Type)
			assert.True(t, reply.Complete)
			assert.Contains(t, reply.Message, c.want)
			assert.Equal(t, 1, d.acked())
			assert.Equal(t, string(c.code), b.lines("action")[0]["code"])
			letters := b.ledger.Letters()
			require.Len(t, letters, 1)
			assert.False(t, letters[0].Unreadable)
		})
	}
	assert.Empty(t, m.texts(), "the module was not asked")
}

func TestUnreadableMessagesAreKeptAnsweredAndAcknowledged(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "text": "hello", "list": "[1]", "half": `{"action_id":1`, "wrong type": `{"action_id":"one"}`, "nothing in it": `{}`, "null": "null",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			d := b.delivery("m1", "ActionDataDTO", body)
			b.handle(d)
			require.Len(t, b.dead(), 1)
			assert.Contains(t, b.dead()[0], "m1: the message ")
			assert.True(t, b.ledger.Letters()[0].Unreadable)
			assert.Equal(t, 1, d.last(t).Type)
			assert.Equal(t, 1, d.acked())
			assert.Equal(t, "message", b.lines("action")[0]["code"])
		})
	}
}
