package resilient

import (
	"context"
	"time"
)

// Table opens the cache of a Directory to a test with a clock of its own.
type Table struct{ t table[int] }

func NewTable(load func(context.Context) (int, error)) *Table {
	return &Table{t: table[int]{load: load}}
}

func (t *Table) Get(ctx context.Context, maxAge time.Duration) (int, error) {
	value, _, err := t.t.get(ctx, maxAge)
	return value, err
}

func (t *Table) Find(ctx context.Context, has func(int) bool) bool {
	_, ok, _ := find(ctx, &t.t, time.Hour, func(v int) (int, bool) { return v, has(v) })
	return ok
}
