package sandbox

import (
	"context"
	"time"

	"github.com/tetratelabs/wazero"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

// meter bounds the work of a guest. It is the seam at which counting fuel in
// the guest's own code can take the place of the wall clock: it may configure
// the runtime, rewrite a module before it is compiled, and arm each run.
type meter interface {
	configure(wazero.RuntimeConfig) wazero.RuntimeConfig
	// rewrite turns the parsed module into the bytes to compile.
	rewrite(m *wasmbin.Module, exports []wasmbin.Export) ([]byte, error)
	// arm gives the context for one run of guest code, and ends the run's
	// bookkeeping: it reports whether the run went over the budget.
	arm(ctx context.Context, budget time.Duration) (context.Context, func() (overrun bool))
}

// deadlineMeter stops a guest at a point in time. wazero checks the context at
// every loop of the guest, which makes it slower; in exchange the guest cannot
// hold up the garbage collector either.
type deadlineMeter struct{}

func (deadlineMeter) configure(c wazero.RuntimeConfig) wazero.RuntimeConfig {
	return c.WithCloseOnContextDone(true)
}

func (deadlineMeter) rewrite(m *wasmbin.Module, exports []wasmbin.Export) ([]byte, error) {
	return m.Rewrite(exports)
}

func (deadlineMeter) arm(parent context.Context, budget time.Duration) (context.Context, func() bool) {
	ctx, cancel := context.WithTimeout(parent, budget)
	return ctx, func() bool {
		// The state is read before cancel overwrites it. A parent that ended
		// is not an overrun of this budget.
		overrun := ctx.Err() != nil && parent.Err() == nil
		cancel()
		return overrun
	}
}
