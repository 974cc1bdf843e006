// Package threatq is the client of the ThreatQ REST API.
//
// A token is what ThreatQ gives for user name, password and client id (CID); all calls share one. A collection is the
// part of a path that names an object type ("indicators", "events", "malware"). A weak role is an account that ThreatQ
// lets in without letting it read the tables of types and statuses.
//
// What is common to both services, such as the one login for all that wait, its pause after a refusal and the size
// limits, is package rest's. What may be repeated is decided in package effect.
package threatq

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

const service = "ThreatQ"

// Options of a Client. Base, Username, Password and ClientID are required.
type Options struct {
	Base  *url.URL // https://host[:port], without a path
	TLS   *tls.Config
	Proxy func(*http.Request) (*url.URL, error) // nil for none

	Username string
	// Password and ClientID are asked at each login, so that the secrets stay with their owner.
	Password func() string
	ClientID func() string

	// OnTokens hears of each new set of tokens and of the set it replaces, for the redaction of logs. It must not block.
	OnTokens func(fresh, former []string)

	Timeout, SlowTimeout time.Duration // of a whole call; 0 for the defaults of package rest
	UserAgent            string
	Logger               *slog.Logger
}

// Client speaks to one ThreatQ. It is safe for use by many goroutines.
type Client struct {
	base    url.URL
	rest    *rest.Client
	account *account
}

// New returns a client; it logs in when it is first used.
func New(o Options) *Client {
	base := *o.Base
	base.Path, base.RawPath = strings.TrimSuffix("/"+strings.Trim(base.Path, "/"), "/api"), "" // the paths of calls begin with /api themselves
	a := &account{
		tokenURL: base.JoinPath("/api/token").String(), userAgent: o.UserAgent,
		username: o.Username, password: o.Password, clientID: o.ClientID, onTokens: o.OnTokens,
	}
	return &Client{base: base, account: a, rest: rest.New(rest.Options{
		Service: service, Base: &base, TLS: o.TLS, Proxy: o.Proxy, Timeout: o.Timeout, SlowTimeout: o.SlowTimeout,
		UserAgent: o.UserAgent, Authenticator: a, Describe: a.describe, Logger: o.Logger,
	})}
}

// Do performs one call of /api/…. Errors are *rest.Error; their text holds ThreatQ's own words (contract: error bodies)
// and no secret. An answer that has errors is an error even with status 200.
func (c *Client) Do(ctx context.Context, r rest.Request) (*rest.Response, error) {
	if !strings.HasPrefix(r.Path, "/api/") || strings.EqualFold(path.Clean(r.Path), "/api/token") {
		// The token call is the host's own: it must not be reachable through a module's permit.
		return nil, &rest.Error{Service: service, Method: r.Method, Path: r.Path, Code: abi.CodeInternal,
			Err: errors.New("only paths below /api/ are called, and never the token call")}
	}
	return c.rest.Do(ctx, r)
}

// Close ends idle connections.
func (c *Client) Close() { c.rest.Close() }

// ErrWeakRole means that the login works, but the account may not read the indicator types.
var ErrWeakRole = errors.New("the ThreatQ account may not read indicator types; give its role the right to read them, or names are sent instead of ids")

// Check is the start-up test: it logs in and makes the cheapest call. It returns ErrWeakRole for an empty answer
// (contract: connection test).
func (c *Client) Check(ctx context.Context) error {
	answer, err := c.Do(ctx, rest.Request{Method: http.MethodGet, Path: "/api/indicator/types", Query: url.Values{"limit": {"1"}}})
	if err != nil {
		return err
	}
	var body struct{ Data json.RawMessage }
	if err := json.Unmarshal(answer.Body, &body); err != nil {
		return c.unexpected("/api/indicator/types")
	}
	if len(body.Data) == 0 || string(body.Data) == "null" {
		return ErrWeakRole
	}
	return nil
}

// User is the account that the client is logged in as.
type User struct {
	ID          int64
	Email       string
	DisplayName string
	SourceID    int64 // what tasks take as assignee_source_id; 0 when ThreatQ does not tell
}

// Whoami reads the account.
func (c *Client) Whoami(ctx context.Context) (User, error) {
	const whoami = "/api/users/current"
	answer, err := c.Do(ctx, rest.Request{Method: http.MethodGet, Path: whoami})
	if err != nil {
		return User{}, err
	}
	var body struct{ Data oneOf[wireUser] }
	if json.Unmarshal(answer.Body, &body) != nil || body.Data.value.ID == 0 {
		return User{}, c.unexpected(whoami)
	}
	u := body.Data.value
	return User{ID: int64(u.ID), Email: u.Email, DisplayName: u.DisplayName, SourceID: int64(u.Source.ID)}, nil
}

type wireUser struct {
	ID          number
	Email       string
	DisplayName string `json:"display_name"`
	Source      struct{ ID number }
}

func (c *Client) unexpected(path string) error {
	return &rest.Error{Service: service, Method: http.MethodGet, Path: path, Code: abi.CodeHTTP, Status: http.StatusOK,
		Text: "the answer has not the form that ThreatQ gives; is this the address of ThreatQ?"}
}

// Link is the address of an object's page for people (contract: collections). The collection is plural for built-in
// objects and singular for custom ones; attachments are called files there.
func (c *Client) Link(collection string, id int64) string {
	if collection == "attachments" {
		collection = "files"
	}
	return c.base.JoinPath(collection, strconv.FormatInt(id, 10), "details").String()
}

// oneOf reads an object, or a list of one, which ThreatQ gives in its place at times.
type oneOf[T any] struct{ value T }

func (o *oneOf[T]) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, &o.value)
	}
	var list []T
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("%d objects where one was expected", len(list))
	}
	o.value = list[0]
	return nil
}

// number reads an id that may be written as text.
type number int64

func (n *number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*n = number(v)
	return err
}
