package wasmbin_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

var fuel = wasmbin.Fuel{TickModule: "host", TickName: "tick", Counter: "counter"}

var errNoFuel = errors.New("no fuel")

// machine runs modules, metered ones with a tick that hands out slices.
type machine struct {
	runtime wazero.Runtime
	budget  int64
	slice   int64
	given   int64
	ticks   int
}

func newMachine(t testing.TB, config wazero.RuntimeConfig) *machine {
	ctx := context.Background()
	m := &machine{runtime: wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(64))}
	t.Cleanup(func() { _ = m.runtime.Close(ctx) })
	i64 := []api.ValueType{api.ValueTypeI64}
	_, err := m.runtime.NewHostModuleBuilder(fuel.TickModule).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) {
			used := m.given - int64(stack[0])
			if m.ticks++; used > m.budget {
				panic(errNoFuel)
			}
			next := min(m.slice, m.budget-used)
			m.given, stack[0] = used+next, uint64(next)
		}), i64, i64).Export(fuel.TickName).Instantiate(ctx)
	require.NoError(t, err)
	return m
}

// trace is all that can be seen of a run.
type trace struct {
	Results [][]uint64
	Trap    string
	Memory  []byte
	Global  uint64
}

// play calls the export run with each of the arguments, in one instance.
func (m *machine) play(t testing.TB, file []byte, arguments [][]uint64) (seen trace, used int64) {
	ctx := context.Background()
	i, err := m.runtime.InstantiateWithConfig(ctx, file, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	require.NoError(t, err)
	defer i.Close(ctx)
	counter, metered := i.ExportedGlobal(fuel.Counter).(api.MutableGlobal)
	m.given, m.ticks = min(m.slice, m.budget), 0
	if metered {
		counter.Set(uint64(m.given))
	}
	for _, a := range arguments {
		results, err := i.ExportedFunction("run").Call(ctx, a...)
		if err != nil {
			seen.Trap, _, _ = cutLine(err.Error())
			break
		}
		seen.Results = append(seen.Results, results)
	}
	if i.Memory() != nil {
		view, _ := i.Memory().Read(0, i.Memory().Size())
		seen.Memory = bytes.TrimRight(bytes.Clone(view), "\x00")
	}
	if g := i.ExportedGlobal("g"); g != nil {
		seen.Global = g.Get()
	}
	if metered {
		used = m.given - int64(counter.Get())
	}
	return seen, used
}

func cutLine(text string) (string, string, bool) {
	line, rest, found := bytes.Cut([]byte(text), []byte("\n"))
	return string(line), string(rest), found
}

// both gives a module without and with the metering.
func both(t testing.TB, file []byte) (plain, metered []byte) {
	m, err := wasmbin.Parse(file)
	require.NoError(t, err)
	plain, err = m.Rewrite(nil)
	require.NoError(t, err)
	with, err := m.Metered(fuel)
	require.NoError(t, err)
	metered, err = with.Rewrite(nil)
	require.NoError(t, err)
	return plain, metered
}

func vec(items ...[]byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(items))), slices.Concat(items...)...)
}

func body(locals []byte, code ...byte) []byte {
	b := append(append(locals, code...), 0x0b)
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

func i32(v int64) []byte {
	b := []byte{0x41}
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// world is a module around some code: types, an i32 global g, two pages of
// memory, a passive segment, a table with two functions, and the functions
//
//	0 run (i32, i32) -> (i32)   the code, with one more local i32
//	1 twice (i32, i32) -> (i32) the first argument twice
//	2 sum (i32, i32) -> (i32)   their sum
//	3 pair () -> (i32, i32)     3 and 4
func world(code ...[]byte) []byte {
	return module(
		section(1, vec([]byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 0, 2, 0x7f, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 2, 0x7f, 0x7f})...),
		section(3, 4, 0, 0, 0, 1),
		section(4, vec([]byte{0x70, 0, 4}, []byte{0x6f, 0, 1})...),
		section(5, 1, 0, 2),
		section(6, vec([]byte{0x7f, 1, 0x41, 7, 0x0b}, []byte{0x70, 0, 0xd2, 1, 0x0b})...),
		section(7, vec([]byte{3, 'r', 'u', 'n', 0, 0}, []byte{1, 'g', 3, 0})...),
		section(9, vec([]byte{0, 0x41, 0, 0x0b, 2, 1, 2}, []byte{1, 0, 1, 2}, []byte{5, 0x70, 1, 0xd2, 1, 0x0b}, []byte{3, 0, 2, 0, 3})...),
		section(12, 1),
		section(10, vec(body([]byte{1, 1, 0x7f}, slices.Concat(code...)...), body([]byte{0}, 0x20, 0, 0x20, 0, 0x6a),
			body([]byte{0}, 0x20, 0, 0x20, 1, 0x6a), body([]byte{0}, 0x41, 3, 0x41, 4))...),
		section(11, vec(append([]byte{1}, append(binary.AppendUvarint(nil, 100_000), bytes.Repeat([]byte("segment."), 12_500)...)...))...),
		section(0, append([]byte{4, 'n', 'a', 'm', 'e', 1, 6, 1, 0, 3}, "run"...)...),
	)
}

// get are local.get of each.
func get(locals ...byte) (code []byte) {
	for _, l := range locals {
		code = append(code, 0x20, l)
	}
	return code
}

// constructs are pieces of code of every form of control, and all that is
// charged by its length. Each gives one i32.
var constructs = map[string][]byte{
	"straight":        append(get(0, 1), 0x6a),
	"if else":         append(get(0), 0x04, 0x7f, 0x41, 1, 0x05, 0x41, 2, 0x0b),
	"if alone":        slices.Concat(get(0), []byte{0x04, 0x40, 0x41, 9, 0x24, 0, 0x0b, 0x23, 0}),
	"loop":            slices.Concat([]byte{0x03, 0x40}, get(2, 0), []byte{0x6a, 0x21, 2}, get(1), []byte{0x41, 1, 0x6b, 0x22, 1, 0x0d, 0, 0x0b}, get(2)),
	"loops":           slices.Concat([]byte{0x03, 0x40, 0x03, 0x40}, get(2), []byte{0x41, 1, 0x6a, 0x22, 2, 0x41, 3, 0x70, 0x0d, 0, 0x0b}, get(2), []byte{0x41, 20, 0x48, 0x0d, 0, 0x0b}, get(2)),
	"loop with value": slices.Concat(get(0), []byte{0x03, 0x80, 0x80, 0x00, 0x41, 1, 0x0b, 0x6a}), // replaced below
	"block value":     slices.Concat([]byte{0x02, 0x7f}, get(0, 0), []byte{0x0d, 0, 0x1a, 0x41, 5, 0x0b}),
	"multi value":     {0x02, 1, 0x10, 3, 0x0b, 0x6a},
	"parameters":      slices.Concat(get(0, 1), []byte{0x02, 2, 0x0b, 0x6a}),
	"table of jumps": slices.Concat([]byte{0x02, 0x40, 0x02, 0x40, 0x02, 0x40}, get(0),
		[]byte{0x0e, 2, 0, 1, 2, 0x0b, 0x41, 10, 0x21, 2, 0x0c, 1, 0x0b, 0x41, 20, 0x21, 2, 0x0b}, get(2)),
	"return":           slices.Concat(get(0), []byte{0x04, 0x40, 0x41, 5, 0x0f, 0x0b, 0x41, 6}),
	"dead code":        {0x02, 0x40, 0x0c, 0, 0x41, 1, 0x1a, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b, 0x41, 7},
	"unreachable":      slices.Concat(get(0), []byte{0x04, 0x40, 0x00, 0x0b, 0x41, 1}),
	"call":             append(get(0, 1), 0x10, 1),
	"call indirect":    slices.Concat(get(0, 1, 0), []byte{0x11, 0, 0}),
	"recursion":        slices.Concat(get(0), []byte{0x04, 0x7f}, get(0), []byte{0x41, 1, 0x6b}, get(1), []byte{0x10, 0, 0x05}, get(1), []byte{0x0b}),
	"reference":        {0xd2, 2, 0xd1},
	"global reference": {0x41, 0, 0x23, 1, 0x26, 0, 0x41, 3, 0x41, 4, 0x41, 0, 0x11, 0, 0},
	"memory grow":      append(get(0), 0x40, 0),
	"grow too much":    slices.Concat(i32(1<<20), []byte{0x40, 0}),
	"fill":             slices.Concat(i32(5), i32(7), get(1), []byte{0xfc, 11, 0, 0x41, 1}),
	"fill long":        slices.Concat(i32(5), i32(7), i32(100_000), []byte{0xfc, 11, 0, 0x41, 1}),
	"fill all":         slices.Concat(i32(0), i32(7), i32(131_072), []byte{0xfc, 11, 0, 0x41, 1}),
	"fill past":        slices.Concat(i32(1), i32(7), i32(131_072), []byte{0xfc, 11, 0, 0x41, 1}),
	"fill around":      slices.Concat(i32(-1), i32(7), i32(70_000), []byte{0xfc, 11, 0, 0x41, 1}),
	"fill nothing":     slices.Concat(i32(131_073), i32(7), i32(0), []byte{0xfc, 11, 0, 0x41, 1}),
	"init":             slices.Concat(i32(3), i32(4), get(1), []byte{0xfc, 8, 0, 0, 0x41, 1}),
	"init long":        slices.Concat(i32(3), i32(4), i32(90_000), []byte{0xfc, 8, 0, 0, 0x41, 1}),
	"init past":        slices.Concat(i32(3), i32(4), i32(99_997), []byte{0xfc, 8, 0, 0, 0x41, 1}),
	"copy up":          slices.Concat(i32(0), i32(0), i32(100_000), []byte{0xfc, 8, 0, 0}, i32(10_001), i32(3), i32(90_000), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"copy down":        slices.Concat(i32(20_000), i32(0), i32(100_000), []byte{0xfc, 8, 0, 0}, i32(3), i32(20_001), i32(99_000), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"copy short":       slices.Concat(i32(0), i32(0), i32(1000), []byte{0xfc, 8, 0, 0}, i32(7), i32(3), get(1), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"copy to past":     slices.Concat(i32(60_000), i32(0), i32(71_073), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"copy from past":   slices.Concat(i32(0), i32(60_000), i32(71_073), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"copy from around": slices.Concat(i32(0), i32(-5), i32(71_073), []byte{0xfc, 10, 0, 0, 0x41, 1}),
	"data drop":        slices.Concat([]byte{0xfc, 9, 0}, i32(0), i32(0), get(0), []byte{0xfc, 8, 0, 0, 0x41, 1}),
	"table init":       {0x41, 2, 0x41, 0, 0x41, 2, 0xfc, 12, 1, 0, 0x41, 3, 0x41, 4, 0x41, 3, 0x11, 0, 0},
	"table copy":       {0x41, 3, 0x41, 0, 0x41, 1, 0xfc, 14, 0, 0, 0x41, 3, 0x41, 4, 0x41, 3, 0x11, 0, 0},
	"table grow":       slices.Concat([]byte{0xd2, 2}, get(0), []byte{0xfc, 15, 0}),
	"table grow other": slices.Concat([]byte{0xd0, 0x6f}, get(0), []byte{0xfc, 15, 1}),
	"table fill":       {0x41, 0, 0xd2, 2, 0x41, 4, 0xfc, 17, 0, 0x41, 3, 0x41, 4, 0x41, 3, 0x11, 0, 0},
	"table fill past":  {0x41, 1, 0xd2, 2, 0x41, 4, 0xfc, 17, 0, 0x41, 3},
	"element drop":     {0xfc, 13, 1, 0x41, 0, 0x41, 0, 0x41, 1, 0xfc, 12, 1, 0, 0x41, 3},
	"long and wide":    slices.Concat(bytes.Repeat([]byte{0x41, 1, 0x1a}, 200), get(0), []byte{0x04, 0x40}, bytes.Repeat([]byte{0x41, 1, 0x1a}, 6000), []byte{0x05, 0x41, 5, 0x21, 2, 0x0b}, get(2)),
	"loop long":        slices.Concat([]byte{0x03, 0x40}, bytes.Repeat([]byte{0x01, 0x41, 1, 0x1a}, 100), get(0), []byte{0x04, 0x40}, get(2), []byte{0x41, 1, 0x6a, 0x21, 2, 0x0b}, get(1), []byte{0x41, 1, 0x6b, 0x22, 1, 0x0d, 0, 0x0b}, get(2)),
}

func init() { // a loop that is entered with a value, and left with two
	constructs["loop with value"] = slices.Concat(get(0, 1), []byte{0x03, 2, 0x0b, 0x6a})
}

var arguments = [][]uint64{{0, 1}, {1, 5}, {2, 40}, {3, 7}, {0xffffffff, 3}}

func TestAMeteredModuleDoesTheSame(t *testing.T) {
	for engine, config := range map[string]wazero.RuntimeConfig{"compiler": wazero.NewRuntimeConfigCompiler(), "interpreter": wazero.NewRuntimeConfigInterpreter()} {
		m := newMachine(t, config)
		m.budget = 1e9
		for name, code := range constructs {
			t.Run(engine+"/"+name, func(t *testing.T) {
				plain, metered := both(t, world(code))
				arguments := arguments
				// The last of them recurses, or asks for more than there is.
				if name == "recursion" || name == "memory grow" || name == "table grow other" {
					arguments = arguments[:4]
				}
				for _, m.slice = range []int64{1, 50, 1e9} {
					want, _ := m.play(t, plain, arguments)
					got, used := m.play(t, metered, arguments)
					require.Equal(t, want, got)
					assert.Positive(t, used)
				}
			})
		}
	}
}

func TestFuelDoesNotDependOnTheSlices(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	m.budget = 1e9
	for name, code := range constructs {
		_, metered := both(t, world(code))
		_, again := both(t, world(code))
		require.Equal(t, metered, again, "%s: the pass gives the same bytes each time", name)
		var all []int64
		for _, m.slice = range []int64{0, 1, 7, 1000, 1e9} {
			_, used := m.play(t, metered, arguments[:4])
			all = append(all, used)
		}
		assert.Equal(t, slices.Repeat(all[:1], len(all)), all, name)
	}
}

func TestTheLastUnitMayBeUsed(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	for _, name := range []string{"loop", "recursion", "copy up", "long and wide", "table of jumps"} {
		_, metered := both(t, world(constructs[name]))
		m.budget, m.slice = 1e9, 100
		want, used := m.play(t, metered, arguments[:4])
		m.budget = used
		got, _ := m.play(t, metered, arguments[:4])
		assert.Equal(t, want, got, name)
		m.budget = used - 1
		got, over := m.play(t, metered, arguments[:4])
		// Code without a loop or a call ends before it looks; the sum tells.
		assert.True(t, got.Trap != "" || over > m.budget, name)
	}
}

// TestWorkIsCharged holds the charges to what is done, within what the
// description of the costs leaves open.
func TestWorkIsCharged(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	m.budget, m.slice = 1e12, 1e12
	used := func(argument uint64, code ...[]byte) int64 {
		_, metered := both(t, world(slices.Concat(code...)))
		_, used := m.play(t, metered, [][]uint64{{argument, argument}})
		return used
	}
	countdown := constructs["loop"] // local 1 times, 9 instructions each
	assert.InDelta(t, 9*900, used(1000, countdown)-used(100, countdown), 900)
	straight := bytes.Repeat([]byte{0x41, 1, 0x1a}, 1000)
	assert.InDelta(t, 2000, used(0, straight, []byte{0x41, 1})-used(0, []byte{0x41, 1}), 2)
	assert.InDelta(t, 100_000>>4, used(0, i32(0), i32(1), i32(100_000), []byte{0xfc, 11, 0, 0x41, 1}), 200, "fill")
	assert.InDelta(t, 90_000>>4, used(0, constructs["init long"]), 200, "init")
	assert.InDelta(t, 1000, used(0, i32(1), []byte{0x40, 0}), 50, "a page")
	assert.InDelta(t, 50, used(0, i32(1<<16), []byte{0x40, 0}), 50, "pages that were refused")
	assert.Greater(t, used(0, []byte{0xd2, 2}, i32(1000), []byte{0xfc, 15, 0}), int64(1000), "table.grow")
	taken := slices.Concat(get(0), []byte{0x04, 0x40}, straight, []byte{0x05}, []byte{0x0b, 0x41, 1})
	assert.InDelta(t, 2000, used(1, taken)-used(0, taken), 2, "a long branch is charged when it is taken")
}

// TestALengthIsNeverNegative: lengths near 2^32 are charged as what they are, and
// not as less than nothing, whether the instruction traps or is refused.
func TestALengthIsNeverNegative(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	m.budget, m.slice = 1e12, 1e12
	for name, c := range map[string]struct {
		code   func(length []byte) []byte
		shift  int // units for a length: 1 for so many
		traps  bool
		atOnce bool // is charged for the whole, though nothing is done
	}{
		"memory.fill":           {func(l []byte) []byte { return slices.Concat(i32(2), i32(7), l, []byte{0xfc, 11, 0, 0x41, 1}) }, 4, true, true},
		"memory.fill from 0":    {func(l []byte) []byte { return slices.Concat(i32(0), i32(7), l, []byte{0xfc, 11, 0, 0x41, 1}) }, 4, true, false},
		"memory.copy":           {func(l []byte) []byte { return slices.Concat(i32(1), i32(2), l, []byte{0xfc, 10, 0, 0, 0x41, 1}) }, 4, true, true},
		"memory.copy down to 0": {func(l []byte) []byte { return slices.Concat(i32(0), i32(2), l, []byte{0xfc, 10, 0, 0, 0x41, 1}) }, 4, true, true},
		"memory.init":           {func(l []byte) []byte { return slices.Concat(i32(1), i32(2), l, []byte{0xfc, 8, 0, 0, 0x41, 1}) }, 4, true, true},
		"table.fill":            {func(l []byte) []byte { return slices.Concat(i32(0), []byte{0xd2, 2}, l, []byte{0xfc, 17, 0, 0x41, 1}) }, 0, true, true},
		"table.copy":            {func(l []byte) []byte { return slices.Concat(i32(0), i32(0), l, []byte{0xfc, 14, 0, 0, 0x41, 1}) }, 0, true, true},
		"table.init":            {func(l []byte) []byte { return slices.Concat(i32(0), i32(0), l, []byte{0xfc, 12, 1, 0, 0x41, 1}) }, 0, true, true},
		"table.grow":            {func(l []byte) []byte { return slices.Concat([]byte{0xd2, 2}, l, []byte{0xfc, 15, 0}) }, 0, false, false},
		"memory.grow":           {func(l []byte) []byte { return slices.Concat(l, []byte{0x40, 0}) }, 0, false, false},
	} {
		for _, length := range []int64{-1, -2, -1 << 31, 1<<31 - 1} {
			_, metered := both(t, world(c.code(i32(length))))
			seen, used := m.play(t, metered, arguments[:1])
			least := int64(1)
			if wraps := length > -3 && length < 0; c.atOnce && (wraps || c.shift == 0) {
				least = int64(uint32(length)) >> c.shift
			}
			assert.GreaterOrEqual(t, used, least, "%s of %d", name, uint32(length))
			assert.Equal(t, c.traps, seen.Trap != "", "%s of %d: %s", name, uint32(length), seen.Trap)
		}
	}
}

func TestNoWorkIsDoneForNothing(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	m.budget, m.slice = 1000, 100
	for name, code := range map[string][]byte{
		"empty loop":          {0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 1},
		"loop by br_if":       {0x03, 0x40, 0x41, 1, 0x0d, 0, 0x0b, 0x41, 1},
		"loop by br_table":    {0x03, 0x40, 0x41, 1, 0x0e, 0, 0, 0x0b, 0x41, 1},
		"outer loop":          {0x03, 0x40, 0x02, 0x40, 0x0c, 1, 0x0b, 0x0b, 0x41, 1},
		"recursion":           slices.Concat(get(0, 1), []byte{0x10, 0}),
		"indirect":            {0x41, 0, 0xd2, 0, 0x26, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0x11, 0, 0},
		"loop of fills":       {0x03, 0x40, 0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 11, 0, 0x0c, 0, 0x0b, 0x41, 1},
		"one long fill":       slices.Concat(i32(0), i32(0), i32(131_072), []byte{0xfc, 11, 0, 0x41, 1}),
		"long way round":      slices.Concat([]byte{0x03, 0x40}, bytes.Repeat([]byte{0x41, 1, 0x1a}, 9000), []byte{0x0c, 0, 0x0b, 0x41, 1}),
		"straight and long":   slices.Concat(bytes.Repeat([]byte{0x41, 1, 0x1a}, 9000), []byte{0x41, 1}),
		"table of much":       slices.Concat([]byte{0xd2, 2}, i32(200_000), []byte{0xfc, 15, 0}),
		"table of far too":    slices.Concat([]byte{0x03, 0x40, 0xd2, 2}, i32(1<<30), []byte{0xfc, 15, 0, 0x1a, 0x0c, 0, 0x0b, 0x41, 1}),
		"memory again":        slices.Concat([]byte{0x03, 0x40}, i32(1<<20), []byte{0x40, 0, 0x1a, 0x0c, 0, 0x0b, 0x41, 1}),
		"loop in dead branch": {0x02, 0x40, 0x03, 0x40, 0x41, 0, 0x04, 0x40, 0x0c, 2, 0x0b, 0x0c, 0, 0x0b, 0x0b, 0x41, 1},
	} {
		_, metered := both(t, world(code))
		seen, _ := m.play(t, metered, [][]uint64{{1, 1}})
		assert.Contains(t, seen.Trap, errNoFuel.Error(), name)
	}
}

func TestTablesGrowSoFar(t *testing.T) {
	m := newMachine(t, wazero.NewRuntimeConfigCompiler())
	m.budget, m.slice = 1e9, 1e9
	for size, want := range map[int64]uint32{wasmbin.MaxElements - 4: 4, wasmbin.MaxElements - 3: 0xffffffff, -1: 0xffffffff} {
		_, metered := both(t, world(slices.Concat([]byte{0xd2, 2}, i32(size), []byte{0xfc, 15, 0})))
		seen, _ := m.play(t, metered, arguments[:1])
		assert.Equal(t, [][]uint64{{uint64(want)}}, seen.Results, "by %d", size)
	}
}

// TestAGuestCannotReachTheMeter: what was added stands behind the module's own
// indices, where invalid code could have pointed to.
func TestAGuestCannotReachTheMeter(t *testing.T) {
	for name, code := range map[string][]byte{
		"call of an added function": {0x10, 4, 0x41, 1},
		"call of far away":          {0x10, 0x84, 0x00, 0x41, 1},
		"reference":                 {0xd2, 4, 0xd1},
		"the counter, read":         {0x23, 2, 0x1a, 0x41, 1},
		"the counter, set":          {0x42, 0, 0x24, 2, 0x41, 1},
		"an added type, block":      {0x02, 3, 0x0b, 0x41, 1},
		"an added type, call":       {0x41, 0, 0x11, 3, 0, 0x41, 1},
		"no such table":             {0xd0, 0x70, 0x41, 1, 0xfc, 15, 2},
	} {
		m, err := wasmbin.Parse(world(code))
		require.NoError(t, err, name)
		_, err = m.Metered(fuel)
		assert.ErrorContains(t, err, "an index points past the module's own", name)
	}
	types, own := section(1, 1, 0x60, 0, 0), section(10, 1, 2, 0, 0x0b)
	for name, file := range map[string][]byte{
		"function of an added type": module(types, section(3, 1, 1), own),
		"export of a function":      module(types, section(3, 1, 0), section(7, 1, 1, 'f', 0, 1), own),
		"export of the counter":     module(types, section(3, 1, 0), section(7, 1, 1, 'c', 3, 0), own),
		"start":                     module(types, section(3, 1, 0), section(8, 1), own),
		"element":                   module(types, section(3, 1, 0), section(4, 1, 0x70, 0, 1), section(9, 1, 0, 0x41, 0, 0x0b, 1, 1), own),
		"element expression":        module(types, section(3, 1, 0), section(4, 1, 0x70, 0, 1), section(9, 1, 4, 0x41, 0, 0x0b, 1, 0xd2, 1, 0x0b), own),
		"global":                    module(types, section(3, 1, 0), section(6, 1, 0x7e, 0, 0x23, 1, 0x0b), own),
		"more code than functions":  module(types, section(3, 1, 0), section(10, 2, 2, 0, 0x0b, 2, 0, 0x0b)),
	} {
		m, err := wasmbin.Parse(file)
		require.NoError(t, err, name)
		_, err = m.Metered(fuel)
		assert.ErrorContains(t, err, "an index points past the module's own", name)
	}
	m, err := wasmbin.Parse(module(types, section(3, 1, 0), section(7, 1, 7, 'c', 'o', 'u', 'n', 't', 'e', 'r', 0, 0), own))
	require.NoError(t, err)
	_, err = m.Metered(fuel)
	assert.ErrorContains(t, err, `exports "counter"`)
}

func TestIndicesMoveWithTheImport(t *testing.T) {
	m, err := wasmbin.Parse(module(
		section(1, 1, 0x60, 0, 0),
		section(2, 1, 1, 'e', 1, 'f', 0, 0),
		section(3, 2, 0, 0),
		section(7, 2, 1, 'a', 0, 0, 1, 'b', 0, 2),
		section(8, 1),
		section(10, vec(body([]byte{0}, 0x10, 0), body([]byte{0}, 0x10, 1))...),
		section(0, 4, 'n', 'a', 'm', 'e', 1, 10, 3, 0, 1, 'i', 1, 1, 'x', 2, 1, 'y', 2, 1, 0),
		section(0, 5, 'o', 't', 'h', 'e', 'r', 1),
	))
	require.NoError(t, err)
	metered, err := m.Metered(fuel)
	require.NoError(t, err)
	assert.EqualValues(t, 2, metered.Start)
	assert.EqualValues(t, 0, m.MovedFunction(0))
	assert.EqualValues(t, 3, m.MovedFunction(2))
	assert.Equal(t, []wasmbin.Export{{Name: "a", Index: 0}, {Name: "b", Index: 3}, {Name: "counter", Kind: wasmbin.KindGlobal}}, metered.Exports)
	assert.Equal(t, []wasmbin.Import{{Module: "e", Name: "f"}, {Module: "host", Name: "tick"}}, metered.Imports)
	file, err := metered.Rewrite(nil)
	require.NoError(t, err)
	again, err := wasmbin.Parse(file)
	require.NoError(t, err)
	assert.Equal(t, metered.Exports, again.Exports)
	assert.Equal(t, metered.Imports, again.Imports)
	assert.Contains(t, string(file), "\x01\x0a\x03\x00\x01i\x02\x01x\x03\x01y", "names move too")

	ctx := context.Background()
	r := newMachine(t, wazero.NewRuntimeConfigCompiler()).runtime
	called := 0
	_, err = r.NewHostModuleBuilder("e").NewFunctionBuilder().WithFunc(func() { called++ }).Export("f").Instantiate(ctx)
	require.NoError(t, err)
	i, err := r.Instantiate(ctx, file)
	require.NoError(t, err)
	i.ExportedGlobal("counter").(api.MutableGlobal).Set(1e6)
	_, err = i.ExportedFunction("b").Call(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, called, "b calls x, which calls the import")
}

func FuzzMetered(f *testing.F) {
	for _, code := range constructs {
		f.Add(world(code))
	}
	f.Add(module())
	f.Add(module(section(1, 1, 0x60, 0, 0), section(3, 1, 0), section(8, 0), function(0x41, 7, 0x1a)))
	m := newMachine(f, wazero.NewRuntimeConfigInterpreter())
	m.budget, m.slice = 1e5, 1e3
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, file []byte) {
		parsed, err := wasmbin.Parse(file)
		if err != nil {
			return
		}
		elements := uint64(0)
		for _, n := range parsed.Tables {
			elements += uint64(n)
		}
		with, err := parsed.Metered(fuel)
		if err != nil || elements > wasmbin.MaxElements || len(parsed.Imports) > 0 || parsed.HasStart {
			return
		}
		plain, err := parsed.Rewrite(nil)
		require.NoError(t, err)
		metered, err := with.Rewrite(nil)
		require.NoError(t, err)
		compiled, refused := m.runtime.CompileModule(ctx, plain)
		compiledToo, refusedToo := m.runtime.CompileModule(ctx, metered)
		require.Equal(t, refused == nil, refusedToo == nil, "without: %v; with: %v", refused, refusedToo)
		if refused != nil {
			return
		}
		defer compiled.Close(ctx)
		defer compiledToo.Close(ctx)
		run := compiled.ExportedFunctions()["run"]
		if run == nil {
			return
		}
		tried, err := m.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			return // an element segment outside its table
		}
		require.NoError(t, tried.Close(ctx))
		arguments := [][]uint64{make([]uint64, len(run.ParamTypes())), make([]uint64, len(run.ParamTypes()))}
		for n := range arguments[1] {
			arguments[1][n] = 3
		}
		got, used := m.play(t, metered, arguments)
		if used > m.budget || parsed.HiddenState == "table.grow" {
			return // the other one might run for ever, or fill the machine
		}
		want, _ := m.play(t, plain, arguments)
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(got))
	})
}
