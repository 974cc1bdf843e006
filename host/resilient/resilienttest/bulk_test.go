package resilienttest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

const (
	org   = "/rest/orgs/201"
	paged = org + "/incidents/query_paged?return_level=full&handle_format=names"
)

// page asks for the incidents since a date, as the historical synchronization does.
func (c *client) page(since time.Time, start, length int) (rows []any, found float64) {
	c.t.Helper()
	status, answer := c.do("POST", paged, map[string]any{
		"filters": []any{map[string]any{"conditions": []any{map[string]any{"field_name": "create_date", "method": "gte", "value": since.UnixMilli()}}}},
		"sorts":   []any{map[string]any{"field_name": "create_date", "type": "asc"}}, "start": start, "length": length,
	})
	require.Equal(c.t, 200, status, "%v", answer)
	return dig(answer, "data").([]any), dig(answer, "recordsFiltered").(float64)
}

var newYear = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func TestManyIncidentsArePagedInOrder(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Empty: true, MaxPageSize: 100})
	first := s.AddIncidents(350, resilienttest.Bulk{Artifacts: 4, Tasks: 2, SimulatedEvery: 50, ClosedEvery: 7})
	since := newYear.Add(100 * time.Minute)
	seen, simulated, closed := map[any]bool{}, 0, 0
	for start := 0; ; {
		rows, found := c.page(since, start, 1000)
		require.InDelta(t, 250, found, 0)
		if len(rows) == 0 {
			break
		}
		require.LessOrEqual(t, len(rows), 100, "the server's own limit")
		for i, row := range rows {
			require.InDelta(t, since.UnixMilli()+int64(start+i)*60_000, dig(row, "create_date"), 0)
			require.InDelta(t, first+100+int64(start+i), dig(row, "id"), 0)
			require.Contains(t, []any{"Low", "Medium", "High"}, dig(row, "severity_code"), "the whole row, with names")
			require.NotNil(t, dig(row, "vers"))
			seen[dig(row, "id")] = true
			if dig(row, "inc_training") == true {
				simulated++
			}
			if dig(row, "plan_status") == "C" {
				closed++
			}
		}
		start += len(rows)
	}
	require.Len(t, seen, 250)
	require.Equal(t, 5, simulated)
	require.Equal(t, 350/7-100/7, closed)
}

func TestAnIncidentOfManyIsLikeAnyOther(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Empty: true})
	first := s.AddIncidents(10, resilienttest.Bulk{Artifacts: 3, Tasks: 2})
	path := fmt.Sprint(org, "/incidents/", first+4)
	_, row := c.page(newYear, 0, 100)
	require.InDelta(t, 10, row, 0)
	rows, _ := c.page(newYear, 4, 1)
	_, incident := c.do("GET", path+"?handle_format=names", nil)
	require.Equal(t, rows[0], incident, "a search finds what GET answers")

	_, list := c.do("GET", path+"/artifacts", nil)
	require.Len(t, list, 3)
	values := map[any]bool{}
	for _, artifact := range list.([]any) {
		values[dig(artifact, "value")] = true
		_, same := c.do("GET", fmt.Sprint(path, "/artifacts/", dig(artifact, "id")), nil)
		require.Equal(t, artifact, same)
	}
	require.Len(t, values, 3)
	_, tasks := c.do("GET", path+"/tasks", nil)
	require.Len(t, tasks, 2)
	task := fmt.Sprint(org, "/tasks/", dig(tasks.([]any)[1], "id"))

	// changes stay, and touch nothing else
	status, _ := c.do("PATCH", path, map[string]any{"version": 1, "changes": []any{map[string]any{"field": "name", "new_value": map[string]any{"text": "Renamed"}}}})
	require.Equal(t, 200, status)
	status, _ = c.do("PUT", task, map[string]any{"status": "C"})
	require.Equal(t, 200, status)
	status, _ = c.do("POST", path+"/artifacts", map[string]any{"type": "DNS Name", "value": "added.example.net"})
	require.Equal(t, 200, status)
	status, _ = c.do("DELETE", fmt.Sprint(path, "/artifacts/", dig(list.([]any)[0], "id")), nil)
	require.Equal(t, 200, status)
	status, _ = c.do("PUT", fmt.Sprint(path, "/artifacts/", dig(list.([]any)[1], "id")), map[string]any{"description": "described"})
	require.Equal(t, 200, status)
	require.Equal(t, "described", s.Artifacts(first + 4)[0]["description"])
	require.Equal(t, "Renamed", s.Incident(first + 4)["name"])
	require.Equal(t, "C", s.Tasks(first + 4)[1]["status"])
	require.Len(t, s.Artifacts(first+4), 3)
	require.Len(t, s.Artifacts(first+5), 3)
	rows, found := c.page(newYear, 4, 1)
	require.Equal(t, "Renamed", dig(rows[0], "name"))
	require.InDelta(t, 10, found, 0)

	s.DeleteIncident(first + 4)
	status, _ = c.do("GET", path, nil)
	require.Equal(t, 404, status)
	status, _ = c.do("GET", task, nil)
	require.Equal(t, 404, status)
	_, found = c.page(newYear, 0, 1)
	require.InDelta(t, 9, found, 0)

	next := s.AddIncident(map[string]any{"name": "later"})
	require.Equal(t, first+10, next, "ids go on behind the many")
	var body map[string]any
	message := s.ActionMessage("ThreatQ: Sync Task", resilienttest.ActionOptions{TaskID: s.Tasks(first + 7)[0]["id"].(int64)})
	require.NoError(t, json.Unmarshal(message.Body, &body))
	require.InDelta(t, first+7, dig(body, "incident", "id"), 0)
}

func TestFiveThousandIncidentsTakeNoMemory(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Empty: true})
	heap := func() uint64 {
		s.ResetRequests()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	c.page(newYear, 0, 100) // buffers of the connection
	before := heap()
	s.AddIncidents(5000, resilienttest.Bulk{Artifacts: 10, Tasks: 3})
	for start := 0; start < 5000; start += 1000 {
		rows, _ := c.page(newYear, start, 100)
		require.Len(t, rows, 100)
		_, list := c.do("GET", fmt.Sprint(org, "/incidents/", dig(rows[0], "id"), "/artifacts"), nil)
		require.Len(t, list, 10)
	}
	after := heap()
	require.Less(t, int64(after)-int64(before), int64(2<<20), "5,000 stored incidents would take 50 MB")
}

func TestUnreadableIncidents(t *testing.T) {
	s, c := loggedIn(t, resilienttest.Options{Empty: true})
	first := s.AddIncidents(4, resilienttest.Bulk{Artifacts: 1, Tasks: 1})
	task := s.Tasks(first + 1)[0]["id"]
	for _, status := range []int{403, 404, 500} {
		s.SetUnreadable(first+1, status)
		for _, path := range []string{fmt.Sprint("/incidents/", first+1), fmt.Sprint("/incidents/", first+1, "/artifacts"), fmt.Sprint("/incidents/", first+1, "/tasks"), fmt.Sprint("/tasks/", task)} {
			got, answer := c.do("GET", org+path, nil)
			require.Equal(t, status, got, path)
			require.Equal(t, false, dig(answer, "success"))
		}
		_, found := c.page(newYear, 0, 100)
		require.InDelta(t, 4, found, 0, "a search still finds it")
	}
	s.Forbid(first + 2)
	rows, _ := c.page(newYear, 0, 100)
	require.Len(t, rows, 3, "what is forbidden is not found")
	s.Allow(first + 1)
	s.Allow(first + 2)
	status, _ := c.do("GET", fmt.Sprint(org, "/tasks/", task), http.NoBody)
	require.Equal(t, 200, status)
}
