package flow

import (
	"context"
	"fmt"
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
	// freed is closed when the owner gives the key up.
	freed chan struct{}
}

// holder is an action's side of the holds.
type holder struct {
	keys map[string]bool
	// wants is the key it waits for.
	wants string
}

func newHolds() *holds { return &holds{keys: map[string]*hold{}} }

func newHolder() *holder { return &holder{keys: map[string]bool{}} }

// take waits for the keys one by one. Two actions that want each other's keys
// would wait for ever: the one that closes the circle fails instead.
func (h *holds) take(ctx context.Context, who *holder, keys []string) error {
	for _, key := range keys {
		for {
			freed, err := h.try(who, key)
			if err != nil {
				return err
			}
			if freed == nil {
				break
			}
			select {
			case <-freed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// try takes a key, or returns a channel that is closed when to try again.
func (h *holds) try(who *holder, key string) (<-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who.wants = ""
	held, taken := h.keys[key]
	switch {
	case !taken:
		h.keys[key] = &hold{owner: who, freed: make(chan struct{})}
		who.keys[key] = true
		return nil, nil
	case held.owner == who:
		return nil, nil
	case h.closesCircle(who, held.owner):
		return nil, &codedError{code: abi.CodeDeadlock, text: fmt.Sprintf("two actions wait for each other's keys (%q); run this one again", key)}
	}
	who.wants = key
	return held.freed, nil
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

// release gives all keys of an action up.
func (h *holds) release(who *holder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range who.keys {
		close(h.keys[key].freed)
		delete(h.keys, key)
	}
	clear(who.keys)
}
