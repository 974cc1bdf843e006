package e2e

import (
	"fmt"
	"maps"
	"strings"

	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// again is a message as SOAR sends it when the rule runs once more.
func again(m resilienttest.Message) resilienttest.Message {
	m.Headers = maps.Clone(m.Headers)
	m.Headers["correlation-id"] += "-again"
	return m
}

// twice does a message two times, both with success, and holds that the second
// time changes nothing in ThreatQ.
func (w *world) twice(m resilienttest.Message) (first, second reply) {
	w.t.Helper()
	first = w.do(m)
	w.unchanged(func() { second = w.do(again(m)) })
	return first, second
}

// unchanged holds that what is done changes nothing in ThreatQ.
func (w *world) unchanged(do func()) {
	w.t.Helper()
	before := w.kept()
	do()
	require.Equal(w.t, before, w.kept(), "what ThreatQ keeps has changed")
}

// kept is all that ThreatQ keeps, as text: objects, attributes, comments, files,
// tasks, links, statuses and sources, with the ids of all that has one, so that
// what was deleted and made anew is seen too. Import sessions are left out: they
// are work, not what is kept of it.
func (w *world) kept() string {
	var b strings.Builder
	for line := range strings.Lines(w.tq.Snapshot()) {
		if !strings.HasPrefix(line, "import ") {
			b.WriteString(line)
		}
	}
	for _, collection := range collections {
		for _, o := range w.tq.Objects(collection) {
			fmt.Fprintf(&b, "%s %d is %q", collection, o.ID, o.Name)
			for _, a := range o.Attributes {
				fmt.Fprintf(&b, ", attribute %d", a.ID)
			}
			for _, c := range w.tq.Comments(collection, o.ID) {
				fmt.Fprintf(&b, ", comment %d", c.ID)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// collections are those that the rules write to.
var collections = []string{"indicators", "adversaries", "events", "attachments", "tasks", "malware", "attack_pattern"}
