package sandbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"fn-threatq/host/sandbox/internal/wasmbin"
)

// rewrittenDir is the folder in the cache for what the meter made of modules. It
// is as trusted as the native code beside it, and guarded as that is: by the
// folder's owner, and a checksum against a file that was cut short.
const rewrittenDir = "rewritten"

// rewrite gives what the meter makes of a module, from the cache if it is there.
// A cache that cannot be used costs time and nothing else.
func (m *Module) rewrite(b *wasmbin.Module, exports []wasmbin.Export) ([]byte, error) {
	version := m.code.meter.version()
	if m.sandbox.options.CacheDir == "" || version == "" {
		return m.code.meter.rewrite(b, exports)
	}
	path := filepath.Join(m.sandbox.options.CacheDir, rewrittenDir, m.digest+"."+version)
	if kept, err := readChecked(path); err == nil {
		return kept, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		m.sandbox.log.Warn("a rewritten module in the cache cannot be read and is made anew", "file", path, "error", err)
	}
	rewritten, err := m.code.meter.rewrite(b, exports)
	if err != nil {
		return nil, err
	}
	if err := writeChecked(path, rewritten); err != nil {
		m.sandbox.log.Warn("a rewritten module cannot be kept in the cache", "file", path, "error", err)
	}
	return rewritten, nil
}

const checksumBytes = 4

var errChecksum = errors.New("its checksum is wrong")

func readChecked(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	end := len(text) - checksumBytes
	if end < 0 || binary.LittleEndian.Uint32(text[end:]) != checksum(text[:end]) {
		return nil, errChecksum
	}
	return text[:end], nil
}

// writeChecked puts the file there at once or not at all.
func writeChecked(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		_, err = file.Write(binary.LittleEndian.AppendUint32(nil, checksum(content)))
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}

func checksum(content []byte) uint32 {
	return crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
}
