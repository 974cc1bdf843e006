package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"fn-threatq/tools/facts"
)

// traffic counts the calls that the services get.
type traffic struct {
	w  *world
	mu sync.Mutex
	// calls by service; syncs are reads of an incident, of which each run of Sync
	// Incident makes one.
	calls map[string]int
	syncs int
}

var readsIncident = regexp.MustCompile(`^/rest/orgs/\d+/incidents/\d+$`)

func (c *traffic) decide(service string, r *http.Request, body []byte) (*misdeed, func()) {
	c.w.canary.sees(r, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int{}
	}
	c.calls[service]++
	if r.Method == http.MethodGet && readsIncident.MatchString(r.URL.Path) {
		c.syncs++
	}
	return nil, nil
}

// syncsPerIncident is what "about as many syncs as there are incidents" may mean:
// the broker hands out a part of what waits, and what comes during a run needs another.
const syncsPerIncident = 2

// hammer lets many updates of few incidents wait in the broker, then starts the host.
func hammer(ctx context.Context, o options, out *printer) error {
	return inWorld(ctx, o, func(w *world) error { return hammerIn(ctx, w, o, out) })
}

func hammerIn(ctx context.Context, w *world, o options, out *printer) error {
	out.heading("%d waiting updates of %d incidents", o.actions, o.incidents)
	s := &story{w: w, out: out, tally: newTally(), plan: &plan{model: newModel()}}
	s.villain = newVillain(w, o.seed, 0, 0, s.tally, nil)
	w.sees()
	for i := range o.incidents {
		inc := &incident{name: fmt.Sprintf("Case %d", i), severity: "Low", text: "Begun.", at: clock(i)}
		s.plan.model.incidents = append(s.plan.model.incidents, inc)
		values := map[string]any{"name": inc.name, "severity_code": inc.severity, "description": html(inc.text)}
		s.plan.stream = append(s.plan.stream, deed{do: func(s *soarSide) { s.incidents = append(s.incidents, s.sim.AddIncident(values)) }})
	}
	if err := w.host.startReady(); err != nil {
		return err
	}
	if err := s.perform(ctx, s.plan.stream); err != nil {
		return err
	}
	if err := s.allAnswered(ctx); err != nil {
		return err
	}
	if err := w.host.stop(); err != nil {
		return err
	}
	for n := range o.actions {
		inc := n % o.incidents
		text := fmt.Sprintf("Update %d.", n)
		s.plan.model.incidents[inc].text = text
		w.soar.sim.UpdateIncident(w.soar.incidents[inc], map[string]any{"description": html(text)})
	}
	if err := w.bridge.await(ctx, stuckAfter, func(s standing) bool { return s.unsent == 0 }); err != nil {
		return err
	}
	count := &traffic{w: w}
	w.decide(count.decide)
	begin := time.Now()
	if err := w.host.startReady(); err != nil {
		return err
	}
	if err := s.allAnswered(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := w.host.stop(); err != nil {
		return err
	}
	v := &s.verdict
	v.actions = o.actions + o.incidents
	w.judgeReplies(v)
	w.judgeQueues(ctx, v)
	v.threatq = facts.Differences(s.plan.model.inThreatQ(w.soar), facts.OfThreatQ(w.threatq))
	for _, r := range w.bridge.all() {
		if len(r.finals) > 0 && r.finals[0].failed() {
			v.failed = append(v.failed, about(r)+": "+inOneLine(r.finals[0].Message))
		}
	}
	per := func(n int) string { return fmt.Sprintf("%.3f", float64(n)/float64(o.actions)) }
	out.table([][]string{
		{"", "in all", "per update"},
		{"updates that waited", fmt.Sprint(o.actions), ""},
		{"incidents", fmt.Sprint(o.incidents), ""},
		{"syncs (reads of an incident in SOAR)", fmt.Sprint(count.syncs), per(count.syncs)},
		{"calls to SOAR", fmt.Sprint(count.calls["SOAR"]), per(count.calls["SOAR"])},
		{"calls to ThreatQ", fmt.Sprint(count.calls["ThreatQ"]), per(count.calls["ThreatQ"])},
		{"time from the start of the host", took.Round(100 * time.Millisecond).String(), ""},
	})
	if limit := syncsPerIncident * o.incidents; count.syncs > limit {
		v.other = append(v.other, fmt.Sprintf("%d syncs for %d incidents, want at most %d", count.syncs, o.incidents, limit))
	}
	s.tellVerdict()
	if !v.good() || len(v.failed) > 0 {
		return errReported
	}
	return nil
}
