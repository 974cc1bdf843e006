package resilienttest

import (
	"net/http"
	"strings"
	"time"
)

// Fault makes chosen calls misbehave. The zero value of a condition matches any call.
type Fault struct {
	Method     string        // HTTP method
	PathPrefix string        // of the path from /rest on, for example "/rest/orgs/201/incidents"
	PathSuffix string        // end of the path, for example "/artifacts"
	Skip       int           // matching calls that still pass before the fault starts
	Times      int           // matching calls that suffer it; 0: until it is removed
	Status     int           // answered instead of acting
	Body       string        // of that answer; empty: an error body in SOAR's form
	Header     http.Header   // of that answer
	Delay      time.Duration // waited before anything else
	LoseAnswer bool          // act, then cut the connection without an answer; with a Status, act and answer that
	CutBefore  bool          // cut the connection without acting
	CutAfter   int           // act, then cut the connection after so many bytes of the answer's body; 0: never
	Acted      func()        // called before the answer, when the call has been performed
}

// cutting breaks an answer off; the client sees a body that is too short.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

type activeFault struct {
	Fault
	seen    int
	removed bool
}

// Inject adds a fault; the function it returns removes it. When several faults match a
// call, the one injected first is used.
func (s *Server) Inject(f Fault) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := &activeFault{Fault: f}
	s.faults = append(s.faults, active)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		active.removed = true
	}
}

// Decide sets what chooses the fault of each call that no injected fault strikes; its
// answer nil lets the call pass, a nil function ends it. It is called for each call, also
// at the same time, and must not keep the request.
func (s *Server) Decide(choose func(r *http.Request, body []byte) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decide = choose
}

// ClearFaults removes all faults, not what Decide set.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// faultFor returns the fault that this call suffers, or nil. The caller holds the lock.
func (s *Server) faultFor(method, path string) *Fault {
	for _, f := range s.faults {
		if f.removed || f.Method != "" && f.Method != method ||
			!strings.HasPrefix(path, f.PathPrefix) || !strings.HasSuffix(path, f.PathSuffix) {
			continue
		}
		if f.Times > 0 && f.seen >= f.Skip+f.Times {
			continue
		}
		f.seen++
		if f.seen > f.Skip {
			return &f.Fault
		}
	}
	return nil
}
