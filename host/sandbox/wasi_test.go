package sandbox_test

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

// asks is a guest that calls a function of WASI with these i32 arguments and
// answers with the errno, two digits. Its memory has 16 MB.
func asks(t *testing.T, function string, prepare []byte, arguments ...int64) (*sandbox.Module, error) {
	t.Helper()
	number := func(n int64) []byte { return append([]byte{guestbuild.OpI32}, guestbuild.Signed(n)...) }
	turn := append(slices.Clone(prepare), number(0)...)
	for _, a := range arguments {
		turn = append(turn, number(a)...)
	}
	// The two digits are one number of 16 bits, the tens first.
	turn = append(append(turn, 0x10, 0), 0x22, 1, guestbuild.OpI32, 10, 0x6e, 0x20, 1, guestbuild.OpI32, 10, 0x70, guestbuild.OpI32, 8, 0x74, 0x72)
	turn = append(append(turn, number(0x3030)...), 0x6a, 0x3b, 0, 0) // + "00", i32.store16
	turn = append(turn, guestbuild.Answer(0, 2)...)
	g := guestbuild.Tiny{Locals: []byte{1, 1, 0x7f}, Turn: turn, Pages: []byte{0, 0x80, 0x02},
		Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", function, 3)}, Imported: 1,
		Types:    map[int][]byte{3: slices.Concat([]byte{0x60, byte(len(arguments))}, bytes.Repeat([]byte{0x7f}, len(arguments)), []byte{1, 0x7f})},
		Manifest: guestbuild.Manifest("asks", `{"turn_fuel":2}`)}
	return newSandbox(t).Load(t.Context(), g.File(t), sandbox.Limits{})
}

// store is code that puts an i32 to an address.
func store(at, value int64) []byte {
	return slices.Concat([]byte{guestbuild.OpI32}, guestbuild.Signed(at), []byte{guestbuild.OpI32}, guestbuild.Signed(value), []byte{guestbuild.OpStore, 2, 0})
}

// TestWhatNamesAFileIsNotLookedAt: no function reads a path, or goes through a list
// of buffers, for a file that cannot be there. An address outside the memory shows
// that it was not read.
func TestWhatNamesAFileIsNotLookedAt(t *testing.T) {
	const outside = 1 << 30
	for function, arguments := range map[string][]int64{
		"path_create_directory": {3, outside, 1 << 20},
		"path_remove_directory": {3, outside, 1 << 20},
		"path_unlink_file":      {3, outside, 1 << 20},
		"path_filestat_get":     {3, 0, outside, 1 << 20, 64},
		"path_readlink":         {3, outside, 1 << 20, 64, 10, 128},
		"path_rename":           {3, outside, 1 << 20, 3, outside, 1 << 20},
		"path_symlink":          {outside, 1 << 20, 3, outside, 1 << 20},
		"path_link":             {3, 0, outside, 1 << 20, 3, outside, 1 << 20},
	} {
		m, err := asks(t, function, nil, arguments...)
		require.NoError(t, err, function)
		assert.Equal(t, "08", mustTurn(t, m, "x"), "%s: bad file descriptor", function)
	}
	m, err := asks(t, "fd_read", nil, 0, outside, 1<<20, 64)
	require.NoError(t, err)
	assert.Equal(t, "00", mustTurn(t, m, "x"), "stdin is at its end")
	m, err = asks(t, "fd_read", nil, 1, outside, 1<<20, 64)
	require.NoError(t, err)
	assert.Equal(t, "08", mustTurn(t, m, "x"), "stdout cannot be read")
	m, err = asks(t, "fd_read", nil, 0, 64, 1, outside)
	require.NoError(t, err)
	assert.Equal(t, "21", mustTurn(t, m, "x"), "fault")
}

func TestPollTellsAllEvents(t *testing.T) {
	const in, out, told = 1 << 20, 2 << 20, 64
	clock := slices.Concat(store(in, 7), store(in+8, 0), store(in+24, 1000))
	for name, c := range map[string]struct {
		prepare []byte
		n       int64
		want    string
	}{
		"a time":           {clock, 1, "00"},
		"a point in time":  {append(slices.Clone(clock), store(in+40, 1)...), 1, "58"},
		"stdin":            {store(in+8, 1), 1, "00"},
		"stdout":           {store(in+8, 2), 1, "00"},
		"another kind":     {store(in+8, 3), 1, "28"},
		"nothing":          {nil, 0, "28"},
		"more than memory": {nil, 400_000, "21"},
		// 48 bytes each, so many are 32 in 32 bits.
		"a number that wraps around": {nil, 0x5555556, "21"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := asks(t, "poll_oneoff", c.prepare, in, out, c.n, told)
			require.NoError(t, err)
			assert.Equal(t, c.want, mustTurn(t, m, "x"))
		})
	}
	m, err := asks(t, "poll_oneoff", nil, in, 4<<20, 6_000, told)
	require.NoError(t, err)
	many, err := turn(t.Context(), m, "x")
	require.NoError(t, err)
	m, err = asks(t, "poll_oneoff", nil, in, 4<<20, 1_000, told)
	require.NoError(t, err)
	few, err := turn(t.Context(), m, "x")
	require.NoError(t, err)
	assert.EqualValues(t, 5_000*20, many.Fuel-few.Fuel, "each of them is charged")
}

// TestOverlappingWritesEndWithTheFuel: one call can ask for far more than there is
// memory. It ends when the fuel does, and not when all is written.
func TestOverlappingWritesEndWithTheFuel(t *testing.T) {
	const vectors, size = 1000, 8 << 20
	var prepare []byte
	for n := range int64(vectors) {
		prepare = append(prepare, store(1<<20+8*n+4, size)...)
	}
	m, err := asks(t, "fd_write", prepare, 1, 1<<20, vectors, 64)
	require.ErrorContains(t, err, "used 2", "in the warm-up already")
	require.Nil(t, m)

	m, err = asks(t, "fd_write", slices.Concat(store(1<<20+4, size), store(1<<20+12, size)), 1, 1<<20, 2, 64)
	require.NoError(t, err)
	out, err := turn(t.Context(), m, "x")
	require.NoError(t, err)
	assert.Equal(t, 2*size-sandbox.DefaultLimits.LogBytes, out.LogDropped)
	assert.InDelta(t, 2*(size/16+100), out.Fuel, 1000)
}

// TestRandomIsChargedByItsLength, at four bytes for one unit.
func TestRandomIsChargedByItsLength(t *testing.T) {
	fuel := func(bytes int64) int64 {
		m, err := asks(t, "random_get", nil, 1<<20, bytes)
		require.NoError(t, err)
		out, err := turn(t.Context(), m, "x")
		require.NoError(t, err)
		return out.Fuel
	}
	assert.EqualValues(t, 1_000_000, fuel(4_004_000)-fuel(4_000))
}

// TestDeepRecursionTakesLittleOfTheHost: a guest without a stack of its own
// recurses on the host's, which wazero bounds.
func TestDeepRecursionTakesLittleOfTheHost(t *testing.T) {
	g := guestbuild.Tiny{Turn: slices.Concat(
		// The warm-up sends long inputs.
		[]byte{0x20, 0, guestbuild.OpI32, 20, 0x49, 0x04, 0x40, 0x20, 0, 0x10, 1, 0x1a, guestbuild.OpEnd}, guestbuild.Answer(0, 12)),
		Manifest: guestbuild.Manifest("deep", `{"turn_fuel":10000,"turn_ms":60000}`)}
	m, err := newSandbox(t).Load(t.Context(), g.File(t), sandbox.Limits{})
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = turn(t.Context(), m, "short")
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "ftq1_turn trapped: stack overflow")
	// It doubles until it is over 50 MB; all of these together:
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)>>20, uint64(256), "MB")
	assert.Equal(t, `"0123456789"`, mustTurn(t, m, strings.Repeat("x", 100)))
}
