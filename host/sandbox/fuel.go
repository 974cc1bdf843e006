package sandbox

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

const (
	// slice is how much fuel a guest burns before it comes back to the host:
	// some tenths of a millisecond. The garbage collector of the host waits for
	// the end of the slice, so this bounds how long a guest can hold it up.
	slice = 1 << 18

	// What rewritten modules import and export. A guest that names any of it
	// itself is refused.
	tickModule  = "fn-threatq"
	tickName    = "tick"
	fuelExport  = "fn-threatq.fuel"
	costOfWrite = 100 // units for each write to the log, besides its length
)

// fuelMeter counts fuel in the guest's own code: see wasmbin.Module.Metered.
type fuelMeter struct{}

func (fuelMeter) configure(c wazero.RuntimeConfig) wazero.RuntimeConfig { return c }

func (fuelMeter) version() string { return fmt.Sprintf("fuel-%d", wasmbin.FuelVersion) }

func (fuelMeter) offer(ctx context.Context, r wazero.Runtime) error {
	i64 := []api.ValueType{api.ValueTypeI64}
	_, err := r.NewHostModuleBuilder(tickModule).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(tick), i64, i64).Export(tickName).Instantiate(ctx)
	return err
}

func (fuelMeter) rewrite(m *wasmbin.Module, exports []wasmbin.Export) ([]byte, error) {
	metered, err := m.Metered(wasmbin.Fuel{TickModule: tickModule, TickName: tickName, Counter: fuelExport})
	if err != nil {
		return nil, err
	}
	moved := make([]wasmbin.Export, len(exports))
	for n, e := range exports {
		if e.Kind == wasmbin.KindFunction {
			e.Index = m.MovedFunction(e.Index)
		}
		moved[n] = e
	}
	return metered.Rewrite(moved)
}

// run is one run of guest code. What the guest has used is what it was given,
// less what its counter shows.
type run struct {
	budget
	parent  context.Context
	counter api.MutableGlobal
	began   time.Time
	given   int64
	over    Kind
	slices  int
}

type runKey struct{}

func (fuelMeter) arm(parent context.Context, i *instance, b budget) (context.Context, func() spent) {
	r := &run{budget: b, parent: parent, counter: i.fuel, began: time.Now(), given: min(slice, b.fuel)}
	r.counter.Set(uint64(r.given))
	i.env.spend = r.spend
	return context.WithValue(parent, runKey{}, r), func() spent {
		i.env.spend = nil
		s := spent{fuel: r.used(), time: time.Since(r.began), over: r.over}
		if s.over == "" && s.fuel > b.fuel {
			s.over = KindFuel // it returned before it looked
		}
		i.slices += r.slices
		return s
	}
}

func (r *run) used() int64 { return r.given - int64(r.counter.Get()) }

// spend charges the guest for what the host does for it. It reports false when
// nothing is left.
func (r *run) spend(units int64) bool {
	r.counter.Set(r.counter.Get() - uint64(units))
	return r.used() <= r.fuel
}

// tick is called by the guest at the end of each slice.
func tick(ctx context.Context, stack []uint64) {
	r := ctx.Value(runKey{}).(*run)
	used := r.given - int64(stack[0])
	r.slices++
	switch {
	case used > r.fuel:
		r.over = KindFuel
		panic(errOverrun)
	case r.parent.Err() != nil:
		panic(errOverrun)
	case time.Since(r.began) > r.time:
		r.over = KindTimeout
		panic(errOverrun)
	}
	// Other turns and the garbage collector have their chance.
	runtime.Gosched()
	next := min(slice, r.fuel-used)
	r.given = used + next
	stack[0] = uint64(next)
}
