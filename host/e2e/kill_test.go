package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/ledger"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// killed makes a host as good as dead: nothing of it reaches the broker any more,
// and the next host has the state folder as it is now. Whoever calls it sees to it
// that the dead one reaches ThreatQ no more.
func (w *world) killed(p *process) {
	w.t.Helper()
	w.relay.close()
	left := filepath.Join(w.dir, "left")
	require.NoError(w.t, os.Mkdir(left, 0o700))
	var before, now []byte
	// A commit may be on its way, which a kill would leave behind or not.
	eventually(w.t, func() bool {
		before = now
		var err error
		now, err = os.ReadFile(filepath.Join(w.state, ledger.FileName))
		return err == nil && bytes.Equal(before, now)
	}, "the ledger's file never stands still")
	require.NoError(w.t, os.WriteFile(filepath.Join(left, ledger.FileName), now, 0o600))
	p.drainless()
	w.state, w.logs = left, &logBook{}
	w.relay = startRelay(w.t, w.broker.Addr())
}

// The host is killed when ThreatQ has made an object and the answer is on its way.
// The next one is told by the journal that the call is doubtful, has the rule look,
// and nothing is made twice.
func TestKilledBetweenActAndAnswer(t *testing.T) {
	t.Parallel()
	type options = resilienttest.ActionOptions
	for name, c := range map[string]struct {
		path    string
		message func(*world) resilienttest.Message
		count   func(*world) int
	}{
		"event": {`^/api/events$`, func(w *world) resilienttest.Message { return w.incidentMessage(incident, "created") },
			func(w *world) int { return len(w.tq.Events()) }},
		"task": {`^/api/tasks$`, func(w *world) resilienttest.Message {
			return w.soar.ActionMessage("ThreatQ: Sync Task", options{TaskID: task, Operation: "created"})
		}, func(w *world) int { return len(w.tq.Tasks()) }},
		"comment": {`^/api/events/\d+/comments$`, func(w *world) resilienttest.Message {
			return w.noteMessage(w.soar.AddNote(incident, 0, "Seen on the proxy"), 0, "created")
		}, func(w *world) int { return len(w.tq.Comments("events", w.event().ID)) }},
		"file": {`^/api/attachments$`, func(w *world) resilienttest.Message {
			report := w.soar.AddAttachment(incident, 0, "report.txt", "text/plain", []byte("Seen 203.0.113.9."))
			return w.soar.ActionMessage("ThreatQ: Import Attachment", options{AttachmentID: report, MenuItem: true})
		}, func(w *world) int { return len(w.tq.Files()) }},
		"custom object": {`^/api/malware$`, func(w *world) resilienttest.Message { return w.incidentMessage(incident, "created") },
			func(w *world) int { return len(w.tq.Objects("malware")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{
				modules: []string{"sync-incident", "sync-task", "sync-comment", "import-attachment"},
				threatq: keys{"custom_objects": "internal_severity=Malware"},
			})
			w.drain = 1 // as long as nothing
			w.soar.UpdateIncident(incident, map[string]any{"properties": map[string]any{"internal_severity": "Emotet"}})
			p := w.start()
			path := regexp.MustCompile(c.path)
			var acted atomic.Bool
			creates := func(r *http.Request) bool { return r.Method == http.MethodPost && path.MatchString(r.URL.Path) }
			posts := func() (n int) {
				for _, r := range w.tq.Requests() {
					if r.Method == http.MethodPost && path.MatchString(r.Path) {
						n++
					}
				}
				return n
			}
			// After the one call the dead host reaches nobody.
			w.tq.Inject(threatqtest.Fault{PathPrefix: "/api/", Times: -1, CutBefore: true, Match: func(*http.Request) bool { return acted.Load() }})
			w.tq.Inject(threatqtest.Fault{LoseAnswer: true, Match: func(r *http.Request) bool {
				return creates(r) && acted.CompareAndSwap(false, true)
			}})
			correlation := w.send(c.message(w))
			eventually(t, func() bool { return acted.Load() && c.count(w) == 1 }, "nothing was made")
			w.killed(p)
			require.Empty(t, w.finals(correlation))
			w.tq.ClearFaults()
			asked := posts()

			p = w.start()
			r := w.final(correlation)
			assert.Zero(t, r.Type, r.Message)
			p.settled()
			w.once(correlation)
			assert.Equal(t, 1, c.count(w))
			assert.Equal(t, asked, posts(), "it was found, not asked for again")
			w.event()
			assert.False(t, w.logs.said("damaged"), "the ledger was not whole")
			if !w.logs.said("an earlier run of this action began the call") {
				t.Log("the rule found the object before it came to the call")
			}
		})
	}
}
