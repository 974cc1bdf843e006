package hostile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/testdata/guests/guestbuild"
)

// attack is one row of the list.
type attack struct {
	name  string
	guest func(testing.TB) []byte
	// by names the guard.
	by string
	// want is what is said: the reply of the action, or the refusal at load.
	want string
	load bool
}

// Guards, by where they are.
const (
	byFuel     = "sandbox: fuel of a turn"
	byMemory   = "sandbox: memory of an instance"
	byTables   = "sandbox: elements of a table"
	byTrap     = "sandbox: a trap ends the turn and the instance"
	byInput    = "sandbox: place of the input"
	byOutput   = "sandbox: size and place of the answer"
	byLoad     = "sandbox: checks before the code is compiled"
	byCompile  = "sandbox: the code must be valid, and its indices its own"
	byContract = "flow: an answer is held to the contract"
	byTurns    = "flow: turns of an action"
	byPermit   = "effect: permits of the manifest"
	byPath     = "effect: form of a path"
	byCall     = "effect: form of a call"
	byCount    = "effect: calls of a turn"
	byBlobs    = "effect: blobs belong to one action"
)

// call is an answer that asks for one call.
func call(service, method, path, more string) string {
	text, err := json.Marshal(path)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"calls":[{"id":"a","service":%q,"method":%q,"path":%s%s}]}`, service, method, text, more)
}

// attacks is the list. Those on paths and calls are few words each, and are in
// functions of their own below.
func attacks() []attack {
	go_ := func(name, limits string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return program(t, name, limits) }
	}
	turn := func(limits string, instructions ...byte) func(testing.TB) []byte {
		return func(t testing.TB) []byte {
			return code(t, limits, guestbuild.Tiny{Turn: onlyWhenAsked(instructions)})
		}
	}
	answer := func(text string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return says(t, text) }
	}
	importing := func(module, name string) func(testing.TB) []byte {
		return func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction(module, name, 0)}, Imported: 1})
		}
	}
	// The wall clock must not be first on a busy machine.
	const fuel, little = `{"turn_fuel":10,"turn_ms":60000}`, `{"turn_fuel":1,"turn_ms":60000}`
	const used, usedLittle = "ftq1_turn used 10.0 million units of fuel, and its limit is 10.0 million", "million units of fuel, and its limit is 1.0 million"
	// Work of the host, which ends by itself, soon and well, were it not charged by
	// its length.
	work := func(g guestbuild.Tiny, instructions ...[]byte) func(testing.TB) []byte {
		return func(t testing.TB) []byte {
			g.Turn = onlyWhenAsked(slices.Concat(instructions...))
			g.Pages = []byte{0, 0x80, 0x04} // 32 MB
			return code(t, little, g)
		}
	}
	wasi := func(name string, parameters int) guestbuild.Tiny {
		signature := append(append([]byte{0x60, byte(parameters)}, bytes.Repeat([]byte{0x7f}, parameters)...), 1, 0x7f)
		return guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", name, 3)}, Imported: 1, Types: map[int][]byte{3: signature}}
	}
	called := []byte{0x10, 0, 0x1a}
	table := guestbuild.Tiny{Tables: []byte{1, 0x70, 0, 1}}
	growTable := slices.Concat([]byte{0xd0, 0x70}, i32(250_000), []byte{0xfc, 15, 0})
	fillTable := slices.Concat(i32(0), []byte{0xd0, 0x70}, i32(250_000), []byte{0xfc, 17, 0})
	list := []attack{
		{"spin", go_("spin", fuel), byFuel, used, false},
		{"spin in an empty loop", turn(fuel, 0x03, 0x40, 0x0c, 0, 0x0b), byFuel, used, false},
		{"fill the memory", work(guestbuild.Tiny{}, i32(0), i32(0), i32(32<<20), []byte{0xfc, 11, 0}), byFuel, usedLittle, false},
		{"copy the memory", work(guestbuild.Tiny{}, i32(8), i32(0), i32(32<<20-8), []byte{0xfc, 10, 0, 0}), byFuel, usedLittle, false},
		{"take new pages", work(guestbuild.Tiny{}, bytes.Repeat(slices.Concat(i32(1), []byte{0x40, 0, 0x1a}), 512), i32(0), i32(0), i32(9<<20), []byte{0xfc, 11, 0}), byFuel, usedLittle, false},
		{"fill tables in the host's memory", work(table, growTable, []byte{0x1a}, fillTable, fillTable, fillTable), byFuel, usedLittle, false},
		{"grow tables in the host's memory", work(table, growTable, []byte{0x1a}, growTable, i32(-1), []byte{0x46, 0x04, 0x40, 0x00, 0x0b}), byTables, "ftq1_turn trapped: unreachable", false},
		{"draw random bytes", work(wasi("random_get", 2), i32(0), i32(32<<20), called), byFuel, "ftq1_turn used 8.", false},
		{"write a long line", work(wasi("fd_write", 4), store(0, 0), store(4, 32<<20), i32(1), i32(0), i32(1), i32(64), called), byFuel, "ftq1_turn used 2.", false},
		{"write many empty lines", work(wasi("fd_write", 4), i32(1), i32(16<<20), i32(20_000), i32(64), called), byFuel, usedLittle, false},
		{"wait for many events", work(wasi("poll_oneoff", 4), i32(16<<20), i32(24<<20), i32(60_000), i32(64), called), byFuel, usedLittle, false},
		{"allocate", go_("oom", `{"memory_mb":16}`), byMemory, "asked for more memory than its limit of 16 MB", false},
		{"one page too many", turn(`{"memory_mb":16}`, slices.Concat(i32(256), []byte{0x40, 0}, i32(-1), []byte{0x46, 0x04, 0x40, 0x00, 0x0b})...), byMemory, "asked for more memory than its limit of 16 MB", false},
		{"recurse in Go", go_("recurse", `{"memory_mb":16,"turn_fuel":10000,"turn_ms":60000}`), byMemory, "asked for more memory than its limit of 16 MB", false},
		{"recurse on the host's stack", turn(`{"turn_fuel":10000,"turn_ms":60000}`, 0x20, 0, 0x10, 1, 0x1a), byTrap, "ftq1_turn trapped: stack overflow", false},
		{"panic", go_("panic", `{}`), byTrap, "it wrote: panic: the guest gave up", false},
		{"exit", go_("exit", `{}`), byTrap, "ended the module with exit code 3; a module must return from it", false},
		{"giant output", go_("hugeoutput", `{}`), byOutput, "its answer has 33554432 bytes, the limit is 4194304", false},
		{"no output", func(t testing.TB) []byte { return code(t, `{}`, guestbuild.Tiny{Turn: guestbuild.Answer(0, 0)}) }, byOutput, "ftq1_turn answered with nothing", false},
		{"a buffer outside its memory", func(t testing.TB) []byte { return code(t, `{}`, guestbuild.Tiny{Input: i32(65_530)}) }, byInput, "offered a buffer at 65530", false},
		{"output outside its memory", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Turn: guestbuild.Answer(65_530, 12)})
		}, byOutput, "its answer of 12 bytes at 65530 lies outside its memory", false},
		{"cut JSON", go_("badjson", `{}`), byContract, "broke the contract: its answer is not the JSON that is wanted", false},
		{"not UTF-8", answer("{\"reply\":{\"success\":true,\"message\":\"\xff\"}}"), byContract, "its answer is not UTF-8", false},
		{"two answers at once", answer(`{"reply":{"success":true,"message":"x"},"fail":{"code":"input","message":"x"}}`), byContract, "more than one of calls, actions, reply and fail", false},
		{"nothing at all", answer(`{}`), byContract, "none of calls, actions, reply, fail and state", false},
		{"results that are no object", answer(`{"reply":{"success":true,"message":"x","results":[1]}}`), byContract, "the results of its reply are not an object", false},
		{"progress without end", answer(`{"state":1,"progress":"` + strings.Repeat("a", 2001) + `"}`), byContract, "a progress text of 2001 bytes, the limit is 2000", false},
		{"hold of everything", answer(`{"state":1,"hold":["a"` + strings.Repeat(`,"a"`, 500) + `]}`), byContract, "it holds 501 keys, the limit is 500", false},
		{"hold of a long key", answer(`{"state":1,"hold":["` + strings.Repeat("a", 301) + `"]}`), byContract, "a hold key of 301 bytes", false},
		{"a code of its own", answer(`{"fail":{"code":"0wned","message":"x"}}`), byContract, `the code "0wned", which the contract does not know`, false},
		{"turns without end", answer(`{"state":1}`), byTurns, "took more than 100 turns", false},
		{"flood of calls", answer(flood(251)), byCount, "251 calls in one turn, the limit is 250", false},
		{"calls without end", func(t testing.TB) []byte { return saysWith(t, `{"calls":1}`, flood(2)) }, byCount, "more than 1 calls in one action", false},
		{"a sub-action of another", answer(`{"actions":[{"id":"a","rule":"test_good","incident_id":1}]}`), byPermit, "test_good is not among the actions of the module's manifest", false},
		{"a call that is not permitted", answer(call("threatq", "DELETE", "/api/events/1", "")), byPermit, "threatq DELETE /api/events/1 is not among the calls of the module's manifest", false},
		{"another action's blob", answer(call("threatq", "POST", "/api/attachments", `,"upload":{"part":"file","file_name":"f","blob":"blob-1"}`)), byBlobs, `this action has no blob "blob-1"`, false},

		{"another ABI", func(t testing.TB) []byte {
			return guestbuild.WithManifest(t, guestbuild.Tiny{}.Code(), strings.Replace(manifest("hostile", `{}`), `"abi":1`, `"abi":7`, 1))
		}, byLoad, "ABI 7, this host speaks ABI 1", true},
		{"a host function", importing("env", "http_get"), byLoad, "imports the function env.http_get", true},
		{"a host function with a name of WASI", importing("env", "random_get"), byLoad, "imports the function env.random_get", true},
		{"a memory of the host", func(t testing.TB) []byte {
			memory := append(guestbuild.ImportFunction("wasi_snapshot_preview1", "fd_write", 0), 1)
			memory[len(memory)-3], memory[len(memory)-2] = 2, 0 // a memory of one page, in the place of a function
			return code(t, `{}`, guestbuild.Tiny{Imports: [][]byte{memory}})
		}, byLoad, "imports the memory wasi_snapshot_preview1.fd_write", true},
		{"a socket", importing("wasi_snapshot_preview1", "sock_open"), byLoad, "imports the function wasi_snapshot_preview1.sock_open", true},
		{"the meter, imported", importing("fn-threatq", "tick"), byLoad, "imports the function fn-threatq.tick", true},
		{"the meter's counter, exported", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Renamed: map[string]string{"_initialize": "fn-threatq.fuel"}})
		}, byLoad, "a name that the sandbox reserves", true},
		{"the meter's counter, set", turn(`{}`, 0x42, 0, 0x24, 0), byCompile, "an index points past the module's own", true},
		{"the meter, called", turn(`{}`, 0x10, 3), byCompile, "an index points past the module's own", true},
		{"tables in the host's memory", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Tables: []byte{1, 0x70, 0, 0xff, 0xff, 0xff, 0x7f}})
		}, byLoad, "it has 1 tables with 268435455 elements", true},
		{"locals without end", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Locals: []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f}})
		}, byLoad, "function 1 has 4294967295 locals", true},
		{"memory from the start", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Pages: []byte{0, 0x80, 0x80, 0x02}})
		}, byLoad, "2048 MB of memory, its limit is 64 MB", true},
	}
	return slices.Concat(list, paths(), calls())
}

// paths are ways to leave what the permits allow. The manifest of the guests
// permits all below /api/ and /incidents/.
func paths() (list []attack) {
	for name, a := range map[string]struct{ path, want string }{
		"..":              {"/api/../token", `has the segment ".."`},
		".. at the end":   {"/api/events/..", `has the segment ".."`},
		".":               {"/api/./events", `has the segment "."`},
		"//":              {"/api//events", "has an empty segment"},
		"// at the start": {"//evil.example/api/events", "has an empty segment"},
		"/ at the end":    {"/api/events/", "has an empty segment"},
		"%2e":             {"/api/%2e%2e/token", "holds the character '%'"},
		"%2f":             {"/api/events%2f..%2ftoken", "holds the character '%'"},
		`\`:               {`/api/..\token`, `holds the character '\\'`},
		";":               {"/api/events;x=1", "holds the character ';'"},
		"?":               {"/api/events?with=x", "holds the character '?'"},
		"#":               {"/api/events#x", "holds the character '#'"},
		"NUL":             {"/api/events\x00", `holds the character '\x00'`},
		"DEL":             {"/api/events\x7f", `holds the character '\x7f'`},
		"CRLF":            {"/api/events HTTP/1.1\r\nX-Evil: 1\r\n\r\n", `holds the character '\r'`},
		"no slash":        {"api/events", "does not begin with /"},
		"user part":       {"@evil.example/api/events", "does not begin with /"},
		"a host":          {"https://evil.example/api/events", "does not begin with /"},
		"empty":           {"", `path "" does not begin with /`},
		"no text":         {"/api/\ufffd", "holds the character '\ufffd'"},
		"long":            {"/api/" + strings.Repeat("a", 2000), "path of 2005 bytes, the limit is 2000"},
	} {
		list = append(list, attack{"path with " + name, func(t testing.TB) []byte { return says(t, call("threatq", "GET", a.path, "")) }, byPath, a.want, false})
	}
	const not = "is not among the calls of the module's manifest"
	for name, a := range map[string]struct{ path, by, want string }{
		"..":    {"/incidents/../../202/incidents/1", byPath, `has the segment ".."`},
		"%2e":   {"/incidents/%2e%2e/%2e%2e/202/incidents/1", byPath, "holds the character '%'"},
		"/rest": {"/rest/orgs/202/incidents/1", byPermit, not},
		"/orgs": {"/orgs/202/incidents/1", byPermit, not},
	} {
		list = append(list, attack{"another organization by " + name, func(t testing.TB) []byte { return says(t, call("resilient", "GET", a.path, "")) }, a.by, a.want, false})
	}
	slices.SortFunc(list, func(a, b attack) int { return strings.Compare(a.name, b.name) })
	return list
}

// calls are ways to say more than a call may.
func calls() []attack {
	refused := func(name, answer, want string) attack {
		return attack{name, func(t testing.TB) []byte { return says(t, answer) }, byCall, want, false}
	}
	return []attack{
		refused("the login", call("threatq", "GET", "/api/token", ""), "/api/token is not open to modules"),
		refused("a foreign service", call("https://evil.example", "GET", "/api/events", ""), `there is no service "https://evil.example"`),
		refused("a method with a header", call("threatq", "GET / HTTP/1.1\r\nX-Evil: 1", "/api/events", ""), "is none of GET"),
		refused("another method", call("threatq", "CONNECT", "/api/events", ""), `method "CONNECT" is none of GET`),
		refused("a GET with a body", call("threatq", "GET", "/api/events", `,"body":{"a":1}`), "a GET cannot have a body"),
		refused("a long query", call("threatq", "GET", "/api/events", `,"query":{"a":"`+strings.Repeat("a", 64<<10)+`"}`), "a query of 65537 bytes"),
		refused("a body and a file", call("threatq", "POST", "/api/attachments", `,"body":{},"upload":{"part":"file","file_name":"f","blob":"blob-1"}`), "body and upload exclude each other"),
		refused("a call without an id", `{"calls":[{"service":"threatq","method":"GET","path":"/api/events"}]}`, "a call has an id of 0 bytes"),
		refused("a long id", `{"calls":[{"id":"`+strings.Repeat("a", 101)+`","service":"threatq","method":"GET","path":"/api/events"}]}`, "a call has an id of 101 bytes"),
		refused("two calls of one id", `{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events"},{"id":"a","service":"threatq","method":"GET","path":"/api/events"}]}`, `two calls of the action have the id "a"`),
	}
}

// i32 is the instruction that gives a number.
func i32(n int64) []byte { return append([]byte{guestbuild.OpI32}, guestbuild.Signed(n)...) }

// store puts a number to an address.
func store(at, n int64) []byte {
	return slices.Concat(i32(at), i32(n), []byte{guestbuild.OpStore, 2, 0})
}

// flood is an answer with n calls.
func flood(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"id":"%d","service":"threatq","method":"GET","path":"/api/events"}`, i))
	}
	return `{"calls":[` + strings.Join(list, ",") + `]}`
}

// onlyWhenAsked is code of a turn that runs the instructions when the input is
// that of an action here and not of the warm-up: the latter has samples.
func onlyWhenAsked(instructions []byte) []byte {
	// if the input of the action is shorter than the limit of a sample …
	asked := append([]byte{0x20, 0, 0x41}, guestbuild.Signed(sampleSize)...)
	asked = append(asked, 0x49, 0x04, 0x40)
	asked = append(append(asked, instructions...), guestbuild.OpEnd)
	return append(asked, guestbuild.Answer(0, 12)...)
}

// sampleSize lies between the inputs of the actions here and those of the
// warm-up, which name a whole site.
const sampleSize = 400

func TestHostileGuests(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			t.Log("refused by", a.by)
			w, err := open(t, map[string][]byte{"hostile": a.guest(t), "good": good(t)})
			if a.load {
				require.ErrorContains(t, err, a.want)
				return
			}
			require.NoError(t, err)
			name := ""
			for _, m := range w.catalog.Modules() {
				if m.Manifest().Name != "good" {
					name = m.Manifest().Name
				}
			}
			ended := make(chan reply)
			go func() { ended <- w.play(name) }()
			beside, done := 0, false
			var got reply
			for ; !done || beside < 3; beside++ {
				require.Equal(t, "All is well.", w.play("good").Message, "an action beside it")
				select {
				case got = <-ended:
					done = true
				default:
				}
			}
			assert.Equal(t, 1, got.Type, "an error")
			assert.Contains(t, got.Message, a.want)
			assert.Contains(t, got.Message, "module "+name, "it says which module")
			assert.NotContains(t, strings.TrimPrefix(got.Message, "ERROR:\n\n"), "\n", "one line")
			assert.Empty(t, w.reached(), "nothing was performed")
			t.Logf("%d actions beside it; the user is told: %s", beside, got.Message)
		})
	}
}
