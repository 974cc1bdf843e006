package cli

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"

	"aead.dev/minisign"
	"github.com/rogpeppe/go-internal/testscript"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/testdata/guests/guestbuild"
)

// moduleCommand makes a hand-made module, which fails whatever it is asked for.
func moduleCommand(s *testscript.TestScript, bad bool, args []string) {
	if len(args) < 3 {
		s.Fatalf("usage: module FILE NAME VERSION [CALL…]")
	}
	about, err := json.Marshal(map[string]any{
		"abi": 1, "name": args[1], "version": args[2], "description": "a module for tests", "calls": args[3:],
		"functions": []any{map[string]any{"name": strings.ReplaceAll(args[1], "-", "_"), "title": args[1], "description": "", "inputs": []any{}}},
	})
	s.Check(err)
	const answer = `{"fail":{"code":"input","message":"Not this time."}}`
	guest := guestbuild.Tiny{Turn: guestbuild.Answer(0, uint32(len(answer))), Data: answer}
	if bad {
		guest.Imports, guest.Imported = [][]byte{guestbuild.ImportFunction("env", "http_get", 0)}, 1
	}
	file, err := modulefile.WithSection(guest.Code(), abi.SectionManifest, about)
	s.Check(err)
	s.Check(os.WriteFile(s.MkAbs(args[0]), file, 0o644))
}

func keysCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		s.Fatalf("usage: keys FILE")
	}
	public, secret, err := minisign.GenerateKey(rand.Reader)
	s.Check(err)
	for end, key := range map[string]interface{ MarshalText() ([]byte, error) }{".pub": public, ".key": secret} {
		text, err := key.MarshalText()
		s.Check(err)
		s.Check(os.WriteFile(s.MkAbs(args[0]+end), text, 0o600))
	}
}
