package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/sandbox/internal/wasmbin"
)

const (
	// maxFileBytes is more than any module needs and bounds what compiling one
	// can cost.
	maxFileBytes = 64 << 20

	// Names under which the sandbox exports what it must reach.
	startExport  = "fn-threatq.start"
	globalExport = "fn-threatq.global."
)

// signatures of the exports that the ABI asks for.
var signatures = []struct {
	name            string
	params, results []api.ValueType
	optional        bool
}{
	{name: abi.ExportInput, params: []api.ValueType{api.ValueTypeI32}, results: []api.ValueType{api.ValueTypeI32}},
	{name: abi.ExportTurn, params: []api.ValueType{api.ValueTypeI32}, results: []api.ValueType{api.ValueTypeI64}},
	{name: abi.ExportInitialize, optional: true},
}

// Inspect reads what a module file says of itself, without compiling it. A
// refusal is an *Error.
func Inspect(file []byte) (*manifest.Manifest, error) {
	var m Module
	if err := m.readManifest(file); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Kind: KindFile, Message: err.Error(), Err: err}
		}
		return nil, e
	}
	return m.manifest, nil
}

// Load verifies, compiles and warms up a module. A refusal is an *Error. The
// module's limits are those of its manifest within the ceiling.
func (s *Sandbox) Load(ctx context.Context, file []byte, ceiling Limits) (*Module, error) {
	if !s.loads.enter() {
		return nil, &Error{Kind: KindClosed, Message: "the sandbox is closed", Err: ErrClosed}
	}
	defer s.loads.leave()
	began := time.Now()
	digest := sha256.Sum256(file)
	m := &Module{sandbox: s, digest: hex.EncodeToString(digest[:])}
	if err := m.load(ctx, file, ceiling); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Kind: KindFile, Message: err.Error(), Err: err}
		}
		return nil, m.sign(e)
	}
	m.loadTime = time.Since(began)
	s.mu.Lock()
	s.modules[m] = struct{}{}
	s.mu.Unlock()
	return m, nil
}

func (m *Module) load(ctx context.Context, file []byte, ceiling Limits) error {
	if len(file) > maxFileBytes {
		return fmt.Errorf("module file: %d bytes, the limit is %d", len(file), maxFileBytes)
	}
	if err := m.readManifest(file); err != nil {
		return err
	}
	m.code = code{runtime: m.sandbox.runtime, meter: m.sandbox.meter, limits: ceiling.Effective(m.manifest.Limits)}
	inputs, err := m.warmUpInputs(file)
	if err != nil {
		return err
	}
	binary, err := wasmbin.Parse(file)
	if err != nil {
		var opcode *wasmbin.OpcodeError
		if errors.As(err, &opcode) {
			return &Error{Kind: KindCompile, Message: err.Error(), Err: err}
		}
		return err
	}
	if err := m.checkBinary(binary); err != nil {
		return err
	}
	if err := m.compile(ctx, binary); err != nil {
		return err
	}
	err = m.checkSignatures()
	if err == nil {
		err = m.warmUp(ctx, inputs)
	}
	if err != nil {
		_ = m.code.compiled.Close(ctx)
	}
	return err
}

func (m *Module) readManifest(file []byte) error {
	text, ok, err := modulefile.Section(file, abi.SectionManifest)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{Kind: KindManifest, Message: fmt.Sprintf("module file: no section %q: it was not built as a module of this program", abi.SectionManifest)}
	}
	m.manifest, err = manifest.Parse(text)
	var version *manifest.VersionError
	switch {
	case errors.As(err, &version):
		return &Error{Kind: KindABI, Message: err.Error(), Err: err}
	case err != nil:
		return &Error{Kind: KindManifest, Message: err.Error(), Err: err}
	}
	return nil
}

func (m *Module) warmUpInputs(file []byte) ([][]byte, error) {
	inputs, err := sampleTurns(m.manifest)
	if err != nil {
		return nil, err
	}
	section, ok, err := modulefile.Section(file, abi.SectionWarmUp)
	if err != nil || !ok {
		return inputs, err
	}
	recorded, err := recordedTurns(section)
	return append(inputs, recorded...), err
}

// checkBinary looks at what can be seen before anything is compiled.
func (m *Module) checkBinary(b *wasmbin.Module) error {
	for _, i := range b.Imports {
		_, known := m.sandbox.wasi[i.Name]
		if i.Module != abi.ImportModule || i.Kind != wasmbin.KindFunction || !known {
			return &Error{Kind: KindImport, Message: fmt.Sprintf("it imports the %s %s.%s; a module can import functions of %s and nothing else", wasmbin.KindName(i.Kind), i.Module, i.Name, abi.ImportModule)}
		}
	}
	for _, s := range signatures {
		e := b.Export(s.name)
		if e == nil && s.optional {
			continue
		}
		if e == nil || e.Kind != wasmbin.KindFunction {
			return &Error{Kind: KindExport, Message: fmt.Sprintf("it does not export the function %s; want %s", s.name, signature(s.params, s.results))}
		}
	}
	if e := b.Export(abi.ExportMemory); e == nil || e.Kind != wasmbin.KindMemory || b.Memories != 1 {
		return &Error{Kind: KindExport, Message: fmt.Sprintf("it does not export its one memory as %q", abi.ExportMemory)}
	}
	var elements uint64
	for _, n := range b.Tables {
		elements += uint64(n)
	}
	if len(b.Tables) > wasmbin.MaxTables || elements > wasmbin.MaxElements {
		return &Error{Kind: KindMemory, Message: fmt.Sprintf("it has %d tables with %d elements; %d with %d in all are the most", len(b.Tables), elements, wasmbin.MaxTables, wasmbin.MaxElements)}
	}
	if need, limit := uint64(b.MemoryMin)*pageSize, m.code.limits.MemoryBytes; need > limit {
		return &Error{Kind: KindMemory, Message: fmt.Sprintf("it begins with %d MB of memory, its limit is %d MB: raise memory_mb in its manifest or the ceiling", need>>20, limit>>20)}
	}
	return nil
}

func (m *Module) compile(ctx context.Context, b *wasmbin.Module) error {
	var exports []wasmbin.Export
	for _, index := range b.MutableGlobals {
		name := fmt.Sprintf("%s%d", globalExport, index)
		m.code.globals = append(m.code.globals, name)
		exports = append(exports, wasmbin.Export{Name: name, Kind: wasmbin.KindGlobal, Index: index})
	}
	if m.code.start = b.HasStart; b.HasStart {
		exports = append(exports, wasmbin.Export{Name: startExport, Kind: wasmbin.KindFunction, Index: b.Start})
	}
	m.hidden, m.code.data, m.code.pages = b.HiddenState, b.Data, b.MemoryMin
	rewritten, err := m.rewrite(b, exports)
	if err != nil {
		return &Error{Kind: KindExport, Message: err.Error(), Err: err}
	}
	m.code.compiled, err = m.sandbox.compile(ctx, rewritten)
	if err != nil {
		return &Error{Kind: KindCompile, Message: "its code does not compile: " + cause(err), Err: err}
	}
	return nil
}

// compile empties a damaged cache and tries again: a file cut short by a full
// disk must not keep a module from starting for ever.
func (s *Sandbox) compile(ctx context.Context, rewritten []byte) (wazero.CompiledModule, error) {
	workers := runtime.GOMAXPROCS(0)
	if len(s.slots) > 0 {
		workers = max(1, workers/2) // turns are being played: they keep the other half
	}
	ctx = experimental.WithCompilationWorkers(ctx, workers)
	defer s.compiling.enter(rewritten)()
	compiled, err := s.runtime.CompileModule(ctx, rewritten)
	if err == nil || s.options.CacheDir == "" || !strings.Contains(err.Error(), "compilationcache:") {
		return compiled, err
	}
	s.log.Warn("the cache of compiled modules is damaged and is emptied", "folder", s.options.CacheDir, "error", err)
	files, _ := filepath.Glob(filepath.Join(s.options.CacheDir, "wazero-*", "*"))
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("cache of compiled modules: %w", err)
		}
	}
	return s.runtime.CompileModule(ctx, rewritten)
}

func (m *Module) checkSignatures() error {
	for _, f := range m.code.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != abi.ImportModule {
			continue // added by the meter
		}
		if want := m.sandbox.wasi[name]; !sameSignature(f, want.ParamTypes(), want.ResultTypes()) {
			return &Error{Kind: KindImport, Message: fmt.Sprintf("it imports %s.%s as %s; it is %s", abi.ImportModule, name,
				signature(f.ParamTypes(), f.ResultTypes()), signature(want.ParamTypes(), want.ResultTypes()))}
		}
	}
	exported := m.code.compiled.ExportedFunctions()
	for _, want := range signatures {
		if f := exported[want.name]; f != nil && !sameSignature(f, want.params, want.results) {
			return &Error{Kind: KindExport, Message: fmt.Sprintf("it exports %s as %s; want %s", want.name,
				signature(f.ParamTypes(), f.ResultTypes()), signature(want.params, want.results))}
		}
	}
	return nil
}

func sameSignature(f api.FunctionDefinition, params, results []api.ValueType) bool {
	return bytes.Equal(f.ParamTypes(), params) && bytes.Equal(f.ResultTypes(), results)
}

// signature writes a function type as (i32, i32) -> (i64).
func signature(params, results []api.ValueType) string {
	list := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(params) + " -> " + list(results)
}

// warmUp plays the inputs and takes the image.
func (m *Module) warmUp(ctx context.Context, inputs [][]byte) error {
	i, err := m.code.begin(ctx)
	defer func() {
		if i != nil {
			i.close()
		}
	}()
	if err != nil {
		return m.startError("", err)
	}
	for n, input := range inputs {
		if m.hidden != "" && n > 0 {
			// There will be no image; each turn will begin like this one.
			i.close()
			if i, err = m.code.begin(ctx); err != nil {
				return m.startError("", err)
			}
		}
		if e := i.rehearse(ctx, input); e != nil {
			return m.startError(fmt.Sprintf("in turn %d of %d of the warm-up ", n+1, len(inputs)), e)
		}
	}
	if m.hidden != "" {
		return nil
	}
	m.code.data = nil // it is in the image
	m.image = i.snapshot()
	if i.makeRoom(ctx, inputs) {
		m.image.memory.close()
		m.image = i.snapshot()
	}
	return nil
}

// makeRoom repeats the warm-up until the memory has just grown for the second time.
// Then the image has about as much free space as the guest takes at a time, and a
// common turn does not outgrow it, also one that needs more than the warm-up; else
// one module would have that luck and another not. It reports false when there is
// nothing better to be had.
func (i *instance) makeRoom(ctx context.Context, inputs [][]byte) bool {
	const most = 64
	grown := 0
	for n := range most {
		before := i.memory.Size()
		if i.rehearse(ctx, inputs[n%len(inputs)]) != nil {
			return false
		}
		if i.memory.Size() > before {
			if grown++; grown == 2 {
				return true
			}
		}
	}
	return grown > 0
}

// rehearse plays a turn of the warm-up. What the module answers to an example
// is its own affair.
func (i *instance) rehearse(ctx context.Context, input []byte) *Error {
	i.env.set(zeroTime, i.env.monotonic, 0, i.code.limits.LogBytes)
	_, e := i.turn(ctx, input)
	switch {
	case e != nil && (e.Kind == KindOutput || e.Kind == KindInput):
		return nil
	case e == nil && i.module.IsClosed():
		return &Error{Kind: KindExit, Message: "it closed itself"}
	}
	return e
}

func (m *Module) startError(where string, e *Error) *Error {
	kind := KindStart
	if e.Kind == KindCanceled {
		kind = KindCanceled
	}
	return &Error{Kind: kind, Message: "it cannot be started: " + where + e.Message, Log: e.Log, Err: e.Err}
}
