package hostile_test

import (
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
	byTrap     = "sandbox: a trap ends the turn and the instance"
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
	const fuel = `{"turn_fuel":10,"turn_ms":60000}`
	const used = "ftq1_turn used 10.0 million units of fuel, and its limit is 10.0 million"
	list := []attack{
		{"spin", go_("spin", fuel), byFuel, used, false},
		{"spin in an empty loop", turn(fuel, 0x03, 0x40, 0x0c, 0, 0x0b), byFuel, used, false},
		{"fill the memory again and again", turn(fuel, 0x03, 0x40, 0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0, 0x0c, 0, 0x0b), byFuel, used, false},
		{"grow tables in the host's memory", func(t testing.TB) []byte {
			grow := []byte{0x03, 0x40, 0xd0, 0x70, 0x41, 0x80, 0x80, 0x04, 0xfc, 15, 0, 0x1a, 0x0c, 0, 0x0b}
			return code(t, fuel, guestbuild.Tiny{Tables: []byte{1, 0x70, 0, 1}, Turn: onlyWhenAsked(grow)})
		}, byFuel, used, false},
		{"ask for random bytes without end", func(t testing.TB) []byte {
			draw := []byte{0x03, 0x40, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0x10, 0, 0x1a, 0x0c, 0, 0x0b}
			return code(t, fuel, guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "random_get", 3)}, Imported: 1,
				Types: map[int][]byte{3: {0x60, 2, 0x7f, 0x7f, 1, 0x7f}}, Turn: onlyWhenAsked(draw)})
		}, byFuel, "ftq1_turn used 1", false},
		{"write a line without end", func(t testing.TB) []byte {
			// One vector of the whole memory, written again and again.
			write := []byte{0x41, 0x80, 0x08, 0x41, 0x80, 0x80, 0x02, 0x36, 2, 4, 0x03, 0x40, 0x41, 1, 0x41, 0x80, 0x08, 0x41, 1, 0x41, 0x90, 0x08, 0x10, 0, 0x1a, 0x0c, 0, 0x0b}
			return code(t, fuel, guestbuild.Tiny{Imports: [][]byte{guestbuild.ImportFunction("wasi_snapshot_preview1", "fd_write", 3)}, Imported: 1,
				Turn: onlyWhenAsked(write)})
		}, byFuel, "ftq1_turn used 1", false},
		{"allocate", go_("oom", `{"memory_mb":16}`), byMemory, "asked for more memory than its limit of 16 MB", false},
		{"recurse in Go", go_("recurse", `{"memory_mb":16,"turn_fuel":10000,"turn_ms":60000}`), byMemory, "asked for more memory than its limit of 16 MB", false},
		{"recurse on the host's stack", turn(`{"turn_fuel":10000,"turn_ms":60000}`, 0x20, 0, 0x10, 1, 0x1a), byTrap, "ftq1_turn trapped: stack overflow", false},
		{"panic", go_("panic", `{}`), byTrap, "it wrote: panic: the guest gave up", false},
		{"exit", go_("exit", `{}`), byTrap, "ended the module with exit code 3; a module must return from it", false},
		{"giant output", go_("hugeoutput", `{}`), byOutput, "its answer has 33554432 bytes, the limit is 4194304", false},
		{"output outside its memory", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Turn: guestbuild.Answer(65_530, 12)})
		}, byOutput, "its answer of 12 bytes at 65530 lies outside its memory", false},
		{"cut JSON", go_("badjson", `{}`), byContract, "broke the contract: its answer is not the JSON that is wanted", false},
		{"not UTF-8", answer("{\"reply\":{\"success\":true,\"message\":\"\xff\"}}"), byContract, "its answer is not UTF-8", false},
		{"two answers at once", answer(`{"reply":{"success":true,"message":"x"},"fail":{"code":"input","message":"x"}}`), byContract, "more than one of calls, actions, reply and fail", false},
		{"a code of its own", answer(`{"fail":{"code":"0wned","message":"x"}}`), byContract, `the code "0wned", which the contract does not know`, false},
		{"turns without end", answer(`{"state":1}`), byTurns, "took more than 100 turns", false},
		{"flood of calls", answer(flood(251)), byCount, "251 calls in one turn, the limit is 250", false},
		{"a sub-action of another", answer(`{"actions":[{"id":"a","rule":"test_good","incident_id":1}]}`), byPermit, "test_good is not among the actions of the module's manifest", false},
		{"a call that is not permitted", answer(call("threatq", "DELETE", "/api/events/1", "")), byPermit, "threatq DELETE /api/events/1 is not among the calls of the module's manifest", false},
		{"another action's blob", answer(call("threatq", "POST", "/api/attachments", `,"upload":{"part":"file","file_name":"f","blob":"blob-1"}`)), byBlobs, `this action has no blob "blob-1"`, false},

		{"another ABI", func(t testing.TB) []byte {
			return guestbuild.WithManifest(t, guestbuild.Tiny{}.Code(), strings.Replace(manifest("hostile", `{}`), `"abi":1`, `"abi":7`, 1))
		}, byLoad, "ABI 7, this host speaks ABI 1", true},
		{"a host function", importing("env", "http_get"), byLoad, "imports the function env.http_get", true},
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
		{"memory from the start", func(t testing.TB) []byte {
			return code(t, `{}`, guestbuild.Tiny{Pages: []byte{0, 0x80, 0x80, 0x02}})
		}, byLoad, "2048 MB of memory, its limit is 64 MB", true},
	}
	return slices.Concat(list, paths(), calls())
}

// paths are ways to leave what the permits allow. The manifest of the guests
// permits all below /api/ and /incidents/.
func paths() (list []attack) {
	for name, path := range map[string]string{
		"..": "/api/../token", ".. at the end": "/api/events/..", ".": "/api/./events", "//": "/api//events", "// at the start": "//evil.example/api/events",
		"%2e": "/api/%2e%2e/token", "%2f": "/api/events%2f..%2ftoken", `\`: `/api/..\token`, ";": "/api/events;x=1", "?": "/api/events?with=x", "#": "/api/events#x",
		"NUL": "/api/events\x00", "CRLF": "/api/events HTTP/1.1\r\nX-Evil: 1\r\n\r\n", "no slash": "api/events", "user part": "@evil.example/api/events",
		"a host": "https://evil.example/api/events", "empty": "", "no text": "/api/\ufffd", "long": "/api/" + strings.Repeat("a", 2000),
	} {
		list = append(list, attack{"path with " + name, func(t testing.TB) []byte { return says(t, call("threatq", "GET", path, "")) }, byPath, "was refused a call", false})
	}
	for name, path := range map[string]string{
		"..": "/incidents/../../202/incidents/1", "%2e": "/incidents/%2e%2e/%2e%2e/202/incidents/1", "/rest": "/rest/orgs/202/incidents/1", "/orgs": "/orgs/202/incidents/1",
	} {
		list = append(list, attack{"another organization by " + name, func(t testing.TB) []byte { return says(t, call("resilient", "GET", path, "")) }, byPath, "was refused a call", false})
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
		refused("two calls of one id", `{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events"},{"id":"a","service":"threatq","method":"GET","path":"/api/events"}]}`, `two calls of the action have the id "a"`),
	}
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
