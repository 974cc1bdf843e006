package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/ledger"
)

// mergeable is a module whose one rule merges.
func mergeable(t testing.TB, turn func(context.Context, abi.Input) (string, error)) *fakeModule {
	m := module(t, "R", turn)
	m.m.Rules[0].Merge = true
	m.m.Rules[0].Automatic = true
	m.m.Rules[0].Fields = []manifest.Field{{Name: "import", Label: "Import", Type: "text"}}
	return m
}

// asking is a message of the rule with a field and an operation.
func (b *bench) asking(id string, incident int64, field, operation string) *fakeDelivery {
	properties := "null"
	if field != "" {
		properties = fmt.Sprintf(`{"import":%q}`, field)
	}
	return b.delivery(id, "ActionDataDTO", fmt.Sprintf(
		`{"action_id":1,"object_type":0,"operation_type":%q,"properties":%s,"incident":{"id":%d,"name":"Phishing","org_id":201},"user":{"display_name":"user of %s"}}`,
		operation, properties, incident, id))
}

// actions are the ids of the actions that the module was asked for first turns of.
func (m *fakeModule) actions() []string {
	var ids []string
	for _, text := range m.texts() {
		if strings.Contains(text, `"turn":1,`) {
			_, rest, _ := strings.Cut(text, `"action":{"id":"`)
			id, _, _ := strings.Cut(rest, `"`)
			ids = append(ids, id)
		}
	}
	return ids
}

func TestWaitingActionsThatAskForTheSameAreServedByOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := mergeable(t, g.turn)
		b := newBench(t, modules{m})
		first := b.asking("m1", 7, "", "modified")
		b.flow.Handle(first)
		synctest.Wait()
		waiting := []*fakeDelivery{b.asking("m2", 7, "", "created"), b.asking("m3", 7, "", "modified"), b.asking("m4", 7, "", "modified")}
		for i, d := range waiting {
			d.m.CorrelationID = fmt.Sprint("invid:", i)
			b.flow.Handle(d)
		}
		close(g.open)
		b.flow.working.Wait()
		assert.Equal(t, []string{"m1", "m4"}, m.actions(), "the newest leads")
		assert.Contains(t, m.texts()[1], "user of m4")
		for _, d := range append(waiting, first) {
			assert.Equal(t, "Synced.", d.last(t).Message)
			assert.Len(t, d.bodies(), 1)
			assert.Equal(t, 1, d.acked())
		}
		assert.Equal(t, []ledger.Run{
			{ID: "m1", Serves: []string{"m1"}, Kind: "rule", Title: "R", Module: "test 1.1.0", Incident: 7},
			{ID: "m4", Serves: []string{"m4", "m2", "m3"}, Kind: "rule", Title: "R", Module: "test 1.1.0", Incident: 7},
		}, b.ledger.runs)
		servedBy := map[any]any{}
		for _, line := range b.lines("action") {
			servedBy[line["action"]] = line["served_by"]
		}
		assert.Equal(t, map[any]any{"m1": nil, "m4": nil, "m2": "m4", "m3": "m4"}, servedBy)
		assert.Empty(t, b.flow.running)
	})
}

func TestWhatAsksForSomethingElseHasARunOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := mergeable(t, g.turn)
		plain := module(t, "Other", says(done))
		b := newBench(t, modules{m, plain})
		b.flow.Handle(b.asking("m1", 7, "", "modified"))
		synctest.Wait()
		ds := []*fakeDelivery{
			b.asking("gone", 7, "", "deleted"), b.asking("with", 7, "Yes", "modified"), b.asking("none", 7, "", "modified"),
			b.rule("other", 2, 7), b.asking("with2", 7, "Yes", "modified"), b.asking("gone2", 7, "", "deleted"),
		}
		for _, d := range ds {
			b.flow.Handle(d)
		}
		close(g.open)
		b.flow.working.Wait()
		assert.ElementsMatch(t, []string{"m1", "gone2", "with2", "none"}, m.actions())
		assert.Equal(t, []string{"other"}, plain.actions())
		for _, d := range ds {
			assert.Equal(t, 1, d.acked(), d.name)
		}
	})
}

func TestRuleThatDoesNotSaySoIsNotMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := module(t, "R", g.turn)
		b := newBench(t, modules{m})
		for i := range 4 {
			b.flow.Handle(b.rule(fmt.Sprint("m", i), 1, 7))
		}
		close(g.open)
		b.flow.working.Wait()
		assert.Len(t, m.actions(), 4)
	})
}

func TestFailureOfARunIsEverybodysAndKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := mergeable(t, func(ctx context.Context, in abi.Input) (string, error) {
			if _, err := g.turn(ctx, in); err != nil {
				return "", err
			}
			return `{"fail":{"code":"http","message":"ThreatQ is ill."}}`, nil
		})
		b := newBench(t, modules{m})
		b.flow.Handle(b.asking("m1", 7, "", ""))
		synctest.Wait()
		two, three := b.asking("m2", 7, "", ""), b.asking("m3", 7, "", "")
		b.flow.Handle(two)
		b.flow.Handle(three)
		close(g.open)
		b.flow.working.Wait()
		assert.Contains(t, two.last(t).Message, "ThreatQ is ill.")
		assert.Equal(t, two.bodies(), three.bodies())
		require.Len(t, b.ledger.Letters(), 2)
		assert.Equal(t, []string{"m2"}, b.ledger.Letters()[1].Served)
	})
}

func TestManyWaitingMessagesAreHeldSmallAndWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		m := mergeable(t, g.turn)
		b := newBench(t, modules{m}, func(o *Options) { o.Parallel = 1 })
		b.flow.Handle(b.asking("m0", 1, "", ""))
		synctest.Wait()
		var last *fakeDelivery
		for i := range packFrom + 10 {
			last = b.asking(fmt.Sprint("m", i+1), int64(i+2), fmt.Sprint("field ", i), "")
			last.m.Headers = map[string]string{"subscription": "x", "Co3ContextToken": "secret"}
			last.m.Body = append(last.m.Body, strings.Repeat(" ", 9000)...)
			b.flow.Handle(last)
		}
		b.flow.mu.Lock()
		packed := b.flow.running[last.m.ID]
		b.flow.mu.Unlock()
		assert.Nil(t, packed.message.Body)
		assert.Nil(t, packed.message.Headers)
		assert.Less(t, len(packed.packed), 1000)
		whole, _, err := packed.open()
		require.NoError(t, err)
		assert.Equal(t, last.m, whole)
		close(g.open)
		b.flow.working.Wait()
		assert.Contains(t, m.texts()[packFrom+10], fmt.Sprintf(`"import":"field %d"`, packFrom+9))
		assert.Equal(t, 1, last.acked())
	})
}

func TestDrainLeavesMessagesOfASharedRunToTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := newBench(t, modules{mergeable(t, g.turn)}, func(o *Options) { o.Parallel = 1 })
		// The slot is taken, so that two of incident 7 wait and then share a run.
		b.flow.Handle(b.asking("m0", 8, "", ""))
		synctest.Wait()
		one, two := b.asking("m1", 7, "", ""), b.asking("m2", 7, "", "")
		b.flow.Handle(one)
		b.flow.Handle(two)
		g.open <- struct{}{}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, b.flow.Drain(ctx), context.DeadlineExceeded)
		assert.Zero(t, one.acked()+two.acked())
		assert.Empty(t, append(one.bodies(), two.bodies()...))
		assert.Empty(t, b.flow.running)
	})
}

// story is one random history of messages: they come, run, are delivered again,
// and replies and acknowledgements get lost.
func TestMergeAndRedeliveryInAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			began := map[string]time.Time{}
			var mu sync.Mutex
			m := mergeable(t, func(_ context.Context, in abi.Input) (string, error) {
				mu.Lock()
				began[in.Action.ID] = time.Now()
				mu.Unlock()
				time.Sleep(time.Duration(10+in.Action.IncidentID) * time.Millisecond)
				return done, nil
			})
			b := newBench(t, modules{m}, func(o *Options) { o.Parallel = 2 })
			arrived, deliveries := map[string]time.Time{}, map[string][]*fakeDelivery{}
			for range 60 {
				id := fmt.Sprint("m", random.IntN(25))
				d := b.asking(id, int64(len(id)%2*10+int(id[1])%2+1), []string{"", "Yes"}[int(id[len(id)-1])%2], "")
				if random.IntN(4) == 0 {
					d.replying = func(context.Context) error { return errors.New("connection lost") }
				}
				if random.IntN(4) == 0 {
					d.acking = func(context.Context) error { return errors.New("connection lost") }
				}
				if _, known := arrived[id]; !known {
					arrived[id] = time.Now()
				}
				deliveries[id] = append(deliveries[id], d)
				b.flow.Handle(d)
				time.Sleep(time.Duration(random.IntN(12)) * time.Millisecond)
			}
			b.flow.working.Wait()
			// The broker delivers again what was not acknowledged, until it is.
			for id, ds := range deliveries {
				again := b.delivery(id, "ActionDataDTO", string(ds[0].m.Body))
				deliveries[id] = append(ds, again)
				b.flow.Handle(again)
			}
			b.flow.working.Wait()

			served := map[string]int{}
			for _, run := range b.ledger.runs {
				for _, id := range run.Serves {
					served[id]++
					assert.False(t, began[run.ID].Before(arrived[id]), "seed %d: the run of %s began before %s came", seed, run.ID, id)
				}
			}
			for id, ds := range deliveries {
				assert.Equal(t, 1, served[id], "seed %d: runs that served %s", seed, id)
				last := ds[len(ds)-1]
				assert.Equal(t, 1, last.acked(), "seed %d: %s", seed, id)
				assert.Equal(t, "Synced.", last.last(t).Message)
			}
			assert.Empty(t, b.flow.running, "seed %d", seed)
		})
	}
}
