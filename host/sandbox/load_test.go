package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

func TestATinyGuestIsWell(t *testing.T) {
	m, err := newSandbox(t).Load(t.Context(), tiny{}.file(t), sandbox.Limits{})
	require.NoError(t, err)
	assert.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
}

func TestLoadRefusesWithAReason(t *testing.T) {
	loop := []byte{0x03, 0x40, 0x0c, 0, opEnd}
	for name, c := range map[string]struct {
		file []byte
		kind sandbox.Kind
		want string
	}{
		"nothing":       {nil, sandbox.KindFile, "not a WASM core module"},
		"cut in half":   {tiny{}.file(t)[:90], sandbox.KindFile, "bytes announced"},
		"no manifest":   {tiny{}.code(), sandbox.KindManifest, `no section "fn-threatq.manifest"`},
		"bad manifest":  {tiny{manifest: `{"abi":1}`}.file(t), sandbox.KindManifest, `name ""`},
		"wrong abi":     {tiny{manifest: strings.Replace(guestbuild.Manifest("tiny", `{}`), `"abi":1`, `"abi":7`, 1)}.file(t), sandbox.KindABI, "ABI 7, this host speaks ABI 1"},
		"bad warm-up":   {warmedUp(t, tiny{}, `{}`), sandbox.KindFile, "fn-threatq.warmup is not a JSON list"},
		"large memory":  {tiny{pages: []byte{0, 0x81, 0x08}}.file(t), sandbox.KindMemory, "64 MB of memory, its limit is 64 MB"},
		"invalid code":  {tiny{turn: []byte{opI32, 0}}.file(t), sandbox.KindCompile, "does not compile"},
		"newer opcode":  {tiny{turn: []byte{0x12, 0}}.file(t), sandbox.KindCompile, "instruction 0x12"},
		"foreign host":  {tiny{imports: [][]byte{importFunction("env", "http_get", 0)}, imported: 1}.file(t), sandbox.KindImport, "imports the function env.http_get"},
		"foreign name":  {tiny{imports: [][]byte{importFunction("wasi_snapshot_preview1", "sock_open", 0)}, imported: 1}.file(t), sandbox.KindImport, "wasi_snapshot_preview1.sock_open"},
		"other types":   {tiny{imports: [][]byte{importFunction("wasi_snapshot_preview1", "fd_write", 0)}, imported: 1}.file(t), sandbox.KindImport, "fd_write as (i32) -> (i32); it is (i32, i32, i32, i32) -> (i32)"},
		"import memory": {tiny{imports: [][]byte{{1, 'e', 1, 'm', 2, 0, 1}}}.file(t), sandbox.KindImport, "imports the memory e.m"},
		"import table":  {tiny{imports: [][]byte{{1, 'e', 1, 't', 1, 0x70, 0, 1}}}.file(t), sandbox.KindImport, "imports the table e.t"},
		"import global": {tiny{imports: [][]byte{{1, 'e', 1, 'g', 3, 0x7f, 0}}}.file(t), sandbox.KindImport, "imports the global e.g"},
		"no input":      {tiny{without: "ftq1_input"}.file(t), sandbox.KindExport, "does not export the function ftq1_input; want (i32) -> (i32)"},
		"no turn":       {tiny{without: "ftq1_turn"}.file(t), sandbox.KindExport, "does not export the function ftq1_turn; want (i32) -> (i64)"},
		"no memory":     {tiny{without: "memory"}.file(t), sandbox.KindExport, `"memory"`},
		"other turn":    {tiny{types: map[int][]byte{1: {0x60, 1, 0x7e, 1, 0x7e}}}.file(t), sandbox.KindExport, "ftq1_turn as (i64) -> (i64); want (i32) -> (i64)"},
		"other init":    {tiny{types: map[int][]byte{2: {0x60, 1, 0x7f, 0}}}.file(t), sandbox.KindExport, "_initialize as (i32) -> (); want () -> ()"},
		"our names":     {tiny{globals: [][]byte{{0x7f, 1, opI32, 0, opEnd}}, renamed: map[string]string{"_initialize": "fn-threatq.global.0"}}.file(t), sandbox.KindExport, "a name that the sandbox reserves"},
		"trap in init":  {tiny{init: []byte{0}}.file(t), sandbox.KindStart, "_initialize trapped: unreachable"},
		"trap in start": {tiny{init: []byte{0}, start: true}.file(t), sandbox.KindStart, "start function trapped: unreachable"},
		"trap at once":  {tiny{turn: []byte{0}}.file(t), sandbox.KindStart, "in turn 1 of 2 of the warm-up ftq1_turn trapped"},
		"data outside":  {tiny{pages: []byte{0, 0}}.file(t), sandbox.KindStart, "data of 12 bytes at 0 lie outside its memory, which ends at 0"},
		"trap recorded": {warmedUp(t, tiny{turn: trapOn("x")}, `["a","x"]`), sandbox.KindStart, "in turn 4 of 4 of the warm-up ftq1_turn trapped"},
		"endless": {tiny{turn: append(loop, answer(0, 1)...), manifest: guestbuild.Manifest("tiny", `{"turn_fuel":3}`)}.file(t),
			sandbox.KindStart, "ftq1_turn used 3.0 million units of fuel, and its limit is 3.0 million"},
		"our counter": {tiny{renamed: map[string]string{"_initialize": "fn-threatq.fuel"}}.file(t), sandbox.KindExport, "a name that the sandbox reserves"},
		"our tick":    {tiny{imports: [][]byte{importFunction("fn-threatq", "tick", 0)}, imported: 1}.file(t), sandbox.KindImport, "imports the function fn-threatq.tick"},
		"large table": {tiny{tables: []byte{1, 0x70, 0, 0x81, 0x80, 0x10}}.file(t), sandbox.KindMemory, "it has 1 tables with 262145 elements"},
		"many tables": {tiny{tables: append([]byte{17}, bytes.Repeat([]byte{0x70, 0, 0}, 17)...)}.file(t), sandbox.KindMemory, "it has 17 tables"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSandbox(t).Load(t.Context(), c.file, sandbox.Limits{})
			var e *sandbox.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.kind, e.Kind, e.Error())
			assert.Contains(t, e.Message, c.want)
			assert.Len(t, e.Digest, 64)
		})
	}
}

// trapOn is code that traps when the second byte of the input is this one.
func trapOn(text string) []byte {
	code := []byte{opI32, 0x80, 0x08, 0x2d, 0, 1} // i32.load8_u 1025
	code = append(append(code, opI32), signed(int64(text[0]))...)
	code = append(code, 0x46, 0x04, 0x40, 0x00, opEnd) // i32.eq, if, unreachable
	return append(code, answer(0, 12)...)
}

func warmedUp(t *testing.T, g tiny, inputs string) []byte {
	t.Helper()
	file, err := modulefile.WithSection(g.file(t), abi.SectionWarmUp, []byte(inputs))
	require.NoError(t, err)
	return file
}

func TestAGuestThatBearsFewTurnsIsWellBecauseEachIsItsFirst(t *testing.T) {
	m, err := newSandbox(t).Load(t.Context(), tiny{
		globals: [][]byte{{0x7f, 1, opI32, 0, opEnd}},
		// global 0 += 1; when it is 5: unreachable
		turn: append([]byte{0x23, 0, opI32, 1, 0x6a, 0x24, 0, 0x23, 0, opI32, 5, 0x46, 0x04, 0x40, 0x00, opEnd}, answer(0, 12)...),
	}.file(t), sandbox.Limits{})
	require.NoError(t, err)
	for range 10 {
		require.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
	}
}

func TestAnOtherABIIsToldApart(t *testing.T) {
	file := tiny{manifest: strings.Replace(guestbuild.Manifest("tiny", `{}`), `"abi":1`, `"abi":7`, 1)}.file(t)
	_, err := newSandbox(t).Load(t.Context(), file, sandbox.Limits{})
	var version *manifest.VersionError
	require.ErrorAs(t, err, &version)
	assert.Equal(t, 7, version.Wants)
}

func TestAPanicAtStartCarriesTheGuestsWords(t *testing.T) {
	file := guestbuild.WithManifest(t, guestbuild.Code(t, "panic"), strings.Replace(guestbuild.Manifest("panic", `{}`), "Test: panic", "Test: misbehave", 1))
	_, err := newSandbox(t).Load(t.Context(), file, sandbox.Limits{})
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindStart, e.Kind)
	assert.Contains(t, e.Log, "panic: the guest gave up")
}

func TestPointersAreChecked(t *testing.T) {
	const end = 64 << 10
	for name, c := range map[string]struct {
		guest tiny
		kind  sandbox.Kind
		want  string
	}{
		"answer past the end":     {tiny{turn: answer(end-11, 12)}, sandbox.KindOutput, "12 bytes at 65525 lies outside its memory, which ends at 65536"},
		"answer far away":         {tiny{turn: answer(0xffffffff, 0xffff)}, sandbox.KindOutput, "outside its memory"},
		"answer of everything":    {tiny{turn: answer(0, 0xffffffff)}, sandbox.KindOutput, "4294967295 bytes, the limit is"},
		"answer of nothing":       {tiny{turn: answer(0, 0)}, sandbox.KindOutput, "answered with nothing"},
		"buffer past the end":     {tiny{input: append([]byte{opI32}, signed(end-1)...)}, sandbox.KindInput, "offered a buffer at 65535 for 4 bytes, its memory ends at 65536"},
		"buffer at minus one":     {tiny{input: []byte{opI32, 0x7f}}, sandbox.KindInput, "offered a buffer at 4294967295"},
		"just within, both sides": {tiny{input: append([]byte{opI32}, signed(end-4)...), turn: answer(end-4, 4), manifest: guestbuild.Manifest("tiny", `{}`)}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := newSandbox(t).Load(t.Context(), c.guest.file(t), sandbox.Limits{})
			require.NoError(t, err, "what it does with an example is its own affair")
			out, err := turn(t.Context(), m, "four")
			if c.kind == "" {
				require.NoError(t, err)
				require.Equal(t, "four", string(out.Answer))
				return
			}
			var e *sandbox.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.kind, e.Kind)
			assert.Contains(t, e.Message, c.want)
		})
	}
}

func TestHiddenStateDoesNotLeakEither(t *testing.T) {
	// Each guest answers with 1 byte the first time and with 2 after that, if
	// it remembers; a trap would show as an error.
	first, second := answer(0, 1), answer(0, 2)
	choose := func(condition, remember []byte) []byte {
		code := append(append(condition, 0x04, 0x7e), first...) // if (result i64)
		code = append(append(code, 0x05), second...)            // else
		return append(append(code, opEnd), remember...)
	}
	table := []byte{1, 0x70, 0, 1}            // one table of one funcref
	element := []byte{1, 3, 0, 1, 0}          // function 0, declared for ref.func
	isNull := []byte{opI32, 0, 0x25, 0, 0xd1} // table.get 0, ref.is_null
	for name, c := range map[string]struct {
		guest  tiny
		policy string
		hidden string
	}{
		"global": {tiny{globals: [][]byte{{0x7f, 1, opI32, 0, opEnd}},
			turn: choose([]byte{0x23, 0, 0x45}, []byte{opI32, 1, 0x24, 0})}, sandbox.PolicyImage, ""},
		"memory":      {tiny{turn: choose([]byte{opI32, 0x80, 0x10, opLoad, 2, 0, 0x45}, []byte{opI32, 0x80, 0x10, opI32, 1, opStore, 2, 0})}, sandbox.PolicyImage, ""},
		"memory size": {tiny{turn: choose([]byte{0x3f, 0, opI32, 1, 0x46}, []byte{opI32, 1, 0x40, 0, 0x1a})}, sandbox.PolicyImage, ""},
		"table": {tiny{tables: table, elements: element,
			turn: choose(isNull, []byte{opI32, 0, 0xd2, 0, 0x26, 0})}, sandbox.PolicyFresh, "table.set"},
		"table size": {tiny{tables: table,
			turn: choose([]byte{0xfc, 16, 0, opI32, 1, 0x46}, []byte{0xd0, 0x70, opI32, 1, 0xfc, 15, 0, 0x1a})}, sandbox.PolicyFresh, "table.grow"},
		"start section": {tiny{start: true, globals: [][]byte{{0x7f, 1, opI32, 0, opEnd}},
			init: []byte{0x23, 0, opI32, 1, 0x6a, 0x24, 0}, // global 0 += 1
			turn: choose([]byte{0x23, 0, opI32, 1, 0x46}, []byte{opI32, 5, 0x24, 0})}, sandbox.PolicyImage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			// The warm-up is a turn too: what it left behind is in the image.
			m, err := newSandbox(t).Load(t.Context(), c.guest.file(t), sandbox.Limits{})
			require.NoError(t, err)
			want := `"0`
			if c.policy == sandbox.PolicyFresh {
				want = `"`
			}
			for range 3 {
				require.Equal(t, want, mustTurn(t, m, "x"))
			}
			s := m.Stats()
			assert.Equal(t, c.policy, s.Policy)
			assert.Equal(t, c.hidden, s.HiddenState)
			if c.policy == sandbox.PolicyFresh {
				assert.EqualValues(t, 3, s.Instances)
				assert.Zero(t, s.Idle)
			}
		})
	}
}

func TestRefusedMemoryIsForgottenAfterTheTurn(t *testing.T) {
	// memory.grow by far too much, drop; a trap when the input says so.
	grow := []byte{opI32, 0xe0, 0xd4, 0x03, 0x40, 0, 0x1a}
	m, err := newSandbox(t).Load(t.Context(), tiny{turn: append(append(trapOn("x")[:13:13], 0x05), append(grow, append([]byte{opEnd}, answer(0, 12)...)...)...)}.file(t), sandbox.Limits{})
	require.NoError(t, err)
	mustTurn(t, m, "ab")
	_, err = turn(t.Context(), m, "ax")
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindTrap, e.Kind)
}

func TestLimitsAreTheWishWithinTheCeiling(t *testing.T) {
	for name, c := range map[string]struct {
		ceiling sandbox.Limits
		wish    manifest.Limits
		change  func(*sandbox.Limits)
	}{
		"nothing said": {change: func(*sandbox.Limits) {}},
		"a wish": {wish: manifest.Limits{MemoryMB: 8, TurnMS: 50, OutputKB: 1, LogKB: 2}, change: func(l *sandbox.Limits) {
			l.MemoryBytes, l.TurnTime, l.TurnFuel, l.OutputBytes, l.LogBytes = 8<<20, 50*time.Millisecond, 30e6, 1024, 2048
		}},
		"fuel":            {wish: manifest.Limits{TurnMS: 50, TurnFuel: 7}, change: func(l *sandbox.Limits) { l.TurnTime, l.TurnFuel = 50*time.Millisecond, 7e6 }},
		"no fuel, no end": {wish: manifest.Limits{TurnFuel: 1 << 60}, change: func(l *sandbox.Limits) {}},
		"too much": {wish: manifest.Limits{MemoryMB: 4000, TurnMS: 99_000}, change: func(l *sandbox.Limits) {
			l.MemoryBytes, l.TurnTime, l.TurnFuel = sandbox.DefaultCeiling.MemoryBytes, sandbox.DefaultCeiling.TurnTime, sandbox.DefaultCeiling.TurnFuel
		}},
		"a low ceiling":    {ceiling: sandbox.Limits{MemoryBytes: 1<<20 + 5, InputBytes: 7}, wish: manifest.Limits{MemoryMB: 8}, change: func(l *sandbox.Limits) { l.MemoryBytes, l.InputBytes = 1<<20, 7 }},
		"numbers too high": {wish: manifest.Limits{OutputKB: 1 << 61, MemoryMB: 1 << 60}, change: func(l *sandbox.Limits) {}},
	} {
		want := sandbox.DefaultLimits
		c.change(&want)
		assert.Equal(t, want, c.ceiling.Effective(c.wish), name)
	}
}

func TestCacheFolderMustBePrivate(t *testing.T) {
	open := filepath.Join(t.TempDir(), "cache")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o770))
	_, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: open})
	require.ErrorContains(t, err, "has mode 0770, so others could put code there")

	made := filepath.Join(t.TempDir(), "a", "b")
	s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: made})
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
	info, err := os.Stat(made)
	require.NoError(t, err)
	assert.EqualValues(t, 0o700, info.Mode().Perm())

	within, err := filepath.Glob(filepath.Join(made, "wazero-*"))
	require.NoError(t, err)
	require.Len(t, within, 1)
	require.NoError(t, os.Chmod(within[0], 0o777))
	_, err = sandbox.New(t.Context(), sandbox.Options{CacheDir: made})
	require.ErrorContains(t, err, within[0]+" has mode 0777")
}

func TestADamagedCacheHealsItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	file := tiny{}.file(t)
	use := func() {
		s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close(context.Background())) }()
		m, err := s.Load(t.Context(), file, sandbox.Limits{})
		require.NoError(t, err)
		require.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
	}
	use()
	files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	good, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for name, bad := range map[string][]byte{"cut": good[:len(good)/2], "empty": {}, "flipped": flipped(good)} {
		require.NoError(t, os.WriteFile(files[0], bad, 0o600), name)
		use()
		healed, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, good, healed, name)
	}
}

func flipped(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 0xff
	return b
}

func TestLoadStopsWhenTheCallerGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newSandbox(t).Load(ctx, tiny{}.file(t), sandbox.Limits{})
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindCanceled, e.Kind)
	assert.True(t, errors.Is(err, context.Canceled))
}
