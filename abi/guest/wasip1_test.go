package guest_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

const sample = "./testdata/sample"

func wasip1(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.Command("go", args...)
	command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	var problems strings.Builder
	command.Stderr = &problems
	out, err := command.Output()
	require.NoError(t, err, problems.String())
	return string(out)
}

// Each of these would make every module fatter or slower, or has no use where
// nothing but WASI without files and network is given.
var notForGuests = map[string]string{
	"encoding/json":           "1.4 MB more per module, and turns several times slower: use jsonvalue",
	"encoding/json/v2":        "as encoding/json",
	"encoding/binary":         "brings reflect",
	"encoding/xml":            "brings reflect and fmt",
	"encoding/gob":            "brings reflect and fmt",
	"reflect":                 "the linker must keep each exported method once it is used",
	"fmt":                     "brings reflect and os; use strconv",
	"log":                     "brings fmt; use Action.Log",
	"log/slog":                "brings fmt, reflect and encoding/json; use Action.Log",
	"os":                      "no files, arguments or environment in a module, and its poller and errors are linked for nothing",
	"io/fs":                   "no files in a module",
	"runtime/debug":           "brings fmt and os",
	"net":                     "no network in a module: calls are performed by the host",
	"net/http":                "no network in a module, and several MB",
	"crypto/tls":              "no network in a module",
	"text/template":           "brings reflect, fmt and net/url",
	"html/template":           "brings text/template and encoding/json",
	"time":                    "250 KB more per module, 320 KB with Format: times are milliseconds, see Action.Now",
	"testing":                 "tests stay outside of modules",
	"fn-threatq/abi/manifest": "the host's side of the contract: brings net/http",
}

func TestAGuestLinksNothingFat(t *testing.T) {
	linked := strings.Fields(wasip1(t, "list", "-deps", sample))
	require.Contains(t, linked, "fn-threatq/abi/guest/jsonvalue")
	for _, name := range linked {
		why, refused := notForGuests[name]
		assert.False(t, refused, "a guest links %s: %s", name, why)
		own := strings.HasPrefix(name, "fn-threatq/")
		assert.True(t, own || !strings.Contains(strings.Split(name, "/")[0], "."), "the SDK links the foreign package %s", name)
	}
}

func TestTheSampleModuleHasTheExportsOfTheContract(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sample.wasm")
	wasip1(t, "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, sample)
	module, err := os.ReadFile(file)
	require.NoError(t, err)
	names := exports(t, module)
	for _, name := range []string{abi.ExportInput, abi.ExportTurn, abi.ExportMemory, abi.ExportInitialize} {
		assert.Contains(t, names, name)
	}
	assert.Less(t, len(module), 2_300_000, "a module with nothing but the SDK has grown")
}

// exports lists the names of the export section (WebAssembly core, binary format).
func exports(t *testing.T, module []byte) (names []string) {
	t.Helper()
	number := func() int {
		n, size := binary.Uvarint(module)
		require.Positive(t, size)
		module = module[size:]
		return int(n)
	}
	require.Equal(t, "\x00asm\x01\x00\x00\x00", string(module[:8]))
	for module = module[8:]; len(module) > 0; {
		section := module[0]
		module = module[1:]
		size := number()
		if section != 7 {
			module = module[size:]
			continue
		}
		for range number() {
			length := number()
			names = append(names, string(module[:length]))
			module = module[length+1:]
			number()
		}
		return names
	}
	return nil
}
