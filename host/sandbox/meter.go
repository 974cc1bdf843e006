package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

// meter bounds the work of a guest. It is a seam: it may configure the runtime,
// offer modules something to import, rewrite a module before it is compiled, and
// arm each run. The tests have another one, which knows time alone, to compare.
type meter interface {
	configure(wazero.RuntimeConfig) wazero.RuntimeConfig
	// offer makes what rewritten modules import.
	offer(context.Context, wazero.Runtime) error
	// version names what rewrite makes of a module; "" when that is not worth keeping.
	version() string
	// rewrite turns the parsed module into the bytes to compile.
	rewrite(m *wasmbin.Module, exports []wasmbin.Export) ([]byte, error)
	// arm gives the context for one run of guest code, and ends the run's
	// bookkeeping: it tells what was used.
	arm(ctx context.Context, i *instance, b budget) (context.Context, func() spent)
}

// budget is what a run of guest code may use.
type budget struct {
	fuel int64
	time time.Duration
}

// spent is what a run has used.
type spent struct {
	fuel int64
	time time.Duration
	// over is KindFuel or KindTimeout when that was more than the budget.
	over Kind
}

// errOverrun ends guest code from within; what ran over is in spent.
var errOverrun = errors.New("the run was ended")

// explain says what a run used and what it may use.
func (s spent) explain(during string, b budget) string {
	if s.over == KindFuel {
		return fmt.Sprintf("%s used %s units of fuel, and its limit is %s (turn_fuel in the manifest)", during, million(s.fuel), million(b.fuel))
	}
	return fmt.Sprintf("%s ran over its time limit of %v (turn_ms in the manifest), and had used %s of its %s units of fuel",
		during, b.time, million(s.fuel), million(b.fuel))
}

// million writes units of fuel for people.
func million(units int64) string {
	if units < 1e5 {
		return fmt.Sprint(units)
	}
	return fmt.Sprintf("%.1f million", float64(units)/1e6)
}
