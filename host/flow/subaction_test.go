package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// holding is a turn that locks the keys of its script, works on each for a
// second, and is done.
func holding(steps ...string) func(context.Context, abi.Input) (string, error) {
	return func(_ context.Context, in abi.Input) (string, error) {
		if in.Turn > 1 {
			time.Sleep(time.Second)
		}
		if in.Turn > len(steps) {
			return done, nil
		}
		return fmt.Sprintf(`{"state":%d,"hold":[%s]}`, in.Turn, steps[in.Turn-1]), nil
	}
}

func TestHeldKeysExcludeOtherActionsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			first, second []string
			want          time.Duration
		}{
			"same key":                  {[]string{`"a"`}, []string{`"a"`}, 2 * time.Second},
			"other key":                 {[]string{`"a"`}, []string{`"b"`}, time.Second},
			"kept to the end":           {[]string{`"a"`, `"b"`, `"c"`}, []string{`"a"`}, 4 * time.Second},
			"asked for again":           {[]string{`"a"`, `"a"`, `"a","a"`}, []string{`"b"`}, 3 * time.Second},
			"in one turn, other order":  {[]string{`"a","b"`}, []string{`"b","a"`}, 2 * time.Second},
			"one of several is enough":  {[]string{`"a","b"`}, []string{`"c","b"`}, 2 * time.Second},
			"keys of an ended one free": {nil, []string{`"a"`}, time.Second},
		} {
			b := newBench(t, modules{module(t, "R1", holding(c.first...)), module(t, "R2", holding(c.second...))})
			begin := time.Now()
			b.handle(b.rule("m1", 1, 7), b.rule("m2", 2, 8))
			assert.Equal(t, c.want, time.Since(begin), name)
			assert.Empty(t, b.flow.holds.keys, name)
			assert.Empty(t, b.lines("action")[0]["code"], name)
		}
	})
}

func TestOfTwoActionsThatWantEachOthersKeysOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R1", holding(`"a"`, `"b"`)), module(t, "R2", holding(`"b"`, `"c"`)), module(t, "R3", holding(`"c"`, `"a"`))})
		ds := []*fakeDelivery{b.rule("m1", 1, 7), b.rule("m2", 2, 8), b.rule("m3", 3, 9)}
		b.handle(ds...)
		failed := 0
		for _, line := range b.lines("action") {
			if line["outcome"] == "failed" {
				failed++
				assert.Equal(t, "deadlock", line["code"])
				assert.Contains(t, line["message"], "run this one again")
			}
		}
		assert.Equal(t, 1, failed, "one gives way, the others go on")
	})
}

func TestActionThatEndsWhileItWaitsForAKeyLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		owner := module(t, "R1", func(ctx context.Context, in abi.Input) (string, error) {
			if in.Turn == 1 {
				return `{"state":1,"hold":["a"]}`, nil
			}
			return g.turn(ctx, in)
		})
		b := newBench(t, modules{owner, module(t, "R2", holding(`"a"`))}, func(o *Options) { o.ActionTime = time.Minute })
		b.handle(b.rule("m1", 1, 7), b.rule("m2", 2, 8))
		assert.Len(t, b.lines("action"), 2)
		assert.Empty(t, b.flow.holds.keys)
	})
}

// A key that many want is given in the order of asking, and to wait for it costs
// neither a slot nor the time of an action: the last of a crowd ends as the first.
func TestKeysAreGivenInTheOrderOfAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upload := module(t, "R1", func(_ context.Context, in abi.Input) (string, error) {
			if in.Turn == 1 {
				return `{"state":1,"hold":["upload"]}`, nil
			}
			time.Sleep(time.Minute)
			return done, nil
		})
		b := newBench(t, modules{upload, module(t, "R2", says(done))}, func(o *Options) { o.Parallel = 2 })
		begin := time.Now()
		const crowd = 12 // minutes: more than an action has
		var want []string
		for i := range crowd {
			d := b.rule(fmt.Sprintf("m%02d", i), 1, int64(i))
			want = append(want, d.m.ID)
			b.flow.Handle(d)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		other := b.rule("other", 2, 99)
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, 1, other.acked(), "a slot is free")
		b.flow.working.Wait()
		assert.Equal(t, crowd*time.Minute, time.Since(begin))
		assert.Equal(t, "other "+strings.Join(want, " "), b.order())
		for _, line := range b.lines("action") {
			assert.Equal(t, "done", line["outcome"], line["message"])
		}
		assert.Empty(t, b.flow.holds.keys)
	})
}

// parent is a module that starts sub-actions of the rule "sub" and then replies
// with what it was told.
func parent(t *testing.T, lane, actions string) *fakeModule {
	m := module(t, "Parent", func(_ context.Context, in abi.Input) (string, error) {
		if in.Turn == 1 {
			return `{"actions":[` + actions + `]}`, nil
		}
		text, err := json.Marshal(in.Results[0])
		if err != nil {
			return "", err
		}
		quoted, err := json.Marshal(string(text))
		return `{"reply":{"success":true,"message":` + string(quoted) + `}}`, err
	})
	m.m.Actions, m.m.Rules[0].Lane = []string{"sub"}, lane
	return m
}

func start(id string, incident int) string {
	return fmt.Sprintf(`{"id":%q,"rule":"sub","incident_id":%d,"artifact_id":5,"fields":{"status":"Active"}}`, id, incident)
}

func TestSubActionsAreActionsOfTheirOwnWhoseRepliesComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sub := module(t, "Sub", func(_ context.Context, in abi.Input) (string, error) {
			time.Sleep(time.Duration(20-in.Action.IncidentID) * time.Second)
			if in.Action.IncidentID == 12 {
				return `{"fail":{"code":"forbidden","message":"No right."}}`, nil
			}
			return fmt.Sprintf(`{"reply":{"success":true,"message":"did %d","results":{"n":%d}}}`, in.Action.IncidentID, in.Action.IncidentID), nil
		})
		b := newBench(t, modules{parent(t, "none", start("x", 10)+","+start("y", 11)+","+start("z", 12)), sub})
		begin := time.Now()
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Equal(t, 10*time.Second, time.Since(begin), "side by side")
		assert.JSONEq(t, `[{"id":"x","reply":{"success":true,"message":"did 10","results":{"n":10}}},
			{"id":"y","reply":{"success":true,"message":"did 11","results":{"n":11}}},
			{"id":"z","error":{"code":"sub_action","message":"No right.","cause":"forbidden"}}]`, d.last(t).Message)
		require.Len(t, sub.texts(), 3)
		for _, text := range sub.texts() {
			if strings.Contains(text, `"id":"m1/x"`) {
				assert.Contains(t, text, `"action":{"id":"m1/x","kind":"rule","name":"sub","title":"Sub","object":"incident","incident_id":10,"artifact_id":5,"fields":{"status":"Active"},"snapshot":{},"parent":"m1"}`)
			}
		}
		lines := b.lines("action")
		require.Len(t, lines, 1, "one line for the message")
		assert.EqualValues(t, 5, lines[0]["turns"], "the turns of its sub-actions are told with it")
	})
}

func TestSubActionWaitsInTheLaneOfItsIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		slow := func(_ context.Context, in abi.Input) (string, error) {
			time.Sleep(time.Second)
			order = append(order, in.Action.ID)
			return done, nil
		}
		b := newBench(t, modules{parent(t, "none", start("x", 8)), module(t, "Sub", slow), module(t, "Other", slow)})
		begin := time.Now()
		b.handle(b.rule("before", 3, 8), b.rule("m1", 1, 7))
		assert.Equal(t, 2*time.Second, time.Since(begin))
		assert.Equal(t, []string{"before", "m1/x"}, order)
	})
}

func TestRuleWithoutALaneDoesNotHoldUpItsIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := newBench(t, modules{parent(t, "none", start("x", 7)+","+start("y", 8)), module(t, "Sub", func(ctx context.Context, in abi.Input) (string, error) {
			if in.Action.IncidentID == 8 {
				return g.turn(ctx, in)
			}
			return done, nil
		}), module(t, "Other", says(done))})
		d, other := b.rule("m1", 1, 7), b.rule("m2", 3, 7)
		b.flow.Handle(d)
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, 1, other.acked(), "an action of the same incident goes past")
		close(g.open)
		b.flow.working.Wait()
		assert.Equal(t, 0, d.last(t).Type, d.last(t).Message)
	})
}

func TestSubActionsOfTheOwnLaneRunInsideOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := 0
		sub := module(t, "Sub", func(_ context.Context, in abi.Input) (string, error) {
			running++
			assert.Equal(t, 1, running, "actions of one incident never run side by side")
			time.Sleep(time.Second)
			running--
			return `{"reply":{"success":true,"message":"` + in.Action.ID + `"}}`, nil
		})
		b := newBench(t, modules{parent(t, "", start("x", 7)+","+start("y", 7)), sub})
		begin := time.Now()
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Equal(t, 2*time.Second, time.Since(begin))
		assert.JSONEq(t, `[{"id":"x","reply":{"success":true,"message":"m1/x"}},{"id":"y","reply":{"success":true,"message":"m1/y"}}]`, d.last(t).Message)
	})
}

func TestOneSlotIsEnoughForSubActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lane := range []string{"", "none"} {
			b := newBench(t, modules{parent(t, lane, start("x", 7)+","+start("y", 7)), module(t, "Sub", says(done))}, func(o *Options) { o.Parallel = 1 })
			d := b.rule("m1", 1, 7)
			b.handle(d)
			assert.Equal(t, 0, d.last(t).Type, d.last(t).Message)
		}
	})
}

func TestRuleWithoutALaneMayTakeLongerThanAnAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := module(t, "Sub", func(context.Context, abi.Input) (string, error) { time.Sleep(4 * time.Minute); return done, nil })
		b := newBench(t, modules{parent(t, "none", start("x", 8)+","+start("y", 8)+","+start("z", 8)), slow})
		begin := time.Now()
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Equal(t, 12*time.Minute, time.Since(begin))
		assert.Equal(t, 0, d.last(t).Type, d.last(t).Message)
	})
}

func TestSubActionsThatAreRefused(t *testing.T) {
	nested := parent(t, "none", start("x", 8))
	nested.m.Rules[0].Title, nested.m.Actions = "Sub", []string{"sub"}
	plain := module(t, "Sub", says(done))
	for name, c := range map[string]struct {
		lane, actions string
		sub           *fakeModule
		code, want    string
	}{
		"not in the manifest":  {"none", `{"id":"x","rule":"other","incident_id":8}`, plain, "permit", "other is not among the actions"},
		"no module":            {"none", start("x", 8), module(t, "Else", says(done)), "routing", "no installed module handles sub"},
		"other incident":       {"", start("x", 8), plain, "module", "only a rule without a lane may start actions for other incidents (8)"},
		"no id":                {"none", start("", 8), plain, "module", "an id of 0 bytes"},
		"same id twice":        {"none", start("x", 8) + "," + start("x", 9), plain, "module", "another one of this id"},
		"one of them is wrong": {"none", start("x", 8) + "," + start("", 8), plain, "module", "an id of 0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			code, message := fails(t, newBench(t, modules{parent(t, c.lane, c.actions), c.sub}))
			assert.Equal(t, c.code, code)
			assert.Contains(t, message, c.want)
		})
	}
	assert.Empty(t, plain.texts(), "nothing was started")

	b := newBench(t, modules{parent(t, "none", start("x", 8)), nested})
	d := b.rule("m1", 1, 7)
	b.handle(d)
	assert.Contains(t, d.last(t).Message, "a sub-action cannot start sub-actions")
	assert.Contains(t, d.last(t).Message, `"code":"sub_action"`)
}

func TestActionThatHoldsKeysCannotStartSubActions(t *testing.T) {
	m := parent(t, "none", start("x", 8))
	m.turn = says(`{"actions":[` + start("x", 8) + `],"hold":["a"]}`)
	code, message := fails(t, newBench(t, modules{m, module(t, "Sub", says(done))}))
	assert.Equal(t, "module", code)
	assert.Contains(t, message, "an action that holds keys cannot start sub-actions")
}

func TestDrainLeavesAnActionWhoseSubActionsWaitToTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := newBench(t, modules{parent(t, "none", start("x", 8)+","+start("y", 8)), module(t, "Sub", g.turn)})
		d := b.rule("m1", 1, 7)
		b.flow.Handle(d)
		synctest.Wait()
		drained := make(chan error)
		go func() { drained <- b.flow.Drain(t.Context()) }()
		synctest.Wait()
		close(g.open)
		require.NoError(t, <-drained)
		assert.Zero(t, d.acked(), "half of the work is not a success")
		assert.Empty(t, d.bodies())
	})
}

func TestSubActionsEndWithTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{parent(t, "", start("x", 7)), module(t, "Sub", newGate().turn)})
		code, message := fails(t, b)
		assert.Equal(t, "module", code)
		assert.Contains(t, message, "took longer than 5m0s")
	})
}

func TestProgressOfASubActionIsNotShown(t *testing.T) {
	sub := module(t, "Sub", script(`{"state":1,"progress":"inner"}`, done))
	p := parent(t, "none", start("x", 8))
	starts := p.turn
	p.turn = func(ctx context.Context, in abi.Input) (string, error) {
		text, err := starts(ctx, in)
		return strings.Replace(text, `{"actions"`, `{"progress":"outer","actions"`, 1), err
	}
	b := newBench(t, modules{p, sub})
	d := b.rule("m1", 1, 7)
	b.handle(d)
	require.Len(t, d.bodies(), 2)
	assert.Equal(t, "outer", d.bodies()[0].Message)
}

func TestExclusiveRuleRefusesASecondActionWhileOneRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		p := parent(t, "none", start("x", 8))
		p.m.Rules[0].Exclusive = true
		starts := p.turn
		p.turn = func(ctx context.Context, in abi.Input) (string, error) {
			text, err := starts(ctx, in)
			return strings.Replace(text, `{"actions"`, `{"progress":"120 of 800 incidents","actions"`, 1), err
		}
		b := newBench(t, modules{p, module(t, "Sub", g.turn)})
		first, second, third := b.rule("m1", 1, 7), b.rule("m2", 1, 9), b.rule("m3", 1, 7)
		b.flow.Handle(first)
		synctest.Wait()
		b.flow.Handle(second)
		synctest.Wait()
		assert.Equal(t, 1, second.last(t).Type)
		assert.Contains(t, second.last(t).Message, "Another Parent is still running (120 of 800 incidents); wait for its end.")
		assert.Equal(t, 1, second.acked())
		close(g.open)
		b.flow.working.Wait()
		assert.Equal(t, 0, first.last(t).Type, first.last(t).Message)
		b.handle(third)
		assert.Equal(t, 0, third.last(t).Type, "it may run again after the end")
	})
}
