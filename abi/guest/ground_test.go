package guest

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// said is what one turn said beside its calls.
type said struct {
	hold     []string
	progress string
	log      []string
}

// play plays all turns of a rule and answers each call with an empty object.
func play(t *testing.T, r Rule) (all []said) {
	t.Helper()
	in := abi.Input{Version: 1, Action: abi.Action{Name: "r"}, Results: [][]abi.Result{}}
	for range 20 {
		text, err := json.Marshal(in)
		require.NoError(t, err)
		var s said
		var out abi.Output
		answer := handle(map[string]Rule{"r": r}, text, func(line string) { s.log = append(s.log, line) })
		require.NoError(t, json.Unmarshal(answer, &out), "%s", answer)
		s.hold, s.progress = out.Hold, out.Progress
		all = append(all, s)
		if out.Reply != nil {
			return all
		}
		require.Nil(t, out.Fail)
		if out.State != nil {
			in.State, in.Results = out.State, nil
		}
		results := []abi.Result{}
		for _, call := range out.Calls {
			results = append(results, abi.Result{ID: call.ID, Status: 200})
		}
		for _, action := range out.Actions {
			results = append(results, abi.Result{ID: action.ID, Reply: &abi.Reply{Success: true}})
		}
		in.Results = append(in.Results, results)
	}
	require.Fail(t, "no reply after 20 turns")
	return nil
}

func call(n int) Call {
	return Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/" + strconv.Itoa(n)}
}

func say(a *Action, text string) {
	a.Progress(text)
	a.Hold("key " + text)
	a.Log("log " + text)
}

func turnOf(text string) said {
	return said{progress: text, hold: []string{"key " + text}, log: []string{"log " + text}}
}

// last is the turn of a reply: nothing goes beside it but the log.
func last(text string) said { return said{log: []string{"log " + text}} }

func TestAsidesAreSaidOnceByTheTurnThatReachesThem(t *testing.T) {
	assert.Equal(t, []said{turnOf("a"), turnOf("b"), last("c")}, play(t, func(a *Action) Reply {
		say(a, "a")
		a.Do(call(1))
		say(a, "b")
		a.Do(call(2))
		say(a, "c")
		return Done("x")
	}))
}

func TestAsidesBetweenStartAndWaitBelongToThatTurn(t *testing.T) {
	assert.Equal(t, []said{
		{progress: "b", hold: []string{"key a", "key b"}, log: []string{"log a", "log b"}},
		{progress: "d", hold: []string{"key c", "key d"}, log: []string{"log c", "log d"}},
		last("e"),
	}, play(t, func(a *Action) Reply {
		one := a.Start(call(1))
		say(a, "a")
		two := a.Start(call(2))
		say(a, "b")
		two.Wait()
		say(a, "c")
		one.Wait()
		three := a.Start(call(3))
		say(a, "d")
		three.Wait()
		say(a, "e")
		return Done("x")
	}))
}

func TestAsidesAreSaidOnceWhenCallsAreFlushedAtTheEnd(t *testing.T) {
	assert.Equal(t, []said{turnOf("a"), {}}, play(t, func(a *Action) Reply {
		a.Start(call(1))
		say(a, "a")
		return Done("x")
	}))
}

func TestAsidesAreSaidOnceAroundSubActions(t *testing.T) {
	assert.Equal(t, []said{turnOf("a"), {}, turnOf("b"), last("c")}, play(t, func(a *Action) Reply {
		sub := a.StartAction(SubAction{Rule: "s", IncidentID: 1})
		one := a.Start(call(1))
		say(a, "a")
		sub.Wait()
		one.Wait()
		say(a, "b")
		a.Do(call(2))
		say(a, "c")
		return Done("x")
	}))
}

func TestAsidesAreNewAgainAfterACut(t *testing.T) {
	assert.Equal(t, []said{turnOf("0"), {}, turnOf("1"), {}, last("end")}, play(t, func(a *Action) Reply {
		n := int(a.State().Get("n").Int())
		if n == 2 {
			say(a, "end")
			return Done("x")
		}
		say(a, strconv.Itoa(n))
		a.Do(call(n))
		a.Cut(jsonvalue.Obj("n", n+1))
		return Reply{}
	}))
}

func TestACutCarriesItsAsides(t *testing.T) {
	assert.Equal(t, []said{turnOf("a"), {}}, play(t, func(a *Action) Reply {
		if a.State().Exists() {
			return Done("x")
		}
		say(a, "a")
		a.Cut(jsonvalue.Obj())
		return Reply{}
	}))
}
