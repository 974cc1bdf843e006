package cli

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// programMain is the program itself, which scripts run as a process of its own.
func programMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], System())
	stop()
	os.Exit(code)
}

// TestScripts runs the command line as a user does. Besides the commands of
// package testscript, scripts have
//
//	world          starts a SOAR with its broker and a ThreatQ, and writes
//	               app.config, the way ./app.config is found
//
// `go test ./cmd/... -run TestScripts -update` rewrites what is compared by cmp.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("SOAR_PASSWORD", "c4nary-soar")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world": func(s *testscript.TestScript, _ bool, args []string) {
				if len(args) > 0 {
					s.Fatalf("usage: world")
				}
				w, err := startWorld(nil)
				s.Check(err)
				s.Defer(w.stop)
				s.Check(os.WriteFile(s.MkAbs("ca.pem"), w.ca, 0o600))
				s.Check(os.WriteFile(s.MkAbs("app.config"), []byte(w.config(s.MkAbs("ca.pem"), "")), 0o600))
			},
		},
	})
}
