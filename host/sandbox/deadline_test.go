package sandbox

import (
	"context"

	"github.com/tetratelabs/wazero"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

// NewWithDeadlines makes a sandbox with the meter that fuel took the place of.
func NewWithDeadlines(ctx context.Context, o Options) (*Sandbox, error) {
	return newWith(ctx, o, deadlineMeter{closeOnDone: true})
}

// NewUnmetered makes a sandbox in which a guest may run for ever.
func NewUnmetered(ctx context.Context, o Options) (*Sandbox, error) {
	return newWith(ctx, o, deadlineMeter{})
}

// deadlineMeter stops a guest at a point in time, by wazero's own means or not
// at all. It shows what fuel is better than, and that the meter is a seam.
type deadlineMeter struct{ closeOnDone bool }

func (m deadlineMeter) configure(c wazero.RuntimeConfig) wazero.RuntimeConfig {
	return c.WithCloseOnContextDone(m.closeOnDone)
}

func (deadlineMeter) offer(context.Context, wazero.Runtime) error { return nil }

func (deadlineMeter) version() string { return "" }

func (deadlineMeter) rewrite(m *wasmbin.Module, exports []wasmbin.Export) ([]byte, error) {
	return m.Rewrite(exports)
}

func (deadlineMeter) arm(parent context.Context, _ *instance, b budget) (context.Context, func() spent) {
	ctx, cancel := context.WithTimeout(parent, b.time)
	return ctx, func() spent {
		var s spent
		if ctx.Err() != nil && parent.Err() == nil {
			s.over = KindTimeout
		}
		cancel()
		return s
	}
}
