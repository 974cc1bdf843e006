package sandbox

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Errors of WASI preview 1.
const (
	errnoSuccess = 0
	errnoBadFile = 8
	errnoNoSys   = 52
)

// firstMonotonic is where the monotonic clock begins. The Go runtime refuses
// to start with a clock at zero.
const firstMonotonic = int64(time.Second)

// instantiateWASI makes wazero's own preview 1 the only module that can be
// imported, without the two functions by which a guest could leave a trace in
// the host: closing or renumbering stdout would outlast the turn.
func instantiateWASI(ctx context.Context, r wazero.Runtime) (wazero.CompiledModule, error) {
	b := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	i32 := api.ValueTypeI32
	b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) {
		// Upper bits of an i32 argument are garbage.
		if fd := uint32(stack[0]); fd > 2 {
			stack[0] = errnoBadFile
			return
		}
		stack[0] = errnoSuccess
	}), []api.ValueType{i32}, []api.ValueType{i32}).Export("fd_close")
	b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) {
		stack[0] = errnoNoSys
	}), []api.ValueType{i32, i32}, []api.ValueType{i32}).Export("fd_renumber")
	compiled, err := b.Compile(ctx)
	if err != nil {
		return nil, err
	}
	_, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig())
	return compiled, err
}

// surroundings are what an instance can perceive besides its input. They are
// set anew for each turn.
type surroundings struct {
	now       time.Time
	monotonic int64
	random    *rand.ChaCha8
	log       *guestLog
	// spend charges the guest for work of the host, and reports whether it may
	// go on; nil when nobody counts.
	spend func(units int64) bool
}

// mayCost charges for the work on so many bytes.
func (s *surroundings) mayCost(units int64) bool { return s.spend == nil || s.spend(units) }

func (s *surroundings) set(now time.Time, monotonic int64, seed uint64, logBytes int) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	s.now, s.monotonic = now, monotonic
	s.random = rand.NewChaCha8(key)
	s.log = &guestLog{limit: logBytes}
}

func (s *surroundings) config() wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		WithName("").         // instances of one module do not clash
		WithStartFunctions(). // the sandbox itself calls what must be called
		WithStdout(stream{s, stdout}).
		WithStderr(stream{s, stderr}).
		WithWalltime(func() (int64, int32) { return s.now.Unix(), int32(s.now.Nanosecond()) }, 1).
		WithNanotime(func() int64 { return s.monotonic }, 1).
		WithNanosleep(func(ns int64) {
			if ns > 0 {
				s.monotonic += min(ns, math.MaxInt64-s.monotonic)
			}
		}).
		WithOsyield(func() {}).
		WithRandSource(randomSource{s})
}

type randomSource struct{ *surroundings }

func (r randomSource) Read(p []byte) (int, error) {
	if !r.mayCost(int64(len(p)) / 4) {
		return 0, errAllUsed
	}
	return r.random.Read(p)
}
