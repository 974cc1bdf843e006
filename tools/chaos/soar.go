package main

import (
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/tools/facts"
)

// soarSide is the SOAR simulator with the ids that the objects of a plan got.
// Its clock stands still between deeds, so that two runs have the same times.
type soarSide struct {
	sim     *resilienttest.Server
	publish func(resilienttest.Message)
	// address is the one that the host knows SOAR by.
	address string
	deeds   atomic.Int64

	incidents, artifacts, notes, tasks, files []int64
	older                                     int64
	olderCount                                int
}

func (s *soarSide) now() time.Time { return clock(int(s.deeds.Load())) }

// perform does one deed; its mistakes are mistakes of the plan and panic.
func (s *soarSide) perform(d deed) {
	d.do(s)
	s.deeds.Add(1)
}

func (s *soarSide) task(index int) int64 {
	if index < 0 {
		return 0
	}
	return s.tasks[index]
}

func (s *soarSide) menuItem(rule string, on resilienttest.ActionOptions, fields map[string]any) {
	on.MenuItem, on.Fields = true, fields
	s.publish(s.sim.ActionMessage("ThreatQ: "+rule, on))
}

func (s *soarSide) function(name string, inputs map[string]any) {
	s.publish(s.sim.FunctionMessage(name, inputs))
}

// url is the link back to an incident (contract: object mapping).
func (s *soarSide) url(incident int64) string {
	u := url.URL{Scheme: "https", Host: s.address}
	return fmt.Sprintf("%s/#incidents/%d?orgId=%d", u.String(), incident, s.sim.OrgID())
}

// facts are what SOAR holds, in the lines of model.inSOAR.
func (s *soarSide) facts() []string {
	x := &expectation{}
	for _, id := range s.incidents {
		o := s.sim.Incident(id)
		if o == nil {
			continue
		}
		x.add("incident %d: %q, %v, %v, %s", id, o["name"], o["severity_code"], o["plan_status"], facts.PlainText(o["description"]))
		for _, a := range s.sim.Artifacts(id) {
			x.add("artifact of %d: %v %q", id, a["type"], a["value"])
		}
		for _, n := range s.sim.Notes(id) {
			x.add("note of %d: %s", id, facts.PlainText(n["text"]))
		}
		for _, t := range s.sim.Tasks(id) {
			x.add("task of %d: %q, %v", id, t["name"], t["status"])
		}
		for _, a := range s.sim.Attachments(id) {
			x.add("attachment of %d: %q", id, a["name"])
		}
	}
	return x.lines
}
