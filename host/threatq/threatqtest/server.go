package threatqtest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/host/internal/testcert"
)

// Server is one simulated ThreatQ. All methods may be called at any time from any goroutine.
type Server struct {
	opts      Options
	authority *testcert.Authority
	listener  net.Listener
	http      *http.Server

	mu    sync.RWMutex // guards store
	store *store

	tokens   tokens
	requests requestLog

	faultsMu sync.Mutex
	faults   []*Fault
	faulty   atomic.Bool
	decide   func(*http.Request, []byte) *Fault
}

// New starts a server and panics if it cannot listen; for tests. Close it when done.
func New(o Options) *Server {
	s, err := Listen(o)
	if err != nil {
		panic(err)
	}
	return s
}

// Listen starts a server on Options.Addr.
func Listen(o Options) (*Server, error) {
	o = o.withDefaults()
	if o.Authority == nil {
		o.Authority = testcert.New("127.0.0.1", "localhost")
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("simulated ThreatQ cannot listen on %s: %w", o.Addr, err)
	}
	s := newServer(o)
	s.authority = o.Authority
	s.listener = listener
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         o.Authority.ServerConfig(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // cut connections and refused certificates are part of the play
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

func newServer(o Options) *Server {
	o = o.withDefaults()
	s := &Server{opts: o, store: newStore(o)}
	s.requests.keep = o.KeepRequests
	return s
}

// URL is the base address, "https://127.0.0.1:PORT".
func (s *Server) URL() string { return "https://" + s.listener.Addr().String() }

// Pool holds the certificate authority that clients have to trust.
func (s *Server) Pool() *x509.CertPool { return s.authority.Pool() }

// Authority is the issuer of the server's certificate.
func (s *Server) Authority() *testcert.Authority { return s.authority }

// Close ends the server and all its connections.
func (s *Server) Close() { _ = s.http.Close() }

const maxBody = 256 << 20

// ServeHTTP makes the server usable without a network.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the client has gone
	}
	shownBody, shownQuery := string(body), r.URL.RawQuery
	if r.URL.Path == "/api/token" {
		shownBody, shownQuery = s.withoutPassword(shownBody), s.withoutPassword(shownQuery)
	}
	var upload *form
	if contentType := r.Header.Get("Content-Type"); isForm(contentType) {
		shownBody = "a form that cannot be read"
		if upload, err = readForm(contentType, body); err == nil {
			shownBody = upload.describe()
		}
	}
	logged := s.requests.add(r, shownBody, shownQuery)
	if !pause(r.Context(), s.opts.Latency) {
		return
	}
	cutAfter := 0
	if f := s.faultOf(r, body); f != nil {
		cutAfter = f.CutAfter
		if !pause(r.Context(), f.Delay) {
			return
		}
		if f.Until != nil {
			select {
			case <-f.Until:
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case f.CutBefore:
			panic(http.ErrAbortHandler)
		case f.LoseAnswer:
			s.perform(r, body, upload)
			if f.Acted != nil {
				f.Acted()
			}
			if f.Status != 0 {
				s.requests.answered(logged, f.Status)
				f.answer(w)
				return
			}
			panic(http.ErrAbortHandler)
		case f.Status != 0:
			s.requests.answered(logged, f.Status)
			f.answer(w)
			return
		}
	}
	if upload != nil && s.opts.MaxUpload > 0 && len(body) > s.opts.MaxUpload {
		if s.opts.CutLargeUploads {
			panic(http.ErrAbortHandler)
		}
		s.requests.answered(logged, http.StatusRequestEntityTooLarge)
		reply{status: http.StatusRequestEntityTooLarge, body: tooLargePage}.write(w)
		return
	}
	rep := s.perform(r, body, upload)
	s.requests.answered(logged, rep.status)
	if cutAfter > 0 {
		w = &cutting{ResponseWriter: w, left: cutAfter}
	}
	rep.write(w)
}

func (f *Fault) answer(w http.ResponseWriter) {
	contentType := f.ContentType
	setDefault(&contentType, "application/json")
	w.Header().Set("Content-Type", contentType)
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body)
}

// pause waits and says whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
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

// call is one request on its way through the handlers.
type call struct {
	method string
	query  url.Values
	body   []byte
	json   bool     // the content type says JSON
	form   *form    // of a multipart body
	path   []string // segments after /api/
}

func (s *Server) perform(r *http.Request, body []byte, upload *form) reply {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if !ok {
		return notFound()
	}
	if path == "token" {
		return s.token(r, body)
	}
	if !s.tokens.valid(r.Header.Get("Authorization"), s.opts.Now()) {
		s.requests.count(func(c *Counts) { c.Unauthorized++ })
		return reply{status: http.StatusUnauthorized, body: row{"message": "Unauthenticated."}}
	}
	c := &call{
		method: r.Method,
		query:  r.URL.Query(),
		body:   body,
		json:   strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"),
		form:   upload,
		path:   strings.Split(path, "/"),
	}
	write := r.Method != http.MethodGet && !(len(c.path) == 2 && c.path[1] == "query") || isCommit(c)
	if write {
		if s.opts.ReadOnly {
			return forbidden()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
	} else {
		s.mu.RLock()
		defer s.mu.RUnlock()
	}
	rep := s.route(c)
	if s.opts.NumericStrings {
		rep.body = idsAsText(rep.body)
	}
	// Encoded while the lock is held: rows may still share data with the store.
	rep.encode()
	return rep
}

// row is one JSON object of an answer.
type row map[string]any

// reply is an answer before it is written. A string body is HTML.
type reply struct {
	status  int
	body    any
	encoded []byte
	header  map[string]string
}

func (r *reply) encode() {
	if r.body == nil || r.encoded != nil {
		return
	}
	if html, ok := r.body.(string); ok {
		r.encoded = []byte(html)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.body); err != nil {
		panic("simulated ThreatQ made an answer that is not JSON: " + err.Error())
	}
	r.encoded = buf.Bytes()
}

func (r reply) write(w http.ResponseWriter) {
	r.encode()
	if r.body != nil {
		contentType := "application/json"
		if _, html := r.body.(string); html {
			contentType = "text/html"
		}
		w.Header().Set("Content-Type", contentType)
	}
	for key, value := range r.header {
		w.Header().Set(key, value)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.encoded)
}

// tooLargePage is how the web server before ThreatQ refuses a body: ThreatQ itself never sees it.
const tooLargePage = "<html><head><title>413 Request Entity Too Large</title></head><body>413 Request Entity Too Large</body></html>"

// absent is how a server answers a call that it does not have, 404 or 405.
func absent(status int) reply {
	if status == http.StatusNotFound {
		return notFound()
	}
	rep := methodNotAllowed()
	rep.status = status
	return rep
}

func noContent() reply { return reply{status: http.StatusNoContent} }

func notFound() reply {
	return reply{status: http.StatusNotFound, body: row{"errors": []any{"Not found."}}}
}

func forbidden() reply {
	return reply{status: http.StatusForbidden, body: row{"error": "forbidden"}}
}

func methodNotAllowed() reply {
	return reply{status: http.StatusMethodNotAllowed, body: row{"message": "Method not allowed."}}
}

func crashed() reply {
	return reply{status: http.StatusInternalServerError, body: HTMLError}
}

// invalid refuses a value in the shape that the options ask for.
func (s *Server) invalid(field, text string) reply {
	switch s.opts.ErrorShape {
	case ErrorList:
		return reply{status: http.StatusBadRequest, body: row{"errors": []any{text, []any{"field: " + field}}}}
	case ErrorInOK:
		return reply{status: http.StatusOK, body: row{"errors": []any{text}}}
	default:
		return reply{status: http.StatusBadRequest, body: row{"data": row{"errors": row{field: []any{text}}}}}
	}
}

// one answers a single object.
func (s *Server) one(status int, r row) reply {
	if s.opts.ListOfOne {
		return reply{status: status, body: row{"data": []row{r}}}
	}
	return reply{status: status, body: row{"data": r}}
}

// many answers a list that a write produced.
func (s *Server) many(status int, rows []row) reply {
	if s.opts.ObjectOfOne && len(rows) == 1 {
		return reply{status: status, body: row{"data": rows[0]}}
	}
	return s.page(status, rows, len(rows))
}

// page answers one page of a list.
func (s *Server) page(status int, rows []row, total int) reply {
	if rows == nil {
		rows = []row{}
	}
	body := row{"data": rows}
	if !s.opts.OmitTotal {
		body["total"] = total
	}
	return reply{status: status, body: body}
}

// idsAsText writes ids as text: nothing but clients' habits says that they are numbers.
func idsAsText(v any) any {
	switch v := v.(type) {
	case row:
		out := make(row, len(v))
		for key, value := range v {
			if n, ok := value.(int); ok && (key == "id" || strings.HasSuffix(key, "_id")) {
				out[key] = fmt.Sprint(n)
			} else {
				out[key] = idsAsText(value)
			}
		}
		return out
	case []row:
		out := make([]row, len(v))
		for i, r := range v {
			out[i] = idsAsText(r).(row)
		}
		return out
	default:
		return v
	}
}

var errNotJSON = errors.New("the request has no JSON body")

// decode reads the JSON body; numbers stay as written.
func (c *call) decode() (any, error) {
	if !c.json {
		return nil, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errNotJSON
	}
	return v, nil
}

// items reads a body that is one object or a list of objects.
func (c *call) items() ([]fields, bool) {
	v, err := c.decode()
	if err != nil {
		return nil, false
	}
	return asItems(v)
}

// item reads a body that is one object.
func (c *call) item() (fields, bool) {
	v, err := c.decode()
	if err != nil {
		return nil, false
	}
	m, ok := v.(map[string]any)
	return fields(m), ok
}

func badBody() reply {
	return reply{status: http.StatusBadRequest, body: row{"errors": []any{"The body is not the JSON that this call takes."}}}
}
