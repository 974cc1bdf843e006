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
	m, err := newSandbox(t).Load(t.Context(), guestbuild.Tiny{}.File(t), sandbox.Limits{})
	require.NoError(t, err)
	assert.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
}

func TestLoadRefusesWithAReason(t *testing.T) {
	loop := []byte{0x03, 0x40, 0x0c, 0, guestbuild.OpEnd}
	for name, c := range map[string]struct {
		file []byte
		kind sandbox.Kind
		want string
	}{
		"nothing":       {nil, sandbox.KindFile, "not a WASM core module"},
		"cut in half":   {guestbuild.Tiny{}.File(t)[:90], sandbox.KindFile, "bytes announced"},
		"no manifest":   {guestbuild.Tiny{}.Code(), sandbox.KindManifest, `no section "fn-threatq.manifest"`},
		"bad manifest":  {guestbuild.Tiny{Manifest: `{"abi":1}`}.File(t), sandbox.KindManifest, `name ""`},
		"wrong abi":     {guestbuild.Tiny{Manifest: strings.Replace(guestbuild.Manifest("tiny", `{}`), `"abi":1`, `"abi":7`, 1)}.File(t), sandbox.KindABI, "ABI 7, this host speaks ABI 1"},
		"bad warm-up":   {warmedUp(t, guestbuild.Tiny{}, `{}`), sandbox.KindFile, "fn-threatq.warmup is not a JSON list"},
		"large memory":  {guestbuild.Tiny{Pages: []byte{0, 0x81, 0x08}}.File(t), sandbox.KindMemory, "64 MB of memory, its limit is 64 MB"},
		"invalid code":  {guestbuild.Tiny{Turn: []byte{guestbuild.OpI32, 0}}.File(t), sandbox.KindCompile, "does not compile"},
		"newer opcode":  {guestbuild.Tiny{Turn: []byte{0x12, 0}}.File(t), sandbox.KindCompile, "instruction 0x12"},
		"foreign host":  {guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("env", "http_get", 0)}, Imported: 1}.File(t), sandbox.KindImport, "imports the function env.http_get"},
		"foreign name":  {guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "sock_open", 0)}, Imported: 1}.File(t), sandbox.KindImport, "wasi_snapshot_preview1.sock_open"},
		"other types":   {guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "fd_write", 0)}, Imported: 1}.File(t), sandbox.KindImport, "fd_write as (i32) -> (i32); it is (i32, i32, i32, i32) -> (i32)"},
		"import memory": {guestbuild.Tiny{Imports: [][]byte{{1, 'e', 1, 'm', 2, 0, 1}}}.File(t), sandbox.KindImport, "imports the memory e.m"},
		"import table":  {guestbuild.Tiny{Imports: [][]byte{{1, 'e', 1, 't', 1, 0x70, 0, 1}}}.File(t), sandbox.KindImport, "imports the table e.t"},
		"import global": {guestbuild.Tiny{Imports: [][]byte{{1, 'e', 1, 'g', 3, 0x7f, 0}}}.File(t), sandbox.KindImport, "imports the global e.g"},
		"no input":      {guestbuild.Tiny{Without: "ftq1_input"}.File(t), sandbox.KindExport, "does not export the function ftq1_input; want (i32) -> (i32)"},
		"no turn":       {guestbuild.Tiny{Without: "ftq1_turn"}.File(t), sandbox.KindExport, "does not export the function ftq1_turn; want (i32) -> (i64)"},
		"no memory":     {guestbuild.Tiny{Without: "memory"}.File(t), sandbox.KindExport, `"memory"`},
		"other turn":    {guestbuild.Tiny{Types: map[int][]byte{1: {0x60, 1, 0x7e, 1, 0x7e}}}.File(t), sandbox.KindExport, "ftq1_turn as (i64) -> (i64); want (i32) -> (i64)"},
		"other init":    {guestbuild.Tiny{Types: map[int][]byte{2: {0x60, 1, 0x7f, 0}}}.File(t), sandbox.KindExport, "_initialize as (i32) -> (); want () -> ()"},
		"our names":     {guestbuild.Tiny{Globals: [][]byte{{0x7f, 1, guestbuild.OpI32, 0, guestbuild.OpEnd}}, Renamed: map[string]string{"_initialize": "fn-threatq.global.0"}}.File(t), sandbox.KindExport, "a name that the sandbox reserves"},
		"trap in init":  {guestbuild.Tiny{Init: []byte{0}}.File(t), sandbox.KindStart, "_initialize trapped: unreachable"},
		"trap in start": {guestbuild.Tiny{Init: []byte{0}, Start: true}.File(t), sandbox.KindStart, "start function trapped: unreachable"},
		"trap at once":  {guestbuild.Tiny{Turn: []byte{0}}.File(t), sandbox.KindStart, "in turn 1 of 2 of the warm-up ftq1_turn trapped"},
		"data outside":  {guestbuild.Tiny{Pages: []byte{0, 0}}.File(t), sandbox.KindStart, "data of 12 bytes at 0 lie outside its memory, which ends at 0"},
		"trap recorded": {warmedUp(t, guestbuild.Tiny{Turn: trapOn("x")}, `["a","x"]`), sandbox.KindStart, "in turn 4 of 4 of the warm-up ftq1_turn trapped"},
		"endless": {guestbuild.Tiny{Turn: append(loop, guestbuild.Answer(0, 1)...), Manifest: guestbuild.Manifest("tiny", `{"turn_fuel":3}`)}.File(t),
			sandbox.KindStart, "ftq1_turn used 3.0 million units of fuel, and its limit is 3.0 million"},
		"our counter": {guestbuild.Tiny{Renamed: map[string]string{"_initialize": "fn-threatq.fuel"}}.File(t), sandbox.KindExport, "a name that the sandbox reserves"},
		"our tick":    {guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("fn-threatq", "tick", 0)}, Imported: 1}.File(t), sandbox.KindImport, "imports the function fn-threatq.tick"},
		"large table": {guestbuild.Tiny{Tables: []byte{1, 0x70, 0, 0x81, 0x80, 0x10}}.File(t), sandbox.KindMemory, "it has 1 tables with 262145 elements"},
		"many tables": {guestbuild.Tiny{Tables: append([]byte{17}, bytes.Repeat([]byte{0x70, 0, 0}, 17)...)}.File(t), sandbox.KindMemory, "it has 17 tables"},
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
	code := []byte{guestbuild.OpI32, 0x80, 0x08, 0x2d, 0, 1} // i32.load8_u 1025
	code = append(append(code, guestbuild.OpI32), guestbuild.Signed(int64(text[0]))...)
	code = append(code, 0x46, 0x04, 0x40, 0x00, guestbuild.OpEnd) // i32.eq, if, unreachable
	return append(code, guestbuild.Answer(0, 12)...)
}

func warmedUp(t *testing.T, g guestbuild.Tiny, inputs string) []byte {
	t.Helper()
	file, err := modulefile.WithSection(g.File(t), abi.SectionWarmUp, []byte(inputs))
	require.NoError(t, err)
	return file
}

func TestAGuestThatBearsFewTurnsIsWellBecauseEachIsItsFirst(t *testing.T) {
	m, err := newSandbox(t).Load(t.Context(), guestbuild.Tiny{
		Globals: [][]byte{{0x7f, 1, guestbuild.OpI32, 0, guestbuild.OpEnd}},
		// global 0 += 1; when it is 5: unreachable
		Turn: append([]byte{0x23, 0, guestbuild.OpI32, 1, 0x6a, 0x24, 0, 0x23, 0, guestbuild.OpI32, 5, 0x46, 0x04, 0x40, 0x00, guestbuild.OpEnd}, guestbuild.Answer(0, 12)...),
	}.File(t), sandbox.Limits{})
	require.NoError(t, err)
	for range 10 {
		require.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
	}
}

func TestAnOtherABIIsToldApart(t *testing.T) {
	file := guestbuild.Tiny{Manifest: strings.Replace(guestbuild.Manifest("tiny", `{}`), `"abi":1`, `"abi":7`, 1)}.File(t)
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
		guest guestbuild.Tiny
		kind  sandbox.Kind
		want  string
	}{
		"answer past the end":     {guestbuild.Tiny{Turn: guestbuild.Answer(end-11, 12)}, sandbox.KindOutput, "12 bytes at 65525 lies outside its memory, which ends at 65536"},
		"answer far away":         {guestbuild.Tiny{Turn: guestbuild.Answer(0xffffffff, 0xffff)}, sandbox.KindOutput, "outside its memory"},
		"answer of everything":    {guestbuild.Tiny{Turn: guestbuild.Answer(0, 0xffffffff)}, sandbox.KindOutput, "4294967295 bytes, the limit is"},
		"answer of nothing":       {guestbuild.Tiny{Turn: guestbuild.Answer(0, 0)}, sandbox.KindOutput, "answered with nothing"},
		"buffer past the end":     {guestbuild.Tiny{Input: append([]byte{guestbuild.OpI32}, guestbuild.Signed(end-1)...)}, sandbox.KindInput, "offered a buffer at 65535 for 4 bytes, its memory ends at 65536"},
		"buffer at minus one":     {guestbuild.Tiny{Input: []byte{guestbuild.OpI32, 0x7f}}, sandbox.KindInput, "offered a buffer at 4294967295"},
		"just within, both sides": {guestbuild.Tiny{Input: append([]byte{guestbuild.OpI32}, guestbuild.Signed(end-4)...), Turn: guestbuild.Answer(end-4, 4), Manifest: guestbuild.Manifest("tiny", `{}`)}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := newSandbox(t).Load(t.Context(), c.guest.File(t), sandbox.Limits{})
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
	first, second := guestbuild.Answer(0, 1), guestbuild.Answer(0, 2)
	choose := func(condition, remember []byte) []byte {
		code := append(append(condition, 0x04, 0x7e), first...) // if (result i64)
		code = append(append(code, 0x05), second...)            // else
		return append(append(code, guestbuild.OpEnd), remember...)
	}
	table := []byte{1, 0x70, 0, 1}                       // one table of one funcref
	element := []byte{1, 3, 0, 1, 0}                     // function 0, declared for ref.func
	isNull := []byte{guestbuild.OpI32, 0, 0x25, 0, 0xd1} // table.get 0, ref.is_null
	for name, c := range map[string]struct {
		guest  guestbuild.Tiny
		policy string
		hidden string
	}{
		"global": {guestbuild.Tiny{Globals: [][]byte{{0x7f, 1, guestbuild.OpI32, 0, guestbuild.OpEnd}},
			Turn: choose([]byte{0x23, 0, 0x45}, []byte{guestbuild.OpI32, 1, 0x24, 0})}, sandbox.PolicyImage, ""},
		"memory":      {guestbuild.Tiny{Turn: choose([]byte{guestbuild.OpI32, 0x80, 0x10, guestbuild.OpLoad, 2, 0, 0x45}, []byte{guestbuild.OpI32, 0x80, 0x10, guestbuild.OpI32, 1, guestbuild.OpStore, 2, 0})}, sandbox.PolicyImage, ""},
		"memory size": {guestbuild.Tiny{Turn: choose([]byte{0x3f, 0, guestbuild.OpI32, 1, 0x46}, []byte{guestbuild.OpI32, 1, 0x40, 0, 0x1a})}, sandbox.PolicyImage, ""},
		"table": {guestbuild.Tiny{Tables: table, Elements: element,
			Turn: choose(isNull, []byte{guestbuild.OpI32, 0, 0xd2, 0, 0x26, 0})}, sandbox.PolicyFresh, "table.set"},
		"table size": {guestbuild.Tiny{Tables: table,
			Turn: choose([]byte{0xfc, 16, 0, guestbuild.OpI32, 1, 0x46}, []byte{0xd0, 0x70, guestbuild.OpI32, 1, 0xfc, 15, 0, 0x1a})}, sandbox.PolicyFresh, "table.grow"},
		"start section": {guestbuild.Tiny{Start: true, Globals: [][]byte{{0x7f, 1, guestbuild.OpI32, 0, guestbuild.OpEnd}},
			Init: []byte{0x23, 0, guestbuild.OpI32, 1, 0x6a, 0x24, 0}, // global 0 += 1
			Turn: choose([]byte{0x23, 0, guestbuild.OpI32, 1, 0x46}, []byte{guestbuild.OpI32, 5, 0x24, 0})}, sandbox.PolicyImage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			// The warm-up is a turn too: what it left behind is in the image.
			m, err := newSandbox(t).Load(t.Context(), c.guest.File(t), sandbox.Limits{})
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
	grow := []byte{guestbuild.OpI32, 0xe0, 0xd4, 0x03, 0x40, 0, 0x1a}
	m, err := newSandbox(t).Load(t.Context(), guestbuild.Tiny{Turn: append(append(trapOn("x")[:13:13], 0x05), append(grow, append([]byte{guestbuild.OpEnd}, guestbuild.Answer(0, 12)...)...)...)}.File(t), sandbox.Limits{})
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
	file := guestbuild.Tiny{}.File(t)
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

func TestWhatTheMeterMadeIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	var log bytes.Buffer
	use := func(file []byte) {
		s, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close(context.Background())) }()
		m, err := s.Load(t.Context(), file, sandbox.Limits{})
		require.NoError(t, err)
		require.Equal(t, `"0123456789"`, mustTurn(t, m, "x"))
	}
	kept := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "rewritten", "*"))
		require.NoError(t, err)
		return files
	}
	file := guestbuild.Tiny{}.File(t)
	use(file)
	files := kept()
	require.Len(t, files, 1)
	good, err := os.ReadFile(files[0])
	require.NoError(t, err)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	use(file)
	again, err := os.Stat(files[0])
	require.NoError(t, err)
	assert.True(t, os.SameFile(info, again), "it was not made again")
	assert.Empty(t, log.String())
	for name, bad := range map[string][]byte{"cut": good[:len(good)/2], "empty": {}, "flipped": flipped(good)} {
		require.NoError(t, os.WriteFile(files[0], bad, 0o600), name)
		use(file)
		healed, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, good, healed, name)
	}
	assert.Equal(t, 3, strings.Count(log.String(), "made anew"))
	use(guestbuild.Tiny{Globals: [][]byte{{0x7f, 0, 0x41, 0, 0x0b}}}.File(t))
	assert.Len(t, kept(), 2, "another module is another file")

	// A folder that cannot be written to is no reason to refuse a module.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "rewritten")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rewritten"), nil, 0o600))
	use(file)
	assert.Contains(t, log.String(), "cannot be kept in the cache")
}

func flipped(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 0xff
	return b
}

func TestLoadStopsWhenTheCallerGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newSandbox(t).Load(ctx, guestbuild.Tiny{}.File(t), sandbox.Limits{})
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, sandbox.KindCanceled, e.Kind)
	assert.True(t, errors.Is(err, context.Canceled))
}
