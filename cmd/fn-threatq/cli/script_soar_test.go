package cli

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fn-threatq/host/provision"
	"fn-threatq/host/resilient/resilienttest"
)

// The commands of this file look at the SOAR of a script, or do in it what an
// administrator does; see TestScripts.

func soarHangsCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		s.Fatalf("usage: soar-hangs METHOD SUFFIX")
	}
	w := worldOf(s)
	hangs := make(chan struct{})
	begun := sync.OnceFunc(func() { close(hangs) })
	w.hangs = hangs
	w.soar.Decide(func(r *http.Request, _ []byte) *resilienttest.Fault {
		if r.Method != args[0] || !strings.HasSuffix(r.URL.Path, args[1]) {
			return nil
		}
		begun()
		return &resilienttest.Fault{Delay: patience}
	})
}

// soarHungCommand waits for the call that soar-hangs names.
func soarHungCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 0 {
		s.Fatalf("usage: soar-hung")
	}
	select {
	case <-worldOf(s).hangs:
	case <-time.After(patience):
		s.Fatalf("nobody has made the call")
	}
}

func soarWroteCommand(s *testscript.TestScript, _ bool, args []string) {
	soar := worldOf(s).soar
	var calls []string
	for _, r := range soar.Requests() {
		if r.Method != http.MethodGet && r.Path != "/rest/session" {
			calls = append(calls, r.Method+" "+strings.TrimPrefix(r.Path, "/rest/orgs/201"))
		}
	}
	soar.ResetRequests()
	if !slices.Equal(calls, args) {
		s.Fatalf("written: %q", calls)
	}
}

func soarRuleCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 || args[1] != "off" && args[1] != "menu" {
		s.Fatalf("usage: soar-rule NAME off|menu")
	}
	worldOf(s).soar.ChangeRule(args[0], func(r *resilienttest.Rule) {
		if args[1] == "off" {
			r.Disabled = true
			return
		}
		r.Type, r.Conditions = 1, nil
	})
}

func soarWorkflowCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		s.Fatalf("usage: soar-workflow NAME FUNCTION")
	}
	worldOf(s).soar.AddWorkflow(resilienttest.Workflow{Name: args[0], ObjectType: "incident", Functions: args[1:]})
}

func soarHasCommand(s *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		s.Fatalf("usage: soar-has RULES FUNCTIONS USERS")
	}
	soar := worldOf(s).soar
	users, _ := soar.Subscribers(provision.Destination)
	for i, n := range []int{len(soar.Rules()), len(soar.Functions()), len(users)} {
		if strconv.Itoa(n) != args[i] {
			s.Fatalf("there are %d rules, %d functions, %d users", len(soar.Rules()), len(soar.Functions()), len(users))
		}
	}
}
