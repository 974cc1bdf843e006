package resilient

import (
	"context"
	"errors"
	"sync"
	"time"
)

// table is something read from SOAR and kept. A reading is shared by all who wait for it.
type table[T any] struct {
	load func(context.Context) (T, error)

	mu         sync.Mutex
	value      T
	generation int // readings that succeeded; 0: there is no value
	read       time.Time
	forbidden  error // kept for a while, unlike other errors: it does not pass by itself
	lastMiss   time.Time
	flight     *reading[T]
}

// reading is one under way.
type reading[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get returns the value and its generation, reading it when there is none or when it is
// older than maxAge (0: any age will do). A value that cannot be renewed stays in use.
func (t *table[T]) get(ctx context.Context, maxAge time.Duration) (T, int, error) {
	t.mu.Lock()
	age := time.Since(t.read)
	if t.forbidden != nil && age < betweenMisses || t.forbidden == nil && t.generation > 0 && (maxAge == 0 || age < maxAge) {
		defer t.mu.Unlock()
		return t.value, t.generation, t.forbidden
	}
	f := t.join(ctx)
	t.mu.Unlock()
	value, err := f.wait(ctx)

	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.generation > 0 && t.forbidden == nil {
		return t.value, t.generation, nil
	}
	return value, t.generation, err
}

// join returns the reading under way, or starts one. It outlives the caller that started
// it: others wait for it too. The caller holds the lock.
func (t *table[T]) join(ctx context.Context) *reading[T] {
	if t.flight == nil {
		t.flight = &reading[T]{done: make(chan struct{})}
		go t.fly(context.WithoutCancel(ctx), t.flight)
	}
	return t.flight
}

func (t *table[T]) fly(ctx context.Context, f *reading[T]) {
	f.value, f.err = t.load(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flight = nil
	switch {
	case f.err == nil:
		t.value, t.read, t.forbidden = f.value, time.Now(), nil
		t.generation++
	case errors.Is(f.err, ErrRulesForbidden):
		t.read, t.forbidden = time.Now(), f.err
	default:
		t.lastMiss = time.Time{} // nothing was learnt: the next miss may try again
	}
	close(f.done)
}

func (f *reading[T]) wait(ctx context.Context) (value T, err error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

// afterMiss returns a value newer than the generation in which something was missing; ok is
// false when there is none and it is too early for another reading.
func (t *table[T]) afterMiss(ctx context.Context, generation int) (value T, ok bool, err error) {
	t.mu.Lock()
	if t.generation != generation {
		defer t.mu.Unlock()
		return t.value, true, nil
	}
	if t.flight == nil {
		if !t.lastMiss.IsZero() && time.Since(t.lastMiss) < betweenMisses {
			defer t.mu.Unlock()
			return value, false, nil
		}
		t.lastMiss = time.Now()
	}
	f := t.join(ctx)
	t.mu.Unlock()
	value, err = f.wait(ctx)
	return value, err == nil, err
}

// find looks something up in a table, once more after a new reading when it is missing.
func find[T, V any](ctx context.Context, t *table[T], maxAge time.Duration, lookup func(T) (V, bool)) (found V, ok bool, err error) {
	value, generation, err := t.get(ctx, maxAge)
	if err != nil {
		return found, false, err
	}
	if found, ok = lookup(value); ok {
		return found, true, nil
	}
	value, renewed, err := t.afterMiss(ctx, generation)
	if err != nil || !renewed {
		return found, false, err
	}
	found, ok = lookup(value)
	return found, ok, nil
}
