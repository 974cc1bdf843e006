package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// tally counts what was done to the host.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func newTally() *tally { return &tally{counts: map[string]int{}} }

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
}

// rows are the faults with their counts, by name.
func (t *tally) rows() (rows [][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		rows = append(rows, []string{name, fmt.Sprint(t.counts[name])})
	}
	return rows
}

// misdeed is one way in which a service treats a call badly.
type misdeed struct {
	name   string
	weight int
	// harsh ones cannot be told from a lasting refusal: an action that meets one may fail.
	harsh bool

	status              int
	body                string
	retryAfter          string
	contentType         string
	delay               time.Duration
	lose, cut, cutAfter bool
}

const page = "<html><head><title>Sign in</title></head><body>Please sign in to go on.</body></html>"

// misdeeds are those of both services. What a lie could not be told from the truth
// by, such as an empty list, is none of them.
var misdeeds = []misdeed{
	{name: "answer lost after acting", weight: 14, lose: true},
	{name: "answer lost before acting", weight: 6, cut: true},
	{name: "gateway time-out after acting", weight: 6, lose: true, status: 504, body: page, contentType: "text/html"},
	{name: "401 in between", weight: 6, status: 401, body: `{"message":"Unauthenticated."}`},
	{name: "429 with Retry-After", weight: 6, status: 429, retryAfter: "1", body: `{"message":"Too many requests"}`},
	{name: "500 with the request in it", weight: 5, status: 500},
	{name: "502", weight: 5, status: 502, body: page, contentType: "text/html"},
	{name: "503 with Retry-After", weight: 6, status: 503, retryAfter: "1", body: `{"message":"down for maintenance"}`},
	{name: "slow", weight: 12, delay: 400 * time.Millisecond},
	{name: "answer half sent", weight: 8, cutAfter: true},

	{name: "409", weight: 3, status: 409, body: `{"success":false,"message":"somebody else was faster"}`, harsh: true},
	{name: "absurd: JSON that breaks off", weight: 2, status: 200, body: `{"data":[{"id":`, lose: true, harsh: true},
	{name: "absurd: null", weight: 2, status: 200, body: `null`, lose: true, harsh: true},
	{name: "absurd: a number", weight: 2, status: 200, body: `42`, lose: true, harsh: true},
	{name: "absurd: a page for a sign-in", weight: 2, status: 200, body: page, contentType: "text/html", harsh: true},
	{name: "absurd: nothing at all", weight: 2, status: 200, body: " ", lose: true, harsh: true},
}

// oracle decides what becomes of each call. It depends on the seed, the call and
// how often that call came, not on the order of different calls, so that a seed
// tries the same again.
type oracle struct {
	seed    uint64
	percent float64 // calls that suffer something
	harsh   bool
	tally   *tally
	canary  *canary

	mu     sync.Mutex
	seen   map[uint64]int // how often each call came
	streak map[uint64]int // how often in a row it suffered
	// onWrite is called once, at the next write, after the server has acted.
	onWrite func()
}

func newOracle(seed uint64, percent float64, harsh bool, t *tally, c *canary) *oracle {
	return &oracle{seed: seed, percent: percent, harsh: harsh, tally: t, canary: c, seen: map[uint64]int{}, streak: map[uint64]int{}}
}

// atNextWrite arms onWrite; nil disarms.
func (o *oracle) atNextWrite(do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onWrite = do
}

// decide returns what a call suffers; nil for nothing. acted is what to do after acting.
func (o *oracle) decide(service string, r *http.Request, body []byte) (m *misdeed, acted func()) {
	o.canary.sees(r, body)
	write := r.Method != http.MethodGet && r.URL.Path != "/api/token"
	h := fnv.New64a()
	fmt.Fprint(h, o.seed, service, r.Method, r.URL.Path, r.URL.RawQuery)
	h.Write(body)
	key := h.Sum64()
	o.mu.Lock()
	defer o.mu.Unlock()
	if write && o.onWrite != nil {
		acted, o.onWrite = o.onWrite, nil
		return &misdeed{name: "host killed at a write", lose: true}, acted
	}
	// A refused login opens the breaker for a minute, as it should.
	if r.URL.Path == "/api/token" || r.URL.Path == "/rest/session" {
		return nil, nil
	}
	n := o.seen[key]
	o.seen[key]++
	// A call that is repeated comes through at last: a create the second time, others the third.
	limit := 2
	if r.Method == http.MethodPost {
		limit = 1
	}
	if o.streak[key] >= limit {
		o.streak[key] = 0
		return nil, nil
	}
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], uint64(n))
	h.Write(text[:])
	drawn := mix(h.Sum64())
	if float64(drawn%100_000)/1000 >= o.percent {
		o.streak[key] = 0
		return nil, nil
	}
	m = choose(mix(drawn), o.harsh)
	if m.status == http.StatusUnauthorized && o.streak[key] > 0 {
		return nil, nil // after a fresh login it is a refusal
	}
	o.streak[key]++
	o.tally.add(service + ": " + m.name)
	return m, nil
}

// mix spreads the bits of a hash (SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func choose(drawn uint64, harsh bool) *misdeed {
	total := 0
	for _, m := range misdeeds {
		if !m.harsh || harsh {
			total += m.weight
		}
	}
	at := int(drawn % uint64(total))
	for i := range misdeeds {
		if m := &misdeeds[i]; !m.harsh || harsh {
			if at -= m.weight; at < 0 {
				return m
			}
		}
	}
	return nil
}

// ofThreatQ is the misdeed in the form of the ThreatQ simulator.
func (m *misdeed) ofThreatQ(r *http.Request, body []byte, c *canary, acted func()) *threatqtest.Fault {
	if m == nil {
		return nil
	}
	f := &threatqtest.Fault{
		Delay: m.delay, Status: m.status, Body: m.answer(r, body, c), ContentType: m.contentType, RetryAfter: m.retryAfter,
		LoseAnswer: m.lose, CutBefore: m.cut, Acted: acted,
	}
	if m.cutAfter {
		f.CutAfter = halfOf
	}
	return f
}

// ofSOAR is the misdeed in the form of the SOAR simulator.
func (m *misdeed) ofSOAR(r *http.Request, body []byte, c *canary, acted func()) *resilienttest.Fault {
	if m == nil {
		return nil
	}
	header := http.Header{}
	if m.contentType != "" {
		header.Set("Content-Type", m.contentType)
	}
	if m.retryAfter != "" {
		header.Set("Retry-After", m.retryAfter)
	}
	f := &resilienttest.Fault{
		Delay: m.delay, Status: m.status, Body: m.answer(r, body, c), Header: header, LoseAnswer: m.lose, CutBefore: m.cut, Acted: acted,
	}
	if m.cutAfter {
		f.CutAfter = halfOf
	}
	return f
}

// halfOf is how many bytes of an answer come when the rest does not: less than any has.
const halfOf = 9

// answer is the body. A server in debug mode repeats what it was sent.
func (m *misdeed) answer(r *http.Request, body []byte, c *canary) string {
	if m.status != http.StatusInternalServerError {
		return m.body
	}
	var b bytes.Buffer
	_ = r.Header.Write(&b)
	text := "crashed on " + b.String() + string(body) + c.configured()
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`{"message":%s,"errors":[%s]}`, quoted, quoted)
}
