package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

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
