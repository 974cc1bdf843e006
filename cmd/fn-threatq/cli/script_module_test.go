package cli

import (
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"os"
	"strings"

	"aead.dev/minisign"
	"github.com/rogpeppe/go-internal/testscript"

	"fn-threatq/abi"
	"fn-threatq/abi/modulefile"
	"fn-threatq/host/catalog"
)

// moduleCommand makes a module of the code of add-indicator, which answers any
// function that it does not know with a failure.
func moduleCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		s.Fatalf("usage: module FILE NAME VERSION [CALL…]")
	}
	code, err := fs.ReadFile(catalog.Builtin(), "add-indicator.wasm")
	s.Check(err)
	about, err := json.Marshal(map[string]any{
		"abi": 1, "name": args[1], "version": args[2], "description": "a module for tests", "calls": args[3:],
		"functions": []any{map[string]any{"name": strings.ReplaceAll(args[1], "-", "_"), "title": args[1], "description": "", "inputs": []any{}}},
	})
	s.Check(err)
	file, err := modulefile.WithSection(code, abi.SectionManifest, about)
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
