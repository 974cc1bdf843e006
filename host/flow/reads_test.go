package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

// number is a service with one number per path: GET reads it, PUT adds one.
type number struct {
	mu          sync.Mutex
	values      map[string]int
	gets, puts  int
	outsideEach int // every so many GETs somebody else adds one
	delay       time.Duration
}

func (n *number) Do(_ context.Context, r rest.Request) (*rest.Response, error) {
	time.Sleep(n.delay)
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Method == "GET" {
		n.gets++
		if n.outsideEach > 0 && n.gets%n.outsideEach == 0 {
			n.values[r.Path]++
		}
	} else {
		n.puts++
		n.values[r.Path]++
	}
	return &rest.Response{Status: 200, Body: fmt.Appendf(nil, `{"n":%d}`, n.values[r.Path])}, nil
}

func (n *number) value(path string) int { n.mu.Lock(); defer n.mu.Unlock(); return n.values[path] }

func call(id, method, path string) string {
	return fmt.Sprintf(`{"id":%q,"service":"threatq","method":%q,"path":%q,"idempotent":true}`, id, method, path)
}

// numbers is a module that is permitted to read and write numbers; each of its
// actions says by its incident's name which calls it makes, turn by turn.
func numbers(t testing.TB, title string, automatic bool, turn func(context.Context, abi.Input) (string, error)) *fakeModule {
	m := module(t, title, turn)
	m.m.Rules[0].Automatic = automatic
	m.m.Calls = []string{"threatq GET /api/{n}", "threatq PUT /api/{n}"}
	permits, err := manifest.NewPermits(m.m.Calls)
	require.NoError(t, err)
	m.permits = permits
	return m
}

// sharing is a flow with a service of numbers.
func sharing(t *testing.T, n *number, ms ...*fakeModule) *bench {
	n.values = map[string]int{}
	return newBench(t, ms, func(o *Options) {
		o.Performer = effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: n, abi.Resilient: n}})
	})
}

func TestWaitingActionsShareReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &number{delay: time.Second}
		m := numbers(t, "R", true, script(`{"calls":[`+call("a", "GET", "/api/1")+`,`+call("b", "GET", "/api/2")+`]}`, done))
		b := sharing(t, n, m)
		b.flow.Handle(b.rule("first", 1, 7))
		synctest.Wait() // it has sent its reads, which are too old for those that follow
		for i := range 10 {
			b.flow.Handle(b.rule(fmt.Sprint("m", i), 1, 7))
		}
		b.flow.working.Wait()
		assert.Equal(t, 2+2, n.gets, "ten actions read once")
		for _, text := range m.texts() {
			var in abi.Input
			require.NoError(t, json.Unmarshal([]byte(text), &in))
			if in.Turn == 2 {
				assert.Equal(t, []string{"a", "b"}, []string{in.Results[0][0].ID, in.Results[0][1].ID})
			}
		}
	})
}

func TestReadsAreNotShared(t *testing.T) {
	get := `{"calls":[` + call("a", "GET", "/api/1") + `]}`
	for name, c := range map[string]struct {
		automatic bool
		turns     []string
		incident  func(i int) int64
		want      int
	}{
		"by menu items":                 {false, []string{get, done}, nil, 4},
		"by other incidents":            {true, []string{get, done}, func(i int) int64 { return int64(i) }, 4},
		"when it was written meanwhile": {true, []string{get, `{"calls":[` + call("w", "PUT", "/api/1") + `]}`, done}, nil, 4},
		"beside a write":                {true, []string{`{"calls":[` + call("a", "GET", "/api/1") + `,` + call("w", "PUT", "/api/2") + `]}`, done}, nil, 4},
		"a second time":                 {true, []string{get, `{"calls":[` + call("a2", "GET", "/api/1") + `]}`, done}, nil, 5},
		"by who holds a key":            {true, []string{`{"calls":[` + call("a", "GET", "/api/1") + `],"hold":["k"]}`, done}, nil, 4},
		"when not safe to repeat":       {true, []string{`{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/1","idempotent":false}]}`, done}, nil, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &number{delay: time.Second}
				b := sharing(t, n, numbers(t, "R", c.automatic, script(c.turns...)))
				for i := range 4 {
					incident := int64(7)
					if c.incident != nil {
						incident = c.incident(i)
					}
					b.flow.Handle(b.rule(fmt.Sprint("m", i), 1, incident))
				}
				b.flow.working.Wait()
				assert.Equal(t, c.want, n.gets)
			})
		})
	}
}

func TestActionIsNotGivenWhatWasReadBeforeItsMessageCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &number{delay: time.Second}
		b := sharing(t, n, numbers(t, "R", true, script(`{"calls":[`+call("a", "GET", "/api/1")+`]}`, `{"calls":[`+call("b", "GET", "/api/2")+`]}`, done)))
		b.flow.Handle(b.rule("m1", 1, 7))
		b.flow.Handle(b.rule("m2", 1, 7))
		time.Sleep(500 * time.Millisecond) // the first read is on its way
		b.flow.Handle(b.rule("m3", 1, 7))
		b.flow.working.Wait()
		// m1 read 1 and 2; m2 was given both; m3 read 1 itself and was given 2.
		assert.Equal(t, 3, n.gets)
	})
}

func TestSharedReadNeedsAPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &number{delay: time.Second}
		may := numbers(t, "R", true, script(`{"calls":[`+call("a", "GET", "/api/1")+`]}`, done))
		mayNot := module(t, "S", script(`{"calls":[`+call("a", "GET", "/api/1")+`]}`, done))
		mayNot.m.Rules[0].Automatic = true
		b := sharing(t, n, may, mayNot)
		one, two := b.rule("m1", 1, 7), b.rule("m2", 2, 7)
		b.handle(one, two)
		assert.Contains(t, two.last(t).Message, "was refused a call")
	})
}

func TestFailedReadsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		b := newBench(t, modules{numbers(t, "R", true, script(`{"calls":[`+call("a", "GET", "/api/1")+`]}`, done))}, func(o *Options) {
			o.Performer = performer(func(context.Context, rest.Request) (*rest.Response, error) {
				tries++
				time.Sleep(time.Second)
				return nil, &rest.Error{Status: 403, Code: abi.CodeHTTP}
			})
		})
		b.handle(b.rule("m1", 1, 7), b.rule("m2", 1, 7), b.rule("m3", 1, 7))
		assert.Equal(t, 3, tries)
	})
}

func TestKeptReadsAreBoundedAndGoWithTheLane(t *testing.T) {
	r := newReads(func(write, read abi.Call) bool { return true })
	body := make([]byte, maxKept)
	keep := func(i int, body []byte) {
		c := abi.Call{Service: "threatq", Method: "GET", Path: fmt.Sprint("/api/", i), Idempotent: true}
		r.end(r.begin(c, 1), abi.Result{Status: 200, Body: body})
	}
	keep(0, append(body, 0))
	assert.Empty(t, r.kept, "too large an answer")
	for i := range 20 {
		keep(i, body)
	}
	assert.Len(t, r.kept, maxKeptLane/maxKept)
	keep(0, nil)
	assert.Equal(t, int64(maxKeptLane-maxKept), keptTotal.Load())
	r.clear()
	assert.Zero(t, keptTotal.Load())
	assert.Zero(t, r.size)
}

// What an action is given must be a value that the number had at some moment
// since its message came, and at its first read all that its lane has written.
// Actions read, write and read again at random, while others change the numbers.
func TestSharedReadsAreAsFreshAsOwnOnes(t *testing.T) {
	var shared int
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			n := &number{outsideEach: 5, delay: 10 * time.Millisecond}
			plans := map[string][]string{}
			var mu sync.Mutex
			atArrival, written := map[string]map[string]int{}, map[string]int{}
			lowest := map[string]map[string]int{}
			b := (*bench)(nil)
			m := numbers(t, "R", true, func(_ context.Context, in abi.Input) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				id := in.Action.ID
				if in.Turn == 1 {
					lowest[id] = map[string]int{}
					for _, path := range []string{"/api/1", "/api/2"} {
						// What the lane wrote so far is seen, and what was there when it came.
						lowest[id][path] = max(atArrival[id][path], written[path])
					}
				}
				if in.Turn > 1 {
					for _, r := range in.Results[in.Turn-2] {
						var got struct{ N int }
						require.NoError(t, json.Unmarshal(r.Body, &got))
						path := r.ID[len(r.ID)-len("/api/1"):]
						assert.GreaterOrEqual(t, got.N, lowest[id][path], "seed %d: %s was given an old %s", seed, id, r.ID)
						if r.ID[0] == 'P' {
							written[path] = max(written[path], got.N)
						}
						lowest[id][path] = max(lowest[id][path], got.N)
					}
				}
				plan := plans[id]
				if len(plan) < in.Turn {
					return done, nil
				}
				return `{"calls":[` + plan[in.Turn-1] + `]}`, nil
			})
			b = sharing(t, n, m)
			random := rand.New(rand.NewPCG(seed, 1))
			asked := 0
			for i := range 30 {
				id := fmt.Sprint("m", i)
				mu.Lock()
				for turn := range 1 + random.IntN(4) {
					method := "GET"
					if random.IntN(5) == 0 {
						method = "PUT"
					} else {
						asked++
					}
					path := fmt.Sprint("/api/", 1+random.IntN(2))
					plans[id] = append(plans[id], call(fmt.Sprint(method, turn, path), method, path))
				}
				atArrival[id] = map[string]int{"/api/1": n.value("/api/1"), "/api/2": n.value("/api/2")}
				mu.Unlock()
				b.flow.Handle(b.rule(id, 1, 7))
				time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
			}
			b.flow.working.Wait()
			// The lane is let go of after its last action.
			synctest.Wait()
			shared += asked - n.gets
			assert.Zero(t, keptTotal.Load())
		})
	}
	assert.Greater(t, shared, 500, "the test is of no use when nothing is shared")
}
