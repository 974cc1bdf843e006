package flow

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/rest"
)

// settled is the setup of a bench with a setting and a performer that notes who
// was called.
func settled(b *bench, calls *events, name string) *Setup {
	return &Setup{
		Modules: b.options.Modules, Directory: b.options.Directory, Site: b.options.Site,
		Settings: map[string]string{"custom_source": name},
		Performer: performer(func(context.Context, rest.Request) (*rest.Response, error) {
			calls.add("%s", name)
			return &rest.Response{Status: 200, Body: []byte(`{}`)}, nil
		}),
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

const asks = `{"calls":[{"id":"e","service":"threatq","method":"GET","path":"/api/events"}]}`

func TestSwapLeavesRunningActionsWithWhatTheyBeganWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var calls events
		m := module(t, "R", func(ctx context.Context, in abi.Input) (string, error) {
			if in.Turn == 2 {
				return done, nil
			}
			// The turn before the call waits, so that the swap comes in between.
			if in.Action.IncidentID == 7 {
				if _, err := g.turn(ctx, in); err != nil {
					return "", err
				}
			}
			return asks, nil
		})
		m.m.Settings = []manifest.Setting{{Name: "custom_source"}}
		b := newBench(t, modules{m})
		b.flow.Swap(settled(b, &calls, "old"))

		running, behind, other := b.rule("running", 1, 7), b.rule("behind", 1, 7), b.rule("other", 1, 8)
		b.flow.Handle(running)
		b.flow.Handle(behind) // waits in the lane
		synctest.Wait()
		unused := b.flow.Swap(settled(b, &calls, "new"))
		b.flow.Handle(other)
		synctest.Wait()
		assert.Equal(t, []string{"new"}, calls.all(), "what comes after the swap does not wait")
		assert.False(t, isClosed(unused), "an action still works with the old one")

		close(g.open)
		b.flow.working.Wait()
		synctest.Wait()
		assert.True(t, isClosed(unused))
		assert.Equal(t, []string{"new", "old", "new"}, calls.all(), "the one that waited in the lane begins with the new one")
		for _, d := range []*fakeDelivery{running, behind, other} {
			assert.Len(t, d.bodies(), 1, d.name)
			assert.Equal(t, 1, d.acked(), d.name)
		}
		assert.Contains(t, m.texts()[0], `"custom_source":"old"`)
		assert.Contains(t, m.texts()[1], `"custom_source":"new"`)
	})
}

func TestSubActionsHaveTheSetupOfTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var calls events
		parent := module(t, "Parent", func(ctx context.Context, in abi.Input) (string, error) {
			if in.Turn == 2 {
				return done, nil
			}
			if _, err := g.turn(ctx, in); err != nil {
				return "", err
			}
			return `{"actions":[{"id":"a","rule":"child","incident_id":9}]}`, nil
		})
		parent.m.Rules[0].Lane, parent.m.Actions = "none", []string{"child"}
		child := module(t, "Child", func(_ context.Context, in abi.Input) (string, error) {
			if in.Turn == 2 {
				return done, nil
			}
			return asks, nil
		})
		b := newBench(t, modules{parent, child})
		b.flow.Swap(settled(b, &calls, "old"))
		d := b.rule("m1", 1, 7)
		b.flow.Handle(d)
		synctest.Wait()
		unused := b.flow.Swap(settled(b, &calls, "new"))
		synctest.Wait()
		assert.False(t, isClosed(unused), "an action without a lane works with the old one")
		close(g.open)
		b.flow.working.Wait()
		synctest.Wait()
		assert.True(t, isClosed(unused))
		assert.Equal(t, []string{"old"}, calls.all())
		assert.Equal(t, "Synced.", d.last(t).Message)
	})
}

func TestPingReturnsWhileActionsRunAndNotWhileMessagesAreNotTaken(t *testing.T) {
	g := newGate()
	b := newBench(t, modules{module(t, "R", g.turn)})
	b.flow.Handle(b.rule("m1", 1, 7))
	b.flow.Ping()

	answered := make(chan struct{})
	b.flow.mu.Lock()
	go func() { b.flow.Ping(); close(answered) }()
	assert.False(t, isClosed(answered))
	b.flow.mu.Unlock()
	<-answered
	close(g.open)
	b.flow.working.Wait()
}

// exchanged are modules that a test exchanges, as a catalog does.
type exchanged struct {
	now *modules
	why string
}

func (e exchanged) Find(kind, name string) Module { return e.now.Find(kind, name) }
func (e exchanged) Names(kind string) []string    { return e.now.Names(kind) }
func (e exchanged) Pinned() Modules {
	now := *e.now
	return exchanged{&now, e.why}
}
func (e exchanged) Absent(string, string) string { return e.why }

// An action without a lane runs for hours and starts others all the time: all of
// them are of the versions that were installed when it began.
func TestSubActionsHaveTheModulesOfTheBeginOfTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		parent := module(t, "Parent", func(ctx context.Context, in abi.Input) (string, error) {
			switch in.Turn {
			case 1:
				return `{"actions":[{"id":"a","rule":"child","incident_id":9}]}`, nil
			case 2:
				if _, err := g.turn(ctx, in); err != nil {
					return "", err
				}
				return `{"actions":[{"id":"b","rule":"child","incident_id":9}]}`, nil
			}
			return done, nil
		})
		parent.m.Rules[0].Lane, parent.m.Actions = "none", []string{"child"}
		var played events
		child := func(version string) *fakeModule {
			return module(t, "Child", func(context.Context, abi.Input) (string, error) {
				played.add("%s", version)
				return done, nil
			})
		}
		now := modules{parent, child("old")}
		b := newBench(t, now, func(o *Options) { o.Modules = exchanged{now: &now} })
		b.flow.Handle(b.rule("m1", 1, 7))
		synctest.Wait()
		now = modules{parent, child("new")}
		b.flow.Handle(b.rule("m2", 2, 8))
		synctest.Wait()
		close(g.open)
		b.flow.working.Wait()
		assert.Equal(t, []string{"old", "new", "old"}, played.all())
	})
}

func TestUserReadsWhyNothingHandlesAnAction(t *testing.T) {
	now := modules{module(t, "R", says(done))}
	b := newBench(t, now, func(o *Options) {
		o.Modules = exchanged{now: &modules{}, why: "the module r is disabled"}
	})
	d := b.rule("m1", 1, 7)
	b.handle(d)
	assert.Contains(t, d.last(t).Message, `the rule "R": the module r is disabled`)
	assert.NotContains(t, d.last(t).Message, "no installed module")
}
