package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fn-threatq/host"
	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/ledger"
	"fn-threatq/host/resilient/resilienttest"
)

// programMain is the program itself, which scripts run as a process of its own.
func programMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := System()
	streams.Root = os.Getenv("SERVICE_ROOT")
	code := Run(ctx, os.Args[1:], streams)
	stop()
	os.Exit(code)
}

// TestScripts runs the command line as a user does. Besides the commands of
// package testscript, scripts have
//
//	world          starts a SOAR with its broker and a ThreatQ, and writes
//	               app.config, the way ./app.config is found; "world nothing"
//	               has a SOAR without our customizations, "world 1.0.0" and
//	               "world 1.0.1" one with those of a former version, "world
//	               readonly" one that lets nothing be customized, "world old"
//	               one of a version before 35; "world
//	               narrow" a SOAR that lets the account read no rules, "world
//	               refused" a broker that lets it read no queue
//	module F N V   writes the module N of version V to the file F; its one
//	               function is N, and further arguments are its calls
//	keys FILE      writes a key pair of minisign to FILE.key and FILE.pub
//	exits CODE COMMAND [ARG…]
//	               runs a command and compares its exit code
//	soar-answers METHOD SUFFIX STATUS [FILE]
//	               gives calls of paths with this end another answer
//	soar-hangs METHOD SUFFIX
//	               leaves calls of paths with this end without an answer
//	soar-hung
//	               waits until the call that soar-hangs names has come
//	soar-wrote [CALL…]
//	               compares the calls that change something, such as "POST
//	               /configurations/imports", with those since the last soar-wrote
//	soar-rule NAME off|menu
//	               switches a rule off, or makes a menu item of it
//	soar-workflow NAME FUNCTION
//	               makes a workflow that calls the function of an API name
//	soar-has RULES FUNCTIONS USERS
//	               compares the numbers of rules, functions, and users who may
//	               subscribe to the message destination
//	waiting N RULE INCIDENT
//	               sends N messages of a rule about an incident
//	replies N TEXT takes N replies, each with the message TEXT; there are no more
//	host-answers   waits until the host that was started answers its commands
//	hold-lock FILE holds the lock as a running host does
//	message FILE RULE INCIDENT
//	               writes a message of a rule about an incident to a file
//	recorded FILE  takes the dialogues of "simulate -o json" into the history
//	builtin FILE NAME WAS IS
//	               writes a built-in module in which a text is another
//	threatq-wrote [CALL…]
//	               as soar-wrote, for ThreatQ; searches by POST do not count
//	letters FILE   writes the dead letters of a JSON file into the ledger of a
//	               host that is stopped
//
// `go test ./cmd/... -run TestScripts -update` rewrites what is compared by cmp.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("GOCACHE", os.Getenv("GOCACHE"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("SERVICE_ROOT", filepath.Join(e.WorkDir, "root"))
			e.Setenv("SOAR_PASSWORD", "c4nary-soar")
			// Else each command sleeps a second at its end under the race detector.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world":         worldCommand,
			"module":        moduleCommand,
			"keys":          keysCommand,
			"exits":         exitsCommand,
			"soar-answers":  soarAnswersCommand,
			"soar-hangs":    soarHangsCommand,
			"soar-hung":     soarHungCommand,
			"soar-wrote":    soarWroteCommand,
			"soar-rule":     soarRuleCommand,
			"soar-workflow": soarWorkflowCommand,
			"soar-has":      soarHasCommand,
			"waiting":       waitingCommand,
			"replies":       repliesCommand,
			"host-answers":  hostAnswersCommand,
			"hold-lock":     holdLockCommand,
			"letters":       lettersCommand,
			"message":       messageCommand,
			"recorded":      recordedCommand,
			"builtin":       builtinCommand,
			"threatq-wrote": threatqWroteCommand,
		},
	})
}

// worlds are those of the scripts that run, by their work folders.
var worlds sync.Map

func worldOf(s *testscript.TestScript) *world {
	w, ok := worlds.Load(s.Getenv("WORK"))
	if !ok {
		s.Fatalf("there is no world yet")
	}
	return w.(*world)
}

func worldCommand(s *testscript.TestScript, _ bool, args []string) {
	var users map[string]brokertest.User
	var soar resilienttest.Options
	for _, arg := range args {
		switch arg {
		case "nothing":
			soar.Installed = resilienttest.InstalledNothing
		case "1.0.0":
			soar.Installed = resilienttest.Installed100
		case "1.0.1":
			soar.Installed = resilienttest.Installed101
		case "readonly":
			soar.CustomizationForbidden = true
		case "old":
			soar.Version = "33.0.1234"
		case "narrow":
			soar.ActionsForbidden = true
		case "refused":
			users = map[string]brokertest.User{"integration@example.com": {Passcode: "c4nary-soar", Read: []string{"other.>"}}}
		default:
			s.Fatalf("usage: world [nothing|1.0.0|1.0.1] [readonly] [old] [narrow] [refused]")
		}
	}
	w, err := startWorldOf(users, soar)
	s.Check(err)
	s.Defer(w.stop)
	worlds.Store(s.Getenv("WORK"), w)
	s.Check(os.WriteFile(s.MkAbs("ca.pem"), w.ca, 0o600))
	s.Check(os.WriteFile(s.MkAbs("app.config"), []byte(w.config(s.MkAbs("ca.pem"), "")), 0o600))
}

func exitsCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		s.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	code := 0
	var ended *exec.ExitError
	if err := s.Exec(args[1], args[2:]...); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		s.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		s.Fatalf("exit code %d, want %s; stderr: %s", code, args[0], s.ReadFile("stderr"))
	}
}

func waitingCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		s.Fatalf("usage: waiting N RULE INCIDENT")
	}
	n, err := strconv.Atoi(args[0])
	s.Check(err)
	incident, err := strconv.ParseInt(args[2], 10, 64)
	s.Check(err)
	w := worldOf(s)
	for range n {
		m := w.soar.ActionMessage(args[1], resilienttest.ActionOptions{IncidentID: incident})
		w.broker.Publish(m.Queue, m.Headers, m.Body)
	}
}

func repliesCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		s.Fatalf("usage: replies N TEXT")
	}
	n, err := strconv.Atoi(args[0])
	s.Check(err)
	w := worldOf(s)
	const acks = "acks.201.fn_threatq"
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		m, err := w.broker.Receive(ctx, acks)
		cancel()
		s.Check(err)
		var body struct {
			Message  string
			Complete bool
		}
		s.Check(json.Unmarshal(m.Body, &body))
		if body.Message != args[1] || !body.Complete || m.Headers["correlation-id"] == "" {
			s.Fatalf("the reply is %s %v", m.Body, m.Headers)
		}
	}
	if more, _ := w.broker.Depth(acks); more > 0 {
		s.Fatalf("%d replies too many", more)
	}
}

func soarAnswersCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 || len(args) > 4 {
		s.Fatalf("usage: soar-answers METHOD SUFFIX STATUS [FILE]")
	}
	status, err := strconv.Atoi(args[2])
	s.Check(err)
	f := resilienttest.Fault{Method: args[0], PathSuffix: args[1], Status: status}
	if len(args) == 4 {
		f.Body = s.ReadFile(args[3])
	}
	worldOf(s).soar.Inject(f)
}

func hostAnswersCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 0 {
		s.Fatalf("usage: host-answers")
	}
	socket := filepath.Join(s.Getenv("XDG_STATE_HOME"), "fn-threatq", "admin.sock")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			s.Check(conn.Close())
			return
		}
	}
	s.Fatalf("no host answers on %s", socket)
}

func holdLockCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		s.Fatalf("usage: hold-lock FILE")
	}
	lock, err := host.AcquireLock(s.MkAbs(args[0]))
	s.Check(err)
	s.Defer(func() { s.Check(lock.Release()) })
}

func lettersCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		s.Fatalf("usage: letters FILE")
	}
	var letters []ledger.Letter
	s.Check(json.Unmarshal([]byte(s.ReadFile(args[0])), &letters))
	l, err := ledger.Open(ledger.Options{Dir: filepath.Join(s.Getenv("XDG_STATE_HOME"), "fn-threatq")})
	s.Check(err)
	for _, letter := range letters {
		s.Check(l.Keep(letter))
	}
	s.Check(l.Close())
}
