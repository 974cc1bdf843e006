package flow

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"fn-threatq/abi"
)

// holds are keys that one action at a time may have.
type holds struct {
	mu   sync.Mutex
	keys map[string]*hold
}

type hold struct {
	owner *holder
	// waiting want the key, the first to have come first.
	waiting []*waiter
}

// waiter is a place in the line for a key; its turn is closed when the key is its own.
type waiter struct {
	who  *holder
	turn chan struct{}
}

// holder is an action's side of the holds.
type holder struct {
	keys map[string]bool
	// wants is the key it waits for.
	wants string
}

func newHolds() *holds { return &holds{keys: map[string]*hold{}} }

func newHolder() *holder { return &holder{keys: map[string]bool{}} }

// take waits for the keys one by one, each in the order of asking. Two actions that
// want each other's keys would wait for ever: the one that closes the circle fails
// instead. aside is called when it must wait, and what it returns when that is over.
func (h *holds) take(ctx context.Context, who *holder, keys []string, aside func() (back func())) error {
	back := func() {}
	defer func() { back() }()
	waits := false
	for _, key := range keys {
		w, err := h.ask(who, key)
		if err != nil {
			return err
		}
		if w == nil {
			continue
		}
		if !waits {
			waits, back = true, aside()
		}
		select {
		case <-w.turn:
		case <-ctx.Done():
			h.leave(key, w)
			return ctx.Err()
		}
	}
	return nil
}

// ask takes a key, or returns a place in the line for it.
func (h *holds) ask(who *holder, key string) (*waiter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, taken := h.keys[key]
	switch {
	case !taken:
		h.keys[key] = &hold{owner: who}
		who.keys[key] = true
		return nil, nil
	case held.owner == who:
		return nil, nil
	case h.closesCircle(who, held.owner):
		return nil, &codedError{code: abi.CodeDeadlock, text: fmt.Sprintf("two actions wait for each other's keys (%q); run this one again", key)}
	}
	who.wants = key
	w := &waiter{who, make(chan struct{})}
	held.waiting = append(held.waiting, w)
	return w, nil
}

// leave gives a place up. Where the key has come meanwhile, release frees it.
func (h *holds) leave(key string, w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.who.wants = ""
	if held := h.keys[key]; held != nil {
		held.waiting = slices.DeleteFunc(held.waiting, func(other *waiter) bool { return other == w })
	}
}

// closesCircle follows who waits for whom; mu is held.
func (h *holds) closesCircle(who, owner *holder) bool {
	for owner != who {
		held, ok := h.keys[owner.wants]
		if owner.wants == "" || !ok {
			return false
		}
		owner = held.owner
	}
	return true
}

// any reports whether the action holds a key.
func (h *holds) any(who *holder) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(who.keys) > 0
}

// release gives all keys of an action up, each to who has waited longest for it.
func (h *holds) release(who *holder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range who.keys {
		held := h.keys[key]
		if len(held.waiting) == 0 {
			delete(h.keys, key)
			continue
		}
		next := held.waiting[0]
		held.owner, held.waiting = next.who, held.waiting[1:]
		next.who.keys[key], next.who.wants = true, ""
		close(next.turn)
	}
	clear(who.keys)
}
