package flow

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
)

// A new incident brings a dozen actions at once, and each reads the incident and
// looks for its event. Actions of one lane therefore share reads, without their
// rules knowing. The rule is:
//
// An action of an automatic rule is given a kept answer to a GET that it marked
// idempotent, if the GET was sent after the action's own message had arrived; if
// no call that could have changed the answer was under way at the same time or
// was sent since by an action of the lane; if the action has not sent anything
// but GETs so far, in this turn neither, and holds no key; and once only.
//
// Why that is as good as a read of its own. An action may start at any moment
// after its message arrived: that it starts late is chance, the lane was busy.
// Had it started at the moment of the kept read, it would have got that answer.
// So every answer that it is given is one that a read of its own could have got
// in a run that began no earlier than its message, and whatever the message
// tells of had happened by then. Later changes by others send messages of their
// own, whose actions, arriving later, are not given the answer. Changes by the
// lane itself are seen, because they drop the answer: in the lane, reads and
// writes look as if nothing was kept. Once the action has written, or has read
// the same before, or holds a key (it looks again because something may have
// changed meanwhile, by itself or by others), it reads for itself.
//
// Whether a call could change an answer is Options.Touches; without it, each
// call that is no GET touches all of its service. Answers are kept for a lane,
// by service, path and query, so that no incident sees another's; the permits of
// the asking module are checked before. Only good answers are kept, no
// downloads, and none where nobody waits who could be given it.
type reads struct {
	touches func(write, read abi.Call) bool

	mu   sync.Mutex
	kept map[string]kept
	// reading are GETs under way, writing calls under way that are none.
	reading map[*reading]bool
	writing map[*abi.Call]bool
	size    int
}

type kept struct {
	call   abi.Call
	began  moment
	result abi.Result
}

type reading struct {
	call  abi.Call
	began moment
	// spoiled: a call that could change the answer was under way too.
	spoiled bool
}

// Bounds of what is kept, in bytes: of one answer, of a lane, and of all lanes.
const (
	maxKept      = 256 << 10
	maxKeptLane  = 2 << 20
	maxKeptTotal = 32 << 20
)

// keptTotal is the size of what all lanes of the process keep.
var keptTotal atomic.Int64

func newReads(touches func(write, read abi.Call) bool) *reads {
	return &reads{touches: touches, kept: map[string]kept{}, reading: map[*reading]bool{}, writing: map[*abi.Call]bool{}}
}

func readKey(c abi.Call) string {
	var key strings.Builder
	for _, part := range []string{c.Service, c.Path} {
		key.WriteString(part)
		key.WriteByte(0)
	}
	names := make([]string, 0, len(c.Query))
	for name := range c.Query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key.WriteString(name + "\x00" + c.Query[name] + "\x00")
	}
	return key.String()
}

// isRead reports whether the answer to a call may be shared.
func isRead(c abi.Call) bool {
	return c.Method == http.MethodGet && c.Idempotent && !c.Download
}

// find returns what was read since a moment.
func (r *reads) find(key string, since moment) (abi.Result, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kept[key]
	if !ok || k.began <= since {
		return abi.Result{}, false
	}
	return k.result, true
}

// begin notes a GET that is about to be sent.
func (r *reads) begin(c abi.Call, now moment) *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	read := &reading{call: c, began: now}
	for write := range r.writing {
		read.spoiled = read.spoiled || r.touch(*write, c)
	}
	r.reading[read] = true
	return read
}

// end keeps the answer to a GET.
func (r *reads) end(read *reading, result abi.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reading, read)
	size := len(result.Body)
	if read.spoiled || result.Error != nil || result.Status < 200 || result.Status > 299 || size > maxKept {
		return
	}
	key := readKey(read.call)
	r.drop(key)
	if r.size+size > maxKeptLane {
		return
	}
	if keptTotal.Add(int64(size)) > maxKeptTotal {
		keptTotal.Add(int64(-size))
		return
	}
	r.size += size
	r.kept[key] = kept{read.call, read.began, result}
}

// drop lets go of an answer; mu is held.
func (r *reads) drop(key string) {
	if k, ok := r.kept[key]; ok {
		r.size -= len(k.result.Body)
		keptTotal.Add(int64(-len(k.result.Body)))
		delete(r.kept, key)
	}
}

// write notes a call that is no GET: before it is sent, and again when it is
// over, whatever came of it.
func (r *reads) write(c *abi.Call, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if over {
		delete(r.writing, c)
	} else {
		r.writing[c] = true
	}
	for read := range r.reading {
		read.spoiled = read.spoiled || r.touch(*c, read.call)
	}
	for key, k := range r.kept {
		if r.touch(*c, k.call) {
			r.drop(key)
		}
	}
}

func (r *reads) touch(write, read abi.Call) bool {
	return write.Service == read.Service && r.touches(write, read)
}

// clear lets go of everything.
func (r *reads) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.kept {
		r.drop(key)
	}
}

// reader is an action's side of its lane's reads.
type reader struct {
	flow   *Flow
	lane   string
	shares bool
	since  moment
	held   func() bool

	mu    sync.Mutex
	asked map[string]bool
	wrote bool
}

// sharesReads reports whether an action may be given what others have read:
// nobody looks at the screen and expects the state of this very moment.
func sharesReads(m Module, a *abi.Action) bool {
	rule := ruleOf(m.Manifest(), a)
	return rule != nil && rule.Automatic
}

// reader is nil for an action without a lane, and for one that only rehearses:
// what it reads is told with its own stand-ins.
func (f *Flow) reader(p *performance, who *holder) effect.Reads {
	if p.lane == "" || p.run.rehearsal != nil {
		return nil
	}
	return &reader{flow: f, lane: p.lane, shares: p.shares, since: p.run.jobs[0].arrived, held: func() bool { return f.holds.any(who) }, asked: map[string]bool{}}
}

// Turn implements effect.Reads.
func (r *reader) Turn(calls []abi.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range calls {
		r.wrote = r.wrote || c.Method != http.MethodGet
	}
}

// Answer implements effect.Reads.
func (r *reader) Answer(c abi.Call) (abi.Result, bool) {
	if !isRead(c) {
		return abi.Result{}, false
	}
	key := readKey(c)
	r.mu.Lock()
	fresh := r.wrote || r.asked[key] || !r.shares
	r.asked[key] = true
	r.mu.Unlock()
	if fresh || r.held() {
		return abi.Result{}, false
	}
	reads, _ := r.flow.lanes.readsOf(r.lane, r.flow.o.Touches)
	if reads == nil {
		return abi.Result{}, false
	}
	result, ok := reads.find(key, r.since)
	result.ID = c.ID
	return result, ok
}

// Sending implements effect.Reads.
func (r *reader) Sending(c abi.Call) (done func(abi.Result)) {
	reads, shared := r.flow.lanes.readsOf(r.lane, r.flow.o.Touches)
	switch {
	case reads == nil:
		return func(abi.Result) {}
	case c.Method != http.MethodGet:
		reads.write(&c, false)
		return func(abi.Result) { reads.write(&c, true) }
	case !shared || !isRead(c):
		return func(abi.Result) {}
	}
	read := reads.begin(c, r.flow.moments.next())
	return func(result abi.Result) { reads.end(read, result) }
}
