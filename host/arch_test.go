package host_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath, Name, Dir              string
	Standard                           bool
	GoFiles, IgnoredGoFiles            []string
	Imports, TestImports, XTestImports []string
}

// goList lists packages; environ is added to the environment.
func goList(t *testing.T, environ []string, args ...string) []goPackage {
	t.Helper()
	args = append([]string{"list", "-json=ImportPath,Name,Dir,Standard,GoFiles,IgnoredGoFiles,Imports,TestImports,XTestImports"}, args...)
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Env = append(os.Environ(), environ...)
	var problems bytes.Buffer
	command.Stderr = &problems
	text, err := command.Output()
	require.NoError(t, err, problems.String())
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

const moduleRoot = "fn-threatq/"

// directions says what each package may import of this module, without its
// tests. The first row that matches counts; both sides are whole paths below
// the module. A package that no row knows fails: think first where it belongs.
var directions = []struct{ of, may, reason string }{
	{`abi`, ``, "the contract is for authors of modules too and stands alone"},
	{`abi/.*`, `abi(/.*)?`, "what modules are built and tested with knows nothing of this host"},

	{`host/(broker|ledger|secret)`, ``, "each is one thought, and is exchanged or tested alone"},
	{`host/admin`, `host/(catalog|ledger)`, "the control socket shows what the ledger keeps and how it stands with the modules; the host gives it what it can do"},
	{`host/dialogue`, `abi`, "what was said, and how two versions of it differ"},
	{`host/history`, `host/dialogue`, "dialogues on disk"},
	{`host/config`, `host/secret`, "the configuration holds secrets; it knows nothing of those it configures"},
	{`host/rest`, `abi`, "one HTTP exchange, the same for both services"},
	{`host/(resilient|threatq)`, `abi|host/rest`, "a client knows its own service and no other"},
	{`host/provision`, `abi(/.*)?|host/(resilient|rest)`, "customizations are made from manifests and put into SOAR, and nothing else"},
	{`host/sandbox(/internal/.*)?`, `abi(/.*)?|host/sandbox/internal/.*`, "a module is a pure function: there is nothing within reach that it could touch"},
	{`host/effect`, `abi(/.*)?|host/rest`, "calls are performed by clients that it is given by service name"},
	{`host/flow`, `abi(/.*)?|host/(dialogue|effect|ledger)`, "the flow sees broker, sandbox and directory by interfaces of its own; outcomes and dead letters are the ledger's words"},
	{`host/queue`, `abi/manifest|host/broker`, "what waits is told from the messages alone; names come from whoever asks"},
	{`host/selftest`, `abi/manifest|host/(broker|config|resilient|rest|threatq)`, "it reaches servers in the host's own way, by what it is given"},
	{`host/catalog`, `abi(/.*)?|host/(flow|install|sandbox|store)`, "the catalog is where modules of the sandbox become modules of the flow"},
	{`host/pack`, `abi(/.*)?`, "a pack is read, built and signed as a file; what is installed is not its business"},
	{`host/pack/oci`, `host/pack`, "registries carry packs; only the command line talks to them"},
	{`host/store`, ``, "what is installed, as files"},
	{`host/install`, `abi(/.*)?|host/(pack|store)`, "plans join packs with what is installed; nothing is run"},
	{`host/scenario`, `abi(/.*)?|host/(catalog|dialogue|effect|flow|rest|sandbox)`, "scenarios are played in the host's own way, but to no broker and no service"},
	{`host/author/build`, `abi(/.*)?`, "a module file is made of sources and a manifest; nothing is run"},
	{`host/author`, `abi(/.*)?|host/author/build|host/(sandbox|scenario)`, "authors have modules and scenarios, and no host yet"},
	{`host/internal/(testcert|testrun)`, ``, "certificates, caches and leaks of tests"},
	{`host/.*/?[a-z]+test`, `host/internal/testcert`, "a simulator that shared code with what it tests would share its mistakes"},
	{`cmd/[a-z-]+/cli`, `host|host/author/build|host/(author|config|dialogue|history|install|pack(/oci)?|provision|queue|scenario|secret|selftest)`, "a command parses its arguments and leaves the rest to the host"},
	{`host/(e2e|benchmark|hostile)`, ``, "tests only"},
	{`host`, `abi(/.*)?|host/(admin|broker|catalog|config|dialogue|effect|flow|history|install|ledger|pack|provision|queue|resilient|rest|sandbox|scenario|secret|selftest|store|threatq)`, "the one place that joins; no simulator and no plugin is part of the program"},
	{`cmd/[a-z-]+`, `cmd/[a-z-]+/cli`, "main only passes on what the process is given"},

	{`plugins/kit/kittest`, `abi(/.*)?|plugins/kit(/.*)?|host/[a-z]+/[a-z]+test`, "test support for plugins plays them against the simulators"},
	{`plugins/kit(/.*)?`, `abi|abi/guest(/.*)?|plugins/kit(/.*)?`, "a guest is built of the ABI alone, as one of a stranger is"},
	{`plugins/examples/[a-z-]+/[a-z-]+/module`, `abi/guest|plugins/examples/[a-z-]+/[a-z-]+`, "main only registers its rules"},
	{`plugins/examples/[a-z-]+/[a-z-]+`, `abi|abi/guest(/jsonvalue)?`, "an example is built of what `plugin new` gives to a stranger"},
	{`plugins/[a-z-]+/module`, `abi/guest|plugins/[a-z-]+`, "main only registers its rules"},
	{`plugins/[a-z-]+`, `abi|abi/guest(/.*)?|plugins/kit(/.*)?`, "a guest is built of the ABI alone, as one of a stranger is"},

	{`tools/package`, `cmd/[a-z-]+/cli|host`, "man pages, completion and the unit file follow from the commands"},
	{`tools/.*`, `abi(/.*)?|host(/.*)?|tools/.*`, "tools may use everything but the plugins, which they know as files"},
}

// libraries says which packages may import a library, without their tests.
var libraries = []struct{ library, of, reason string }{
	{`github.com/tetratelabs/wazero`, `host/sandbox`, "the sandbox is the one place to look at when the runtime changes"},
	{`github.com/go-stomp/stomp/v3`, `host/broker(/brokertest)?`, "frames are the broker's own business"},
	{`github.com/knadh/koanf`, `host/config`, "how the file is read is the configuration's own business"},
	{`gopkg.in/ini.v1`, `host/config`, "how the file is read is the configuration's own business"},
	{`github.com/zalando/go-keyring`, `host/secret`, "where secrets are kept is nobody else's business"},
	{`github.com/lmittmann/tint`, `host|cmd/[a-z-]+/cli|tools/.*`, "colours are for terminals"},
	{`gopkg.in/natefinch/lumberjack.v2`, `cmd/[a-z-]+/cli`, "log files are the command's"},
	{`go.etcd.io/bbolt`, `host/ledger`, "how it is kept on disk is the ledger's own business"},
	{`github.com/spf13/cobra`, `cmd/[a-z-]+/cli|tools/.*`, "commands are parsed in one place, and documented from it"},
	{`golang.org/x/net/html`, `plugins/kit/text|host/threatq|host/resilient/resilienttest`, "HTML is read where texts of people are cleaned"},
	{`golang.org/x/net/idna`, `plugins/kit/typing`, "only the typing of indicators looks at host names"},
	{`golang.org/x/net/http/httpproxy`, `host/config`, "NO_PROXY is part of the configuration"},
	{`golang.org/x/text`, `plugins/kit/text`, "texts are compared in normal form"},
	{`golang.org/x/sys`, `host|host/(sandbox|store)`, "memory of the sandbox and lock files are the system's"},
	{`aead.dev/minisign`, `host/pack`, "signatures are a pack's own business"},
	{`oras.land/oras-go/v2`, `host/pack/oci`, "registries are reached in one place"},
	{`github.com/opencontainers/image-spec`, `host/pack/oci`, "registries are reached in one place"},
	{`golang.org/x/term`, `host|cmd/[a-z-]+/cli|tools/.*`, "terminals belong to commands"},
	{`golang.org/x/sync`, `host(/catalog|/sandbox)?|tools/.*`, "work side by side at the start"},
	{`go.uber.org/goleak`, `host/internal/testrun`, "test support"},
	{`github.com/stretchr/testify`, `plugins/kit/kittest|host/.*test`, "test support"},
}

func whole(expression, text string) bool {
	return regexp.MustCompile(`^(?:` + expression + `)$`).MatchString(text)
}

func TestImportsGoOneWay(t *testing.T) {
	packages := goList(t, nil, moduleRoot+"...")
	require.Greater(t, len(packages), 20)
	rows, libraryRows := map[int]bool{}, map[string]bool{}
	for _, p := range packages {
		path := strings.TrimPrefix(p.ImportPath, moduleRoot)
		row := slices.IndexFunc(directions, func(d struct{ of, may, reason string }) bool { return whole(d.of, path) })
		if !assert.GreaterOrEqual(t, row, 0, "no row of directions knows %s", path) {
			continue
		}
		rows[row] = true
		for _, imported := range p.Imports {
			if to, own := strings.CutPrefix(imported, moduleRoot); own {
				assert.True(t, whole(directions[row].may, to), "%s imports %s: %s", path, to, directions[row].reason)
			} else if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
				libraryRows[assertLibrary(t, path, imported)] = true
			}
		}
		// The benchmarks play a rule as Go code too, to tell what the sandbox costs.
		if strings.HasPrefix(path, "host") && path != "host/benchmark" {
			for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
				assert.False(t, strings.HasPrefix(imported, moduleRoot+"plugins/"), "tests of %s import %s: the host knows modules as files only", path, imported)
			}
		}
	}
	for i, d := range directions {
		assert.True(t, rows[i], "no package is %s any more", d.of)
	}
	for _, l := range libraries {
		assert.True(t, libraryRows[l.library], "nobody imports %s any more", l.library)
	}
}

// assertLibrary checks one import of a library and returns the library's name.
func assertLibrary(t *testing.T, path, imported string) string {
	t.Helper()
	for _, l := range libraries {
		if imported == l.library || strings.HasPrefix(imported, l.library+"/") {
			assert.True(t, whole(l.of, path), "%s imports %s: %s", path, imported, l.reason)
			return l.library
		}
	}
	assert.Fail(t, "unknown library", "%s imports %s, which no row of libraries knows", path, imported)
	return ""
}

func TestEachPackageHasOnePackageComment(t *testing.T) {
	for _, p := range goList(t, nil, moduleRoot+"...") {
		var with []string
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			require.NoError(t, err)
			if file.Doc != nil && file.Name.Name == p.Name {
				with = append(with, name)
			}
		}
		if len(p.GoFiles) > 0 {
			assert.Len(t, with, 1, "package comments of %s", p.ImportPath)
		}
	}
}

// fat is what makes a guest large and slow to start: reflection, and what is of
// no use without a network or a system. Nothing of it may come in by any way.
var fat = []string{
	"encoding/json", "encoding/xml", "encoding/gob", "net", "net/http", "net/url", "text/template", "html/template",
	"os/exec", "crypto/tls", "log/slog", "regexp", "testing",
}

// tolerated comes in by libraries, but not by packages of our own: x/net/html,
// x/net/idna and x/text format their errors with fmt, which brings reflect and
// os. The linker drops most of it; what is left is the price of reading HTML and
// international host names as others do.
var tolerated = []string{"fmt", "reflect", "os"}

func TestGuestsStayLean(t *testing.T) {
	mains, err := filepath.Glob("../plugins/*/module")
	require.NoError(t, err)
	examples, err := filepath.Glob("../plugins/examples/*/*/module")
	require.NoError(t, err)
	require.NotEmpty(t, mains)
	require.NotEmpty(t, examples)
	for _, main := range append(mains, examples...) {
		plugin := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(main)), "../plugins/")
		for _, p := range goList(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-deps", moduleRoot+"plugins/"+plugin+"/module") {
			assert.NotContains(t, fat, p.ImportPath, "%s depends on it", plugin)
			if strings.HasPrefix(p.ImportPath, moduleRoot) {
				for _, imported := range p.Imports {
					assert.NotContains(t, tolerated, imported, "%s imports it", p.ImportPath)
				}
			}
		}
	}
}
