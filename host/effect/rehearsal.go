package effect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// Rehearsal is what takes the place of writing for one action and its
// sub-actions. Their reads are sent; whatever is no read is answered here, by
// what a server would plausibly say, and changes nothing. What is asked later
// about the same objects is answered as if it had been written, as far as that is
// simple:
//
//   - an object that was created is found by its path, below it is what was
//     added to it, and it is in a list of its collection when the query asks for
//     nothing but equal (or %-wild) values of what was sent;
//   - an object that was changed is read with the changes over it;
//   - an object that was deleted is gone.
//
// Anything else, such as searches by POST and what a parser would find in a
// file, is as the server has it. Ids of what was created count from FirstID.
type Rehearsal struct {
	reads func(abi.Call) bool

	mu   sync.Mutex
	next int64
	// created and changed are objects by service and path, gone are deleted ones.
	created, changed map[string]map[string]any
	gone             map[string]bool
	// added are the objects that were added to a collection.
	added map[string][]map[string]any
	// asked and written are what the calls came to.
	asked   int
	written []abi.Call
}

// FirstID is the first id of an object that was created in a rehearsal: no
// server has come so far.
const FirstID = 990_000_001

// NewRehearsal begins one. reads says which calls change nothing at their
// service; nil: none does.
func NewRehearsal(reads func(abi.Call) bool) *Rehearsal {
	if reads == nil {
		reads = func(abi.Call) bool { return false }
	}
	return &Rehearsal{
		reads: reads, next: FirstID, created: map[string]map[string]any{}, changed: map[string]map[string]any{},
		gone: map[string]bool{}, added: map[string][]map[string]any{},
	}
}

// Asked counts the calls that read.
func (r *Rehearsal) Asked() int { r.mu.Lock(); defer r.mu.Unlock(); return r.asked }

// Written are the calls that would have written, in the order in which they came.
func (r *Rehearsal) Written() []abi.Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.written)
}

// Answer is the result of a call that must not be sent, or need not be.
func (r *Rehearsal) Answer(c abi.Call) (result abi.Result, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.reads(c) {
		r.written = append(r.written, c)
		result = r.write(c)
	} else {
		r.asked++
		if result, ok = r.known(c); !ok {
			return result, false
		}
	}
	result.ID = c.ID
	return result, true
}

// Amend lays what was written over what the server has answered to a read.
func (r *Rehearsal) Amend(c abi.Call, result abi.Result) abi.Result {
	if result.Error != nil || c.Method != http.MethodGet || len(result.Body) == 0 {
		return result
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	change, added := r.changed[key(c)], r.matching(c)
	if change == nil && len(added) == 0 {
		return result
	}
	body, err := decode(result.Body)
	if err != nil {
		return result
	}
	whole, enveloped := body.(map[string]any)
	inner := body
	if enveloped && c.Service == abi.ThreatQ {
		inner = whole["data"]
	}
	switch inner := inner.(type) {
	case map[string]any:
		maps.Copy(inner, change)
	case []any:
		for _, item := range added {
			inner = append(inner, item)
		}
		if !enveloped {
			body = inner
			break
		}
		whole["data"] = inner
		if total, err := strconv.Atoi(fmt.Sprint(whole["total"])); err == nil {
			whole["total"] = total + len(added)
		}
	}
	result.Body = encode(body)
	return result
}

// known answers a read of what only the rehearsal has; mu is held.
func (r *Rehearsal) known(c abi.Call) (abi.Result, bool) {
	if c.Method != http.MethodGet {
		return abi.Result{}, false
	}
	for path := c.Path; path != ""; path = path[:strings.LastIndexByte(path, '/')] {
		at := c.Service + " " + path
		switch {
		case r.gone[at]:
			return abi.Result{Status: http.StatusNotFound, Error: &abi.CallError{Code: abi.CodeHTTP, Message: "Not found: it would have been deleted before."}}, true
		case r.created[at] == nil:
			continue
		case path == c.Path && c.Service == abi.ThreatQ:
			return abi.Result{Status: http.StatusOK, Body: encode(map[string]any{"data": r.created[at]})}, true
		case path == c.Path:
			return abi.Result{Status: http.StatusOK, Body: encode(r.created[at])}, true
		}
		return abi.Result{Status: http.StatusOK, Body: listing(c.Service, r.matching(c))}, true
	}
	return abi.Result{}, false
}

// matching are the objects that were added to a list and that its query asks for;
// mu is held.
func (r *Rehearsal) matching(c abi.Call) (found []map[string]any) {
	if offset := c.Query["offset"]; offset != "" && offset != "0" {
		return nil // they were on the first page
	}
	for _, item := range r.added[key(c)] {
		fits := true
		for name, wanted := range c.Query {
			fits = fits && (slices.Contains(notFilters, name) || like(wanted, item[name]))
		}
		if fits {
			found = append(found, item)
		}
	}
	return found
}

// notFilters are the parameters of a list that choose no rows (contract: paging,
// with, sort).
var notFilters = []string{"limit", "offset", "sort", "with", "fields"}

// like compares as the server's filters do: without case, % for anything.
func like(wanted string, has any) bool {
	if has == nil {
		return false
	}
	rest, parts := strings.ToLower(fmt.Sprint(has)), strings.Split(strings.ToLower(wanted), "%")
	if len(parts) == 1 {
		return rest == parts[0]
	}
	for i, part := range parts {
		at := strings.Index(rest, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		if i == len(parts)-1 {
			return strings.HasSuffix(rest, part)
		}
		rest = rest[at+len(part):]
	}
	return true
}

// write answers a call that would change something; mu is held.
func (r *Rehearsal) write(c abi.Call) abi.Result {
	body, err := decode(c.Body)
	if err != nil {
		body = nil
	}
	switch c.Method {
	case http.MethodPost:
		return r.create(c, body)
	case http.MethodDelete:
		r.remove(c, body)
		if c.Service == abi.Resilient {
			return abi.Result{Status: http.StatusOK, Body: encode(success)}
		}
		return abi.Result{Status: http.StatusNoContent}
	case http.MethodGet:
		return abi.Result{Status: http.StatusOK, Body: encode(map[string]any{})}
	}
	change, _ := body.(map[string]any)
	object := map[string]any{}
	maps.Copy(object, change)
	if id, err := strconv.ParseInt(c.Path[strings.LastIndexByte(c.Path, '/')+1:], 10, 64); err == nil {
		object["id"] = id
	}
	if own := r.created[key(c)]; own != nil {
		maps.Copy(own, change)
		object = own
	} else if r.changed[key(c)] = merged(r.changed[key(c)], change); c.Method == http.MethodPatch && c.Service == abi.Resilient {
		return abi.Result{Status: http.StatusOK, Body: encode(success)}
	}
	if c.Service == abi.ThreatQ {
		return abi.Result{Status: http.StatusOK, Body: encode(map[string]any{"data": object})}
	}
	return abi.Result{Status: http.StatusOK, Body: encode(object)}
}

// success is what SOAR says to a PATCH and a DELETE (contract: artifacts).
var success = map[string]any{"success": true, "title": nil, "message": nil, "hints": []any{}}

// lists are the collections whose create call answers with a list, also for one
// object (contract: create calls, attributes, sources, tags).
var lists = []string{"indicators", "attributes", "sources", "tags", "consume", "artifacts"}

// create makes the objects of a POST.
func (r *Rehearsal) create(c abi.Call, body any) abi.Result {
	sent, many := body.([]any)
	if !many {
		sent = []any{body}
	}
	collection := c.Path
	last := c.Path[strings.LastIndexByte(c.Path, '/')+1:]
	if last == "consume" {
		collection = strings.TrimSuffix(c.Path, "/"+last)
	}
	objects := make([]any, len(sent))
	for i, item := range sent {
		given, _ := item.(map[string]any)
		object := merged(nil, given)
		_, has := object["id"]
		switch {
		case !has:
			id := r.id()
			object["id"] = id
			r.created[c.Service+" "+collection+"/"+fmt.Sprint(id)] = object
			for _, name := range slices.Sorted(maps.Keys(object)) {
				r.below(c.Service+" "+collection+"/"+fmt.Sprint(id)+"/"+name, object[name])
			}
		case c.Service == abi.ThreatQ:
			object["pivot"] = map[string]any{"id": r.id()}
		}
		if c.Service == abi.ThreatQ && last == "indicators" && !has {
			object["existing"] = "N"
		}
		r.added[c.Service+" "+collection] = append(r.added[c.Service+" "+collection], object)
		objects[i] = object
	}
	status, answer := http.StatusCreated, any(objects)
	if !many && !slices.Contains(lists, last) && (len(objects) == 0 || objects[0].(map[string]any)["pivot"] == nil) {
		answer = objects[0]
	}
	if c.Service == abi.Resilient {
		return abi.Result{Status: http.StatusOK, Body: encode(answer)}
	}
	whole := map[string]any{"data": answer}
	if _, isList := answer.([]any); isList {
		whole["total"] = len(objects)
	}
	return abi.Result{Status: status, Body: encode(whole)}
}

// below keeps the parts that an object was created with, as they are read later.
func (r *Rehearsal) below(at string, value any) {
	parts, _ := value.([]any)
	for _, part := range parts {
		if given, ok := part.(map[string]any); ok {
			own := merged(map[string]any{"id": r.id()}, given)
			r.added[at] = append(r.added[at], own)
		}
	}
}

// remove makes an object gone; a body names links by their own ids, which are
// not followed.
func (r *Rehearsal) remove(c abi.Call, body any) {
	if body != nil {
		return
	}
	at := key(c)
	r.gone[at] = true
	delete(r.created, at)
	collection, id := at[:strings.LastIndexByte(at, '/')], at[strings.LastIndexByte(at, '/')+1:]
	r.added[collection] = slices.DeleteFunc(r.added[collection], func(o map[string]any) bool { return fmt.Sprint(o["id"]) == id })
}

func (r *Rehearsal) id() int64 {
	r.next++
	return r.next - 1
}

func key(c abi.Call) string { return c.Service + " " + c.Path }

func merged(base, over map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}

func listing(service string, items []map[string]any) abi.JSON {
	if items == nil {
		items = []map[string]any{}
	}
	if service == abi.ThreatQ {
		return encode(map[string]any{"total": len(items), "data": items})
	}
	return encode(items)
}

func decode(text []byte) (value any, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return value, decoder.Decode(&value)
}

func encode(value any) abi.JSON {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("effect: %T cannot be written as JSON: %s", value, err)) // it was read from JSON
	}
	return text
}

// rehearse answers a call in place of its service. It is asked in the order of the
// calls, so that the same action is always given the same ids.
func (s *Scope) rehearse(ctx context.Context, c abi.Call) (abi.Result, bool) {
	if s.rehearsal == nil {
		return abi.Result{}, false
	}
	if !s.rehearsal.reads(c) {
		s.p.o.Logger.InfoContext(ctx, "would write", "action", s.action, "service", c.Service, "method", c.Method, "path", c.Path)
	}
	return s.rehearsal.Answer(c)
}

func (s *Scope) amended(c abi.Call, result abi.Result) abi.Result {
	if s.rehearsal == nil {
		return result
	}
	return s.rehearsal.Amend(c, result)
}

// client is that of a service, which in a rehearsal cannot write.
func (s *Scope) client(service string) Client {
	if s.rehearsal == nil {
		return s.p.o.Clients[service]
	}
	return readOnly{service, s.p.o.Clients[service], s.rehearsal.reads}
}

// readOnly is a client that sends nothing but reads. It stands behind the
// rehearsal, for the case that what is before it has a fault.
type readOnly struct {
	service string
	client  Client
	reads   func(abi.Call) bool
}

// errWrites says that a rehearsal was about to write.
var errWrites = errors.New("a call that would write was about to be sent in a rehearsal, and was not: a fault of the host")

// Do implements Client.
func (r readOnly) Do(ctx context.Context, q rest.Request) (*rest.Response, error) {
	if q.Upload != nil || !r.reads(abi.Call{Service: r.service, Method: q.Method, Path: q.Path, Idempotent: !q.Once}) {
		return nil, &rest.Error{Service: r.service, Method: q.Method, Path: q.Path, Code: abi.CodeInternal, Err: errWrites}
	}
	return r.client.Do(ctx, q)
}
