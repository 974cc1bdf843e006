package sandbox

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Errors of WASI preview 1.
const (
	errnoSuccess = 0
	errnoBadFile = 8
	errnoFault   = 21
	errnoInvalid = 28
	errnoIO      = 29
	errnoNoSys   = 52
	errnoNotSup  = 58
)

// firstMonotonic is where the monotonic clock begins. The Go runtime refuses
// to start with a clock at zero.
const firstMonotonic = int64(time.Second)

// instantiateWASI makes wazero's own preview 1 the only module that can be
// imported, but for three kinds of functions. By fd_close and fd_renumber a guest
// could leave a trace in the host: closing or renumbering stdout would outlast
// the turn. Those that take a path or a list of buffers would read or copy a whole
// memory before they say that there is no such file, which no fuel pays for. And
// poll_oneoff goes through a list of any length.
func instantiateWASI(ctx context.Context, r wazero.Runtime) (wazero.CompiledModule, error) {
	builder := func() wazero.HostModuleBuilder {
		b := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
		wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
		return b
	}
	all, err := builder().Compile(ctx)
	if err != nil {
		return nil, err
	}
	b := builder()
	for name, f := range all.ExportedFunctions() {
		own := ownFunctions[name]
		if strings.HasPrefix(name, "path_") {
			own = noFile
		}
		if own != nil {
			b.NewFunctionBuilder().WithGoModuleFunction(own, f.ParamTypes(), f.ResultTypes()).Export(name)
		}
	}
	compiled, err := b.Compile(ctx)
	if err != nil {
		return nil, err
	}
	_, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig())
	return compiled, err
}

// ownFunctions take the place of wazero's. The upper bits of an i32 argument are
// garbage.
var ownFunctions = map[string]api.GoModuleFunc{
	"fd_close": func(_ context.Context, _ api.Module, stack []uint64) {
		if fd := uint32(stack[0]); fd > 2 {
			stack[0] = errnoBadFile
			return
		}
		stack[0] = errnoSuccess
	},
	"fd_renumber": func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = errnoNoSys },
	"fd_read": func(_ context.Context, m api.Module, stack []uint64) {
		switch {
		case uint32(stack[0]) != 0:
			stack[0] = errnoBadFile
		case !m.Memory().WriteUint32Le(uint32(stack[3]), 0): // stdin is at its end
			stack[0] = errnoFault
		default:
			stack[0] = errnoSuccess
		}
	},
	"fd_pread":    noFile,
	"fd_pwrite":   noFile,
	"poll_oneoff": pollOneoff,
}

func noFile(_ context.Context, _ api.Module, stack []uint64) { stack[0] = errnoBadFile }

const (
	// Sizes and kinds of what poll_oneoff takes and gives.
	subscriptionBytes, eventBytes  = 48, 32
	pollClock, pollRead, pollWrite = 0, 1, 2

	costOfSubscription = 20 // units
)

// pollOneoff waits for the first of some events: it moves the clock by the shortest
// of the times, unless there is a file to tell of, which is at once. As wazero
// does, it tells that all of them have happened.
func pollOneoff(ctx context.Context, m api.Module, stack []uint64) {
	in, out, n, told := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	stack[0] = poll(ctx.Value(surroundingsKey{}).(*surroundings), m.Memory(), in, out, n, told)
}

func poll(env *surroundings, memory api.Memory, in, out, n, told uint32) (errno uint64) {
	switch {
	case n == 0:
		return errnoInvalid
	case uint64(n)*subscriptionBytes > uint64(memory.Size()):
		return errnoFault
	case !env.mayCost(int64(n) * costOfSubscription):
		return errnoIO
	}
	subscriptions, ok := memory.Read(in, n*subscriptionBytes)
	events, room := memory.Read(out, n*eventBytes)
	if !ok || !room {
		return errnoFault
	}
	atOnce, shortest := false, uint64(math.MaxUint64)
	for ; len(events) > 0; subscriptions, events = subscriptions[subscriptionBytes:], events[eventBytes:] {
		kind, fd, result := subscriptions[8], binary.LittleEndian.Uint32(subscriptions[16:]), byte(errnoSuccess)
		switch {
		case kind > pollWrite:
			return errnoInvalid
		case kind == pollClock:
			if flags := binary.LittleEndian.Uint16(subscriptions[40:]); flags != 0 {
				return errnoNotSup // a point in time, where it takes a length
			}
			shortest = min(shortest, binary.LittleEndian.Uint64(subscriptions[24:]))
		case fd > 2:
			result, atOnce = errnoBadFile, true
		case kind == pollWrite:
			result, atOnce = errnoNotSup, true
		default:
			atOnce = true // a read that will tell of the end
		}
		copy(events, subscriptions[:8]) // what the guest knows it by
		clear(events[8:eventBytes])
		events[8], events[10] = result, kind
	}
	if !memory.WriteUint32Le(told, n) {
		return errnoFault
	}
	if !atOnce {
		env.sleep(int64(min(shortest, math.MaxInt64)))
	}
	return errnoSuccess
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

// surroundingsKey is where the context of a run has the instance's own.
type surroundingsKey struct{}

// sleep takes no time.
func (s *surroundings) sleep(ns int64) { s.monotonic += min(ns, math.MaxInt64-s.monotonic) }

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
