package flow

import (
	"sync"
	"time"
)

// A pour is a time in which messages come faster than they can be worked on: a
// backlog that the broker hands out, or a script of the customer's that changes all
// incidents. A run that begins in it serves what has come of its incident, and the
// rest, a moment later, needs another. So while messages pour in, an automatic action
// that merges is set aside and gathers what asks for the same. ActiveMQ is why that
// takes more than a large prefetch: it hands out a page of 200 messages, and further
// ones only when something is acknowledged.
//
// It is told by messages that were sent long before they came, and by many that
// repeat what an earlier one of their lane asked for. Messages that have nothing in
// common make none, so that nobody waits where nothing can be merged.
type pour struct {
	mu sync.Mutex
	// repeats are the times of the last messages that repeat others: a ring.
	repeats [pourFrom]time.Time
	next    int
	ends    time.Time
}

const (
	// pourFrom repetitions within pourPause make a pour; it is over when for
	// pourPause none comes that would make one.
	pourFrom  = 16
	pourPause = 250 * time.Millisecond
	// backlogAge is how long before its arrival a message of a backlog was sent, by
	// the clock of the broker. Where that goes wrong by so much, each automatic run
	// that merges begins pourPause later, and nothing else happens.
	backlogAge = 2 * time.Second
	// longestGather bounds the wait, counted from the arrival.
	longestGather = 20 * time.Second
)

// sent is told of each message before it waits.
func (p *pour) sent(at, came time.Time) {
	if at.IsZero() || came.Sub(at) <= backlogAge {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lasts(came)
}

// repeated is told of each message that repeats an earlier one of its lane.
func (p *pour) repeated(came time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if came.Sub(p.repeats[p.next]) < pourPause {
		p.lasts(came)
	}
	p.repeats[p.next] = came
	p.next = (p.next + 1) % pourFrom
}

// lasts: the pour went on then. A message that is worked on anew came earlier than others.
func (p *pour) lasts(came time.Time) {
	if ends := came.Add(pourPause); ends.After(p.ends) {
		p.ends = ends
	}
}

// gather is how long an action that came at that time goes on gathering; 0: it
// begins now.
func (p *pour) gather(now, came time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, min(p.ends.Sub(now), came.Add(longestGather).Sub(now)))
}
