package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// order lists the acknowledged messages in order.
func (b *bench) order() string {
	var ids []string
	for _, e := range b.events.all() {
		if id, ok := strings.CutPrefix(e, "finish "); ok {
			ids = append(ids, id)
		}
	}
	return strings.Join(ids, " ")
}

// oneAtATime is an automatic rule (1), a menu item (2) and a function, whose
// actions take a second each, in one slot that is taken.
func oneAtATime(t *testing.T) (b *bench, begin func()) {
	slow := func(context.Context, abi.Input) (string, error) { time.Sleep(time.Second); return done, nil }
	automatic, menu := module(t, "A", slow), module(t, "M", slow)
	automatic.m.Rules[0].Automatic = true
	b = newBench(t, modules{automatic, menu, functionModule(t, "f", slow)}, func(o *Options) { o.Parallel = 1 })
	g := newGate()
	blocker := make(chan struct{})
	b.flow.lanes.submit("blocker", &task{run: func(bool) { close(blocker); <-g.open }})
	<-blocker
	return b, func() { close(g.open); b.flow.working.Wait() }
}

func TestMenuItemsAndFunctionsOvertakeInALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, begin := oneAtATime(t)
		for _, d := range []*fakeDelivery{b.rule("a1", 1, 7), b.rule("a2", 1, 7), b.rule("m1", 2, 7), b.call("f1", "f", `{"incident_id":7}`), b.rule("m2", 2, 7)} {
			b.flow.Handle(d)
		}
		synctest.Wait() // the rules' kinds are known
		begin()
		assert.Equal(t, "m1 f1 m2 a1 a2", b.order(), "among themselves they keep their order")
	})
}

func TestMenuItemsAndFunctionsOvertakeAcrossLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, begin := oneAtATime(t)
		for _, d := range []*fakeDelivery{b.rule("a1", 1, 1), b.rule("a2", 1, 2), b.rule("m1", 2, 3), b.call("f1", "f", `{"incident_id":4}`), b.rule("a3", 1, 5), b.rule("m2", 2, 2)} {
			b.flow.Handle(d)
			synctest.Wait() // the kind of the first of a rule is found out
		}
		begin()
		assert.Equal(t, "m1 f1 m2 a1 a3 a2", b.order())
	})
}

func TestAutomaticActionsGetAFourthOfTheTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lanes := range []bool{false, true} {
			b, begin := oneAtATime(t)
			b.flow.Handle(b.rule("a1", 1, 100))
			for i := range 10 {
				incident := int64(100)
				if lanes {
					incident = int64(i)
				}
				b.flow.Handle(b.rule(fmt.Sprint("m", i), 2, incident))
			}
			synctest.Wait()
			begin()
			assert.True(t, strings.HasPrefix(b.order(), "m0 m1 m2 a1 "), b.order())
		}
	})
}

func TestActionWithFieldsIsAMenuItemAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, abi.Input) (string, error) { time.Sleep(time.Second); return done, nil }
		m := module(t, "A", slow)
		m.m.Rules[0].Automatic = true // as we install it, but an administrator may do otherwise
		b := newBench(t, modules{m}, func(o *Options) { o.Parallel = 1 })
		ds := []*fakeDelivery{b.rule("a0", 1, 7), b.rule("a1", 1, 7), b.asking("m1", 7, "Yes", "")}
		b.handle(ds...)
		assert.Contains(t, b.order(), "m1 a1")
	})
}

func TestOneBusyIncidentDoesNotStarveTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, abi.Input) (string, error) { time.Sleep(time.Second); return done, nil }
		b := newBench(t, modules{module(t, "R", slow)}, func(o *Options) { o.Parallel = 2 })
		begin := time.Now()
		for i := range 500 {
			b.flow.Handle(b.rule(fmt.Sprint("busy", i), 1, 7))
		}
		other := b.rule("other", 1, 8)
		other.acking = func(context.Context) error { assert.Equal(t, time.Second, time.Since(begin)); return nil }
		b.flow.Handle(other)
		b.flow.working.Wait()
		assert.Equal(t, 1, other.acked())
	})
}

func TestJobThatGaveItsSlotUpIsFirstToHaveOneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(1)
		var mu sync.Mutex
		var got []string
		submit := func(name string, run func()) {
			l.submit(name, &task{run: func(started bool) {
				require.True(t, started)
				run()
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
			}})
		}
		submit("a", func() {
			l.leave()
			time.Sleep(time.Second)
			l.enter()
		})
		submit("b", func() { time.Sleep(2 * time.Second) })
		submit("c", func() {})
		time.Sleep(time.Minute)
		mu.Lock()
		assert.Equal(t, []string{"b", "a", "c"}, got)
		mu.Unlock()
		l.mu.Lock()
		assert.Empty(t, l.lanes)
		l.mu.Unlock()
	})
}

func TestUnknownKindIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, begin := oneAtATime(t)
		b.flow.Handle(b.rule("x", 99, 7))
		synctest.Wait()
		b.flow.kinds.mu.Lock()
		assert.Empty(t, b.flow.kinds.menu, "what could not be found out is not remembered")
		b.flow.kinds.mu.Unlock()
		begin()
		assert.Equal(t, "x", b.order())
	})
}

func TestLetterIsTriedAgainAndNobodyIsAnswered(t *testing.T) {
	healthy := false
	m := module(t, "R", func(context.Context, abi.Input) (string, error) {
		if healthy {
			return done, nil
		}
		return `{` + calls("a") + `}`, errors.New("trapped")
	})
	b := newBench(t, modules{m})
	d := b.rule("m1", 1, 7)
	d.m.Headers = map[string]string{"Co3ContextToken": "ctx", "Priority": "4"}
	b.handle(d)
	letters := b.ledger.Letters()
	require.Len(t, letters, 1)
	assert.Equal(t, map[string]string{"Priority": "4"}, letters[0].Headers)
	assert.Equal(t, []any{"m1", "R", int64(7), "module"}, []any{letters[0].MessageID, letters[0].Title, letters[0].Incident, letters[0].Code})

	end, err := b.flow.Again(t.Context(), letters[0])
	require.NoError(t, err)
	assert.False(t, end.Success)
	require.NotNil(t, end.Letter)
	healthy = true
	end, err = b.flow.Again(t.Context(), letters[0])
	require.NoError(t, err)
	assert.Equal(t, Ending{Success: true, Message: "Synced."}, end)
	assert.Len(t, d.bodies(), 1)
	assert.Equal(t, []string{"record m1", "finish m1"}, b.events.all())
	assert.Empty(t, b.flow.running)

	require.NoError(t, b.flow.Drain(t.Context()))
	_, err = b.flow.Again(t.Context(), letters[0])
	assert.ErrorIs(t, err, ErrDraining)
}

func TestMessageThatComesAgainDuringARetryIsAnsweredAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		first := true
		m := module(t, "R", func(ctx context.Context, in abi.Input) (string, error) {
			if first {
				first = false
				return "", errors.New("trapped")
			}
			return g.turn(ctx, in)
		})
		b := newBench(t, modules{m})
		d := b.rule("m1", 1, 7)
		b.handle(d)
		ended := make(chan Ending, 1)
		go func() {
			end, err := b.flow.Again(t.Context(), b.ledger.Letters()[0])
			assert.NoError(t, err)
			ended <- end
		}()
		synctest.Wait()
		_, err := b.flow.Again(t.Context(), b.ledger.Letters()[0])
		assert.ErrorIs(t, err, ErrUnderWay)
		again := b.rule("m1", 1, 7)
		b.flow.Handle(again)
		close(g.open)
		assert.True(t, (<-ended).Success)
		b.flow.working.Wait()
		assert.Equal(t, d.bodies(), again.bodies())
		assert.Equal(t, 1, again.acked())
		assert.Empty(t, b.flow.running)
	})
}

func TestWhatIsADeadLetter(t *testing.T) {
	for answer, kept := range map[string]bool{
		`{"fail":{"code":"http","message":"m"}}`:                      true,
		`{"fail":{"code":"forbidden","message":"m"}}`:                 true,
		`{"fail":{"code":"unreachable","message":"m","retry":true}}`:  true,
		`{"fail":{"code":"not_found","message":"m","retry":true}}`:    true,
		`{"fail":{"code":"not_found","message":"m"}}`:                 false,
		`{"fail":{"code":"input","message":"m"}}`:                     false,
		`{"reply":{"success":false,"message":"handled by the rule"}}`: false,
		`[]`: true,
		done: false,
	} {
		b := newBench(t, modules{module(t, "R", says(answer))})
		b.handle(b.rule("m1", 1, 7))
		assert.Len(t, b.ledger.Letters(), map[bool]int{true: 1}[kept], answer)
	}
}

func TestLetterHoldsTheLastCallsWithoutSecrets(t *testing.T) {
	m := module(t, "R", func(_ context.Context, in abi.Input) (string, error) {
		if in.Turn > 3 {
			return `{"fail":{"code":"http","message":"gave up on ` + theSecret + `"}}`, nil
		}
		var list []string
		for i := range 50 {
			list = append(list, fmt.Sprintf(`{"id":"%d-%d","service":"threatq","method":"GET","path":"/api/events","query":{"title":"%d %s"},"idempotent":true}`, in.Turn, i, in.Turn, theSecret))
		}
		return `{"calls":[` + strings.Join(list, ",") + `]}`, nil
	})
	b := newBench(t, modules{m})
	d := b.rule("m1", 1, 7)
	d.m.Body = []byte(strings.Replace(string(d.m.Body), "Phishing", theSecret, 1))
	b.handle(d)
	letter := b.ledger.Letters()[0]
	assert.Len(t, letter.Calls, 100)
	assert.Equal(t, 50, letter.Left)
	assert.Equal(t, "title=2+%2A%2A%2A", letter.Calls[0].Query)
	assert.Equal(t, 200, letter.Calls[0].Status)
	assert.NotContains(t, fmt.Sprint(letter)+string(letter.Body), theSecret)
}
