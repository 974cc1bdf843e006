package threatqtest

import (
	"net/http"
	"strings"
	"time"
)

// Fault is something that goes wrong with the next matching requests. Empty conditions match everything.
type Fault struct {
	Match      func(*http.Request) bool // further condition; must not read the body
	Method     string
	PathPrefix string // "/api/events" matches its sub-resources too
	Skip       int    // matching requests that pass unharmed first
	Times      int    // how many requests are hit; 0 means one, negative means all

	Delay time.Duration   // wait before anything else
	Until <-chan struct{} // wait for it to be closed, after that

	// With a Status the request is not performed and this is the answer.
	Status      int
	Body        string
	ContentType string // "application/json" when empty
	RetryAfter  string

	// LoseAnswer performs the request and cuts the connection instead of answering. Go's HTTP client repeats
	// a GET by itself when a kept-alive connection ends without an answer; a POST it does not repeat. With a Status
	// that is answered, as by a gateway which has waited too long.
	LoseAnswer bool
	// CutBefore cuts the connection without performing the request.
	CutBefore bool
	// CutAfter performs the request and cuts the connection after so many bytes of the answer's body; 0 means never.
	CutAfter int
	// Acted is called when LoseAnswer has performed the request, before the connection is cut.
	Acted func()
}

// HTMLError is the body of a crashed server, for Fault.Body with ContentType "text/html".
const HTMLError = "<html><body>Whoops, looks like something went wrong.</body></html>"

// Inject adds a fault. Faults are tried in the order of their injection; the first that matches strikes.
func (s *Server) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	s.faults = append(s.faults, &f)
	s.faulty.Store(true)
}

// Decide sets what chooses the fault of each request that no injected fault strikes; its answer nil lets the request
// pass, a nil function ends it. Of the fault the conditions are not looked at. It is called for each request, also at
// the same time, and must not keep the request.
func (s *Server) Decide(choose func(r *http.Request, body []byte) *Fault) {
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	s.decide = choose
}

// faultOf is what goes wrong with a request; nil for nothing.
func (s *Server) faultOf(r *http.Request, body []byte) *Fault {
	if f := s.takeFault(r); f != nil {
		return f
	}
	s.faultsMu.Lock()
	decide := s.decide
	s.faultsMu.Unlock()
	if decide == nil {
		return nil
	}
	return decide(r, body)
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

// ClearFaults removes the faults that are left and says how many there were.
func (s *Server) ClearFaults() int {
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	n := len(s.faults)
	s.faults = nil
	s.faulty.Store(false)
	return n
}

func (s *Server) takeFault(r *http.Request) *Fault {
	if !s.faulty.Load() { // keeps the lock out of the ordinary way
		return nil
	}
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	for i, f := range s.faults {
		if f.Method != "" && f.Method != r.Method ||
			!strings.HasPrefix(r.URL.Path, f.PathPrefix) ||
			f.Match != nil && !f.Match(r) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				s.faulty.Store(len(s.faults) > 0)
			}
		}
		return f
	}
	return nil
}
