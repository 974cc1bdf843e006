package cli

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fn-threatq/host"
	"fn-threatq/host/catalog"
	"fn-threatq/host/history"
	"fn-threatq/host/resilient/resilienttest"
)

// messageCommand writes a message of the world's SOAR as a file with its headers.
func messageCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		s.Fatalf("usage: message FILE RULE INCIDENT")
	}
	incident, err := strconv.ParseInt(args[2], 10, 64)
	s.Check(err)
	m := worldOf(s).soar.ActionMessage(args[1], resilienttest.ActionOptions{IncidentID: incident})
	text, err := json.Marshal(map[string]any{"headers": m.Headers, "body": json.RawMessage(m.Body)})
	s.Check(err)
	s.Check(os.WriteFile(s.MkAbs(args[0]), text, 0o600))
}

// threatqWroteCommand compares the calls that change something in ThreatQ.
func threatqWroteCommand(s *testscript.TestScript, _ bool, args []string) {
	var calls []string
	for _, r := range worldOf(s).threatq.Requests() {
		if r.Method != http.MethodGet && r.Path != "/api/token" && !strings.HasSuffix(r.Path, "/query") {
			calls = append(calls, r.Method+" "+r.Path)
		}
	}
	worldOf(s).threatq.ResetRequests()
	if !slices.Equal(calls, args) {
		s.Fatalf("written: %q", calls)
	}
}

func recordedCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		s.Fatalf("usage: recorded FILE")
	}
	var simulated host.Simulation
	s.Check(json.Unmarshal([]byte(s.ReadFile(args[0])), &simulated))
	r := history.NewRecorder(history.Options{Dir: filepath.Join(s.Getenv("XDG_STATE_HOME"), "fn-threatq", history.Folder)},
		history.Bounds{Age: time.Hour, Size: 16 << 20})
	for _, d := range simulated.Dialogues {
		r.Keep(d)
	}
	r.Close()
}

func builtinCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 || len(args[2]) != len(args[3]) {
		s.Fatalf("usage: builtin FILE NAME WAS IS, both texts of one length")
	}
	code, err := fs.ReadFile(catalog.Builtin(), args[1]+".wasm")
	s.Check(err)
	s.Check(os.WriteFile(s.MkAbs(args[0]), bytes.ReplaceAll(code, []byte(args[2]), []byte(args[3])), 0o600))
}
