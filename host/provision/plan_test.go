package provision_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/provision"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
)

// world is a simulated SOAR and a client of it.
type world struct {
	t      *testing.T
	soar   *resilienttest.Server
	client *resilient.Client
}

func start(t *testing.T, o resilienttest.Options) *world {
	t.Helper()
	s := resilienttest.New(o)
	t.Cleanup(s.Close)
	return &world{t, s, client(t, s, resilient.Options{
		APIKeyID: resilienttest.DefaultAPIKeyID, APIKeySecret: func() string { return resilienttest.DefaultAPIKeySecret },
	})}
}

// client is given the account.
func client(t *testing.T, s *resilienttest.Server, o resilient.Options) *resilient.Client {
	t.Helper()
	base, err := url.Parse(s.URL())
	require.NoError(t, err)
	o.Base, o.TLS, o.Org = base, s.Authority().ClientConfig(), resilienttest.DefaultOrg
	c := resilient.New(o)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func nothing(t *testing.T) *world {
	return start(t, resilienttest.Options{Installed: resilienttest.InstalledNothing})
}

// installed is a SOAR with all that this project's modules need.
func installed(t *testing.T) *world {
	t.Helper()
	w := nothing(t)
	require.NoError(t, w.apply(provision.Options{}))
	return w
}

func (w *world) read(d *provision.Document) *provision.Server {
	w.t.Helper()
	s, err := provision.Read(w.t.Context(), w.client, d)
	require.NoError(w.t, err)
	return s
}

func (w *world) plan(o provision.Options, only ...string) *provision.Plan {
	w.t.Helper()
	d := build(w.t, only...)
	return provision.NewPlan(d, w.read(d), o)
}

// apply plans and applies without asking, and verifies.
func (w *world) apply(o provision.Options, only ...string) error {
	w.t.Helper()
	return w.applyContext(w.t.Context(), o, only...)
}

func (w *world) applyContext(ctx context.Context, o provision.Options, only ...string) error {
	w.t.Helper()
	d := build(w.t, only...)
	s := w.read(d)
	err := provision.NewPlan(d, s, o).Apply(ctx, w.client, s, func(warnings []string) error {
		return errors.New("unexpected: " + strings.Join(warnings, ", "))
	})
	if err != nil {
		return err
	}
	return provision.Verify(ctx, w.client, d)
}

// writes lists the calls that change something, since the last reset.
func (w *world) writes() (calls []string) {
	for _, r := range w.soar.Requests() {
		if r.Method != http.MethodGet && r.Path != "/rest/session" {
			calls = append(calls, r.Method+" "+strings.TrimPrefix(r.Path, "/rest/orgs/201"))
		}
	}
	return calls
}

func item(t *testing.T, p *provision.Plan, kind provision.Kind, name string) provision.Item {
	t.Helper()
	i := slices.IndexFunc(p.Items, func(i provision.Item) bool { return i.Kind == kind && i.Name == name })
	require.GreaterOrEqual(t, i, 0, "the plan says nothing of the %s %s", kind, name)
	return p.Items[i]
}

func TestFromNothingToAllAndThenNothing(t *testing.T) {
	w := nothing(t)
	p := w.plan(provision.Options{})
	require.True(t, p.Writes())
	assert.Equal(t, len(p.Items), p.Count(provision.New), "all is new")
	assert.Len(t, p.Items, 1+10+7+10+4+1, "destination, activity fields, inputs, rules, functions, account")

	require.NoError(t, w.apply(provision.Options{}))
	require.Equal(t, []string{"POST /configurations/imports", "PUT /configurations/imports/12", "PUT /message_destinations/9"}, w.writes())
	require.Len(t, w.soar.Rules(), 10)
	require.Len(t, w.soar.Functions(), 4)
	_, keys := w.soar.Subscribers(provision.Destination)
	require.Equal(t, []any{int64(7)}, keys)
	task, ok := w.soar.Field("actioninvocation", "threatq_task_status")
	require.True(t, ok)
	assert.Equal(t, "Task Status", task.Text)
	assert.Equal(t, "always", task.Required)
	assert.Len(t, task.Values, 4)

	w.soar.ResetRequests()
	p = w.plan(provision.Options{})
	assert.Equal(t, len(p.Items), p.Count(provision.Same), "%+v", p.Items)
	assert.False(t, p.Writes())
	require.NoError(t, w.apply(provision.Options{}))
	assert.Empty(t, w.writes())
}

func TestWhatAnAdministratorHasMadeOfARuleIsKept(t *testing.T) {
	const title = "ThreatQ: Sync Incident"
	for name, test := range map[string]struct {
		change func(*resilienttest.Rule)
		note   string
	}{
		"switched off": {func(r *resilienttest.Rule) { r.Disabled = true }, "it is switched off"},
		"menu item":    {func(r *resilienttest.Rule) { r.Type, r.Conditions = 1, nil }, "it is a menu item"},
		"own conditions": {func(r *resilienttest.Rule) {
			r.Conditions = append(r.Conditions, [2]any{"incident.severity_code", "changed"})
		}, "it has conditions of its own: created, deleted, incident.description changed, incident.severity_code changed"},
		"a workflow besides":    {func(r *resilienttest.Rule) { r.Workflows = []string{"Notify"} }, "it also starts Notify"},
		"all of its conditions": {func(r *resilienttest.Rule) { r.LogicType = "all" }, "it has conditions of its own: created, deleted, incident.description changed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := installed(t)
			w.soar.ChangeRule(title, test.change)
			changed := w.soar.Rules()
			p := w.plan(provision.Options{})
			i := item(t, p, provision.KindRule, title)
			assert.Equal(t, provision.Kept, i.State)
			assert.Equal(t, []string{test.note}, i.Notes)
			assert.False(t, p.Writes())
			// Something else is to be done: the rule is still left alone.
			w.soar.ChangeRule("ThreatQ: Set Task Status", func(r *resilienttest.Rule) { r.Fields = nil })
			require.NoError(t, w.apply(provision.Options{}))
			assert.Equal(t, changed, w.soar.Rules())

			require.NoError(t, w.apply(provision.Options{ResetRules: true}))
			i = item(t, w.plan(provision.Options{}), provision.KindRule, title)
			assert.Equal(t, provision.Same, i.State)
		})
	}
}

func TestARuleOfTheSameNameInTheOtherKindIsNoFault(t *testing.T) {
	w := installed(t)
	w.soar.AddRule(resilienttest.Rule{Name: "ThreatQ: Sync Task", ObjectType: "task", Type: 1})
	assert.Equal(t, provision.Same, item(t, w.plan(provision.Options{}), provision.KindRule, "ThreatQ: Sync Task").State)
}

func TestARuleThatIsSpelledDifferentlyIsNotDoubled(t *testing.T) {
	w := installed(t)
	w.soar.ChangeRule("ThreatQ: Sync Task", func(r *resilienttest.Rule) { r.Name = "ThreatQ: sync task" })
	for _, o := range []provision.Options{{}, {ResetRules: true}} {
		i := item(t, w.plan(o), provision.KindRule, "ThreatQ: Sync Task")
		assert.Equal(t, provision.Kept, i.State)
		assert.Equal(t, []string{`it is called "ThreatQ: sync task"`}, i.Notes)
	}
}

func TestARuleThatFiresAtEverySaveGetsItsConditions(t *testing.T) {
	w := installed(t)
	w.soar.ChangeRule("ThreatQ: Sync Comment", func(r *resilienttest.Rule) { r.Conditions, r.LogicType = nil, "all" })
	i := item(t, w.plan(provision.Options{}), provision.KindRule, "ThreatQ: Sync Comment")
	assert.Equal(t, provision.Overwritten, i.State)
	assert.Equal(t, []string{"it fires at every save; then only when created, deleted, note.text changed"}, i.Notes)
	require.NoError(t, w.apply(provision.Options{}))
	assert.Len(t, w.soar.Rules()[slices.IndexFunc(w.soar.Rules(), func(r resilienttest.Rule) bool { return r.Name == "ThreatQ: Sync Comment" })].Conditions, 3)
}

func TestChangesOfRulesAndFunctions(t *testing.T) {
	w := installed(t)
	w.soar.AddDestination("other")
	w.soar.AddWorkflow(resilienttest.Workflow{Name: "Triage", ObjectType: "artifact", Functions: []string{"threatq_add_indicator"}})
	w.soar.ChangeRule("ThreatQ: Import Attachment", func(r *resilienttest.Rule) { r.Fields = r.Fields[:1] })
	w.soar.ChangeRule("ThreatQ: Mark as True Positive", func(r *resilienttest.Rule) { r.Destination = "other" })
	w.soar.ChangeRule("ThreatQ: Set Task Status", func(r *resilienttest.Rule) { r.Fields = append(r.Fields, "threatq_indicator_status") })
	w.soar.ChangeFunction("threatq_add_indicator", func(f *resilienttest.Function) { f.Inputs = []string{"indicator_value", "artifact_id"} })
	w.soar.ChangeFunction("threatq_mark_as_true_positive", func(f *resilienttest.Function) { f.Description = "old" })
	w.soar.ChangeFunction("threatq_mark_as_false_positive", func(f *resilienttest.Function) { f.Destination = "other" })
	p := w.plan(provision.Options{})
	for _, want := range []provision.Item{
		{State: provision.Changed, Kind: provision.KindRule, Name: "ThreatQ: Import Attachment", Module: "import-attachment", Notes: []string{"asks for threatq_parse_indicators, threatq_indicator_status"}},
		{State: provision.Kept, Kind: provision.KindRule, Name: "ThreatQ: Mark as True Positive", Module: "mark-true-positive", Notes: []string{"it sends to other, not to fn_threatq"}},
		{State: provision.Kept, Kind: provision.KindRule, Name: "ThreatQ: Set Task Status", Module: "set-task-status", Notes: []string{"it also asks for threatq_indicator_status"}},
		{State: provision.Overwritten, Kind: provision.KindFunction, Name: "ThreatQ: Add Indicator", Module: "add-indicator", Notes: []string{
			"no longer takes artifact_id", "takes indicator_type, indicator_status, indicator_confidence", "is called by Triage"}},
		{State: provision.Changed, Kind: provision.KindFunction, Name: "ThreatQ: Mark as True Positive", Module: "mark-true-positive", Notes: []string{"name or description"}},
		{State: provision.Overwritten, Kind: provision.KindFunction, Name: "ThreatQ: Mark as False Positive", Module: "mark-false-positive", Notes: []string{"sends to fn_threatq, not to other"}},
	} {
		assert.Equal(t, want, item(t, p, want.Kind, want.Name))
	}
	require.NoError(t, w.apply(provision.Options{}))
	assert.False(t, w.plan(provision.Options{}).Writes())
}

func TestFieldsThatAreThereGetOptionsAndNothingElse(t *testing.T) {
	w := installed(t)
	w.soar.SetField("actioninvocation", resilienttest.Field{
		ID: 700, Name: "threatq_task_status", Text: "Status in ThreatQ", Tooltip: "ask Ada", InputType: "select", Prefix: "properties",
		Values: []resilienttest.Value{{Value: 900, Label: "To Do"}, {Value: 901, Label: "Blocked"}},
	})
	// An input that another app has brought.
	w.soar.SetField("__function", resilienttest.Field{ID: 701, Name: "artifact_id", Text: "Artifact", InputType: "number"})
	p := w.plan(provision.Options{})
	assert.Equal(t, []string{"gets the options In Progress, Review, Done"}, item(t, p, provision.KindField, "threatq_task_status").Notes)
	assert.Equal(t, provision.Same, item(t, p, provision.KindInput, "artifact_id").State)
	// artifact_id got another uuid, by which the function named it.
	require.NoError(t, w.apply(provision.Options{}))
	task, _ := w.soar.Field("actioninvocation", "threatq_task_status")
	assert.Equal(t, "Status in ThreatQ", task.Text)
	assert.Equal(t, "ask Ada", task.Tooltip)
	assert.Empty(t, task.Required)
	var labels []string
	for _, v := range task.Values {
		labels = append(labels, v.Label)
	}
	assert.Equal(t, []string{"To Do", "Blocked", "In Progress", "Review", "Done"}, labels)
	artifact, _ := w.soar.Field("__function", "artifact_id")
	assert.Equal(t, "Artifact", artifact.Text)
	assert.Empty(t, artifact.Required, "other apps' functions may do without")
}

func TestAFieldOfAnotherTypeIsAConflict(t *testing.T) {
	w := nothing(t)
	w.soar.SetField("__function", resilienttest.Field{ID: 701, Name: "indicator_status", Text: "x", InputType: "text"})
	p := w.plan(provision.Options{})
	assert.Equal(t, provision.Conflict, item(t, p, provision.KindInput, "indicator_status").State)
	err := w.apply(provision.Options{})
	var refused *provision.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "function input indicator_status: it exists as text and has to be select: delete or rename the one in SOAR", err.Error())
	assert.Empty(t, w.writes(), "SOAR is not asked to do what it would refuse")
	assert.NoError(t, w.apply(provision.Options{}, "sync-task"), "other modules are not concerned")
}

func TestOnlyOneModule(t *testing.T) {
	w := nothing(t)
	require.NoError(t, w.apply(provision.Options{}, "set-task-status"))
	require.Len(t, w.soar.Rules(), 1)
	assert.Equal(t, "ThreatQ: Set Task Status", w.soar.Rules()[0].Name)
	assert.Empty(t, w.soar.Functions())
	require.NoError(t, w.apply(provision.Options{}))
	assert.Len(t, w.soar.Rules(), 10)
}

func TestATopicIsToldOf(t *testing.T) {
	w := installed(t)
	w.soar.ChangeDestination(provision.Destination, map[string]any{"destination_type": 1})
	i := item(t, w.plan(provision.Options{}), provision.KindDestination, provision.Destination)
	assert.Equal(t, provision.Kept, i.State)
	assert.Contains(t, i.Notes[0], "it is a topic")
}
