// Package effect performs the calls that modules return. Each call goes the
// same way: permit → gate → limit → journal → perform, and again as the policy
// says.
//
// The permit step refuses what the module's manifest does not list, before
// anything of the turn is sent. The gate lets nothing through to a service that
// is down or has asked to be left alone: an outage, which actions wait out. The
// limit step keeps the number of requests in flight to what a service bears. The
// journal remembers calls that are not safe to repeat, so that a crash between
// sending and knowing makes a module look instead of doing it twice. The policy
// is the one table that says what is done about a failure. A scope is the part
// of an action in here: it counts the action's calls, and owns its blobs, which
// are files of downloaded bytes that only this action can name. A rehearsal makes
// a scope a dry run: it reads, and only tells what it would have written.
package effect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/rest"
)

// Client performs one request at a service.
type Client interface {
	Do(context.Context, rest.Request) (*rest.Response, error)
}

// ContextTokenHeader carries a message's token back to SOAR, which then does
// not run the rule again that caused the message (contract: server behaviour).
const ContextTokenHeader = "X-Co3ContextToken"

// Options of a Performer.
type Options struct {
	// Clients by service name, abi.ThreatQ and abi.Resilient.
	Clients map[string]Client
	// MaxResult is the largest answer given to a module, in bytes; 0 = 8 MB.
	MaxResult int
	// MaxBlob is the largest download, in bytes; 0 = 100 MB.
	MaxBlob int64
	// Retry by service; DefaultRetry where there is none.
	Retry map[string]Retry
	// Journal remembers calls that are not safe to repeat; nil: nobody does.
	Journal Journal
	// TempDir holds the blobs; empty means the system's.
	TempDir string
	Logger  *slog.Logger
}

// Performer performs calls for all actions.
type Performer struct {
	o      Options
	limits map[string]*limiter
	gates  map[string]*gate
}

// New returns a performer.
func New(o Options) *Performer {
	if o.MaxResult == 0 {
		o.MaxResult = 8 << 20
	}
	if o.MaxBlob == 0 {
		o.MaxBlob = 100 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Performer{o: o, limits: map[string]*limiter{}, gates: map[string]*gate{}}
	for service := range o.Clients {
		limit := newLimiter()
		p.limits[service], p.gates[service] = limit, newGate(service, o.Logger, limit.shrink)
	}
	return p
}

// Scope is an action's part of the performer.
type Scope struct {
	p *Performer
	// Action names the action in logs.
	action  string
	permits *manifest.Permits
	token   string
	// maxCalls bounds the action, maxTurn one turn.
	maxCalls, maxTurn int
	waits             Waiting
	reads             Reads
	rehearsal         *Rehearsal

	mu    sync.Mutex
	ids   map[string]bool
	blobs *blobs
	calls int
	// outages sums the time in which services were down.
	outages time.Duration
	// waiting sums the time in which the action waited for services.
	waiting atomic.Int64
}

// ScopeOptions describe an action to the performer.
type ScopeOptions struct {
	Action       string
	Permits      *manifest.Permits
	ContextToken string
	MaxCalls     int
	MaxTurnCalls int
	Waiting      Waiting
	// Reads may answer calls in place of the service; nil: nothing does.
	Reads Reads
	// Rehearsal, when set, makes the scope a dry run: nothing is written.
	Rehearsal *Rehearsal
}

// Reads may know the answer to a call, from what another action has read. It is
// asked only about calls that the module's permits allow.
type Reads interface {
	// Turn is told the calls of a turn before the first of them is sent.
	Turn(calls []abi.Call)
	// Answer is the result of a call that need not be sent.
	Answer(c abi.Call) (abi.Result, bool)
	// Sending is told of a call that is, and by done what came of it.
	Sending(c abi.Call) (done func(abi.Result))
}

// Open begins an action. Close must follow.
func (p *Performer) Open(o ScopeOptions) *Scope {
	return &Scope{
		p: p, action: o.Action, permits: o.Permits, token: o.ContextToken,
		maxCalls: o.MaxCalls, maxTurn: o.MaxTurnCalls, waits: o.Waiting, reads: o.Reads, rehearsal: o.Rehearsal,
		ids: map[string]bool{}, blobs: &blobs{dir: p.o.TempDir},
	}
}

// Close removes the action's blobs.
func (s *Scope) Close() error { return s.blobs.close() }

// Calls counts the calls performed so far, Waiting the time spent in them (the
// longest of each turn).
func (s *Scope) Calls() int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls }

// Waiting is the time in which the action waited for services.
func (s *Scope) Waiting() time.Duration { return time.Duration(s.waiting.Load()) }

// Held is the part of Waiting in which a service was down.
func (s *Scope) Held() time.Duration { return s.outages }

// RefusedError says that a module asked for what it may not have. Nothing of
// the turn was performed.
type RefusedError struct {
	Code abi.ErrorCode
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

// Perform performs the calls of one turn side by side and returns their
// results in the same order. A *RefusedError ends the action; after any other
// error, which is the context's, context.Canceled or wraps ErrJournal, the
// action must be given up.
func (s *Scope) Perform(ctx context.Context, calls []abi.Call) ([]abi.Result, error) {
	if err := s.admit(calls); err != nil {
		return nil, err
	}
	begin := time.Now()
	results := make([]abi.Result, len(calls))
	w := newWaiter(s.waits, s.outages)
	var group sync.WaitGroup
	if s.reads != nil {
		s.reads.Turn(calls)
	}
	for i, call := range calls {
		if answer, ok := s.rehearse(ctx, call); ok {
			results[i] = answer
			continue
		}
		group.Go(func() { results[i] = s.answer(ctx, w, call) })
	}
	group.Wait()
	s.waiting.Add(int64(time.Since(begin)))
	waited, abandon := w.end()
	s.outages += waited
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if abandon != nil {
		return nil, abandon
	}
	return results, nil
}

// admit is the permit step for a whole turn.
func (s *Scope) admit(calls []abi.Call) error {
	refuse := func(code abi.ErrorCode, format string, args ...any) error {
		return &RefusedError{Code: code, Text: fmt.Sprintf(format, args...)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(calls) > s.maxTurn {
		return refuse(abi.CodeModule, "%d calls in one turn, the limit is %d", len(calls), s.maxTurn)
	}
	if s.calls+len(calls) > s.maxCalls {
		return refuse(abi.CodeModule, "more than %d calls in one action", s.maxCalls)
	}
	turn := map[string]bool{}
	for _, c := range calls {
		if c.ID == "" || len(c.ID) > abi.MaxCallID {
			return refuse(abi.CodeModule, "a call has an id of %d bytes, want 1 to %d", len(c.ID), abi.MaxCallID)
		}
		if s.ids[c.ID] || turn[c.ID] {
			return refuse(abi.CodeModule, "two calls of the action have the id %q", c.ID)
		}
		turn[c.ID] = true
		if err := s.check(c); err != nil {
			return refuse(abi.CodePermit, "call %q: %s", c.ID, err)
		}
	}
	for id := range turn {
		s.ids[id] = true
	}
	s.calls += len(calls)
	return nil
}

// check reports what is wrong with one call.
func (s *Scope) check(c abi.Call) error {
	if _, ok := s.p.o.Clients[c.Service]; !ok {
		return fmt.Errorf("there is no service %q", c.Service)
	}
	if !slices.Contains(manifest.Methods, c.Method) {
		return fmt.Errorf("method %q is none of %s", c.Method, strings.Join(manifest.Methods, ", "))
	}
	if err := manifest.CheckPath(c.Path); err != nil {
		return err
	}
	// Logging in is the host's alone, whatever a wildcard in a permit matches.
	if c.Service == abi.ThreatQ && (!strings.HasPrefix(c.Path, "/api/") || c.Path == "/api/token" || strings.HasPrefix(c.Path, "/api/token/")) {
		return fmt.Errorf("%s is not open to modules", c.Path)
	}
	if !s.permits.Allow(c.Service, c.Method, c.Path) {
		return fmt.Errorf("%s %s %s is not among the calls of the module's manifest", c.Service, c.Method, c.Path)
	}
	size := 0
	for name, value := range c.Query {
		size += len(name) + len(value)
	}
	switch {
	case size > abi.MaxQueryBytes:
		return fmt.Errorf("a query of %d bytes, the limit is %d", size, abi.MaxQueryBytes)
	case c.Method == http.MethodGet && (len(c.Body) > 0 || c.Upload != nil):
		return errors.New("a GET cannot have a body")
	case len(c.Body) > 0 && c.Upload != nil:
		return errors.New("body and upload exclude each other")
	case c.Upload != nil && !s.blobs.has(c.Upload.Blob):
		return fmt.Errorf("this action has no blob %q", c.Upload.Blob)
	}
	return nil
}

// answer performs an admitted call, unless its answer is known.
func (s *Scope) answer(ctx context.Context, w *waiter, c abi.Call) abi.Result {
	if s.reads == nil {
		return s.perform(ctx, w, c)
	}
	if result, ok := s.reads.Answer(c); ok {
		s.p.o.Logger.DebugContext(ctx, "call answered by a shared read", "action", s.action, "service", c.Service, "method", c.Method, "path", c.Path)
		return result
	}
	done := s.reads.Sending(c)
	result := s.perform(ctx, w, c)
	done(result)
	return result
}

// perform takes one admitted call to its end.
func (s *Scope) perform(ctx context.Context, w *waiter, c abi.Call) abi.Result {
	begin := time.Now()
	result := abi.Result{ID: c.ID}
	tries, err := s.p.repeat(ctx, c.Service, c.Idempotent, w, func() error {
		response, blob, err := s.noted(ctx, w, c)
		if err != nil {
			return err
		}
		result.Status, result.Body, result.Blob = response.Status, response.Body, blob
		return nil
	})
	if err != nil {
		result.Status, result.Error = describe(c, err)
	}
	if result.Error != nil && result.Error.Code == abi.CodeUnknown {
		// The module looks next whether the server has acted: give a server
		// that was merely slow the time to finish.
		wait(ctx, unknownPause)
	}
	s.log(ctx, c, result, tries, time.Since(begin))
	return s.amended(c, result)
}

// Ask performs a reading call of the host's own under the same policy.
func (p *Performer) Ask(ctx context.Context, service string, o Waiting, ask func(context.Context) error) error {
	if p.gates[service] == nil {
		return ask(ctx) // a host without that service, as in some tests
	}
	w := newWaiter(o, 0)
	_, err := p.repeat(ctx, service, true, w, func() error { return ask(ctx) })
	return err
}

// repeat sends a call until it succeeds or the policy says that it is over.
func (p *Performer) repeat(ctx context.Context, service string, safe bool, w *waiter, once func() error) (tries int, err error) {
	retry, ok := p.o.Retry[service]
	if !ok {
		retry = DefaultRetry
	}
	gate, limit := p.gates[service], p.limits[service]
	first := time.Now()
	for n := 1; ; n++ {
		probe, err := p.enter(ctx, gate, limit, w)
		if err != nil {
			return tries, err
		}
		tries++
		err = once()
		limit.release(err)
		var unsent *unsentError
		if isUnsent := errors.As(err, &unsent); isUnsent || ctx.Err() != nil {
			gate.giveBack(probe) // which says nothing of the service
			if isUnsent {
				err = unsent.error
			}
			return tries, err
		}
		if err == nil {
			gate.report(probe, nil, false)
			return tries, nil
		}
		rule := ruleFor(err, safe)
		gate.report(probe, err, rule.Down)
		switch {
		case retry.allows(rule.Again, n):
			// Where the gate is shut, the wait is there.
			if gate.open(false) && !wait(ctx, retry.pause(n)) {
				return tries, err
			}
		case rule.Waits && w.o.Hold > 0 && gate.exhausted(first, err):
			// When the service is back the call has all its tries again.
			n, first = 0, time.Now()
		default:
			return tries, err
		}
	}
}

// enter passes the gate and takes a place in the window.
func (p *Performer) enter(ctx context.Context, gate *gate, limit *limiter, w *waiter) (probe bool, err error) {
	for {
		if probe, err = gate.pass(ctx, w); err != nil {
			return false, err
		}
		if err = limit.acquire(ctx); err != nil {
			gate.giveBack(probe)
			return false, err
		}
		if gate.open(probe) {
			return probe, nil
		}
		limit.release(&unsentError{})
	}
}

// unsentError holds the failure of a call that was not sent.
type unsentError struct{ error }

// noted sends the call one time, with a note in the journal if it is not safe to
// repeat.
func (s *Scope) noted(ctx context.Context, w *waiter, c abi.Call) (*rest.Response, *abi.Blob, error) {
	journal := s.p.o.Journal
	if journal == nil || c.Idempotent {
		return s.once(ctx, c)
	}
	message, call := messageOf(s.action), c.Service+" "+c.Method+" "+c.Path
	doubtful, err := journal.Begin(message, call)
	switch {
	case err != nil:
		s.p.o.Logger.Error("a call could not be noted in the journal and was not sent; its action is given up for now", "action", s.action, "call", call, "error", err)
		w.give(fmt.Errorf("%w: %w", ErrJournal, err))
		return nil, nil, &unsentError{err}
	case doubtful:
		return nil, nil, &unsentError{errDoubtful}
	}
	response, blob, err := s.once(ctx, c)
	if err != nil && (ctx.Err() != nil || ruleFor(err, false).Tells == abi.CodeUnknown) {
		return response, blob, err // not known: the next run is told so
	}
	if err := journal.End(message, call); err != nil {
		// Costs a look at most: the next run finds the call doubtful.
		s.p.o.Logger.Warn("the end of a call could not be noted in the journal", "action", s.action, "call", call, "error", err)
	}
	return response, blob, err
}

// once sends the call one time.
func (s *Scope) once(ctx context.Context, c abi.Call) (*rest.Response, *abi.Blob, error) {
	request := rest.Request{
		Method: c.Method, Path: c.Path, Body: c.Body, Slow: c.Slow || c.Download || c.Upload != nil,
		Once: c.Method == http.MethodGet && !c.Idempotent,
	}
	if len(c.Query) > 0 {
		request.Query = url.Values{}
		for name, value := range c.Query {
			request.Query.Set(name, value)
		}
	}
	if c.Service == abi.Resilient && s.token != "" {
		request.Header = http.Header{}
		request.Header.Set(ContextTokenHeader, s.token)
	}
	if u := c.Upload; u != nil {
		request.Upload = &rest.Upload{
			Fields: u.Fields, Part: u.Part, FileName: u.FileName, ContentType: u.ContentType,
			Size: s.blobs.size(u.Blob), Open: s.blobs.opener(u.Blob),
		}
	}
	var file *blobWriter
	if c.Download {
		var err error
		if file, err = s.blobs.create(); err != nil {
			return nil, nil, &rest.Error{Service: c.Service, Method: c.Method, Path: c.Path, Code: abi.CodeInternal, Err: err}
		}
		request.Save, request.SaveLimit = file, s.p.o.MaxBlob
	}
	response, err := s.client(c.Service).Do(ctx, request)
	if err != nil {
		file.discard()
		return nil, nil, err
	}
	if len(response.Body) > s.p.o.MaxResult {
		return nil, nil, &rest.Error{Service: c.Service, Method: c.Method, Path: c.Path, Code: abi.CodeTooLarge,
			Err: fmt.Errorf("an answer of %d bytes, modules are given %d at most: ask for a smaller page", len(response.Body), s.p.o.MaxResult)}
	}
	blob, err := file.finish(response.ContentType)
	return response, blob, err
}

// describe turns the last error into what the module is told.
func describe(c abi.Call, err error) (int, *abi.CallError) {
	var e *rest.Error
	if !errors.As(err, &e) {
		return 0, &abi.CallError{Code: abi.CodeInternal, Message: err.Error()}
	}
	// What was to be deleted and is not there is done (contract: retry policy).
	if c.Method == http.MethodDelete && e.Status == http.StatusNotFound {
		return e.Status, nil
	}
	return e.Status, &abi.CallError{Code: ruleFor(err, c.Idempotent).Tells, Message: truncate(e.Reason(), abi.MaxMessage)}
}

func (s *Scope) log(ctx context.Context, c abi.Call, r abi.Result, tries int, took time.Duration) {
	level, attrs := slog.LevelDebug, []any{
		"action", s.action, "service", c.Service, "method", c.Method, "path", c.Path,
		"status", r.Status, "ms", took.Milliseconds(),
	}
	if tries > 1 {
		level, attrs = slog.LevelInfo, append(attrs, "tries", tries)
	}
	if r.Error != nil {
		attrs = append(attrs, "code", string(r.Error.Code), "error", r.Error.Message)
	}
	s.p.o.Logger.Log(ctx, level, "call", attrs...)
}

func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}
