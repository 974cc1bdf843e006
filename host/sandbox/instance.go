package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"fn-threatq/abi"
	"fn-threatq/host/sandbox/internal/wasmbin"
)

// code is a compiled module and what must be known to make instances of it.
type code struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	meter    meter
	limits   Limits
	globals  []string // exports of the changeable globals
	pages    uint32   // with which the memory begins
	start    bool     // has a start function, exported as startExport
	data     []wasmbin.Data
}

// image is the state from which turns start.
type image struct {
	memory    *memoryImage
	globals   []uint64
	monotonic int64
}

// instance is one running copy of a module. It is used by one goroutine at a
// time.
type instance struct {
	code    *code
	module  api.Module
	memory  api.Memory
	linear  *linearMemory
	globals []api.MutableGlobal
	env     surroundings
	// fuel is the meter's counter, when it has one; slices and used tell of the
	// runs of this turn.
	fuel   api.MutableGlobal
	slices int
	used   int64
}

// zeroTime is the wall clock of the initialisation and the warm-up; the image
// must not depend on when it was taken.
var zeroTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// startBudget bounds the initialisation of a module.
var startBudget = budget{fuel: 5e9, time: time.Minute}

// instantiate makes an instance and runs nothing of it.
func (c *code) instantiate(ctx context.Context) (*instance, error) {
	linear, err := newLinearMemory(uint64(c.pages)*pageSize, c.limits.MemoryBytes)
	if err != nil {
		return nil, err
	}
	i := &instance{code: c, linear: linear}
	i.env.set(zeroTime, firstMonotonic, 0, c.limits.LogBytes)
	// What the instance is made of must not depend on the context of the turn
	// that happens to need it first.
	ctx = experimental.WithMemoryAllocator(context.WithoutCancel(ctx), i.linear)
	module, err := c.runtime.InstantiateModule(ctx, c.compiled, i.env.config())
	if err != nil {
		linear.Free()
		return nil, err
	}
	i.module, i.memory = module, module.Memory()
	i.fuel, _ = module.ExportedGlobal(fuelExport).(api.MutableGlobal)
	for _, name := range c.globals {
		global, ok := module.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			i.close()
			return nil, fmt.Errorf("global %s cannot be set", name)
		}
		i.globals = append(i.globals, global)
	}
	return i, nil
}

// place writes the data segments, which the compiled module no longer has.
func (i *instance) place(data []wasmbin.Data) *Error {
	for _, d := range data {
		if !i.memory.Write(d.Offset, d.Bytes) {
			return &Error{Kind: KindStart, Message: fmt.Sprintf("its data of %d bytes at %d lie outside its memory, which ends at %d",
				len(d.Bytes), d.Offset, i.memory.Size())}
		}
	}
	return nil
}

// arm gives the context for a run of the guest's code, and what ends the run.
func (i *instance) arm(parent context.Context, b budget) (context.Context, func() spent) {
	return i.code.meter.arm(context.WithValue(parent, surroundingsKey{}, &i.env), i, b)
}

// initialize brings a new instance to life as a WASI reactor.
func (i *instance) initialize(parent context.Context) *Error {
	what := "its start function"
	if err := parent.Err(); err != nil {
		return i.failure(parent, what, startBudget, spent{}, err)
	}
	ctx, done := i.arm(parent, startBudget)
	var err error
	if i.code.start {
		_, err = i.module.ExportedFunction(startExport).Call(ctx)
	}
	if f := i.module.ExportedFunction(abi.ExportInitialize); err == nil && f != nil {
		what = abi.ExportInitialize
		_, err = f.Call(ctx)
	}
	used := done()
	if err == nil && used.over == "" && !i.module.IsClosed() {
		return nil
	}
	return i.failure(parent, what, startBudget, used, err)
}

// begin makes an instance and initialises it.
func (c *code) begin(ctx context.Context) (*instance, *Error) {
	i, err := c.instantiate(ctx)
	if err != nil {
		return nil, &Error{Kind: KindStart, Message: "it cannot be instantiated: " + cause(err), Err: err}
	}
	e := i.place(c.data)
	if e == nil {
		e = i.initialize(ctx)
	}
	if e != nil {
		i.close()
		return nil, e
	}
	return i, nil
}

// fromImage makes an instance that stands where the image was taken.
func (c *code) fromImage(ctx context.Context, m *image) (*instance, *Error) {
	i, err := c.instantiate(ctx)
	if err != nil {
		return nil, &Error{Kind: KindStart, Message: "no instance can be made: " + cause(err), Err: err}
	}
	if !i.grow(len(m.memory.content)) {
		i.close()
		return nil, &Error{Kind: KindStart, Message: "no instance can be made: there is no room for its memory"}
	}
	if err := m.memory.install(i.linear); err != nil {
		i.close()
		return nil, &Error{Kind: KindStart, Message: "no instance can be made: " + err.Error(), Err: err}
	}
	i.setGlobals(m)
	return i, nil
}

// turn plays one turn and returns a copy of the answer.
func (i *instance) turn(parent context.Context, input []byte) ([]byte, *Error) {
	i.linear.refused, i.slices = false, 0
	may := i.code.limits.budget()
	if err := parent.Err(); err != nil {
		return nil, i.failure(parent, abi.ExportTurn, may, spent{}, err)
	}
	ctx, done := i.arm(parent, may)
	answer, during, err := i.exchange(ctx, input)
	used := done()
	i.used = used.fuel
	var broken *Error
	switch {
	case errors.As(err, &broken):
		return nil, broken
	case err != nil || used.over != "":
		return nil, i.failure(parent, during, may, used, err)
	}
	return answer, nil
}

// exchange follows the ABI: buffer, input, turn, answer. It returns the export
// that was called last.
func (i *instance) exchange(ctx context.Context, input []byte) (answer []byte, during string, err error) {
	during = abi.ExportInput
	size := uint64(len(input))
	// A function keeps the native stack it once needed; a new handle for each
	// call costs less than a guest that recursed deeply once.
	r, err := i.module.ExportedFunction(during).Call(ctx, size)
	if err != nil {
		return nil, during, err
	}
	at := uint32(r[0])
	if !i.memory.Write(at, input) {
		return nil, during, &Error{Kind: KindInput, Err: errBuffer, Message: fmt.Sprintf("%s offered a buffer at %d for %d bytes, its memory ends at %d",
			during, at, size, i.memory.Size())}
	}
	during = abi.ExportTurn
	r, err = i.module.ExportedFunction(during).Call(ctx, size)
	if err != nil {
		return nil, during, err
	}
	at, length := uint32(r[0]>>32), uint32(r[0])
	if length == 0 {
		return nil, during, &Error{Kind: KindOutput, Message: during + " answered with nothing"}
	}
	if limit := i.code.limits.OutputBytes; uint64(length) > uint64(limit) {
		return nil, during, &Error{Kind: KindOutput, Message: fmt.Sprintf("its answer has %d bytes, the limit is %d", length, limit)}
	}
	view, ok := i.memory.Read(at, length)
	if !ok {
		return nil, during, &Error{Kind: KindOutput, Message: fmt.Sprintf("its answer of %d bytes at %d lies outside its memory, which ends at %d",
			length, at, i.memory.Size())}
	}
	return slices.Clone(view), during, nil
}

// failure tells why a call of the guest did not return.
func (i *instance) failure(parent context.Context, during string, may budget, used spent, err error) *Error {
	e := &Error{Kind: KindTrap, Log: i.env.log.errorTail(), Err: err}
	var exit *sys.ExitError
	switch isExit := errors.As(err, &exit); {
	case used.over != "":
		e.Kind, e.Err = used.over, errOverrun
		if e.Kind == KindTimeout {
			e.Err = context.DeadlineExceeded
		}
		e.Message = used.explain(during, may)
		if i.linear.refused {
			e.Message += fmt.Sprintf(", after it asked for more memory than its limit of %d MB", i.code.limits.MemoryBytes>>20)
		}
	case parent.Err() != nil:
		e.Kind, e.Err = KindCanceled, context.Cause(parent)
		e.Message = fmt.Sprintf("%s was interrupted: %v", during, e.Err)
	case isExit:
		e.Kind = KindExit
		e.Message = fmt.Sprintf("%s ended the module with exit code %d; a module must return from it", during, exit.ExitCode())
	case i.linear.refused:
		e.Kind = KindMemory
		e.Message = fmt.Sprintf("%s failed after it asked for more memory than its limit of %d MB (%s)", during, i.code.limits.MemoryBytes>>20, cause(err))
	default:
		e.Message = fmt.Sprintf("%s trapped: %s", during, cause(err))
	}
	return e
}

// cause is the first line of a wazero error: the rest is a stack of numbers.
func cause(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line = strings.TrimSuffix(line, " (recovered by wazero)")
	return strings.TrimPrefix(line, "wasm error: ")
}

// snapshot takes the image.
func (i *instance) snapshot() *image {
	view, _ := i.memory.Read(0, i.memory.Size())
	m := &image{memory: newMemoryImage(view), monotonic: i.env.monotonic}
	for _, g := range i.globals {
		m.globals = append(m.globals, g.Get())
	}
	return m
}

// restore puts the image back. It reports false when that cannot be: the
// instance is closed or its memory has another size than the image.
func (i *instance) restore(m *image) bool {
	if i.module.IsClosed() || i.linear.size != uint64(len(m.memory.content)) || m.memory.reset(i.linear) != nil {
		return false
	}
	i.setGlobals(m)
	i.env.log = nil
	return true
}

func (i *instance) setGlobals(m *image) {
	for n, g := range i.globals {
		g.Set(m.globals[n])
	}
	i.env.monotonic = m.monotonic
}

// grow brings a new instance to the size of the image.
func (i *instance) grow(size int) bool {
	missing := size - int(i.memory.Size())
	if missing <= 0 {
		return missing == 0
	}
	_, ok := i.memory.Grow(uint32(missing / pageSize))
	return ok
}

func (i *instance) close() { _ = i.module.Close(context.Background()) }
