package guesttest_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/abi/manifest"
)

// spy is a test that notes why it was ended.
type spy struct {
	testing.TB
	fatal string
}

func (s *spy) Helper() {}

func (s *spy) Fatalf(format string, args ...any) {
	s.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// refusal plays a rule and returns why the test was ended, or "".
func refusal(t *testing.T, r guest.Rule, opts guesttest.Options, respond func(abi.Call) abi.Result) string {
	s := &spy{TB: t}
	over := make(chan struct{})
	go func() {
		defer close(over)
		guesttest.Run(s, map[string]guest.Rule{"r": r}, abi.Action{Name: "r"}, opts, respond)
	}()
	<-over
	return s.fatal
}

func ok(abi.Call) abi.Result { return guesttest.OK(`{"id":1}`) }

func do(call guest.Call) guest.Rule {
	return func(a *guest.Action) guest.Reply { a.Do(call); return guest.Done("x") }
}

func someManifest(t *testing.T) *manifest.Manifest {
	m, err := manifest.Parse([]byte(`{"abi":1,"name":"m","version":"1.0.0","description":"d","rules":[{"title":"r","object":"incident"}],
		"calls":["threatq GET /api/events/{id}"],"actions":["threatq_sync_task"]}`))
	require.NoError(t, err)
	return m
}

func TestAnswersThatBreakTheContractEndTheTest(t *testing.T) {
	event := guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/events/1"}
	with := func(change func(*guest.Call)) guest.Rule {
		call := event
		change(&call)
		return do(call)
	}
	start := func(s guest.SubAction) guest.Rule {
		return func(a *guest.Action) guest.Reply { a.StartAction(s).Wait(); return guest.Done("x") }
	}
	times := 0
	for name, c := range map[string]struct {
		rule guest.Rule
		want string
	}{
		"good":              {do(event), ""},
		"good sub-action":   {start(guest.SubAction{Rule: "threatq_sync_task", IncidentID: 1}), ""},
		"path":              {with(func(c *guest.Call) { c.Path = "/api/../token" }), `has the segment ".."`},
		"service":           {with(func(c *guest.Call) { c.Service = "aws" }), `service "aws"`},
		"method":            {with(func(c *guest.Call) { c.Method = "TRACE" }), `method "TRACE"`},
		"permit":            {with(func(c *guest.Call) { c.Path = "/api/indicators" }), "no permit of the manifest allows it"},
		"query":             {with(func(c *guest.Call) { c.Query = guest.Query{"q": strings.Repeat("x", 70_000)} }), "query of 70001 bytes"},
		"body of a GET":     {with(func(c *guest.Call) { c.Body = jsonvalue.Obj() }), "a GET cannot have a body"},
		"token":             {with(func(c *guest.Call) { c.Path = "/api/token" }), "not open to modules"},
		"no api path":       {with(func(c *guest.Call) { c.Path = "/login" }), "not open to modules"},
		"body and upload":   {with(func(c *guest.Call) { c.Method, c.Body, c.Upload = "POST", jsonvalue.Obj(), &abi.Upload{} }), "a body and an upload"},
		"sub-action":        {start(guest.SubAction{Rule: "threatq_sync_note", IncidentID: 1}), "does not list it under actions"},
		"no incident":       {start(guest.SubAction{Rule: "threatq_sync_task"}), "a rule and an incident are needed"},
		"empty message":     {func(*guest.Action) guest.Reply { return guest.Done("") }, "the message is empty"},
		"empty failure":     {func(a *guest.Action) guest.Reply { a.Fail("", "x"); return guest.Done("x") }, "a failure needs a code"},
		"results no object": {func(*guest.Action) guest.Reply { return guest.Done("x").With(jsonvalue.Raw(`[1]`)) }, "results are an object"},
		"circles":           {func(a *guest.Action) guest.Reply { a.Cut(jsonvalue.Obj()); return guest.Done("x") }, "no reply after 5 turns"},
		"chance": {func(*guest.Action) guest.Reply { times++; return guest.Done(fmt.Sprint(times)) },
			"the same input was also answered with"},
	} {
		got := refusal(t, c.rule, guesttest.Options{Manifest: someManifest(t), MaxTurns: 5}, ok)
		if c.want == "" {
			assert.Empty(t, got, name)
		} else {
			assert.Contains(t, got, c.want, name)
		}
	}
}

func TestABodyThatIsNotJSONIsTheRespondersFault(t *testing.T) {
	got := refusal(t, do(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/x"}), guesttest.Options{},
		func(abi.Call) abi.Result { return guesttest.OK(`{"id":`) })
	assert.Contains(t, got, "is a body of the responder JSON?")
}

func TestBodiesReachTheRuleAsTheyAre(t *testing.T) {
	out, calls := guesttest.Run(t, map[string]guest.Rule{"r": func(a *guest.Action) guest.Reply {
		r := a.Do(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/x", Body: jsonvalue.Obj("html", "<b>&")})
		return guest.Done(r.Body.Raw().String())
	}}, abi.Action{Name: "r"}, guesttest.Options{}, func(c abi.Call) abi.Result {
		return abi.Result{Status: 201, Body: c.Body}
	})
	require.Len(t, calls, 1)
	assert.Equal(t, `{"html":"<b>&"}`, out.Reply.Message)
}

func TestADialogueCanBeRecordedForWarmUp(t *testing.T) {
	d := guesttest.Play(t, map[string]guest.Rule{"r": do(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/x"})}, abi.Action{Name: "r"}, guesttest.Options{}, ok)
	var inputs []abi.Input
	require.NoError(t, json.Unmarshal(d.Inputs(), &inputs))
	require.Len(t, inputs, 2)
	assert.Equal(t, 2, inputs[1].Turn)
	assert.JSONEq(t, `{"id":1}`, string(inputs[1].Results[0][0].Body))
}

func TestResultsForResponders(t *testing.T) {
	assert.Equal(t, abi.Result{Status: 204, Body: abi.JSON("")}, guesttest.Status(204, ""))
	assert.Equal(t, abi.Result{Status: 403, Error: &abi.CallError{Code: abi.CodeHTTP, Message: "no"}}, guesttest.Status(403, "no"))
	assert.Equal(t, abi.Result{Error: &abi.CallError{Code: abi.CodeUnknown, Message: "lost"}}, guesttest.Error(abi.CodeUnknown, 0, "lost"))
	assert.Equal(t, `{"a":"<"}`, string(guesttest.Value(map[string]string{"a": "<"}).Body))
	assert.Panics(t, func() { guesttest.Value(func() {}) })
}
