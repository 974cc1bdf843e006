package wasmbin_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

func TestParseReadsWhatTheSandboxMustKnow(t *testing.T) {
	m, err := wasmbin.Parse(module(
		section(1, 1, 0x60, 0, 0), // one type () -> ()
		section(2, 4, // imports
			1, 'e', 1, 'f', 0, 0, // function of type 0
			1, 'e', 1, 't', 1, 0x70, 0, 1, // table
			1, 'e', 1, 'm', 2, 1, 1, 2, // memory 1..2
			1, 'e', 1, 'g', 3, 0x7f, 1), // mutable i32
		section(3, 1, 0),
		section(5, 1, 0, 17),
		section(6, 3,
			0x7f, 0, 0x41, 0x7f, 0x0b, // i32, constant
			0x7e, 1, 0x42, 0x80, 0x01, 0x0b, // i64, mutable
			0x7c, 1, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b), // f64, mutable
		section(7, 2, 1, 'a', 0, 1, 1, 'b', 2, 0),
		section(8, 1),
		function(0x01),
	))
	require.NoError(t, err)
	assert.Equal(t, []wasmbin.Import{
		{Module: "e", Name: "f", Kind: wasmbin.KindFunction},
		{Module: "e", Name: "t", Kind: wasmbin.KindTable},
		{Module: "e", Name: "m", Kind: wasmbin.KindMemory},
		{Module: "e", Name: "g", Kind: wasmbin.KindGlobal},
	}, m.Imports)
	assert.Equal(t, []wasmbin.Export{{Name: "a", Kind: wasmbin.KindFunction, Index: 1}, {Name: "b", Kind: wasmbin.KindMemory}}, m.Exports)
	assert.Equal(t, []uint32{2, 3}, m.MutableGlobals, "after the imported one")
	assert.EqualValues(t, 17, m.MemoryMin)
	assert.Equal(t, 1, m.Memories)
	assert.True(t, m.HasStart)
	assert.EqualValues(t, 1, m.Start)
	assert.Empty(t, m.HiddenState)
	assert.Nil(t, m.Export("c"))
}

func TestHiddenStateIsFoundBehindEveryKindOfImmediate(t *testing.T) {
	// One of each form of immediates; if one were read too short or too long,
	// the instruction after it would be missed or the code be malformed.
	before := []byte{
		0x00, 0x02, 0x40, 0x03, 0x7f, 0x04, 0x80, 0x01, 0x05, 0x0b, 0x0b, 0x0b, // blocks
		0x0c, 0x80, 0x01, 0x0d, 0, 0x0e, 2, 0, 0x81, 0x00, 0, 0x0f, // branches
		0x10, 0x80, 0x01, 0x11, 1, 0x80, 0x00, 0x1a, 0x1b, 0x1c, 1, 0x7f, // calls, select
		0x20, 0, 0x21, 0, 0x22, 0, 0x23, 0, 0x24, 0, 0x25, 0, // variables
		0x28, 2, 0x80, 0x80, 0x01, 0x3e, 0, 0, 0x3f, 0, 0x40, 0, // memory
		0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f,
		0x43, 0x26, 0x26, 0x26, 0x26, 0x44, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x45, 0xc4, // numbers
		0xd0, 0x70, 0xd1, 0xd2, 0, // references
		0xfc, 0, 0xfc, 7, 0xfc, 8, 0, 0, 0xfc, 10, 0, 0, 0xfc, 11, 0, 0xfc, 16, 0, // bulk
		0xfd, 0, 4, 0, 0xfd, 11, 4, 0x80, 0x01, // vector loads and store
		0xfd, 12, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26,
		0xfd, 13, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26,
		0xfd, 14, 0xfd, 21, 0x26, 0xfd, 34, 0x26, 0xfd, 84, 0, 0, 0x26, 0xfd, 91, 0, 0, 0x26, 0xfd, 92, 0, 0, 0xfd, 93, 0, 0,
		0xfd, 0x80, 0x01, 0xfd, 0xff, 0x01,
	}
	m, err := wasmbin.Parse(module(function(before...)))
	require.NoError(t, err)
	require.Empty(t, m.HiddenState, "bytes of immediates are not instructions")

	for name, code := range map[string][]byte{
		"table.set":  {0x26, 0x80, 0x01},
		"data.drop":  {0xfc, 9, 0},
		"table.init": {0xfc, 12, 0, 0},
		"elem.drop":  {0xfc, 13, 0},
		"table.copy": {0xfc, 14, 0, 0},
		"table.grow": {0xfc, 15, 0},
		"table.fill": {0xfc, 17, 0},
	} {
		m, err := wasmbin.Parse(module(function(append(before[:len(before):len(before)], code...)...)))
		require.NoError(t, err, name)
		assert.Equal(t, name, m.HiddenState)
	}
}

func TestMalformedModulesAreRefusedWithAReason(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"tail call":            {module(function(0x12, 0)), "function 0 uses the instruction 0x12, which is not of WASM core 2.0"},
		"exceptions":           {module(function(0x06, 0x40, 0x0b)), "instruction 0x06"},
		"atomics":              {module(function(0xfe, 0x03, 0)), "instruction 0xfe"},
		"relaxed SIMD":         {module(function(0xfd, 0x80, 0x02)), "instruction 0xfd 256"},
		"unknown bulk":         {module(function(0xfc, 18)), "instruction 0xfc 18"},
		"cut immediate":        {module(section(10, 1, 2, 0, 0x41)), "its code is malformed"},
		"no end":               {module(section(10, 1, 2, 0, 0x01)), "its code is malformed"},
		"forged table of jump": {module(function(0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f)), "its code is malformed"},
		"forged locals":        {module(section(10, 1, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0b)), "its code is malformed"},
		// wazero reads 0x8c, unreachable, table.set …; by the letter it is a
		// constant of 16 bytes.
		"hidden table.set":   {module(function(0xfd, 0x8c, 0x00, 0x26, 0, 0x26, 0, 0x26, 0, 0x26, 0, 0x26, 0, 0x26, 0, 0x26, 0, 0x26, 0)), "its code is malformed"},
		"long bulk opcode":   {module(function(0xfc, 0x80, 0x00)), "its code is malformed"},
		"long reserved byte": {module(function(0x3f, 0x80, 0x00)), "its code is malformed"},
		"forged count":       {module(section(2, 0xff, 0xff, 0xff, 0xff, 0x0f)), "section 2 is malformed"},
		"bytes left over":    {module(section(8, 0, 0)), "section 8 is malformed"},
		"two starts":         {module(section(8, 0), section(8, 0)), "section 8 stands twice"},
		"tag import":         {module(section(2, 1, 1, 'e', 1, 't', 4, 0, 0)), "import e.t is of the unknown kind 4"},
		"shared memory":      {module(section(5, 1, 3, 1, 2)), "section 5 is malformed"},
		"mutable vector":     {module(section(6, 1, 0x7b, 1, 0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b)), "only numbers can be put back"},
		"mutable reference":  {module(section(6, 1, 0x70, 1, 0xd0, 0x70, 0x0b)), "only numbers can be put back"},
		"global without end": {module(section(6, 1, 0x7f, 1, 0x41, 0)), "global 0"},
		"data at a variable": {module(section(11, 1, 0, 0x23, 0, 0x0b, 0)), "data segment 0 has a place that is no constant"},
		"data at a sum":      {module(section(11, 1, 0, 0x41, 0, 0x41, 0, 0x6a, 0x0b, 0)), "data segment 0 has a place that is no constant"},
		"data of what kind":  {module(section(11, 1, 3, 0x41, 0, 0x0b, 0)), "data segment 0 is of the unknown kind 3"},
		"data far away":      {module(section(11, 1, 0, 0x41, 0xff, 0xff, 0xff, 0xff, 0x4f, 0x0b, 0)), "has a place that is no constant"},
		"not WASM":           {[]byte("hello"), "not a WASM core module"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wasmbin.Parse(c.file)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestRewriteExportsGlobalsAndTakesTheStartSectionAway(t *testing.T) {
	file := module(
		section(1, 1, 0x60, 0, 0),
		section(3, 1, 0),
		section(5, 1, 0, 1),
		section(6, 1, 0x7f, 1, 0x41, 5, 0x0b),
		section(7, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0),
		section(8, 0),
		function(0x41, 7, 0x24, 0), // global 0 = 7
		section(0, 5, 'd', 'e', 'b', 'u', 'g', 1, 2, 3),
	)
	m, err := wasmbin.Parse(file)
	require.NoError(t, err)
	rewritten, err := m.Rewrite([]wasmbin.Export{
		{Name: "global", Kind: wasmbin.KindGlobal, Index: 0}, {Name: "start", Kind: wasmbin.KindFunction, Index: 0},
	})
	require.NoError(t, err)
	assert.NotContains(t, string(rewritten), "debug")

	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	i, err := r.Instantiate(ctx, rewritten)
	require.NoError(t, err)
	global := i.ExportedGlobal("global").(api.MutableGlobal)
	assert.EqualValues(t, 5, global.Get(), "the start function has not run")
	_, err = i.ExportedFunction("start").Call(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 7, global.Get())
	global.Set(9)
	assert.EqualValues(t, 9, global.Get())

	_, err = m.Rewrite([]wasmbin.Export{{Name: "memory"}})
	require.ErrorContains(t, err, `it exports "memory"`)
}

func TestRewriteTakesTheDataOut(t *testing.T) {
	data := section(11, 3,
		0, 0x41, 0x80, 0x80, 0x7e, 0x0b, 2, 'a', 'b', // at -32768
		1, 3, 'c', 'd', 'e', // passive
		2, 0, 0x41, 5, 0x0b, 1, 'f')
	parts := func(code []byte) []byte {
		return module(section(1, 1, 0x60, 0, 0), section(3, 1, 0), section(5, 1, 0, 1), section(7, 1, 3, 'r', 'u', 'n', 0, 0), section(12, 3), code, data)
	}
	m, err := wasmbin.Parse(parts(function(0x01)))
	require.NoError(t, err)
	assert.Equal(t, []wasmbin.Data{{Offset: 0xffff8000, Bytes: []byte("ab")}, {Offset: 5, Bytes: []byte("f")}}, m.Data)
	rewritten, err := m.Rewrite(nil)
	require.NoError(t, err)
	assert.NotContains(t, string(rewritten), "cde", "no code names a segment")

	// memory.init of a placed segment traps when it is not empty, as the
	// specification has it; of the passive one it copies.
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	for segment, length := range map[byte]byte{0: 1, 1: 3} {
		m, err = wasmbin.Parse(parts(function(0x41, 0, 0x41, 0, 0x41, length, 0xfc, 8, segment, 0)))
		require.NoError(t, err)
		rewritten, err = m.Rewrite(nil)
		require.NoError(t, err)
		i, err := r.InstantiateWithConfig(ctx, rewritten, wazero.NewModuleConfig().WithName(""))
		require.NoError(t, err)
		_, err = i.ExportedFunction("run").Call(ctx)
		if segment == 0 {
			require.ErrorContains(t, err, "out of bounds")
			continue
		}
		require.NoError(t, err)
		view, _ := i.Memory().Read(0, 3)
		assert.Equal(t, "cde", string(view))
	}
}

// TestLocalsAreBounded: the compiler would make room for each of them.
func TestLocalsAreBounded(t *testing.T) {
	functions := func(n int, locals ...byte) []byte {
		types := bytes.Repeat([]byte{0}, n)
		body := append(append([]byte{byte(len(locals) + 3), 1}, locals...), 0x7f, 0x0b)
		count := binary.AppendUvarint(nil, uint64(n))
		return module(section(1, 1, 0x60, 0, 0), section(3, append(count, types...)...), section(10, append(count, bytes.Repeat(body, n)...)...))
	}
	most := []byte{0xd0, 0x86, 0x03} // 50,000
	_, err := wasmbin.Parse(functions(83, most...))
	require.NoError(t, err)
	_, err = wasmbin.Parse(functions(84, most...))
	assert.ErrorContains(t, err, "function 83 has 50000 locals, all up to it 4200000")
	_, err = wasmbin.Parse(functions(1, 0xd1, 0x86, 0x03))
	assert.ErrorContains(t, err, "function 0 has 50001 locals")
	_, err = wasmbin.Parse(functions(1, 0xff, 0xff, 0xff, 0xff, 0x0f))
	assert.ErrorContains(t, err, "function 0 has 4294967295 locals")
}

func FuzzParse(f *testing.F) {
	f.Add(module())
	f.Add(module(section(1, 1, 0x60, 0, 0), section(3, 1, 0), section(7, 1, 1, 'a', 0, 0), section(8, 0), function(0x41, 7, 0x1a)))
	f.Add(module(section(6, 1, 0x7f, 1, 0x41, 5, 0x0b)))
	f.Add(module(function(0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfc, 9, 0)))
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := wasmbin.Parse(file)
		if err != nil {
			return // and no compiler sees it: a forged length makes it fill the machine
		}
		compiled, refused := r.CompileModule(ctx, file)
		if refused == nil {
			defer compiled.Close(ctx)
		}
		rewritten, err := m.Rewrite(nil)
		require.NoError(t, err)
		again, err := wasmbin.Parse(rewritten)
		require.NoError(t, err)
		require.Equal(t, m.Exports, again.Exports)
		require.Equal(t, m.HiddenState, again.HiddenState)
		require.False(t, again.HasStart)
		if refused == nil {
			// What the compiler takes, it takes when it was rewritten.
			compiled, err := r.CompileModule(ctx, rewritten)
			require.NoError(t, err)
			require.NoError(t, compiled.Close(ctx))
		}
	})
}
