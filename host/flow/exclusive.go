package flow

import "sync"

// exclusive lets one action of an exclusive rule run at a time, and remembers
// how far it is for those that are refused meanwhile.
type exclusive struct {
	mu      sync.Mutex
	running map[string]string
}

func newExclusive() *exclusive { return &exclusive{running: map[string]string{}} }

// enter reports whether the rule may run; if not, how far the other action is,
// as ` (…)` or empty.
func (e *exclusive) enter(rule string) (progress string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if progress, busy := e.running[rule]; busy {
		return progress, false
	}
	e.running[rule] = ""
	return "", true
}

func (e *exclusive) leave(rule string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, rule)
}

// progress keeps what a running action said last; of other rules, nothing.
func (e *exclusive) progress(rule, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.running[rule]; ok {
		e.running[rule] = " (" + text + ")"
	}
}
