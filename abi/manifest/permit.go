package manifest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fn-threatq/abi"
)

// Permits answers whether a module may make a call.
type Permits struct {
	services map[string]*http.ServeMux
}

// Methods that a call may use.
var Methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// NewPermits compiles the `calls` of a manifest.
func NewPermits(calls []string) (*Permits, error) {
	p := &Permits{services: map[string]*http.ServeMux{
		abi.ThreatQ:   http.NewServeMux(),
		abi.Resilient: http.NewServeMux(),
	}}
	for _, call := range calls {
		parts := strings.Fields(call)
		if len(parts) != 3 {
			return nil, fmt.Errorf("permit %q: want SERVICE METHOD PATH", call)
		}
		service, method, path := parts[0], parts[1], parts[2]
		mux, ok := p.services[service]
		if !ok {
			return nil, fmt.Errorf("permit %q: service %q is neither %s nor %s", call, service, abi.ThreatQ, abi.Resilient)
		}
		if !slices.Contains(Methods, method) {
			return nil, fmt.Errorf("permit %q: method %q is none of %s", call, method, strings.Join(Methods, ", "))
		}
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("permit %q: the path must begin with / (a permit cannot name a host)", call)
		}
		if err := register(mux, method+" "+path); err != nil {
			return nil, fmt.Errorf("permit %q: %w", call, err)
		}
	}
	return p, nil
}

// register turns ServeMux's panics (malformed or clashing patterns) into errors.
func register(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	mux.Handle(pattern, http.NotFoundHandler())
	return nil
}

// Allow reports whether a pattern of the manifest matches the call. The path
// must have passed CheckPath.
func (p *Permits) Allow(service, method, path string) bool {
	mux, ok := p.services[service]
	if !ok || !slices.Contains(Methods, method) {
		return false
	}
	// The URL is built by hand: parsing would give meaning to characters of
	// the path that are plain text here.
	_, pattern := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
	return pattern != ""
}

// CheckPath refuses paths that could reach something else than they show.
func CheckPath(path string) error {
	if len(path) > abi.MaxPath {
		return fmt.Errorf("path of %d bytes, the limit is %d", len(path), abi.MaxPath)
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return fmt.Errorf("path %q does not begin with /", path)
	}
	for segment := range strings.SplitSeq(rest, "/") {
		switch {
		case segment == "":
			return fmt.Errorf("path %q has an empty segment", path)
		case segment == "." || segment == "..":
			return fmt.Errorf("path %q has the segment %q", path, segment)
		}
		for _, r := range segment {
			if r < 0x20 || r == 0x7f || r == 0xfffd || strings.ContainsRune(`\%?#;`, r) {
				return fmt.Errorf("path %q holds the character %q", path, r)
			}
		}
	}
	return nil
}
