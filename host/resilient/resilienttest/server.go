package resilienttest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"fn-threatq/host/internal/testcert"
)

// Account data of the World; Options may replace them.
const (
	DefaultEmail        = "analyst@example.com"
	DefaultPassword     = "Simulated-passw0rd"
	DefaultAPIKeyID     = "ad261c1f-f1cc-4115-bbce-a151f88bac5e"
	DefaultAPIKeySecret = "simulated-api-key-secret-0123456789"
	DefaultOrg          = "Test Organization"
	DefaultOrgID        = 201
	DefaultIncident     = 2095
	Destination         = "fn_threatq" // programmatic name of the message destination
)

// Duplicates says what a server does with an artifact that the incident already has,
// for a type that does not allow duplicates; real servers differ.
type Duplicates int

// The known answers to a duplicate artifact.
const (
	DuplicateExisting Duplicates = iota // 200 with the existing artifact
	DuplicateEmpty                      // 200 with an empty list
	DuplicateRefused                    // 400
	DuplicateCreated                    // a second artifact is made
)

// Installed says what of the app a server has.
type Installed int

// What may be installed. What the versions before 1.1.0 were like is known from the
// upgrade chapter of the guide alone; API names are guesses.
const (
	InstalledCurrent Installed = iota // the World
	InstalledNothing                  // no rules, functions, fields or message destination of the app
	Installed100                      // as version 1.0.0 leaves it: Add Indicator and Add Comment
	Installed101                      // as 1.0.1 and its followers leave it: ten rules, and ten functions for them
)

// Org is an organization that the account sees.
type Org struct {
	ID           int64
	Name         string
	UUID         string
	CloudAccount string
	Disabled     bool
}

// Options choose the account, the organizations and the variants of behaviour. The zero
// value is the World of the contract on a free loopback port.
type Options struct {
	Addr      string              // listen address; default 127.0.0.1:0
	Authority *testcert.Authority // issues the certificate; default: a new one
	Prefix    string              // resource prefix before /rest, for example "/api/soar"

	Email, Password          string
	APIKeyID, APIKeySecret   string
	Orgs                     []Org // the first one holds the World; default: one; see NoOrgs
	NoOrgs                   bool  // the account belongs to no organization
	SessionTimeout           time.Duration
	LoginRefusedStatus       int  // 401 (default), or 403 as old servers answer
	BanAfter                 int  // refused logins after which every call is answered 401; 0: never
	ActionsForbidden         bool // GET /actions answers 403, as for a narrow API key
	ActionsFrameworkDisabled bool // in GET /orgs/{org}
	CustomizationForbidden   bool // rules, functions and destinations may be read, not changed or exported

	Version              string     // "MAJOR.MINOR.BUILD"; default 47.0.8304
	Empty                bool       // start without incident 2095 and its children
	Installed            Installed  // what of the app the server has at the start
	ImportFails          string     // imports that are accepted end as IMPORT_ERROR with this text
	Duplicates           Duplicates // see the type
	ArtifactAnswerObject bool       // POST …/artifacts answers one object, not a list
	CustomSelectNames    bool       // handle_format=names applies to custom select fields too
	MaxArtifacts         int        // per incident; default 500
	MaxPageSize          int        // rows in an answer of query_paged; 0: as many as are asked for
	PrivateTaskStatus    int        // answered for tasks with "private" true, which no list shows then; 0: they are readable
	CascadeMessages      bool       // deleting an incident or task also fires the "deleted" rules of what belongs to it

	Latency time.Duration    // added to every call
	Now     func() time.Time // default time.Now
	// OnMessage is called, outside of all locks, with the message of each automatic rule
	// that a REST call causes. A call with X-Co3ContextToken does not cause the rule
	// which that token names.
	OnMessage func(Message)
}

// Request is one call the server has seen.
type Request struct {
	Method       string
	Path         string // without the resource prefix
	Query        url.Values
	Header       http.Header
	ContextToken string // X-Co3ContextToken
	Body         []byte
	Status       int // 0: no answer was given
}

// Server is a running simulator. All methods may be called concurrently.
type Server struct {
	options   Options
	authority *testcert.Authority
	listener  net.Listener
	http      *http.Server
	served    chan struct{}
	mux       *http.ServeMux
	world     *world
	home      Org
	orgs      []Org
	tokenKey  []byte

	mu       sync.Mutex
	closed   bool
	state    *state
	faults   []*activeFault
	decide   func(*http.Request, []byte) *Fault
	requests []Request
	caused   []Message // by the call at hand
	login    loginState
	nextIDs  struct{ invocation int64 }
}

// New starts a server and panics when it cannot listen, like httptest.NewServer.
func New(options Options) *Server {
	s, err := Start(options)
	if err != nil {
		panic(err)
	}
	return s
}

// Start starts a server; Close ends it.
func Start(options Options) (*Server, error) {
	setDefault(&options.Addr, "127.0.0.1:0")
	setDefault(&options.Email, DefaultEmail)
	setDefault(&options.Password, DefaultPassword)
	setDefault(&options.APIKeyID, DefaultAPIKeyID)
	setDefault(&options.APIKeySecret, DefaultAPIKeySecret)
	setDefault(&options.LoginRefusedStatus, http.StatusUnauthorized)
	setDefault(&options.MaxArtifacts, 500)
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Authority == nil {
		options.Authority = testcert.New("127.0.0.1", "::1", "localhost")
	}
	orgs := options.Orgs
	home := Org{ID: DefaultOrgID, Name: DefaultOrg, UUID: "8f9f5fd0-6a7d-4c5e-9d6b-2c1a7c0e2f11"}
	if len(orgs) == 0 {
		orgs = []Org{home}
	}
	home = orgs[0]
	if options.NoOrgs {
		orgs = nil
	}
	s := &Server{
		options: options, authority: options.Authority, orgs: orgs, home: home, world: loadWorld(),
		served: make(chan struct{}), tokenKey: []byte("simulated context token key"),
	}
	s.state = newState(s)
	s.login.sessions = map[string]*session{}
	s.nextIDs.invocation = 100
	s.mux = s.routes()

	plain, err := net.Listen("tcp", options.Addr)
	if err != nil {
		return nil, fmt.Errorf("simulated SOAR: listen on %s: %w", options.Addr, err)
	}
	s.listener = plain
	s.http = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 30 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(tls.NewListener(plain, options.Authority.ServerConfig()))
	}()
	return s, nil
}

func setDefault[T comparable](value *T, byDefault T) {
	var zero T
	if *value == zero {
		*value = byDefault
	}
}

// Close cuts all connections and frees the port.
func (s *Server) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	_ = s.http.Close()
	<-s.served
}

// URL is the base of the server including the resource prefix, without /rest.
func (s *Server) URL() string { return "https://" + s.Addr() + s.options.Prefix }

// Addr is host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Authority is what signed the server's certificate.
func (s *Server) Authority() *testcert.Authority { return s.authority }

// Pool holds the authority's certificate.
func (s *Server) Pool() *x509.CertPool { return s.authority.Pool() }

// OrgID is the number of the organization that holds the World.
func (s *Server) OrgID() int64 { return s.home.ID }

const keptRequests = 20000

// Requests returns the calls seen so far, oldest first (the newest 20,000 are kept).
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// ResetRequests forgets the calls seen so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *Server) record(r Request) {
	if len(s.requests) >= keptRequests {
		s.requests = append([]Request(nil), s.requests[keptRequests/2:]...)
	}
	s.requests = append(s.requests, r)
}

// answer is what a handler returns: body is JSON, raw and file have a content type of
// their own.
type answer struct {
	status  int
	body    any
	raw     []byte
	file    *content
	header  http.Header
	cookies []*http.Cookie
}

// call is one request on its way through a handler.
type call struct {
	r       *http.Request
	body    []byte
	formats formats
	account account
	token   string
}

func (c *call) id(name string) int64 {
	var id int64
	if _, err := fmt.Sscanf(c.r.PathValue(name), "%d", &id); err != nil {
		return -1
	}
	return id
}

// object decodes the body as a JSON object.
func (c *call) object() (Object, *answer) {
	v, err := decode(c.body)
	o, ok := v.(Object)
	if err != nil || !ok {
		return nil, fail(http.StatusBadRequest, "The request body is not a JSON object")
	}
	return o, nil
}

func ok(body any) *answer { return &answer{status: http.StatusOK, body: body} }

// status is the StatusDTO of a successful call without a result.
func status() *answer {
	return ok(Object{"success": true, "title": nil, "message": nil, "hints": []any{}})
}

// fail is the error body of every refused call (contract: errors).
func fail(code int, message string) *answer {
	return &answer{status: code, body: Object{
		"success": false, "title": nil, "message": message, "hints": []any{}, "error_code": "generic",
	}}
}

const maxBody = 64 << 20

// ServeHTTP answers one call; a test may also use the server without its listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, inside := strings.CutPrefix(r.URL.Path, s.options.Prefix)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	seen := Request{
		Method: r.Method, Path: path, Query: r.URL.Query(), Header: r.Header.Clone(),
		ContextToken: r.Header.Get("X-Co3ContextToken"), Body: body,
	}
	s.mu.Lock()
	fault, decide := s.faultFor(r.Method, path), s.decide
	s.mu.Unlock()
	if fault == nil && decide != nil && err == nil {
		fault = decide(r, body)
	}
	if !wait(r.Context(), s.options.Latency) || fault != nil && !wait(r.Context(), fault.Delay) || err != nil ||
		fault != nil && fault.CutBefore {
		s.finish(seen, nil)
		panic(http.ErrAbortHandler)
	}
	var a *answer
	switch {
	case fault != nil && fault.Status != 0 && !fault.LoseAnswer:
		a = fault.answer()
	case !inside:
		a = fail(http.StatusNotFound, "Not Found")
	default:
		a = s.act(r, path, body)
	}
	if fault != nil && fault.Acted != nil {
		fault.Acted()
	}
	if fault != nil && fault.LoseAnswer {
		if fault.Status == 0 {
			s.finish(seen, nil)
			panic(http.ErrAbortHandler)
		}
		a = fault.answer()
	}
	s.finish(seen, a)
	if fault != nil && fault.CutAfter > 0 {
		w = &cutting{ResponseWriter: w, left: fault.CutAfter}
	}
	a.write(w)
}

func (s *Server) finish(seen Request, a *answer) {
	s.mu.Lock()
	if a != nil {
		seen.Status = a.status
	}
	s.record(seen)
	s.mu.Unlock()
}

// act performs a call under the lock and hands on the messages it caused.
func (s *Server) act(r *http.Request, path string, body []byte) *answer {
	inner := r.Clone(r.Context())
	inner.URL.Path = path
	c := &call{r: inner, body: body, token: r.Header.Get("X-Co3ContextToken")}
	c.formats.handle = queryOrHeader(r, "handle_format")
	c.formats.text = queryOrHeader(r, "text_content_output_format")

	a, caused := s.locked(c)
	if s.options.OnMessage != nil {
		for _, m := range caused {
			s.options.OnMessage(m)
		}
	}
	return a
}

func (s *Server) locked(c *call) (*answer, []Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.authenticate(c)
	if a == nil {
		routed := &routedCall{call: c}
		s.mux.ServeHTTP(routed, c.r)
		a = routed.answer
	}
	if c.account.basic && c.r.Header.Get("Cookie") == "" {
		// Tomcat opens a session for a Basic call too; a client that keeps its cookie is confused later.
		a.cookies = append(a.cookies, &http.Cookie{Name: sessionCookie, Value: "unwanted", Path: "/", Secure: true, HttpOnly: true})
	}
	caused := s.caused
	s.caused = nil
	return a, caused
}

func queryOrHeader(r *http.Request, name string) string {
	if values, present := r.URL.Query()[name]; present {
		return values[0]
	}
	return r.Header.Get(name)
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *Fault) answer() *answer {
	a := fail(f.Status, http.StatusText(f.Status))
	if f.Body != "" {
		a = &answer{status: f.Status, raw: []byte(f.Body)}
	}
	a.header = f.Header
	return a
}

func (a *answer) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/json;charset=UTF-8")
	header.Set("Server", "Co3")
	for name, values := range a.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	for _, cookie := range a.cookies {
		http.SetCookie(w, cookie)
	}
	if a.file != nil {
		w.WriteHeader(a.status)
		_, _ = io.Copy(w, a.file.open())
		return
	}
	data := a.raw
	if data == nil && a.body != nil {
		var err error
		if data, err = json.Marshal(a.body); err != nil {
			panic(fmt.Sprintf("resilienttest: answer is not JSON: %v", err))
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(data)
}
