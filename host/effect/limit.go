package effect

import (
	"container/list"
	"context"
	"sync"
)

// Requests in flight to one service. The window opens by one with each answer
// until the service first shows strain, by one with each windowful after that;
// at each sign of strain it is halved. It never falls below the four that a
// loaded ThreatQ is known to bear (contract: retry policy).
const (
	windowMin   = 4
	windowStart = 16
	windowMax   = 128
)

// limiter bounds the requests in flight to one service, first come first
// served.
type limiter struct {
	mu     sync.Mutex
	window float64
	// tested: the service has shown where its limit is.
	tested  bool
	flying  int
	waiting list.List // of chan struct{}
}

func newLimiter() *limiter { return &limiter{window: windowStart} }

// acquire waits for a place.
func (l *limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.waiting.Len() == 0 && l.flying < int(l.window) {
		l.flying++
		l.mu.Unlock()
		return nil
	}
	place := make(chan struct{})
	element := l.waiting.PushBack(place)
	l.mu.Unlock()

	select {
	case <-place:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		select {
		case <-place:
			// The place came at the same moment: hand it on.
			l.flying--
			l.admit()
		default:
			l.waiting.Remove(element)
		}
		return ctx.Err()
	}
}

// release gives the place back and learns from the outcome.
func (l *limiter) release(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	if strained(err) {
		l.window, l.tested = max(windowMin, l.window/2), true
	} else if err == nil && l.flying+1 >= int(l.window) {
		// Only a full window proves that the service bears more.
		step := 1.0
		if l.tested {
			step = 1 / l.window
		}
		l.window = min(windowMax, l.window+step)
	}
	l.admit()
}

// admit lets waiting requests in; mu is held.
func (l *limiter) admit() {
	for l.waiting.Len() > 0 && l.flying < int(l.window) {
		l.flying++
		close(l.waiting.Remove(l.waiting.Front()).(chan struct{}))
	}
}

func strained(err error) bool {
	if err == nil {
		return false
	}
	kind := failureOf(err)
	return kind == Lost || kind == Busy
}

// shrink makes a service that was down be approached with few requests first.
func (l *limiter) shrink() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window = windowMin
}
