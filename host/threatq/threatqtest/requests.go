package threatqtest

import (
	"maps"
	"net/http"
	"net/url"
	"sync"
)

// Request is one request as it arrived. The account's password is blotted out.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Body   string
	Status int // of the answer; 0 while it is under way and when the connection was cut
}

// Counts are totals since the start or the last ResetRequests.
type Counts struct {
	Requests      int
	Logins        int
	LoginsRefused int
	Unauthorized  int            // calls answered 401
	ByMethod      map[string]int // without the token call
}

// Writes are the calls that were not GET, without the token call; a look-up by POST …/query counts as one.
func (c Counts) Writes() int {
	n := 0
	for method, count := range c.ByMethod {
		if method != http.MethodGet {
			n += count
		}
	}
	return n
}

type requestLog struct {
	mu     sync.Mutex
	keep   int
	list   []*Request
	counts Counts
}

func (l *requestLog) add(r *http.Request, body, rawQuery string) *Request {
	entry := &Request{Method: r.Method, Path: r.URL.Path, Body: body}
	if rawQuery != "" {
		entry.Query, _ = url.ParseQuery(rawQuery)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Requests++
	if r.URL.Path != "/api/token" {
		if l.counts.ByMethod == nil {
			l.counts.ByMethod = map[string]int{}
		}
		l.counts.ByMethod[r.Method]++
	}
	if l.keep > 0 {
		l.list = append(l.list, entry)
		if len(l.list) >= 2*l.keep {
			l.list = append([]*Request(nil), l.list[len(l.list)-l.keep:]...)
		}
	}
	return entry
}

func (l *requestLog) answered(entry *Request, status int) {
	l.mu.Lock()
	entry.Status = status
	l.mu.Unlock()
}

func (l *requestLog) count(f func(*Counts)) {
	l.mu.Lock()
	f(&l.counts)
	l.mu.Unlock()
}

// Requests are the last requests in the order of their arrival.
func (s *Server) Requests() []Request {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list[max(0, len(l.list)-max(0, l.keep)):]
	out := make([]Request, len(list))
	for i, entry := range list {
		out[i] = *entry
	}
	return out
}

// CountRequests says how many remembered requests had this method and path; an empty method or path matches all.
func (s *Server) CountRequests(method, path string) int {
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && (path == "" || r.Path == path) {
			n++
		}
	}
	return n
}

// Counts are the totals.
func (s *Server) Counts() Counts {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.ByMethod = maps.Clone(l.counts.ByMethod)
	return c
}

// ResetRequests forgets the requests and sets the totals to zero; the objects stay.
func (s *Server) ResetRequests() {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list, l.counts = nil, Counts{}
}
