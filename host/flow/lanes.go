package flow

import (
	"slices"
	"sync"
	"time"

	"fn-threatq/abi"
)

// task is a job of a lane. Its fields are the lanes' own once it is submitted.
type task struct {
	// run is called once: with started false, and must only clean up, when the
	// lanes were closed before its turn.
	run func(started bool)
	// urgent tasks overtake others: a person or a workflow waits for them.
	urgent bool
	// kind is what decides whether it is urgent, when that is found out later.
	kind any
	// message is what waits, for those who look into the lane.
	message *waiting
}

// lane is what waits for one incident, in the order of submission.
type lane struct {
	name  string
	queue []*task
	// urgent counts those of the queue.
	urgent int
	// busy: one of its tasks runs; lined: it is in one of the lines.
	busy, lined bool
	// aside: its oldest task was set aside, and only urgent ones start.
	aside bool
	// overtaken counts the urgent tasks in a row that went before the oldest.
	overtaken int
	// asked is what its messages asked for since it was empty last: see job.same.
	asked map[string]bool
	reads *reads
}

// mostOvertaking is how often in a row urgent tasks may go first while others
// wait, within a lane and between lanes: whoever waits gets at least every
// fourth turn.
const mostOvertaking = 3

// lanes run tasks: one at a time within a lane, and not more than a number of
// them at once over all lanes. Of a lane the oldest task runs first, and of the
// lanes the one that has waited longest; urgent tasks overtake others in both.
// They keep their order among themselves. That an action runs before an older
// one of its incident is safe because neither acts on what its message says of
// an object: both read the object anew, and the later run sees what the earlier
// one wrote.
type lanes struct {
	mu    sync.Mutex
	free  int
	lanes map[string]*lane
	// urgent and normal are the lines of lanes that could start a task.
	urgent, normal []*lane
	overtaken      int
	// back are jobs that gave their slot up and want one again. They are first.
	back   []chan struct{}
	paused bool
	closed bool
}

func newLanes(parallel int) *lanes {
	return &lanes{free: parallel, lanes: map[string]*lane{}}
}

// submit queues a task and returns at once. It reports whether the lane had a
// message before that may ask for the same.
func (l *lanes) submit(name string, t *task) (repeats bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		go t.run(false)
		return false
	}
	in := l.lanes[name]
	if in == nil {
		in = &lane{name: name}
		l.lanes[name] = in
	}
	in.queue = append(in.queue, t)
	if t.urgent {
		in.urgent++
	}
	if t.message != nil && t.message.same != "" {
		if in.asked == nil {
			in.asked = map[string]bool{}
		}
		repeats = in.asked[t.message.same]
		in.asked[t.message.same] = true
	}
	l.line(in)
	l.dispatch()
	return repeats
}

// setAside puts a task that runs back to the head of its lane, where it starts again
// after a time. Meanwhile the lane starts urgent tasks alone. False: the lanes are
// closed.
func (l *lanes) setAside(name string, t *task, wait time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	in := l.lanes[name] // it is there as long as a task of it runs
	in.queue = slices.Insert(in.queue, 0, t)
	if t.urgent {
		in.urgent++
	}
	in.aside = true
	time.AfterFunc(wait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.lanes[name] != in {
			return
		}
		in.aside = false
		l.line(in)
		l.dispatch()
	})
	return true
}

// line puts a lane into the line where it belongs; mu is held.
func (l *lanes) line(in *lane) {
	if in.busy || len(in.queue) == 0 || in.aside && in.urgent == 0 {
		return
	}
	if in.lined {
		// An urgent task may have come to others.
		if i := slices.Index(l.normal, in); i >= 0 && in.urgent > 0 {
			l.normal = slices.Delete(l.normal, i, i+1)
			l.urgent = append(l.urgent, in)
		}
		return
	}
	in.lined = true
	if in.urgent > 0 {
		l.urgent = append(l.urgent, in)
	} else {
		l.normal = append(l.normal, in)
	}
}

// dispatch starts what can start; mu is held.
func (l *lanes) dispatch() {
	for l.free > 0 {
		if len(l.back) > 0 {
			l.free--
			close(l.back[0])
			l.back = l.back[1:]
			continue
		}
		if l.paused || l.closed {
			return
		}
		in := l.next()
		if in == nil {
			return
		}
		l.free--
		in.busy, in.lined = true, false
		go l.work(in, in.take())
	}
}

// next takes a lane out of its line; mu is held.
func (l *lanes) next() *lane {
	line := &l.normal
	switch {
	case len(l.urgent) == 0:
		l.overtaken = 0
	case len(l.normal) == 0 || l.overtaken < mostOvertaking:
		line = &l.urgent
		l.overtaken++
	default:
		l.overtaken = 0
	}
	if len(*line) == 0 {
		return nil
	}
	in := (*line)[0]
	(*line)[0] = nil
	*line = (*line)[1:]
	return in
}

// take removes the task that is next in a lane; the lanes' mu is held.
func (in *lane) take() *task {
	i := 0
	if in.urgent > 0 && in.overtaken < mostOvertaking {
		i = slices.IndexFunc(in.queue, func(t *task) bool { return t.urgent })
	}
	in.overtaken++
	if i == 0 {
		in.overtaken = 0
	}
	t := in.queue[i]
	in.drop(i)
	return t
}

func (in *lane) drop(i int) {
	if in.queue[i].urgent {
		in.urgent--
	}
	in.queue = slices.Delete(in.queue, i, i+1)
}

// work runs one task of a lane.
func (l *lanes) work(in *lane, t *task) {
	t.run(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free++
	in.busy = false
	if len(in.queue) == 0 {
		// The map is of what waits or runs, and so are the reads of the lane.
		delete(l.lanes, in.name)
		if in.reads != nil {
			in.reads.clear()
		}
	}
	l.line(in)
	l.dispatch()
}

// enter waits for a slot, leave gives it back. A job that waits for jobs of
// other lanes leaves meanwhile, so that these can run.
func (l *lanes) enter() {
	l.mu.Lock()
	turn := make(chan struct{})
	l.back = append(l.back, turn)
	l.dispatch()
	l.mu.Unlock()
	<-turn
}

func (l *lanes) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free++
	l.dispatch()
}

// hurry makes tasks urgent whose kind was found out to be.
func (l *lanes) hurry(kind any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range l.lanes {
		for _, t := range in.queue {
			if !t.urgent && t.kind == kind {
				t.urgent = true
				in.urgent++
			}
		}
		if in.aside && !in.lined {
			l.line(in)
		}
	}
	l.normal = slices.DeleteFunc(l.normal, func(in *lane) bool {
		if in.urgent == 0 {
			return false
		}
		l.urgent = append(l.urgent, in)
		return true
	})
	l.dispatch()
}

// waitingIn lists the messages that wait in a lane, the oldest first.
func (l *lanes) waitingIn(name string) []*waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*waiting
	if in := l.lanes[name]; in != nil {
		for _, t := range in.queue {
			if t.message != nil {
				all = append(all, t.message)
			}
		}
	}
	return all
}

// withdraw takes messages out of a lane: somebody else serves them. It returns
// those that still waited.
func (l *lanes) withdraw(name string, messages []*waiting) []*waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.lanes[name]
	if in == nil || len(messages) == 0 {
		return nil
	}
	wanted := make(map[*waiting]bool, len(messages))
	for _, w := range messages {
		wanted[w] = true
	}
	var got []*waiting
	in.queue = slices.DeleteFunc(in.queue, func(t *task) bool {
		if t.message == nil || !wanted[t.message] {
			return false
		}
		if t.urgent {
			in.urgent--
		}
		got = append(got, t.message)
		return true
	})
	return got
}

// readsOf is the cache of a lane that works; shared says that something waits in
// the lane: else nobody could be given what is kept.
func (l *lanes) readsOf(name string, touches func(write, read abi.Call) bool) (of *reads, shared bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.lanes[name]
	if in == nil {
		return nil, false
	}
	if in.reads == nil {
		in.reads = newReads(touches)
	}
	return in.reads, len(in.queue) > 0
}

// pause starts no more tasks until resume.
func (l *lanes) pause() { l.setPaused(true) }

func (l *lanes) resume() { l.setPaused(false) }

func (l *lanes) setPaused(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
	l.dispatch()
}

// close starts no more tasks, and lets those that wait clean up.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	var left []*task
	for _, in := range l.lanes {
		left = append(left, in.queue...)
		in.queue, in.urgent = nil, 0
	}
	l.urgent, l.normal = nil, nil
	l.mu.Unlock()
	for _, t := range left {
		t.run(false)
	}
}
