package provision_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/provision"
	"fn-threatq/host/resilient/resilienttest"
)

func (w *world) former(only ...string) ([]provision.Former, *provision.Server) {
	w.t.Helper()
	d := build(w.t, only...)
	s := w.read(d)
	return provision.FindFormer(d, s), s
}

func names(former []provision.Former) (out []string) {
	for _, f := range former {
		out = append(out, f.String())
	}
	return out
}

// clean removes what former versions have left, and tells what stays and why.
func (w *world) clean() (stays map[string]string, err error) {
	w.t.Helper()
	stays = map[string]string{}
	former, s := w.former()
	err = provision.Remove(w.t.Context(), w.client, s.Account, former, func(f provision.Former, kept error) {
		if kept != nil {
			stays[f.Name] = kept.Error()
		}
	})
	return stays, err
}

func TestVersion100IsCleanedAndUpgraded(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed100})
	former, _ := w.former()
	assert.Equal(t, []string{
		"rule ThreatQ: Add Indicator", "rule ThreatQ: Add Comment",
		"function ThreatQ: Sync Incident", "function ThreatQ: Mark as True Positive", "function ThreatQ: Add Comment",
		"function ThreatQ: Import Attachment", "function ThreatQ: Sync Task", "function ThreatQ: Set Task Status", "function ThreatQ: Historical Sync",
	}, names(former), "rules first; what has an API name of ours is ours")

	p := w.plan(provision.Options{})
	assert.Equal(t, len(former), p.Count(provision.Deprecated))
	assert.Equal(t, provision.New, item(t, p, provision.KindRule, "ThreatQ: Sync Indicator").State)
	assert.Equal(t, provision.Overwritten, item(t, p, provision.KindRule, "ThreatQ: Sync Incident").State)

	w.soar.ResetRequests()
	stays, err := w.clean()
	require.NoError(t, err)
	assert.Empty(t, stays)
	assert.Len(t, w.writes(), len(former))
	former, _ = w.former()
	assert.Empty(t, former)
	w.upgraded()
}

func TestVersion101IsCleanedAndUpgraded(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed101})
	former, _ := w.former()
	for _, f := range former {
		assert.Equal(t, provision.KindFunction, f.Kind, "its rules are those of today")
	}
	assert.Len(t, former, 8, "ten functions, of which two have kept their API names")
	_, err := w.clean()
	require.NoError(t, err)
	w.upgraded()
}

// upgraded applies and checks that there is what there should be, and nothing else.
func (w *world) upgraded() {
	t := w.t
	t.Helper()
	require.NoError(t, w.apply(provision.Options{}))
	assert.Len(t, w.soar.Rules(), 10)
	assert.Len(t, w.soar.Functions(), 4)
	p := w.plan(provision.Options{})
	assert.Equal(t, len(p.Items), p.Count(provision.Same), "%+v", p.Items)
	for _, r := range w.soar.Rules() {
		if r.Type == 0 {
			assert.NotEmpty(t, r.Conditions, "%s fires at every save", r.Name)
		}
	}
}

func TestWithoutCleaningTheNewOnesWorkBesideTheOldOnes(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed100})
	require.NoError(t, w.apply(provision.Options{}))
	former, _ := w.former()
	assert.Len(t, former, 9, "an import deletes nothing")
	_, err := w.clean()
	require.NoError(t, err)
	w.upgraded()
}

func TestWhatIsInUseStaysAndSaysWhoUsesIt(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed101})
	w.soar.AddWorkflow(resilienttest.Workflow{Name: "Nightly sync", ObjectType: "incident", Functions: []string{"fn_threatq_historical_sync"}})
	w.soar.AddPlaybook(resilienttest.Workflow{Name: "Contain", ObjectType: "incident", Functions: []string{"fn_threatq_sync_task"}})
	former, _ := w.former()
	i := slices.IndexFunc(former, func(f provision.Former) bool { return f.Name == "ThreatQ: Historical Sync" })
	assert.Equal(t, []string{"Nightly sync"}, former[i].UsedBy)

	w.soar.ResetRequests()
	stays, err := w.clean()
	assertRefused(t, err, "still in use: ThreatQ: Sync Task, ThreatQ: Historical Sync; take them out of what uses them, then run customize --clean again")
	assert.Equal(t, map[string]string{
		"ThreatQ: Historical Sync": "used by the workflow Nightly sync",
		"ThreatQ: Sync Task":       "SOAR refuses: The function 'ThreatQ: Sync Task' cannot be deleted because the playbook 'Contain' uses it",
	}, stays)
	assert.Len(t, w.writes(), 7, "what is known to be in use is not tried; the others are removed")

	w.soar.RemoveWorkflow("Nightly sync")
	w.soar.RemoveWorkflow("Contain")
	former, _ = w.former()
	assert.Len(t, former, 2)
	_, err = w.clean()
	require.NoError(t, err)
	w.upgraded()
}

func TestWhatIsCurrentOrSomebodyElsesIsNeverRemoved(t *testing.T) {
	w := installed(t)
	w.soar.AddDestination("other")
	w.soar.AddRule(resilienttest.Rule{Name: "ThreatQ: Add Comment", ObjectType: "note", Destination: "other"})
	w.soar.AddFunction(resilienttest.Function{Name: "x_sync", DisplayName: "ThreatQ: Sync Incident", Destination: "other"})
	w.soar.AddRule(resilienttest.Rule{Name: "ThreatQ: Escalate", ObjectType: "incident"})
	former, _ := w.former()
	assert.Empty(t, former)
	former, _ = w.former("sync-task")
	assert.Empty(t, former, "what other modules bring is current too")
	w.soar.AddFunction(resilienttest.Function{Name: "x_add", DisplayName: "ThreatQ: Add Indicator"})
	former, _ = w.former()
	assert.Equal(t, []string{"function ThreatQ: Add Indicator"}, names(former), "the title alone does not make it current")
}

func TestCleaningWithoutRightsStopsAtTheFirst(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed100, CustomizationForbidden: true})
	_, err := w.clean()
	var forbidden *provision.ForbiddenError
	require.ErrorAs(t, err, &forbidden)
	assert.Contains(t, err.Error(), "may not delete the rule ThreatQ: Add Indicator in SOAR")
	assert.Len(t, w.writes(), 1)
}

func TestCleaningGoesOnWhereItWasBrokenOff(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.Installed100})
	w.soar.Inject(resilienttest.Fault{Method: "DELETE", Skip: 3, Times: 1, Status: http.StatusServiceUnavailable})
	_, err := w.clean()
	require.Error(t, err)
	former, _ := w.former()
	assert.Len(t, former, 6)
	// Somebody deletes one by hand meanwhile.
	w.soar.Inject(resilienttest.Fault{Method: "DELETE", Times: 1, Status: http.StatusNotFound})
	_, err = w.clean()
	require.NoError(t, err)
}
