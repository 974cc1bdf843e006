package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/tools/facts"
)

func TestPlanIsThatOfItsSeed(t *testing.T) {
	kindsOf := func(p *plan) (kinds []string) {
		for _, d := range append(p.stream, p.last...) {
			kinds = append(kinds, d.kind)
		}
		return kinds
	}
	a, b, other := newPlan(7, 400), newPlan(7, 400), newPlan(8, 400)
	assert.Equal(t, kindsOf(a), kindsOf(b))
	assert.Equal(t, a.actions(), b.actions())
	assert.NotEqual(t, kindsOf(a), kindsOf(other))
	assert.GreaterOrEqual(t, a.actions(), 400)
	counts := map[string]int{}
	for _, kind := range kindsOf(newPlan(1, 2000)) {
		counts[kind]++
	}
	assert.Len(t, counts, 25, "%v: every kind of deed is drawn", counts)
}

func TestFaultsAreThoseOfTheSeedInAnyOrder(t *testing.T) {
	drawn := func(seed uint64, order []string) map[string][]string {
		o, got := newOracle(seed, 30, true, newTally(), newCanary()), map[string][]string{}
		for _, path := range order {
			for range 40 {
				name := ""
				if m, _ := o.decide("SOAR", httptest.NewRequest("GET", path, nil), nil); m != nil {
					name = m.name
				}
				got[path] = append(got[path], name)
			}
		}
		return got
	}
	there, back := drawn(3, []string{"/rest/a", "/rest/b"}), drawn(3, []string{"/rest/b", "/rest/a"})
	assert.Equal(t, there, back)
	assert.NotEqual(t, there, drawn(4, []string{"/rest/a", "/rest/b"}))
}

func TestCallThatIsRepeatedComesThrough(t *testing.T) {
	for method, limit := range map[string]int{"GET": 2, "PUT": 2, "POST": 1} {
		o := newOracle(5, 100, true, newTally(), newCanary())
		suffered := 0
		for m, _ := o.decide("SOAR", httptest.NewRequest(method, "/rest/x", nil), nil); m != nil; m, _ = o.decide("SOAR", httptest.NewRequest(method, "/rest/x", nil), nil) {
			suffered++
		}
		assert.LessOrEqual(t, suffered, limit, method)
		assert.Positive(t, suffered, method)
	}
}

func TestLoginsSufferNothing(t *testing.T) {
	o := newOracle(5, 100, true, newTally(), newCanary())
	for _, path := range []string{"/api/token", "/rest/session"} {
		m, _ := o.decide("ThreatQ", httptest.NewRequest("POST", path, nil), nil)
		assert.Nil(t, m, path)
	}
}

func TestWordsOfTheVerdict(t *testing.T) {
	v := &verdict{actions: 10000}
	assert.Equal(t, "10000 actions: 0 lost, 0 doubled, one final reply each", v.words())
	assert.True(t, v.good())
	v.failed = []string{"one"}
	assert.Equal(t, "10000 actions: 0 lost, 0 doubled, one final reply each; 1 of them said that they failed, and were asked for again", v.words())
	assert.True(t, v.good(), "a failure that is told is no loss")
	v.lost, v.repeated, v.threatq = []string{"a"}, []string{"b"}, []string{"missing:  an event", "too much: a comment"}
	assert.Equal(t, "10000 actions: 2 lost, 2 doubled, 1 without a final reply, 1 with the same final reply more than once, 0 with different ones; 1 of them said that they failed, and were asked for again", v.words())
	assert.False(t, v.good())
	for _, other := range []*verdict{{strays: []string{"x"}}, {queues: []string{"x"}}, {secrets: []string{"x"}}, {peace: []string{"x"}}, {other: []string{"x"}}, {different: []string{"x"}}} {
		assert.False(t, other.good(), "%+v", other)
	}
}

func TestCanaryFindsSecretsInAnySpelling(t *testing.T) {
	c := newCanary()
	c.add("a password", `p:w\d"123`)
	for _, text := range []string{`p:w\d"123 twice: p:w\d"123!`, `{"x":"p:w\\d\"123"}`, "?x=p%3Aw%5Cd%22123&", "cDp3XGQiMTIz"} {
		found := c.in("a log", []byte(text))
		require.Len(t, found, 1, text)
		assert.Contains(t, found[0], "a password in a log")
		assert.NotContains(t, found[0], `p:w\d`, "the finding does not give it away again")
	}
	assert.Empty(t, c.in("a log", []byte("nothing here")))
	r := httptest.NewRequest("GET", "/rest/x", nil)
	r.Header.Set("Authorization", "Bearer token-01")
	r.Header.Set("X-sess-id", "csrf-001")
	r.Header.Set("X-Co3ContextToken", "context1")
	r.AddCookie(&http.Cookie{Name: "JSESSIONID", Value: "session1"})
	c.sees(r, nil)
	assert.Len(t, c.in("x", []byte("token-01 csrf-001 context1 session1")), 4)
}

// echoServer answers each connection with what it is sent.
func echoServer(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return listener.Addr().String()
}

func TestProxyDoesWhatNetworksDo(t *testing.T) {
	p, err := startProxy("echo", echoServer(t))
	require.NoError(t, err)
	defer p.close()
	talk := func(c net.Conn) error {
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.addr())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	require.NoError(t, talk(c))
	p.cut(true)
	require.Error(t, talk(c))

	p.stall()
	c = dial()
	answered := make(chan error, 1)
	go func() { answered <- talk(c) }()
	select {
	case <-answered:
		t.Fatal("data came through a stalled way")
	default:
	}
	p.resume()
	require.NoError(t, <-answered)

	p.half()
	go func() { answered <- talk(c) }()
	require.NoError(t, talk(dial()), "new connections work")
	select {
	case err := <-answered:
		t.Fatal("a half-open connection answered: ", err)
	default:
	}
	p.stop()
	require.Error(t, <-answered)
	if c, err := net.Dial("tcp", p.addr()); err == nil { // it may be over before it is known
		require.Error(t, talk(c))
		c.Close()
	}
	p.start()
	require.NoError(t, talk(dial()))
}

func TestModelTellsWhatIsWrong(t *testing.T) {
	// The facts of a world in which nothing was synced differ by every line.
	p := newPlan(2, 60)
	w, err := newSimulators()
	require.NoError(t, err)
	defer w.close()
	w.seed(p)
	for _, d := range append(p.stream, p.last...) {
		w.soar.perform(d)
	}
	var missing int
	for _, line := range facts.Differences(p.model.inThreatQ(w.soar), facts.OfThreatQ(w.threatq)) {
		if strings.HasPrefix(line, "missing") {
			missing++
		}
	}
	assert.Greater(t, missing, 100)
}

func TestWrongCommandLines(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"run", "-kills", "many"}, {"run", "left over"}} {
		var out bytes.Buffer
		assert.Equal(t, 2, run(t.Context(), args, &out, &out), args)
		assert.Contains(t, out.String(), "usage: chaos")
	}
	t.Setenv("CHAOS_KILLS", "many")
	var out bytes.Buffer
	assert.Equal(t, 2, run(t.Context(), []string{"run"}, &out, &out))
	assert.Contains(t, out.String(), "CHAOS_KILLS=many")
}
