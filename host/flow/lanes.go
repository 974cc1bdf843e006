package flow

import "sync"

// lanes run jobs: one at a time within a lane, in the order of submission, and
// not more than a number of them at once over all lanes.
type lanes struct {
	slots chan struct{}

	mu     sync.Mutex
	queues map[string][]func(started bool)
	closed bool
}

func newLanes(parallel int) *lanes {
	return &lanes{slots: make(chan struct{}, parallel), queues: map[string][]func(bool){}}
}

// submit queues a job and returns at once. The job is called with started
// false, and must only clean up, when the lanes were closed before its turn.
func (l *lanes) submit(lane string, job func(started bool)) {
	l.mu.Lock()
	queue, busy := l.queues[lane]
	l.queues[lane] = append(queue, job)
	l.mu.Unlock()
	if !busy {
		go l.work(lane)
	}
}

// work runs a lane until it is empty.
func (l *lanes) work(lane string) {
	for {
		l.enter()
		l.mu.Lock()
		queue := l.queues[lane]
		if len(queue) == 0 {
			delete(l.queues, lane)
			l.mu.Unlock()
			l.leave()
			return
		}
		job := queue[0]
		l.queues[lane] = queue[1:]
		closed := l.closed
		l.mu.Unlock()
		job(!closed)
		l.leave()
	}
}

// enter waits for a slot, leave gives it back. A job that waits for jobs of
// other lanes leaves meanwhile, so that these can run.
func (l *lanes) enter() { l.slots <- struct{}{} }
func (l *lanes) leave() { <-l.slots }

// close starts no more jobs.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}
