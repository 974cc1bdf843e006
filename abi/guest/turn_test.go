package guest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/abi/guest/jsonvalue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// turn plays one turn of a hand-made input.
func turn(t *testing.T, r guest.Rule, change func(*abi.Input)) abi.Output {
	t.Helper()
	in := abi.Input{Version: abi.Version, Turn: 1, Seed: guesttest.DefaultSeed, Action: action(), Results: [][]abi.Result{}}
	if change != nil {
		change(&in)
	}
	text, err := json.Marshal(in)
	require.NoError(t, err)
	var out abi.Output
	answer := guest.Handle(rules(r), text)
	require.NoError(t, json.Unmarshal(answer, &out), "%s", answer)
	return out
}

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
	assert.Equal(t, abi.Reply{Success: true, Message: "Read /api/events/1/attributes.", Results: abi.JSON(`{"turn":3}`)}, *d.Last().Reply)
}

func TestCallsStartedBeforeAWaitGoOutTogether(t *testing.T) {
	d := guesttest.Play(t, rules(func(a *guest.Action) guest.Reply {
		one, two := a.Start(get("/api/one")), a.Start(get("/api/two"))
		text := two.Wait().Body.Get("path").Text() + one.Wait().Body.Get("path").Text() + two.Wait().Body.Get("path").Text()
		return guest.Done(text)
	}), action(), guesttest.Options{}, echo)
	require.Len(t, d.Turns, 2)
	require.Len(t, d.Turns[0].Output.Calls, 2)
	assert.Equal(t, "/api/two/api/one/api/two", d.Last().Reply.Message)
}

func TestWhatWasStartedIsPerformedBeforeTheActionEnds(t *testing.T) {
	for name, end := range map[string]func(a *guest.Action) guest.Reply{
		"return": func(*guest.Action) guest.Reply { return guest.Done("over") },
		"fail": func(a *guest.Action) guest.Reply {
			a.Fail(abi.CodeInput, "over")
			panic("not reached")
		},
	} {
		d := guesttest.Play(t, rules(func(a *guest.Action) guest.Reply {
			a.Start(get("/api/one"))
			a.StartAction(guest.SubAction{Rule: "threatq_sync_task", IncidentID: 1})
			return end(a)
		}), action(), guesttest.Options{}, echo)
		require.Len(t, d.Turns, 3, name)
		assert.Len(t, d.Turns[0].Output.Calls, 1, name)
		assert.Len(t, d.Turns[1].Output.Actions, 1, name)
		if name == "fail" {
			assert.Equal(t, "over", d.Last().Fail.Message)
		} else {
			assert.Equal(t, "over", d.Last().Reply.Message)
		}
	}
}

func TestCallsAndSubActionsTakeTurns(t *testing.T) {
	r := rules(func(a *guest.Action) guest.Reply {
		sub := a.StartAction(guest.SubAction{Rule: "threatq_sync_indicator", IncidentID: 7, ArtifactID: 8, TaskID: 9, Fields: jsonvalue.Obj("import", "Yes")})
		call := a.Start(get("/api/one"))
		reply := sub.Wait().Reply
		later := a.Must(get("/api/later")).Body.Get("path").Text()
		return guest.Done(reply.Message + call.Wait().Body.Get("path").Text() + later).With(reply.Results)
	})
	d := guesttest.Play(t, r, action(), guesttest.Options{Actions: func(s abi.SubAction) abi.Result {
		assert.Equal(t, abi.SubAction{ID: s.ID, Rule: "threatq_sync_indicator", IncidentID: 7, ArtifactID: 8, TaskID: 9, Fields: map[string]abi.JSON{"import": abi.JSON(`"Yes"`)}}, s)
		return abi.Result{Reply: &abi.Reply{Success: true, Message: "sub", Results: abi.JSON(`{"n":1}`)}}
	}}, echo)
	require.Len(t, d.Turns, 4)
	assert.Len(t, d.Turns[0].Output.Calls, 1)
	assert.Len(t, d.Turns[1].Output.Actions, 1)
	assert.Len(t, d.Turns[2].Output.Calls, 1)
	assert.Equal(t, "sub/api/one/api/later", d.Last().Reply.Message)
	assert.JSONEq(t, `{"n":1}`, string(d.Last().Reply.Results))
}

func TestACallCarriesAllThatWasAskedFor(t *testing.T) {
	upload := &abi.Upload{Fields: map[string]string{"name": "a.pdf"}, Part: "file", FileName: "a.pdf", ContentType: "application/pdf", Blob: "b1"}
	out := turn(t, func(a *guest.Action) guest.Reply {
		a.Start(guest.Call{Service: abi.Resilient, Method: "POST", Path: "/incidents/1/artifacts", Query: guest.Query{"b": "1&2", "a": "ü"}, Body: jsonvalue.Obj("value", "<x>")})
		a.Start(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/attachments", Upload: upload, Slow: true, Idempotent: true})
		a.Start(guest.Call{Service: abi.Resilient, Method: "GET", Path: "/incidents/1/attachments/2/contents", Download: true})
		return guest.Done("")
	}, nil)
	require.Len(t, out.Calls, 3)
	for i, call := range out.Calls {
		assert.Regexp(t, regexp.MustCompile(`^`+strconv.Itoa(i+1)+`\.[0-9a-f]{8}$`), call.ID)
		out.Calls[i].ID = ""
	}
	assert.Equal(t, []abi.Call{
		{Service: "resilient", Method: "POST", Path: "/incidents/1/artifacts", Query: map[string]string{"b": "1&2", "a": "ü"}, Body: abi.JSON(`{"value":"<x>"}`)},
		{Service: "threatq", Method: "POST", Path: "/api/attachments", Upload: upload, Slow: true, Idempotent: true},
		{Service: "resilient", Method: "GET", Path: "/incidents/1/attachments/2/contents", Download: true},
	}, out.Calls)
}

func TestEachPartOfACallIsPartOfItsID(t *testing.T) {
	base := guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events", Query: guest.Query{"a": "1"}, Body: jsonvalue.Obj("a", 1)}
	changes := map[string]func(*guest.Call){
		"none":       func(*guest.Call) {},
		"service":    func(c *guest.Call) { c.Service = abi.Resilient },
		"method":     func(c *guest.Call) { c.Method = "PUT" },
		"path":       func(c *guest.Call) { c.Path = "/api/events/1" },
		"query":      func(c *guest.Call) { c.Query = guest.Query{"a": "2"} },
		"body":       func(c *guest.Call) { c.Body = jsonvalue.Obj("a", 2) },
		"upload":     func(c *guest.Call) { c.Upload = &abi.Upload{Blob: "b1"} },
		"blob":       func(c *guest.Call) { c.Upload = &abi.Upload{Blob: "b2"} },
		"download":   func(c *guest.Call) { c.Download = true },
		"slow":       func(c *guest.Call) { c.Slow = true },
		"idempotent": func(c *guest.Call) { c.Idempotent = true },
	}
	seen := map[string]string{}
	for name, change := range changes {
		out := turn(t, func(a *guest.Action) guest.Reply {
			call := base
			change(&call)
			a.Do(call)
			return guest.Reply{}
		}, nil)
		id := out.Calls[0].ID
		assert.Empty(t, seen[id], "%s has the id of %s", name, seen[id])
		seen[id] = name
	}
}

func TestARuleThatIsNotDeterministicFails(t *testing.T) {
	recorded := func(ids ...string) func(*abi.Input) {
		return func(in *abi.Input) {
			for _, id := range ids {
				in.Results = append(in.Results, []abi.Result{{ID: id, Status: 200}})
			}
		}
	}
	idOf := func(path string) string {
		return turn(t, func(a *guest.Action) guest.Reply { a.Do(get(path)); return guest.Reply{} }, nil).Calls[0].ID
	}
	one := idOf("/api/one")
	for name, c := range map[string]struct {
		rule guest.Rule
		ids  []string
		want string
	}{
		"another call": {func(a *guest.Action) guest.Reply { a.Do(get("/api/two")); return guest.Done("x") }, []string{one},
			"rule is not deterministic: call 1 was " + one + ", is now " + idOf("/api/two") + " (threatq GET /api/two)"},
		"second call differs": {func(a *guest.Action) guest.Reply {
			a.Do(get("/api/one"))
			a.Do(get("/api/one"))
			return guest.Done("x")
		}, []string{one, "2.00000000"},
			"call 2 was 2.00000000"},
		"reply instead of a call": {func(*guest.Action) guest.Reply { return guest.Done("x") }, []string{one},
			"it made 1 calls in earlier turns, and ends after 0 now; call 1 was " + one},
		"failure instead of a call": {func(a *guest.Action) guest.Reply { a.Fail(abi.CodeInput, "x"); return guest.Done("x") }, []string{one}, "ends after 0 now"},
		"cut instead of a call":     {func(a *guest.Action) guest.Reply { a.Cut(jsonvalue.Obj()); return guest.Done("x") }, []string{one}, "ends after 0 now"},
		"sub-action instead of a call": {func(a *guest.Action) guest.Reply {
			a.StartAction(guest.SubAction{Rule: "x", IncidentID: 1}).Wait()
			return guest.Done("x")
		}, []string{one}, "ends after 0 now"},
		"recovered and hidden in a defer": {func(a *guest.Action) guest.Reply {
			defer func() { _ = recover(); a.Do(get("/api/more")) }()
			a.Do(get("/api/two"))
			return guest.Done("x")
		}, []string{one}, "call 1 was " + one},
	} {
		out := turn(t, c.rule, recorded(c.ids...))
		require.NotNil(t, out.Fail, name)
		assert.Equal(t, abi.CodeModule, out.Fail.Code, name)
		assert.Contains(t, out.Fail.Message, c.want, name)
		assert.Nil(t, out.Calls, name)
	}
}

func TestFailuresEndTheActionAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(a *guest.Action)
		want abi.Failure
	}{
		"fail":  {func(a *guest.Action) { a.Fail(abi.CodeInput, "No value.") }, abi.Failure{Code: abi.CodeInput, Message: "No value."}},
		"retry": {func(a *guest.Action) { a.Retry(abi.CodeUnknown, "Later.") }, abi.Failure{Code: abi.CodeUnknown, Message: "Later.", Retry: true}},
		"with": {func(a *guest.Action) {
			a.FailWith(&guest.CallError{Code: abi.CodeLogin, Service: abi.ThreatQ, Method: "GET", Path: "/api/x", Message: "bad password"})
		}, abi.Failure{Code: abi.CodeLogin, Message: "ThreatQ refused the login: bad password"}},
	} {
		out := turn(t, func(a *guest.Action) guest.Reply {
			c.end(a)
			panic("not reached")
		}, nil)
		require.NotNil(t, out.Fail, name)
		assert.Equal(t, c.want, *out.Fail, name)
	}
}

func TestMustCarriesTheErrorOfTheCall(t *testing.T) {
	for name, c := range map[string]struct {
		result abi.Result
		want   abi.Failure
	}{
		"403": {guesttest.Status(403, "Access denied."), abi.Failure{Code: abi.CodeHTTP, Message: "ThreatQ answered 403 to GET /api/events: Access denied."}},
		"500": {guesttest.Status(500, ""), abi.Failure{Code: abi.CodeHTTP, Message: "ThreatQ answered 500 to GET /api/events: no reason was given", Retry: true}},
		"429": {guesttest.Status(429, "slow down"), abi.Failure{Code: abi.CodeHTTP, Message: "ThreatQ answered 429 to GET /api/events: slow down", Retry: true}},
		"unreachable": {guesttest.Error(abi.CodeUnreachable, 0, "connection refused"),
			abi.Failure{Code: abi.CodeUnreachable, Message: "ThreatQ could not be reached for GET /api/events: connection refused", Retry: true}},
		"unknown": {guesttest.Error(abi.CodeUnknown, 0, "timeout"),
			abi.Failure{Code: abi.CodeUnknown, Message: "ThreatQ gave no answer to GET /api/events, which may have been done: timeout", Retry: true}},
		"too large": {guesttest.Error(abi.CodeTooLarge, 0, "over 8 MB"), abi.Failure{Code: abi.CodeTooLarge, Message: "ThreatQ, GET /api/events: over 8 MB"}},
	} {
		out, _ := guesttest.Run(t, rules(func(a *guest.Action) guest.Reply {
			a.Must(get("/api/events"))
			return guest.Done("not reached")
		}), action(), guesttest.Options{}, func(abi.Call) abi.Result { return c.result })
		require.NotNil(t, out.Fail, name)
		assert.Equal(t, c.want, *out.Fail, name)
	}
}

func TestAResultTellsWhatBecameOfTheCall(t *testing.T) {
	blob := &abi.Blob{Handle: "b1", Size: 1 << 40, MD5: strings.Repeat("a", 32), ContentType: "text/plain"}
	var got []guest.Result
	guesttest.Run(t, rules(func(a *guest.Action) guest.Reply {
		got = []guest.Result{a.Do(get("/api/0")), a.Do(get("/api/1")), a.Do(get("/api/2")), a.StartAction(guest.SubAction{Rule: "sub", IncidentID: 1}).Wait()}
		return guest.Done("x")
	}), action(), guesttest.Options{}, func(call abi.Call) abi.Result {
		switch call.Path {
		case "/api/0":
			return guesttest.Status(404, "gone")
		case "/api/1":
			return abi.Result{Status: 200, Blob: blob}
		}
		return guesttest.Status(204, "")
	})
	require.Len(t, got, 4)
	assert.True(t, got[0].NotFound())
	assert.False(t, got[0].OK())
	assert.Equal(t, &guest.CallError{Code: abi.CodeHTTP, Status: 404, Message: "gone", Service: abi.ThreatQ, Method: "GET", Path: "/api/0"}, got[0].Err)
	assert.Equal(t, blob, got[1].Blob)
	assert.True(t, got[2].OK())
	assert.Equal(t, 204, got[2].Status)
	assert.False(t, got[2].Body.Exists())
	assert.EqualError(t, got[3].Err, "Sub-action sub failed: this test starts no sub-actions")
	assert.Nil(t, got[3].Reply)
}

func TestCutStartsAnewWithAState(t *testing.T) {
	d := guesttest.Play(t, rules(func(a *guest.Action) guest.Reply {
		page := a.State().Get("page").Int()
		if page == 3 {
			return guest.Done("Read 3 pages.")
		}
		a.Must(get("/api/first"))
		a.Must(get("/api/pages/" + strconv.FormatInt(page, 10)))
		a.Start(get("/api/seen"))
		a.Cut(jsonvalue.Obj("page", page+1))
		panic("not reached")
	}), action(), guesttest.Options{}, echo)
	assert.Equal(t, "Read 3 pages.", d.Last().Reply.Message)
	var paths []string
	ids := map[string]bool{}
	for _, call := range d.Calls {
		paths = append(paths, call.Path)
		assert.False(t, ids[call.ID], "the id %s stands for two calls of the action", call.ID)
		ids[call.ID] = true
	}
	assert.Equal(t, []string{"/api/first", "/api/pages/0", "/api/seen", "/api/first", "/api/pages/1", "/api/seen", "/api/first", "/api/pages/2", "/api/seen"}, paths)
}

func TestGoexitRunsDefersAndNoRecoverHoldsItUp(t *testing.T) {
	deferred, after := 0, 0
	out := turn(t, func(a *guest.Action) guest.Reply {
		defer func() {
			deferred++
			a.Hold("late")
			after++
		}()
		defer func() {
			assert.Nil(t, recover())
			deferred++
			a.Fail(abi.CodeInput, "late")
			after++
		}()
		func() {
			defer func() { _ = recover() }()
			a.Do(get("/api/one"))
		}()
		after++
		return guest.Done("not reached")
	}, nil)
	require.Len(t, out.Calls, 1)
	assert.Empty(t, out.Hold)
	assert.Equal(t, 2, deferred)
	assert.Zero(t, after)
}

func TestARuleThatLeavesItsGoroutineFails(t *testing.T) {
	out := turn(t, func(*guest.Action) guest.Reply { runtime.Goexit(); return guest.Reply{} }, nil)
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeModule, out.Fail.Code)
}

func TestAPanicIsNotSwallowed(t *testing.T) {
	if os.Getenv("GUEST_PANICS") != "" {
		turn(t, thisRulePanics, nil)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestAPanicIsNotSwallowed$")
	child.Env = append(os.Environ(), "GUEST_PANICS=1")
	text, err := child.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(text), "panic: the event has no id")
	assert.Contains(t, string(text), "thisRulePanics", "the rule's stack is missing")
	assert.NotContains(t, string(text), "PASS")
}

func thisRulePanics(*guest.Action) guest.Reply { panic("the event has no id") }

func TestTextsAndKeysAreCutToTheLimits(t *testing.T) {
	long := strings.Repeat("é", 20_000)
	out := turn(t, func(a *guest.Action) guest.Reply {
		a.Progress("\xff" + long)
		a.Hold(long+"1", long+"2", "short", "short", "")
		a.Do(get("/api/x"))
		return guest.Reply{}
	}, nil)
	assert.LessOrEqual(t, len(out.Progress), abi.MaxProgress)
	assert.True(t, strings.HasSuffix(out.Progress, "é…"))
	require.Len(t, out.Hold, 3)
	assert.NotEqual(t, out.Hold[0], out.Hold[1])
	assert.LessOrEqual(t, len(out.Hold[0]), abi.MaxHoldKey)
	assert.Equal(t, "short", out.Hold[2])

	out = turn(t, func(*guest.Action) guest.Reply { return guest.Failed(long) }, nil)
	assert.LessOrEqual(t, len(out.Reply.Message), abi.MaxMessage)
	assert.False(t, out.Reply.Success)
	out = turn(t, func(a *guest.Action) guest.Reply { a.Fail(abi.CodeInput, long); return guest.Reply{} }, nil)
	assert.LessOrEqual(t, len(out.Fail.Message), abi.MaxMessage)
}

func TestHandleRefusesWhatItCannotServe(t *testing.T) {
	r := rules(func(*guest.Action) guest.Reply { return guest.Done("x") })
	for input, want := range map[string]abi.Failure{
		``:                      {Code: abi.CodeModule, Message: "The input cannot be read: JSON: the text ends early at byte 0"},
		`{"v":1`:                {Code: abi.CodeModule, Message: "The input cannot be read: JSON: the text ends early at byte 6"},
		`{"v":2}`:               {Code: abi.CodeModule, Message: "The input is of ABI 2, this module speaks ABI 1."},
		`{"action":{}}`:         {Code: abi.CodeModule, Message: "The input is of ABI , this module speaks ABI 1."},
		`{"v":1,"action":null}`: {Code: abi.CodeModule, Message: `This module has no rule or function "".`},
		`{"v":1,"action":{"name":"threatq_sync_task"}}`: {Code: abi.CodeModule, Message: `This module has no rule or function "threatq_sync_task".`},
	} {
		var out abi.Output
		require.NoError(t, json.Unmarshal(guest.Handle(r, []byte(input)), &out))
		require.NotNil(t, out.Fail, input)
		assert.Equal(t, want, *out.Fail, input)
	}
}

func TestUnknownKeysOfTheInputAreIgnored(t *testing.T) {
	var out abi.Output
	answer := guest.Handle(rules(func(a *guest.Action) guest.Reply { return guest.Done("x") }),
		[]byte(`{"v":1,"future":{"a":[1]},"results":null,"action":{"name":"`+ruleName+`","future":1}}`))
	require.NoError(t, json.Unmarshal(answer, &out))
	assert.Equal(t, &abi.Reply{Success: true, Message: "x"}, out.Reply)
}
