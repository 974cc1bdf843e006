package syncincident_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// historical is the sub-action of a historical sync.
func historical() abi.Action {
	yes := abi.JSON(`"Yes"`)
	a := action("")
	a.Parent, a.Fields = "m0", map[string]abi.JSON{"threatq_import_artifacts": yes, "sync_tasks": yes}
	return a
}

func TestSubActionBringsActiveTasksOverAndCountsThem(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	out := w.Run(historical())
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	require.True(t, out.Reply.Success, out.Reply.Message)
	active := 0
	for _, task := range w.SOAR.Tasks(incident) {
		if task["active"] == true {
			active++
		}
	}
	require.NotZero(t, active)
	assert.Len(t, w.ThreatQ.Tasks(), active)
	var results struct{ Indicators, Tasks int }
	require.NoError(t, json.Unmarshal(out.Reply.Results, &results))
	assert.Equal(t, active, results.Tasks)
	assert.Len(t, w.ThreatQ.Indicators(), results.Indicators)
	assert.NotZero(t, results.Indicators)

	out = w.Run(historical())
	require.NotNil(t, out.Reply)
	assert.Equal(t, []string{"POST /api/events/55/indicators"}, w.Writes(), "to link again does no harm, all else is there")
}

func TestTaskThatThreatQRefusesIsAProblemOfTheIncident(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: http.MethodPost, PathPrefix: "/api/tasks", Times: -1, Status: http.StatusUnprocessableEntity})
	out := w.Run(historical())
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	assert.False(t, out.Reply.Success)
	assert.Contains(t, out.Reply.Message, "Problems: task ")
}

func TestIncidentWithoutTasks(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	bare := w.SOAR.AddIncidents(1, resilienttest.Bulk{})
	a := historical()
	a.IncidentID = bare
	out := w.Run(a)
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	assert.True(t, out.Reply.Success)
	assert.Contains(t, out.Reply.Message, "0 of 0 tasks")
}
