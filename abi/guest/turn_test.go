package guest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/abi/guest/jsonvalue"
)

const ruleName = "threatq_sync_incident"

func action() abi.Action {
	return abi.Action{ID: "m-1", Kind: abi.KindRule, Name: ruleName, Title: "ThreatQ: Sync Incident", Object: "incident", IncidentID: 2095}
}

func rules(r guest.Rule) map[string]guest.Rule { return map[string]guest.Rule{ruleName: r} }

func get(path string) guest.Call {
	return guest.Call{Service: abi.ThreatQ, Method: "GET", Path: path, Idempotent: true}
}

// echo answers each call with its path.
func echo(call abi.Call) abi.Result { return guesttest.Value(map[string]string{"path": call.Path}) }

func TestARuleIsReplayedUntilItReplies(t *testing.T) {
	d := guesttest.Play(t, rules(func(a *guest.Action) guest.Reply {
		first := a.Must(get("/api/events/1")).Body.Get("path").Text()
		second := a.Must(get(first + "/attributes")).Body.Get("path").Text()
		return guest.Done("Read " + second + ".").With(jsonvalue.Obj("turn", a.Turn))
	}), action(), guesttest.Options{}, echo)
	require.Len(t, d.Turns, 3)
	require.Len(t, d.Calls, 2)
	assert.Equal(t, "/api/events/1/attributes", d.Calls[1].Path)
	require.NotNil(t, d.Last().Reply)
	assert.Equal(t, "Read /api/events/1/attributes.", d.Last().Reply.Message)
	assert.JSONEq(t, `{"turn":3}`, string(d.Last().Reply.Results))
}
