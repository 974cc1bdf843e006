package historicalsync_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	historicalsync "fn-threatq/plugins/historical-sync"
	"fn-threatq/plugins/kit/kittest"
)

// begin is midnight UTC of 2020-01-01, from when on the incidents of bulks are.
var begin = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

type world struct {
	*kittest.World
	// synced lists the incidents of sub-actions in order.
	synced []int64
	// result answers the sub-action of an incident; nil: synced, with 2
	// indicators and 1 task.
	result func(incident int64) abi.Result
}

func newWorld(t *testing.T, incidents int, of resilienttest.Bulk) (w *world, first int64) {
	t.Helper()
	w = &world{World: kittest.New(t, historicalsync.Rules(), "manifest.json", resilienttest.Options{}, threatqtest.Options{})}
	w.SOAR.DeleteIncident(resilienttest.DefaultIncident)
	if incidents > 0 {
		first = w.SOAR.AddIncidents(incidents, of)
	}
	w.Actions = func(s abi.SubAction) abi.Result {
		w.synced = append(w.synced, s.IncidentID)
		if w.result != nil {
			return w.result(s.IncidentID)
		}
		return synced()
	}
	return w, first
}

func synced() abi.Result {
	return abi.Result{Reply: &abi.Reply{Success: true, Message: "Synced.", Results: abi.JSON(`{"indicators":2,"tasks":1}`)}}
}

func failed(cause abi.ErrorCode, retry bool) abi.Result {
	return abi.Result{Error: &abi.CallError{Code: abi.CodeSubAction, Message: "ThreatQ: no luck", Cause: cause, Retry: retry}}
}

func (w *world) sync(since time.Time, fields ...string) abi.Output {
	a := abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_historical_sync", Object: "incident", IncidentID: 1,
		Fields: map[string]abi.JSON{"threatq_created_after": abi.JSON(strconv.FormatInt(since.UnixMilli(), 10))}}
	for i := 0; i < len(fields); i += 2 {
		a.Fields[fields[i]] = abi.JSON(strconv.Quote(fields[i+1]))
	}
	return w.Run(a)
}

// ids are n ids from the first.
func ids(first int64, n int) (list []int64) {
	for i := range n {
		list = append(list, first+int64(i))
	}
	return list
}

func (w *world) progress() (texts []string) {
	for _, turn := range w.Last.Turns {
		if turn.Output.Progress != "" {
			texts = append(texts, turn.Output.Progress)
		}
	}
	return texts
}

func TestEachIncidentSinceTheDateIsSyncedOnce(t *testing.T) {
	w, first := newWorld(t, 120, resilienttest.Bulk{})
	reply := w.sync(begin.Add(20 * time.Minute)).Reply
	require.NotNil(t, reply)
	assert.True(t, reply.Success)
	assert.Equal(t, "Historical sync since 2020-01-01: 100 incidents, 200 indicators, 100 tasks.", reply.Message)
	assert.Equal(t, ids(first+20, 100), w.synced)
	assert.Equal(t, []string{
		"Historical sync of all incidents since 2020-01-01 that the integration's account can read, not of this incident alone.",
		"50 of 100 incidents",
	}, w.progress())
	for _, s := range w.Last.Actions {
		assert.Equal(t, "threatq_sync_incident", s.Rule)
		fields, err := json.Marshal(s.Fields)
		require.NoError(t, err)
		assert.JSONEq(t, `{"threatq_import_artifacts":"Yes","sync_tasks":"No"}`, string(fields))
	}
}

func TestTasksAndArtifactsAreAskedForAsConfigured(t *testing.T) {
	w, _ := newWorld(t, 1, resilienttest.Bulk{})
	w.Settings["historical_artifacts"] = "false"
	w.sync(begin, "threatq_historical_sync_tasks", "Yes")
	fields, err := json.Marshal(w.Last.Actions[0].Fields)
	require.NoError(t, err)
	assert.JSONEq(t, `{"threatq_import_artifacts":"No","sync_tasks":"Yes"}`, string(fields))
}

// TestHistoryDoesNotGrow holds the size of the last turns to that of the first.
func TestHistoryDoesNotGrow(t *testing.T) {
	w, _ := newWorld(t, 1000, resilienttest.Bulk{})
	largest := map[bool]int{}
	require.NotNil(t, w.sync(begin).Reply)
	for n, turn := range w.Last.Turns {
		late := n > len(w.Last.Turns)/2
		largest[late] = max(largest[late], len(turn.Input))
	}
	assert.Len(t, w.synced, 1000)
	assert.Less(t, largest[true], largest[false]+100)
	assert.LessOrEqual(t, len(w.Last.Turns), 3*20+2, "three turns a page; a look behind the last one")
}

func TestIncidentsOfOneMomentAreNotLostBetweenPages(t *testing.T) {
	w, first := newWorld(t, 170, resilienttest.Bulk{Every: time.Nanosecond})
	require.NotNil(t, w.sync(begin).Reply)
	assert.Equal(t, ids(first, 170), w.synced)
}

func TestIncidentDeletedDuringTheRunHidesNoOther(t *testing.T) {
	w, first := newWorld(t, 120, resilienttest.Bulk{})
	w.result = func(incident int64) abi.Result {
		if incident == first+49 {
			w.SOAR.DeleteIncident(first)
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.Equal(t, ids(first, 120), w.synced)
}

func TestIncidentMadeDuringTheRunIsSyncedToo(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{})
	var late int64
	w.result = func(incident int64) abi.Result {
		if incident == first {
			late = w.SOAR.AddIncidents(1, resilienttest.Bulk{From: begin.Add(100 * 24 * time.Hour)})
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.Equal(t, append(ids(first, 60), late), w.synced)
	assert.Contains(t, reply.Message, "61 incidents")
}

func TestSimulationsAreLeftOut(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{SimulatedEvery: 10})
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.Equal(t, "Historical sync since 2020-01-01: 54 incidents, 108 indicators, 54 tasks, 6 simulations left out.", reply.Message)
	assert.NotContains(t, w.synced, first+9)
}

func TestFailedIncidentIsNamedAndTheRunGoesOn(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{})
	w.result = func(incident int64) abi.Result {
		switch incident {
		case first + 3:
			return failed(abi.CodeForbidden, false)
		case first + 55:
			return abi.Result{Reply: &abi.Reply{Message: "Synced. Problems: one", Results: abi.JSON(`{"indicators":1}`)}}
		case first + 56:
			return failed(abi.CodeNotFound, false)
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.False(t, reply.Success, "the user is to see it")
	assert.Equal(t, fmt.Sprintf("Historical sync since 2020-01-01: 59 incidents, 2 failed (#%d, #%d), 115 indicators, 57 tasks, 1 deleted meanwhile.", first+3, first+55), reply.Message)
	assert.Len(t, w.synced, 60)
}

func TestOnlyTheFirstFailuresAreNamed(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{})
	w.result = func(incident int64) abi.Result {
		if incident < first+30 {
			return failed(abi.CodeForbidden, false)
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.Contains(t, reply.Message, fmt.Sprintf("30 failed (#%d, ", first))
	assert.Contains(t, reply.Message, fmt.Sprintf("#%d and 10 more)", first+19))
}

func TestThreeRefusedLoginsInARowEndTheRun(t *testing.T) {
	w, first := newWorld(t, 120, resilienttest.Bulk{})
	w.result = func(incident int64) abi.Result {
		if n := incident - first; n == 5 || n == 6 || n >= 10 && n < 13 {
			return failed(abi.CodeLogin, true)
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "stopped after refused logins: 50 incidents, 5 failed")
	assert.Len(t, w.synced, 50, "what was started is finished, no more is started")
}

func TestTwoRefusedLoginsInARowDoNot(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{})
	w.result = func(incident int64) abi.Result {
		if n := incident - first; n == 48 || n == 49 {
			return failed(abi.CodeLogin, true)
		}
		return synced()
	}
	w.sync(begin)
	assert.Len(t, w.synced, 60)
}

func TestOutageIsWaitedForByTryingThePageAgain(t *testing.T) {
	w, first := newWorld(t, 60, resilienttest.Bulk{})
	tries := 0
	w.result = func(incident int64) abi.Result {
		if incident == first+50 {
			tries++
		}
		if incident >= first+50 && tries <= 3 {
			return failed(abi.CodeUnreachable, true)
		}
		return synced()
	}
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "60 incidents, 120 indicators")
	assert.Contains(t, w.progress(), "50 of 60 incidents; no answer, trying again: ThreatQ: no luck")
}

func TestLongOutageEndsTheRun(t *testing.T) {
	w, _ := newWorld(t, 60, resilienttest.Bulk{})
	w.result = func(int64) abi.Result { return failed(abi.CodeUnreachable, true) }
	reply := w.sync(begin).Reply
	require.NotNil(t, reply)
	assert.False(t, reply.Success)
	assert.Equal(t, "Historical sync since 2020-01-01 stopped: 0 of 60 incidents. ThreatQ: no luck. What is done stays; run it again to go on.", reply.Message)
	assert.Len(t, w.synced, 40*50)
}

func TestPageThatIsTooLargeIsAskedForInParts(t *testing.T) {
	w, first := newWorld(t, 23, resilienttest.Bulk{})
	w.Answer = func(call abi.Call) *abi.Result {
		var body struct{ Length int }
		require.NoError(t, json.Unmarshal(call.Body, &body))
		if body.Length > 10 {
			return &abi.Result{Error: &abi.CallError{Code: abi.CodeTooLarge, Message: "too large"}}
		}
		return nil
	}
	require.NotNil(t, w.sync(begin).Reply)
	assert.Equal(t, ids(first, 23), w.synced)
	assert.Len(t, w.Last.Calls, 4, "what was found out holds for the next pages")
}

func TestSearchThatFailsSaysHowFarTheRunIs(t *testing.T) {
	for status, want := range map[int]struct {
		code   abi.ErrorCode
		advice string
	}{
		http.StatusBadRequest: {abi.CodeHTTP, "run it again to go on"},
		http.StatusForbidden:  {abi.CodeForbidden, "Give the integration's SOAR account the right to search incidents."},
	} {
		w, _ := newWorld(t, 60, resilienttest.Bulk{})
		w.result = func(int64) abi.Result {
			w.SOAR.Inject(resilienttest.Fault{PathSuffix: "/query_paged", Status: status})
			return synced()
		}
		fail := w.sync(begin).Fail
		require.NotNil(t, fail)
		assert.Equal(t, want.code, fail.Code)
		assert.Contains(t, fail.Message, "Historical sync since 2020-01-01, at 50 of 60 incidents: ")
		assert.Contains(t, fail.Message, want.advice)
	}
}

func TestDatesWithNothingToDo(t *testing.T) {
	w, _ := newWorld(t, 5, resilienttest.Bulk{})
	reply := w.sync(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).Reply
	require.NotNil(t, reply)
	assert.True(t, reply.Success)
	assert.Equal(t, "No incidents: 2024-01-01 is in the future; nothing done.", reply.Message)
	assert.Empty(t, w.Last.Calls)

	reply = w.sync(time.Date(2020, 1, 20, 0, 0, 0, 0, time.UTC)).Reply
	require.NotNil(t, reply)
	assert.Equal(t, "No incidents were created since 2020-01-20; nothing done.", reply.Message)

	out := w.Run(abi.Action{ID: "m2", Kind: abi.KindRule, Name: "threatq_historical_sync", Object: "incident", IncidentID: 1})
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeInput, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, "Created After Date is not set")
}
