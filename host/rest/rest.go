// Package rest is what the clients of Resilient and of ThreatQ share: one
// authorized exchange over HTTPS, with a login that is made once for all who
// wait for it, never repeated after a refusal, and errors that say how far the
// request came.
//
// A session is what a login yields; an authenticator makes it. Nothing here
// repeats a request, but for the one after a session has ended: what may be
// repeated is decided by package effect, for both services alike.
package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fn-threatq/abi"
)

// Request is one call to a service, its path already checked.
type Request struct {
	Method string
	// Path is unescaped, below the service's base, and begins with "/".
	Path  string
	Query url.Values
	// Body is JSON, or nil.
	Body []byte
	// Upload sends a multipart form instead of Body.
	Upload *Upload
	// Save receives the body of a successful answer in place of Response.Body.
	Save io.Writer
	// SaveLimit is the most that is written to Save, in bytes; 0 = MaxBody.
	SaveLimit int64
	// Header holds the host's own headers; nothing of a module comes here.
	Header http.Header
	// Slow asks for the long time limit.
	Slow bool
	// Once is for a GET that writes: the request never arrives twice. Go's
	// transport repeats a GET by itself when a kept connection breaks, so this
	// one is given a connection of its own.
	Once bool
}

// Response is a successful answer.
type Response struct {
	Status      int
	ContentType string
	// Body is empty for 204 and when the request had Save.
	Body []byte
	// Saved counts the bytes written to Save.
	Saved int64
}

// Limits of an exchange.
const (
	DefaultTimeout = 30 * time.Second
	SlowTimeout    = 120 * time.Second
	// MaxBody is the largest answer that is read into memory, in bytes.
	MaxBody = 64 << 20
)

// Options of a Client.
type Options struct {
	// Service names the service in errors and logs ("ThreatQ", "Resilient").
	Service string
	// Base is https://host[:port][/prefix].
	Base *url.URL
	TLS  *tls.Config
	// Proxy is nil for none.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout and SlowTimeout limit a whole exchange; zero means the defaults.
	Timeout, SlowTimeout time.Duration
	UserAgent            string
	Authenticator        Authenticator
	// Describe reads the texts of an error from an answer. It is asked for
	// every answer; failed makes an error of a 2xx one.
	Describe func(status int, contentType string, body []byte) (text string, failed bool)
	Logger   *slog.Logger
}

// Client speaks to one service. It is safe for use by many goroutines.
type Client struct {
	o     Options
	http  *http.Client
	once  *http.Client // keeps no connections
	login *login
}

// New returns a client; it connects when it is first used.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.SlowTimeout == 0 {
		o.SlowTimeout = SlowTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Describe == nil {
		o.Describe = func(int, string, []byte) (string, bool) { return "", false }
	}
	c := &Client{o: o, http: newHTTP(o, true), once: newHTTP(o, false)}
	c.login = newLogin(o, c.http)
	return c
}

// newHTTP makes a client that keeps connections, or one that uses each for a
// single request by HTTP/1.1, where Go's transport repeats nothing.
func newHTTP(o Options, keep bool) *http.Client {
	transport := &http.Transport{
		Proxy:                 o.Proxy,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       o.TLS.Clone(), // HTTP/2 writes into it, which the other client must not see
		TLSHandshakeTimeout:   15 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		ForceAttemptHTTP2:     keep,
		DisableKeepAlives:     !keep,
	}
	return &http.Client{
		Transport: transport,
		// A redirect would carry the login or the token to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Service is the name of the service.
func (c *Client) Service() string { return c.o.Service }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Session returns the session in force, logging in when there is none.
func (c *Client) Session(ctx context.Context) (Session, error) { return c.login.session(ctx, nil) }

// Paused returns a *PausedError while no login is tried after a refused one.
func (c *Client) Paused() error { return c.login.paused() }

// PauseLogin keeps the client from logging in for a while. It is for an account
// that was refused by another way in; a session in force is not touched.
func (c *Client) PauseLogin(pause time.Duration, refused *RefusedError) {
	c.login.pause(pause, refused)
}

// Do performs one request. An answer of 401 ends the session: the client logs
// in again, once for all requests that met it, and repeats the request once.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	session, err := c.login.session(ctx, nil)
	if err != nil {
		return nil, c.fail(r, err)
	}
	response, err := c.exchange(ctx, session, r)
	var failed *Error
	if errors.As(err, &failed) && failed.Status == http.StatusUnauthorized {
		c.o.Logger.Info("session ended, logging in again", "service", c.o.Service)
		if session, err = c.login.session(ctx, session); err != nil {
			return nil, c.fail(r, err)
		}
		response, err = c.exchange(ctx, session, r)
	}
	return response, err
}

// fail names the request that needed a login in the login's error, which all
// requests that waited for it share.
func (c *Client) fail(r Request, err error) error {
	var e *Error
	if errors.As(err, &e) {
		own := *e
		own.Method, own.Path = r.Method, r.Path
		return &own
	}
	return &Error{Service: c.o.Service, Method: r.Method, Path: r.Path, Code: abi.CodeLogin, Err: err}
}

// exchange sends one request and reads its answer.
func (c *Client) exchange(ctx context.Context, session Session, r Request) (*Response, error) {
	limit := c.o.Timeout
	if r.Slow {
		limit = c.o.SlowTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	fail := func(code abi.ErrorCode, err error) *Error {
		return &Error{Service: c.o.Service, Method: r.Method, Path: r.Path, Code: code, Err: err}
	}
	request, err := c.build(ctx, r)
	if err != nil {
		return nil, fail(abi.CodeInternal, err)
	}
	session.Authorize(request)

	// From the first header on the server may have acted.
	var sent atomic.Bool
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaderField: func(string, []string) { sent.Store(true) },
	}))
	client := c.http
	if r.Once {
		client = c.once
	}
	answer, err := client.Do(request)
	if err != nil {
		code := abi.CodeUnreachable
		if sent.Load() {
			code = abi.CodeUnknown
		}
		return nil, fail(code, clean(err))
	}
	defer answer.Body.Close()
	return c.read(answer, r, fail)
}

func (c *Client) read(answer *http.Response, r Request, fail func(abi.ErrorCode, error) *Error) (*Response, error) {
	response := &Response{Status: answer.StatusCode, ContentType: answer.Header.Get("Content-Type")}
	success := answer.StatusCode >= 200 && answer.StatusCode < 300

	if success && r.Save != nil {
		limit := r.SaveLimit
		if limit == 0 {
			limit = MaxBody
		}
		tooLarge := fmt.Errorf("the file is larger than the limit of %d bytes", limit)
		if answer.ContentLength > limit {
			return nil, fail(abi.CodeTooLarge, tooLarge)
		}
		n, err := io.Copy(r.Save, io.LimitReader(answer.Body, limit+1))
		response.Saved = n
		switch {
		case err != nil:
			return nil, fail(abi.CodeUnknown, fmt.Errorf("the answer broke off after %d bytes: %w", n, clean(err)))
		case n > limit:
			return nil, fail(abi.CodeTooLarge, tooLarge)
		}
		return response, nil
	}

	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxBody+1))
	if err != nil {
		return nil, fail(abi.CodeUnknown, fmt.Errorf("the answer broke off after %d bytes: %w", len(body), clean(err)))
	}
	if len(body) > MaxBody {
		return nil, fail(abi.CodeTooLarge, fmt.Errorf("the answer is larger than the limit of %d bytes", MaxBody))
	}
	_, failed := c.o.Describe(answer.StatusCode, response.ContentType, body)
	if !success || failed {
		// Twice: the text may be cut in the middle of a secret, or the body have it in
		// another spelling.
		text, _ := c.o.Describe(answer.StatusCode, response.ContentType, []byte(mask(answer.Request.Header, string(body))))
		e := fail(abi.CodeHTTP, nil)
		e.Status, e.Text = answer.StatusCode, mask(answer.Request.Header, text)
		if answer.StatusCode >= 300 && answer.StatusCode < 400 {
			e.Text = "the server redirects, which is not followed: check host and port in the configuration"
		}
		e.RetryAfter = retryAfter(answer.Header.Get("Retry-After"))
		return nil, e
	}
	body = bytes.TrimSpace(body)
	odd := ""
	switch {
	case len(body) > 0 && !json.Valid(body):
		odd = "the answer is not JSON: is this the address of the service itself, and not of a proxy?"
	case r.Method == http.MethodGet && !r.Once && answer.StatusCode == http.StatusOK && (len(body) == 0 || body[0] != '{' && body[0] != '['):
		// Taken for a list without rows, it would make a rule create a second time.
		odd = "the answer is neither an object nor a list"
	}
	if odd != "" {
		e := fail(abi.CodeHTTP, nil)
		e.Status, e.Text = answer.StatusCode, odd
		return nil, e
	}
	if len(body) > 0 {
		response.Body = body
	}
	return response, nil
}

func (c *Client) build(ctx context.Context, r Request) (*http.Request, error) {
	target := *c.o.Base
	target.Path = strings.TrimSuffix(target.Path, "/") + r.Path
	// Escape everything that is not plain: RawPath would otherwise keep what
	// the default encoding leaves alone.
	target.RawPath = ""
	target.RawQuery = r.Query.Encode()

	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	switch {
	case r.Upload != nil:
		if err := r.Upload.attach(request); err != nil {
			return nil, err
		}
	case r.Body != nil:
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	if r.Save != nil {
		request.Header.Set("Accept", "*/*")
	}
	if c.o.UserAgent != "" {
		request.Header.Set("User-Agent", c.o.UserAgent)
	}
	return request, nil
}

// retryAfter reads a Retry-After header: seconds or a date.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 24*60*60)) * time.Second // more would overflow
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
